//! The map schema: keys and values of every pinned map, and one declaration for each map in [`for_each_map`](crate::for_each_map).

mod config;
mod count;
mod denied;
mod endpoint;
mod fragment;
mod link;
mod outer;
mod overlay;
mod port;
mod reserved;
mod route;
mod schema;
mod socket;
mod sweep;
mod text;

pub use config::*;
pub use count::*;
pub use denied::*;
pub use endpoint::*;
pub use fragment::*;
pub use link::*;
pub use outer::*;
pub use overlay::*;
pub use port::*;
pub use reserved::*;
pub use route::*;
pub use schema::*;
pub use socket::*;
pub use sweep::*;
pub use text::*;

pub use crate::{
    addr::Addr,
    flow::{FlowEntry, FlowKey},
};
