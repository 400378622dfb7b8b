//! Output to stdout: aligned tables without borders, or one JSON document.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::failure::Failure;

/// Output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one document.
    Json,
}

/// A property that an object has or not.
pub(super) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// Title of a column; one that ends in `#` holds numbers, which are right-aligned.
pub(super) type Column = &'static str;

/// A value that is printed as a row of a table.
pub(super) trait Row {
    /// Titles.
    const COLUMNS: &'static [Column];

    /// One text for each column.
    fn cells(&self) -> Vec<String>;
}

/// Prints rows as a table with titles, or as a JSON list.
pub(super) fn rows<R: Row + Serialize>(format: Format, rows: &[R]) -> Result<(), Failure> {
    match format {
        Format::Table => text(&table(R::COLUMNS, rows.iter().map(R::cells))),
        Format::Json => json(&rows),
    }
}

/// Prints one JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut document = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::output(io::Error::other(error)))?;
    document.push('\n');
    text(&document)
}

/// Prints text unchanged. A closed pipe is not a failure.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.map_err(Failure::output),
    }
}

/// Prints text to stderr; errors are ignored.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// An aligned table; each line ends with a newline and without spaces.
pub(super) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(
            columns
                .iter()
                .map(|title| cell(title.trim_end_matches('#'), title)),
        );
    for row in rows {
        table.add_row(
            row.iter()
                .zip(columns)
                .map(|(text, title)| cell(text, title)),
        );
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Lines of `key: value`, values aligned; keys with no value are left out.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(key, _)| key.len()).max().unwrap_or(0) + 1;
    pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{:width$}  {}\n", format!("{key}:"), printable(value)))
        .collect()
}

/// Texts with commas between them; `-` if there is none.
pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "-".to_owned()
    } else {
        items.join(",")
    }
}

fn cell(text: &str, title: &str) -> Cell {
    let cell = Cell::new(printable(text));
    if title.ends_with('#') {
        cell.set_alignment(CellAlignment::Right)
    } else {
        cell
    }
}

/// Without control characters: labels and names of other nodes must not control the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_without_borders() {
        let rows = [["a", "1"], ["longer\x1b", "1000"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(
            table(&["NAME", "MTU#"], rows),
            "NAME      MTU\na           1\nlonger?  1000\n"
        );
    }

    #[test]
    fn pairs_are_aligned() {
        assert_eq!(
            pairs(&[
                ("name", "a".into()),
                ("none", String::new()),
                ("gateway", "b".into())
            ]),
            "name:     a\ngateway:  b\n"
        );
    }

    #[test]
    fn empty_list_is_shown_as_dash() {
        assert_eq!(list(["a", "b"]), "a,b");
        assert_eq!(list::<&str>([]), "-");
    }
}
