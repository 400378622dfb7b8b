//! Safe functions around what only the verifier or a raw helper offers.

mod bounded;

pub use bounded::bounded;
