//! The verifier's cost of each program, compared with the recorded budget.
//!
//! A program close to the verifier's limit may load on one kernel and not on another. `UPDATE_BUDGET=1` records the
//! present cost.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use netpath::datapath::probe;
use netpath_tests::prog::Bpffs;
use nix::sys::utsname::uname;

/// Allowed excess over the budget, in percent.
const HEADROOM: u32 = 15;
/// Allowed multiple of the recorded time: machines differ, and a debugging kernel is slow.
const TIMES: u64 = 10;

const HEAD: &str = "\
# For each kernel and program: the instructions that the verifier followed, those that the kernel runs, and microseconds
# of CPU time to load it, most of it the verifier's (tests/prog/budget.rs). A program may need 15 % more instructions,
# and ten times the time, which depends on the machine. Under a kernel that is not listed, the largest numbers count.
# Recorded by UPDATE_BUDGET=1 cargo xtask test prog --filter budget (the running kernel) and by
# cargo xtask test kernels --update-budget (the others, whose times are those of an emulated CPU).
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    verified: u32,
    translated: u32,
    /// CPU time.
    micros: u64,
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.config/verifier-budget.toml")
}

/// Costs by program.
type Costs = BTreeMap<String, Cost>;

/// What is recorded, by kernel version.
fn recorded() -> BTreeMap<String, Costs> {
    let text = fs::read_to_string(file()).unwrap_or_default();
    let table: toml::Table = text.parse().expect("the budget is TOML");
    let cost = |value: &toml::Value| {
        let number = |key: &str| value.get(key).and_then(toml::Value::as_integer);
        Cost {
            verified: number("verified").expect("verified") as u32,
            translated: number("translated").expect("translated") as u32,
            micros: number("micros").expect("micros") as u64,
        }
    };
    let kernels = table["kernel"].as_table().expect("kernels");
    let costs = |table: &toml::Value| {
        let programs = table.as_table().expect("programs").iter();
        programs
            .map(|(name, value)| (name.clone(), cost(value)))
            .collect()
    };
    kernels
        .iter()
        .map(|(version, table)| (version.clone(), costs(table)))
        .collect()
}

/// Major and minor number of the running kernel.
fn kernel() -> String {
    let name = uname().expect("uname");
    let release = name.release().to_string_lossy();
    let numbers: Vec<_> = release.split(['.', '-']).take(2).collect();
    numbers.join(".")
}

/// The budget of the running kernel, or the largest of all kernels for each program.
fn budget(mut recorded: BTreeMap<String, Costs>) -> Costs {
    if let Some(costs) = recorded.remove(&kernel()) {
        return costs;
    }
    let mut largest = Costs::new();
    for (name, cost) in recorded.into_values().flatten() {
        let entry = largest.entry(name).or_insert(cost);
        entry.verified = entry.verified.max(cost.verified);
        entry.translated = entry.translated.max(cost.translated);
        entry.micros = entry.micros.max(cost.micros);
    }
    largest
}

fn record(measured: &Costs) {
    let mut all = recorded();
    all.insert(kernel(), measured.clone());
    let mut text = HEAD.to_owned();
    for (kernel, costs) in all {
        writeln!(text, "\n[kernel.\"{kernel}\"]").expect("text");
        for (name, cost) in costs {
            let Cost {
                verified,
                translated,
                micros,
            } = cost;
            writeln!(
                text,
                "{name} = {{ verified = {verified}, translated = {translated}, micros = {micros} }}"
            )
            .expect("text");
        }
    }
    fs::write(file(), text).expect("the budget");
}

/// Loads every program; those that the kernel rejects, with the last line of the verifier's log, are the second part.
fn measured() -> (Costs, Vec<String>) {
    let bpffs = Bpffs::mount();
    let report = probe::load_all(bpffs.path()).expect("the object is loaded");
    let (mut costs, mut rejected) = (Costs::new(), Vec::new());
    for (name, result) in report.programs {
        match result {
            Ok(cost) => {
                let cost = Cost {
                    verified: cost.verified,
                    translated: cost.translated,
                    micros: u64::try_from(cost.time.as_micros()).expect("short"),
                };
                costs.insert(name, cost);
            }
            Err(error) => rejected.push(error.to_string()),
        }
    }
    (costs, rejected)
}

#[test]
fn budget_of_the_verifier_is_kept() {
    let (measured, rejected) = measured();
    println!(
        "{:<16}{:>10}{:>12}{:>10}",
        "program", "verified", "translated", "micros"
    );
    for (name, cost) in &measured {
        println!(
            "{name:<16}{:>10}{:>12}{:>10}",
            cost.verified, cost.translated, cost.micros
        );
    }
    assert!(
        rejected.is_empty(),
        "rejected by the kernel:\n{}",
        rejected.join("\n")
    );
    if env::var_os("UPDATE_BUDGET").is_some() {
        record(&measured);
        return;
    }
    let budget = budget(recorded());
    let names = |costs: &Costs| costs.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&budget),
        names(&measured),
        "other programs than in the budget: UPDATE_BUDGET=1"
    );
    for (name, cost) in &measured {
        let budget = budget[name];
        // A shorter time is dominated by the system call.
        assert!(
            cost.micros <= TIMES * budget.micros.max(1_000),
            "{name}: loaded in {} µs, the budget is {} times {} µs",
            cost.micros,
            TIMES,
            budget.micros
        );
        for (what, is, was) in [
            ("verified", cost.verified, budget.verified),
            ("translated", cost.translated, budget.translated),
        ] {
            assert!(
                is * 100 <= was * (100 + HEADROOM),
                "{name}: {is} instructions {what}, the budget is {was} and {HEADROOM} %"
            );
        }
    }
}
