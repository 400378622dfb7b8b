//! A real daemon in real namespaces, with real clients and servers.

mod origins;
mod peer;
mod stage;
