//! Runs the planner on every folder of `cases/`: `desired.json` and `observed.json` in, `plan.json` out.
//!
//! A new case needs no code. `UPDATE_CASES=1 cargo test` writes the current plans; read them before committing.

use std::{collections::BTreeSet, env, fs, path::Path};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::plan::{Desired, Observed, Operation, plan};

#[test]
fn plans_match_case_folders() {
    let update = env::var_os("UPDATE_CASES").is_some();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/cases");
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for folder in fs::read_dir(&cases).unwrap() {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let desired: Desired = read(&folder.join("desired.json"));
        let observed: Observed = read(&folder.join("observed.json"));
        let operations: Vec<Value> = plan(&desired, &observed).iter().map(shown).collect();
        let file = folder.join("plan.json");
        if update {
            let text = serde_json::to_string_pretty(&operations).unwrap();
            fs::write(&file, text + "\n").unwrap();
        } else if read::<Vec<Value>>(&file) != operations {
            wrong.push(format!("{name}: {operations:#?}"));
        }
        names.insert(name);
    }
    assert!(names.len() >= 14, "cases are missing: {names:?}");
    assert!(
        wrong.is_empty(),
        "plans that differ from plan.json: {}",
        wrong.join("\n")
    );
}

fn shown(operation: &Operation) -> Value {
    json!({ "line": operation.to_string(), "operation": operation })
}

fn read<T: DeserializeOwned>(path: &Path) -> T {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
