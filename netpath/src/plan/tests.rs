mod cases;
mod properties;
pub(crate) mod world;
