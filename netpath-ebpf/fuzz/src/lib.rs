//! What must hold for *every* packet that is parsed and rewritten.
//!
//! [`check`] takes any bytes (`input`), runs netpath's parser and rewriting over them, and panics if they do not do
//! what the wire format says. What it says is worked out a second time, from etherparse and from checksums over all
//! bytes (`reference`); nothing of that comes from the code under test.
//!
//! `cargo xtask fuzz` searches for inputs by coverage. The corpus of that search is replayed by the unit tests.

mod checks;
mod input;
mod reference;
pub mod seeds;

pub use checks::check;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_seed_keeps_the_properties() {
        for (name, bytes) in seeds::all() {
            eprintln!("{name}");
            check(&bytes);
        }
    }

    #[test]
    fn every_input_of_the_corpus_keeps_the_properties() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let mut count = 0;
        for entry in fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            eprintln!("{}", path.display());
            check(&fs::read(path).unwrap());
            count += 1;
        }
        assert!(count > 100, "{count} inputs");
    }

    #[test]
    fn seeds_have_different_names() {
        let mut names: Vec<_> = seeds::all().into_iter().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
