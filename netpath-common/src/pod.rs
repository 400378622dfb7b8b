//! `aya::Pod` for exactly the types whose layout [`crate::layout`] proves.

use crate::{
    addr::Addr,
    flow::{FlowKey, Half},
    maps::{
        Address, AllowKey, Config, Count, Device, Endpoint, FragmentKey, Fragmented, Network, Port,
        PortKey, Prefix, SocketAddr, SocketPeer, Subnet, Usage,
    },
};

macro_rules! pod {
    ($($type:ty),+ $(,)?) => {
        $(
            // SAFETY: the type is `repr(C)`, made of integers and byte arrays, and has no padding (`layout.rs`), so
            // every bit pattern is a value and every byte of a value is initialised.
            unsafe impl aya::Pod for $type {}
        )+
    };
}

pod!(
    Addr,
    FlowKey,
    Half,
    Config,
    Device,
    Endpoint,
    Network,
    Address,
    Prefix,
    Subnet,
    PortKey,
    Port,
    AllowKey,
    Count,
    FragmentKey,
    Fragmented,
    SocketPeer,
    SocketAddr,
    Usage,
);
