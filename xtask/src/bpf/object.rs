//! The linked object as a file: refuses panics, removes debug information, counts instructions.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use object::{
    File, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind,
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// Names in symbols that only a reachable panic leaves behind.
const PANICS: [&str; 4] = [
    "panicking",
    "unwrap_failed",
    "expect_failed",
    "panic_bounds_check",
];

/// Refuses an object in which a panic can be reached. The verifier refuses it too, but does not state the cause.
pub fn refuse_panics(content: &[u8]) -> Result<()> {
    let object = parse(content)?;
    let names = object
        .symbols()
        .filter_map(|symbol| symbol.name().ok().map(str::to_owned));
    let panics: Vec<_> = names
        .filter(|name| PANICS.iter().any(|panic| name.contains(panic)))
        .collect();
    if !panics.is_empty() {
        bail!(
            "a panic is reachable in the BPF object, no kernel would load it: {}",
            panics.join(", ")
        );
    }
    Ok(())
}

/// Removes the debug information: the kernel uses only the BTF that is generated from it, and the object is parsed at
/// every start of the daemon.
pub fn strip(content: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(content).context("cannot read the BPF object")?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete = name.starts_with(".debug_") || name.starts_with(".rel.debug_");
    }
    // LLVM keeps the names of sections and symbols in one table, the writer wants a table of its own for sections.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    builder.delete_orphans();
    let mut stripped = Vec::new();
    builder
        .write(&mut stripped)
        .context("cannot write the BPF object")?;
    Ok(stripped)
}

/// Instructions by program with its section; the functions that programs call are counted in one entry.
pub fn instructions(content: &[u8]) -> Result<BTreeMap<String, u64>> {
    let object = parse(content)?;
    let mut count = BTreeMap::new();
    for symbol in object
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text)
    {
        let section = symbol
            .section_index()
            .and_then(|index| object.section_by_index(index).ok());
        let Some(section) = section.filter(|section| section.kind() == SectionKind::Text) else {
            continue;
        };
        let name = match (
            section.name().unwrap_or_default(),
            symbol.name().unwrap_or_default(),
        ) {
            (".text", _) => "functions they call".to_owned(),
            (section, symbol) => format!("{symbol} ({section})"),
        };
        // An instruction has 8 bytes; the few wide ones count twice, as they do in the kernel.
        *count.entry(name).or_default() += symbol.size() / 8;
    }
    Ok(count)
}

fn parse(content: &[u8]) -> Result<File<'_>> {
    File::parse(content).context("the BPF object is not an ELF file")
}
