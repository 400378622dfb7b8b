//! The length of functions.

use super::{
    exceptions::{self, LONG_FUNCTIONS},
    tree::Source,
};

/// The most lines a function of product code may have, from its signature to its closing brace.
const LONGEST: usize = 60;
/// Product code.
const PRODUCT: [&str; 3] = ["netpath/src/", "netpath-common/src/", "netpath-ebpf/src/"];

/// No function of product code is longer than [`LONGEST`] lines, except those that are listed.
pub fn length(sources: &[Source]) -> Vec<String> {
    let product = sources
        .iter()
        .filter(|source| source.is_rust() && source.is_in(&PRODUCT));
    let mut complaints = Vec::new();
    let mut long = Vec::new();
    for source in product {
        for (line, name, length) in functions(source) {
            if length <= LONGEST {
                continue;
            }
            let id = format!("{} {name}", source.path);
            if !exceptions::lists(&LONG_FUNCTIONS, &id) {
                complaints.push(format!(
                    "{}:{line}: `{name}` has {length} lines, at most {LONGEST} are allowed",
                    source.path
                ));
            }
            long.push(id);
        }
    }
    complaints.extend(exceptions::unused(&LONG_FUNCTIONS, &long, sources));
    complaints
}

/// Line, name and length of every function of a formatted file.
fn functions(source: &Source) -> Vec<(usize, &str, usize)> {
    let lines: Vec<(usize, &str)> = source.program().collect();
    let mut found = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        let Some(name) = name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let at_indent = |text: &str| text.len() - text.trim_start().len() == indent;
        let rest = lines.get(index..).unwrap_or_default();
        // The end of the signature: a body, or a semicolon in a trait.
        let end = rest.iter().map(|(_, text)| text.trim_end());
        let mut signature = end.filter(|text| at_indent(text) && text.ends_with(['{', '}', ';']));
        if signature.next().is_none_or(|text| !text.ends_with('{')) {
            continue;
        }
        let closing = |(_, text): &(usize, &str)| at_indent(text) && text.trim() == "}";
        if let Some(last) = rest.iter().position(closing) {
            found.push((*number, name, last + 1));
        }
    }
    found
}

/// The name of the function that begins on a line.
fn name(line: &str) -> Option<&str> {
    let mut words = line.trim_start().split(' ');
    let modifier = |word: &&str| {
        matches!(*word, "const" | "async" | "unsafe" | "extern" | "\"C\"")
            || word.starts_with("pub")
    };
    let word = words.find(|word| !modifier(word))?;
    let name = words.next().filter(|_| word == "fn")?;
    name.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::{super::tree::source, *};

    #[test]
    fn long_function_is_found() {
        let body = |lines: usize| {
            let lines = "        a();\n".repeat(lines);
            format!(
                "impl A {{\n    pub(crate) fn b(\n        c: u8,\n    ) -> u8 {{\n{lines}    }}\n}}\n"
            )
        };
        let complaints = |lines| length(&source("netpath/src/a.rs", &body(lines)));
        assert!(complaints(LONGEST - 4).is_empty());
        let found = complaints(LONGEST - 3);
        let text = format!("netpath/src/a.rs:2: `b` has {} lines", LONGEST + 1);
        assert!(found.len() == 1 && found[0].starts_with(&text), "{found:?}");
        assert!(length(&source("tests/a.rs", &body(LONGEST))).is_empty());
    }

    #[test]
    fn declaration_without_body_is_no_function() {
        let text = format!("trait A {{\n    fn b();\n}}\n{}", "\n".repeat(LONGEST));
        assert!(functions(&source("a.rs", &text)[0]).is_empty());
    }
}
