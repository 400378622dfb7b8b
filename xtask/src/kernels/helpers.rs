//! The kernel helpers that each program calls, read from the BPF object.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, anyhow};
use aya_obj::{Object, generated::bpf_insn};

use crate::command;

/// `BPF_JMP | BPF_CALL`; with a source register of 0 it calls the helper that the immediate value names.
const CALL: u8 = 0x85;

/// Names of helpers by program, those of the functions that it calls included.
pub fn by_program(object: &[u8]) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut object =
        Object::parse(object).map_err(|error| anyhow!("cannot read the BPF object: {error}"))?;
    let sections: HashSet<_> = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    object
        .relocate_calls(&sections)
        .map_err(|error| anyhow!("cannot link the BPF object: {error}"))?;
    let names = names()?;
    let name = |instruction: &bpf_insn| {
        let number = usize::try_from(instruction.imm).ok()?;
        let known = names.get(number).cloned();
        Some(known.unwrap_or_else(|| format!("helper {number}")))
    };
    let mut helpers = BTreeMap::new();
    for (program, entry) in &object.programs {
        let function = object.functions.get(&entry.function_key());
        let function =
            function.with_context(|| format!("program {program} has no instructions"))?;
        let calls = function.instructions.iter();
        let calls =
            calls.filter(|instruction| instruction.code == CALL && instruction.src_reg() == 0);
        helpers.insert(program.clone(), calls.filter_map(name).collect());
    }
    Ok(helpers)
}

/// Every helper that `bpftool` knows, in the order of their numbers.
fn names() -> Result<Vec<String>> {
    let bpftool = command::find("bpftool").unwrap_or_else(|| Path::new("bpftool").to_owned());
    let list =
        command::output(Command::new(bpftool).args(["feature", "list_builtins", "helpers"]))?;
    Ok(list.lines().map(str::to_owned).collect())
}
