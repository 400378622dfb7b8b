//! Parts of the texts of errors.

use crate::model::Holder;

/// The first items, and how many more there are.
pub(super) fn list<T: std::fmt::Display>(items: &[T]) -> String {
    let texts: Vec<_> = items
        .iter()
        .take(8)
        .map(|item| format!("'{item}'"))
        .collect();
    let rest = items.len() - texts.len();
    let texts = texts.join(", ");
    if rest == 0 {
        texts
    } else {
        format!("{texts} and {rest} more")
    }
}

/// [`list`], or a text for no item.
pub(super) fn list_or(items: &[String], none: &str) -> String {
    if items.is_empty() {
        none.to_owned()
    } else {
        list(items)
    }
}

/// `node` or `nodes`.
pub(super) fn plural<T>(noun: &str, items: &[T]) -> String {
    let end = if items.len() == 1 { "" } else { "s" };
    format!("{noun}{end}")
}

/// The holder of an address.
pub(super) fn owner_text(owner: Option<&Holder>) -> String {
    owner.map_or_else(String::new, |owner| format!(" by {owner}"))
}
