mod cases;
mod inside;
mod properties;
pub(crate) mod world;
