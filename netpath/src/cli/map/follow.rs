//! Changes since the previous dump.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{output::Format, rows::Tracked};

/// Compares each dump with the previous one.
pub(super) struct Follower<R> {
    format: Format,
    known: BTreeMap<String, R>,
    widths: Vec<usize>,
}

/// One line of JSON.
#[derive(Serialize)]
struct Line<'a, R> {
    change: &'static str,
    row: &'a R,
}

impl<R: Tracked> Follower<R> {
    /// Without a previous dump: every row is new.
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            known: BTreeMap::new(),
            widths: Vec::new(),
        }
    }

    /// Lines for rows that are new, removed or changed. Tables mark them
    /// with `+`, `-` and `~`; JSON has one document per line.
    pub(super) fn next(&mut self, rows: Vec<R>) -> String {
        let mut text = String::new();
        let now: BTreeMap<String, R> = rows.into_iter().map(|row| (row.key(), row)).collect();
        let before = std::mem::take(&mut self.known);
        for (key, row) in &before {
            if !now.contains_key(key) {
                text.push_str(&self.line('-', "removed", row));
            }
        }
        for (key, row) in &now {
            match before.get(key) {
                None => text.push_str(&self.line('+', "added", row)),
                Some(old) if old.mark() != row.mark() => {
                    text.push_str(&self.line('~', "changed", row));
                }
                Some(_) => {}
            }
        }
        self.known = now;
        text
    }

    fn line(&mut self, sign: char, change: &'static str, row: &R) -> String {
        if self.format == Format::Json {
            // Rows are plain data, which always has a JSON form.
            let document = serde_json::to_string(&Line { change, row }).unwrap_or_default();
            return format!("{document}\n");
        }
        let cells = row.cells();
        self.widths.resize(cells.len(), 0);
        let mut line = String::from(sign);
        for (cell, width) in cells.iter().zip(&mut self.widths) {
            *width = (*width).max(cell.chars().count());
            line.push_str(&format!("  {cell:0$}", *width));
        }
        format!("{}\n", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::http::v1::{Counter, Verdict};

    fn counter(name: &str, packets: u64) -> Counter {
        Counter {
            name: name.to_owned(),
            verdict: Verdict::Drop,
            packets,
            bytes: 0,
        }
    }

    #[test]
    fn follow_shows_only_changes() {
        let mut follower = Follower::new(Format::Table);
        assert_eq!(
            follower.next(vec![counter("a", 1), counter("bb", 2)]),
            "+  a  drop  1  0\n+  bb  drop  2  0\n"
        );
        assert_eq!(follower.next(vec![counter("a", 1), counter("bb", 2)]), "");
        assert_eq!(
            follower.next(vec![counter("a", 5)]),
            "-  bb  drop  2  0\n~  a   drop  5  0\n"
        );
    }

    #[test]
    fn json_output_has_one_document_per_line() {
        let mut follower = Follower::new(Format::Json);
        assert_eq!(
            follower.next(vec![counter("a", 1)]),
            "{\"change\":\"added\",\"row\":{\"name\":\"a\",\"verdict\":\"drop\",\"packets\":1,\"bytes\":0}}\n"
        );
    }
}
