//! What the verifier does for each program, against what it did when the budget was made.
//!
//! Cost near the verifier's limit is what makes a program load on one kernel and not on the next. `UPDATE_BUDGET=1`
//! records what is measured now.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{
    EbpfLoader,
    programs::{Program, ProgramError, ProgramInfo},
};
use netpath_tests::{bpf_object, prog::Bpffs};
use nix::time::{ClockId, clock_gettime};

/// How much more than the budget is still right, in percent.
const HEADROOM: u32 = 15;
/// How many times the recorded time is still right: machines differ, and a debugging kernel is slow.
const TIMES: u64 = 10;

const HEAD: &str = "\
# Each program: the instructions that the verifier followed, those that the kernel runs, and microseconds of CPU time to
# load it, most of it the verifier's (tests/prog/budget.rs). A program may need 15 % more instructions, and ten times the
# time, which depends on the machine. Recorded by UPDATE_BUDGET=1 cargo xtask test prog --filter budget
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    verified: u32,
    translated: u32,
    /// Of CPU time.
    micros: u64,
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.config/verifier-budget.toml")
}

fn recorded() -> BTreeMap<String, Cost> {
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
    table
        .iter()
        .map(|(name, value)| (name.clone(), cost(value)))
        .collect()
}

fn load(program: &mut Program) -> Result<ProgramInfo, ProgramError> {
    match program {
        Program::SchedClassifier(program) => {
            program.load()?;
            program.info()
        }
        Program::CgroupSockAddr(program) => {
            program.load()?;
            program.info()
        }
        other => panic!("a program of another kind: {other:?}"),
    }
}

/// CPU time of this thread, in which the verifier runs.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock");
    time.into()
}

fn measured() -> BTreeMap<String, Cost> {
    let bpffs = Bpffs::mount();
    let object = fs::read(bpf_object()).expect("the BPF object");
    let mut ebpf = EbpfLoader::new()
        .default_map_pin_directory(bpffs.path())
        .load(&object)
        .expect("the object is loaded");
    ebpf.programs_mut()
        .map(|(name, program)| {
            let start = cpu_time();
            let info = load(program).unwrap_or_else(|error| panic!("{name}: {error}"));
            let cost = Cost {
                verified: info.verified_instruction_count().expect("Linux 5.16"),
                translated: info.size_translated().expect("size") / 8,
                micros: u64::try_from((cpu_time() - start).as_micros()).expect("short"),
            };
            (name.to_owned(), cost)
        })
        .collect()
}

#[test]
fn budget_of_the_verifier_is_kept() {
    let measured = measured();
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
    if env::var_os("UPDATE_BUDGET").is_some() {
        let lines = measured.iter().map(|(name, cost)| {
            format!(
                "{name} = {{ verified = {}, translated = {}, micros = {} }}\n",
                cost.verified, cost.translated, cost.micros
            )
        });
        fs::write(file(), HEAD.to_owned() + &lines.collect::<String>()).expect("the budget");
        return;
    }
    let recorded = recorded();
    let names = |list: Vec<&String>| list.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(recorded.keys().collect()),
        names(measured.keys().collect()),
        "other programs than in the budget: UPDATE_BUDGET=1"
    );
    for (name, cost) in &measured {
        let budget = recorded[name];
        // Below a millisecond it is the system call that is measured.
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
