//! Outer tuples that belong to no flow. The programs record them; the daemon removes those that have expired.

use std::os::fd::AsFd as _;

use netpath_common::{flow::FlowKey, maps::OuterTuple};

use super::{Tables, absent_is_success, syscall};
use crate::datapath::{DatapathError, batch};

impl Tables {
    /// Removes the tuples that have expired at `now`, in coarse monotonic nanoseconds.
    ///
    /// # Errors
    /// If the map cannot be read or written.
    pub(in crate::datapath) fn remove_expired_tuples(
        &mut self,
        now: u64,
    ) -> Result<(), DatapathError> {
        let mut expired = Vec::new();
        batch::for_each(
            self.outer_tuples_map.fd().as_fd(),
            |key: &FlowKey, tuple: &OuterTuple| {
                if tuple.expires <= now {
                    expired.push(*key);
                }
            },
        )
        .map_err(syscall("read", "outer_tuples"))?;
        for key in expired {
            // A program may have used the tuple again since it was read.
            if self
                .outer_tuples
                .get(&key, 0)
                .is_ok_and(|tuple| tuple.expires <= now)
            {
                absent_is_success("outer_tuples", self.outer_tuples.remove(&key))?;
            }
        }
        Ok(())
    }
}
