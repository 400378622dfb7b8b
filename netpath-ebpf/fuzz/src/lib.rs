//! Properties of parsing and rewriting that hold for every packet.
//!
//! [`check`] takes any bytes (`input`), parses and rewrites them, and panics if the result differs from the wire format. The
//! expected result comes from etherparse and from checksums over all bytes (`reference`), not from the code under test.
//!
//! `cargo xtask fuzz` searches for inputs with coverage feedback. Unit tests replay the corpus of that search.

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
    fn seeds_have_properties() {
        for (name, bytes) in seeds::all() {
            eprintln!("{name}");
            check(&bytes);
        }
    }

    #[test]
    fn inputs_of_corpus_have_properties() {
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
    fn seed_names_are_unique() {
        let mut names: Vec<_> = seeds::all().into_iter().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
