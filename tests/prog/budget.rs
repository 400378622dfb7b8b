//! What the verifier does for each program, against what it did when the budget was made.
//!
//! Cost near the verifier's limit is what makes a program load on one kernel and not on the next. `UPDATE_BUDGET=1`
//! records what is measured now.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aya::{
    EbpfLoader,
    programs::{Program, ProgramError, ProgramInfo},
};
use netpath_tests::{bpf_object, prog::Bpffs};

/// How much more than the budget is still right, in percent.
const HEADROOM: u32 = 15;

const HEAD: &str = "\
# Instructions of each program: those the verifier followed, and those the kernel runs (tests/prog/budget.rs).
# A program may need 15 % more. Recorded by UPDATE_BUDGET=1 cargo xtask test prog --filter budget
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    verified: u32,
    translated: u32,
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

fn measured() -> BTreeMap<String, (Cost, Duration)> {
    let bpffs = Bpffs::mount();
    let object = fs::read(bpf_object()).expect("the BPF object");
    let mut ebpf = EbpfLoader::new()
        .default_map_pin_directory(bpffs.path())
        .load(&object)
        .expect("the object is loaded");
    ebpf.programs_mut()
        .map(|(name, program)| {
            let start = Instant::now();
            let info = load(program).unwrap_or_else(|error| panic!("{name}: {error}"));
            let cost = Cost {
                verified: info.verified_instruction_count().expect("Linux 5.16"),
                translated: info.size_translated().expect("size") / 8,
            };
            (name.to_owned(), (cost, start.elapsed()))
        })
        .collect()
}

#[test]
fn budget_of_the_verifier_is_kept() {
    let measured = measured();
    println!(
        "{:<16}{:>10}{:>12}{:>10}",
        "program", "verified", "translated", "load ms"
    );
    for (name, (cost, time)) in &measured {
        let time = time.as_secs_f64() * 1e3;
        println!(
            "{name:<16}{:>10}{:>12}{time:>10.1}",
            cost.verified, cost.translated
        );
    }
    if env::var_os("UPDATE_BUDGET").is_some() {
        let lines = measured.iter().map(|(name, (cost, _))| {
            format!(
                "{name} = {{ verified = {}, translated = {} }}\n",
                cost.verified, cost.translated
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
    for (name, (cost, _)) in &measured {
        let budget = recorded[name];
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
