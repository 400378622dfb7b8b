//! Commands on the deny list.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use super::{Action, CommandError, Commands, Node, ObjectKind};
use crate::{
    datapath,
    kernel::netns,
    model::{
        Change, DenyPrefix,
        deny::{Denials, Moment},
    },
    reconcile::{Datapath, Kernel},
};

/// An entry of the deny list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenialView {
    /// The prefix.
    pub prefix: IpNet,
    /// Time until it expires; `None` for never.
    pub left: Option<Duration>,
    /// Whether it comes from the settings file.
    pub configured: bool,
}

impl<K: Kernel, D: Datapath> Commands<K, D> {
    /// The deny list, in the order of the prefixes.
    ///
    /// # Errors
    /// If the clock cannot be read.
    pub async fn denials(&self) -> Result<Vec<DenialView>, CommandError> {
        let now = now()?;
        let node = self.shared.node.lock().await;
        let denials = node.state().deny_list().iter();
        let views = denials.filter_map(|denial| {
            let left = match denial.expires {
                // It has expired and is about to be removed.
                Some(expires) => Some(expires.left(now)?),
                None => None,
            };
            Some(DenialView {
                prefix: denial.prefix,
                left,
                configured: denial.configured,
            })
        });
        Ok(views.collect())
    }

    /// Adds prefixes to the deny list, all or none, until a time or permanently. Packets of existing flows are dropped too.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn deny(
        &self,
        prefixes: &[DenyPrefix],
        time: Option<Duration>,
    ) -> Result<(), CommandError> {
        let now = now()?;
        let expires = time.map(|time| now.after(time));
        let mut node = self.shared.node.lock().await;
        node.request(|state, _| state.deny(prefixes, expires, now))
            .await?;
        // The programs drop the packets of these flows from now on.
        self.wake().sweep.notify_one();
        self.wake().denials.notify_one();
        for prefix in prefixes {
            let name = prefix.to_string();
            self.emit(Action::Created, ObjectKind::Denial, &name, None);
        }
        Ok(())
    }

    /// Removes prefixes from the deny list, all or none.
    ///
    /// # Errors
    /// The request is refused, or the change failed and was reversed.
    pub async fn remove_denials(&self, prefixes: &[DenyPrefix]) -> Result<(), CommandError> {
        let mut node = self.shared.node.lock().await;
        node.request(|state, _| state.remove_denials(prefixes))
            .await?;
        for prefix in prefixes {
            let name = prefix.to_string();
            self.emit(Action::Removed, ObjectKind::Denial, &name, None);
        }
        Ok(())
    }

    /// Removes the entries that have expired. Returns the time until the next one expires; `None` if none will.
    ///
    /// # Errors
    /// If the clock cannot be read, or the change failed and was reversed.
    pub async fn remove_expired_denials(&self) -> Result<Option<Duration>, CommandError> {
        let now = now()?;
        let mut node = self.shared.node.lock().await;
        if node.torn_down {
            return Ok(None);
        }
        if let Some(change) = node.state().remove_expired_denials(now) {
            node.apply(&change).await?;
            if let Change::Denials { before, .. } = &change {
                self.report_expired(before);
            }
        }
        Ok(node.state().deny_list().next_expiry(now))
    }

    fn report_expired(&self, denials: &Denials) {
        for prefix in denials.keys() {
            let message = Some("its time has expired".to_owned());
            let name = prefix.to_string();
            self.emit(Action::Removed, ObjectKind::Denial, &name, message);
        }
    }
}

impl<K: Kernel, D: Datapath> Node<K, D> {
    /// Sets the expiry of stored entries of the deny list on the present monotonic clock, after a restart of the machine.
    ///
    /// # Errors
    /// If the clock cannot be read, or the store cannot be written.
    pub fn renew_denials(&mut self) -> Result<(), CommandError> {
        match self.state().renew_denials(now()?) {
            Some(change) => self.record(&change),
            None => Ok(()),
        }
    }
}

/// The present moment.
fn now() -> Result<Moment, CommandError> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    let unix = unix.unwrap_or_default().as_millis();
    Ok(Moment {
        monotonic: datapath::now(),
        boot: netns::boot()?,
        unix_ms: u64::try_from(unix).unwrap_or(u64::MAX),
    })
}
