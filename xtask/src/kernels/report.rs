//! Parses the console output of a machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Result;

/// First line of the section with the verifier's statistics of each program.
pub const PROGRAMS: &str = "@@ programs";
/// First line of the section with the recorded budget.
pub const BUDGET: &str = "@@ budget";
/// First line of the section with the output of `netpath doctor`.
pub const DOCTOR: &str = "@@ doctor";
/// First line of the section with the test runner's output.
pub const TESTS: &str = "@@ tests";
/// The last line, followed by the test runner's exit status.
pub const EXIT: &str = "@@ exit";

/// The verifier's statistics of a program.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    verified: u64,
    translated: u64,
    micros: u64,
}

/// The results of one kernel.
#[derive(Default)]
pub struct Report {
    release: String,
    section: Section,
    programs: BTreeMap<String, Program>,
    doctor: Vec<String>,
    /// The budget file as the machine left it.
    pub budget: String,
    /// Wall-clock time from boot to power-off.
    duration: Duration,
    /// Failed tests with their status, and the reason if the machine did not finish.
    failures: Vec<String>,
    passed: usize,
    status: Option<i32>,
    /// Everything the tests printed, shown if one fails.
    output: Vec<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Boot,
    Programs,
    Budget,
    Doctor,
    Tests,
}

impl Report {
    /// An empty report of a kernel.
    pub fn new(release: &str) -> Self {
        Self {
            release: release.to_owned(),
            ..Self::default()
        }
    }

    /// Processes one line of the console.
    pub fn read(&mut self, line: &str) {
        match line {
            PROGRAMS => self.section = Section::Programs,
            BUDGET => self.section = Section::Budget,
            DOCTOR => self.section = Section::Doctor,
            TESTS => self.section = Section::Tests,
            line if line.starts_with(EXIT) => self.status = line[EXIT.len()..].trim().parse().ok(),
            line => self.content(line),
        }
    }

    fn content(&mut self, line: &str) {
        match self.section {
            Section::Boot => {}
            Section::Programs => {
                self.programs.extend(program(line));
                if line.starts_with("test result: FAILED") {
                    let failure = "FAIL budget of the verifier".to_owned();
                    self.failures.push(failure);
                }
                self.output.push(line.to_owned());
            }
            Section::Budget => {
                self.budget.push_str(line);
                self.budget.push('\n');
            }
            Section::Doctor if line.is_empty() => {}
            Section::Doctor => self.doctor.push(line.to_owned()),
            Section::Tests => {
                self.output.push(line.to_owned());
                match verdict(line) {
                    Some(("PASS" | "SLOW", _)) => {
                        self.passed += usize::from(line.contains("PASS ["))
                    }
                    Some((word, test)) => {
                        let failure = format!("{word} {test}");
                        if !self.failures.contains(&failure) {
                            self.failures.push(failure);
                        }
                    }
                    None => {}
                }
            }
        }
    }

    /// Records the result and the duration of the run.
    pub fn end(&mut self, duration: Duration, ended: Result<()>) {
        self.duration = duration;
        if let Err(error) = ended {
            self.failures.push(format!("{error:#}"));
        } else if self.status.is_none() {
            self.failures
                .push("the machine stopped before the tests ended".to_owned());
        }
        if self.programs.is_empty() {
            self.failures.push("a program is rejected".to_owned());
        }
    }

    /// Whether every program loaded and every test passed.
    pub fn passed(&self) -> bool {
        self.status == Some(0) && self.failures.is_empty()
    }
}

/// `NAME VERIFIED TRANSLATED MICROSECONDS`, as `tests/prog/budget.rs` prints it.
fn program(line: &str) -> Option<(String, Program)> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [verified, translated, micros] = numbers.try_into().ok()?;
    let program = Program {
        verified,
        translated,
        micros,
    };
    Some((name.to_owned(), program))
}

/// The printed status of a test, and the test: `PASS [   0.1s] (1/9) netpath-tests::prog_cases guard::a case`.
fn verdict(line: &str) -> Option<(&str, &str)> {
    let (word, rest) = line.trim_start().split_once(" [")?;
    let known = [
        "PASS",
        "SLOW",
        "FAIL",
        "TIMEOUT",
        "SIGABRT",
        "SIGSEGV",
        "LEAK",
        "LEAK-FAIL",
    ];
    let (_, test) = rest.split_once("] ")?;
    let test = match test.trim_start().strip_prefix('(') {
        Some(numbered) => numbered.split_once(") ")?.1,
        None => test.trim_start(),
    };
    known.contains(&word).then_some((word, test))
}

/// Prints what failed, then the tables of all kernels. `helpers` are those that each program calls.
pub fn print(reports: &[Report], helpers: &BTreeMap<String, BTreeSet<String>>) {
    for report in reports.iter().filter(|report| !report.passed()) {
        println!("\nLinux {}:", report.release);
        for line in &report.output {
            println!("  {line}");
        }
    }
    for report in reports.iter().filter(|report| !report.doctor.is_empty()) {
        println!("\nLinux {}: netpath doctor", report.release);
        for line in &report.doctor {
            println!("  {line}");
        }
    }
    println!("\nHelpers of each program:");
    for (name, helpers) in helpers {
        let helpers: Vec<_> = helpers
            .iter()
            .map(|name| name.trim_start_matches("bpf_"))
            .collect();
        println!("{name:<16}  {}", helpers.join(" "));
    }
    let mut names: Vec<_> = reports
        .iter()
        .flat_map(|report| report.programs.keys())
        .collect();
    names.sort_unstable();
    names.dedup();
    println!("\nInstructions verified / translated, and milliseconds to load (emulated CPU):");
    print!("{:<16}", "program");
    for report in reports {
        print!("  {:>30}", report.release);
    }
    println!();
    for name in names {
        print!("{name:<16}");
        for report in reports {
            let cell = report.programs.get(name).map_or_else(
                || "rejected".to_owned(),
                |program| {
                    format!(
                        "{} / {}, {}",
                        program.verified,
                        program.translated,
                        program.micros.div_ceil(1000)
                    )
                },
            );
            print!("  {cell:>30}");
        }
        println!();
    }
    println!();
    for report in reports {
        let word = if report.passed() { "ok" } else { "FAILED" };
        println!(
            "Linux {}: {word}, {} tests passed, {} failed, {} s",
            report.release,
            report.passed,
            report.failures.len(),
            report.duration.as_secs()
        );
        for failure in &report.failures {
            println!("  {failure}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_sections_are_separated() {
        let mut report = Report::new("6.1");
        for line in [
            "Booting",
            PROGRAMS,
            "program           verified  translated    micros",
            "connect4               712         348       848",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 39 filtered out; finished in 9s",
            BUDGET,
            "connect4 = {}",
            DOCTOR,
            "ok  kernel",
            TESTS,
            "        PASS [   0.806s] (1/2) netpath-tests::prog_cases guard::a case",
            "        FAIL [   0.806s] (2/2) netpath-tests::prog_cases states::a case",
            "        FAIL [   0.806s] (2/2) netpath-tests::prog_cases states::a case",
            "@@ exit 100",
        ] {
            report.read(line);
        }
        let connect = Program {
            verified: 712,
            translated: 348,
            micros: 848,
        };
        assert_eq!(report.programs, [("connect4".to_owned(), connect)].into());
        assert_eq!(report.budget, "connect4 = {}\n");
        assert_eq!(report.doctor, ["ok  kernel"]);
        assert_eq!(report.passed, 1);
        assert_eq!(
            report.failures,
            [
                "FAIL budget of the verifier",
                "FAIL netpath-tests::prog_cases states::a case"
            ]
        );
        assert_eq!(report.status, Some(100));
        assert!(!report.passed());
    }
}
