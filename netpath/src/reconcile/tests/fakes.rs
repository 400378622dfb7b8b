//! Fakes of kernel and datapath. Both change one simulated node.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use crate::{
    datapath::DatapathError,
    kernel::{
        self, DeviceRole, NodeFacts, Role,
        listeners::{Conflict, Published},
    },
    plan::{
        Attachment, Facts, Hook, Interface, Observed, Operation, tables::for_each_table,
        tests::world,
    },
    reconcile::{Datapath, Kernel, Scope},
};

/// A simulated node that both fakes share.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Inner>>);

struct Inner {
    observed: Observed,
    facts: NodeFacts,
    /// Pins without a running program.
    stale: BTreeSet<Attachment>,
    executed: Vec<String>,
    failure: Option<Failure>,
}

/// Operations that fail.
pub(crate) struct Failure {
    prefix: String,
    left: usize,
}

pub(crate) struct FakeKernel(World);
pub(crate) struct FakeDatapath(World);

impl Failure {
    /// Every operation whose line starts with `prefix`.
    pub(crate) fn on(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            left: usize::MAX,
        }
    }

    /// Limits the failures to the first `count` of these operations.
    pub(crate) fn times(self, count: usize) -> Self {
        Self {
            left: count,
            ..self
        }
    }
}

impl World {
    pub(crate) fn new(observed: Observed) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            observed,
            facts: NodeFacts::default(),
            stale: BTreeSet::new(),
            executed: Vec::new(),
            failure: None,
        })))
    }

    pub(crate) fn fakes(&self) -> (FakeKernel, FakeDatapath) {
        (FakeKernel(self.clone()), FakeDatapath(self.clone()))
    }

    pub(crate) fn observed(&self) -> Observed {
        self.0.lock().unwrap().observed.clone()
    }

    /// Lines of the operations that succeeded, in order.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.0.lock().unwrap().executed.clone()
    }

    pub(crate) fn fail(&self, failure: Failure) {
        self.0.lock().unwrap().failure = Some(failure);
    }

    /// Sets the facts, with the addresses of the interfaces as those of the node.
    pub(crate) fn set_facts(&self, facts: Facts) {
        let mut inner = self.0.lock().unwrap();
        let interfaces = facts.interfaces.values();
        let addresses = interfaces.flat_map(|interface| [interface.v4, interface.v6]);
        inner.facts.addresses = addresses.flatten().collect();
        inner.facts.facts = facts;
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Observed)) {
        change(&mut self.0.lock().unwrap().observed);
    }

    /// Adds a pin without a running program.
    pub(crate) fn pin(&self, interface: &str) {
        self.0
            .lock()
            .unwrap()
            .stale
            .insert(Attachment::new(interface, Hook::EndpointIngress));
    }

    pub(crate) fn pins(&self) -> BTreeSet<Attachment> {
        self.0.lock().unwrap().stale.clone()
    }

    fn execute(&self, operation: &Operation) -> Result<(), io::Error> {
        let mut inner = self.0.lock().unwrap();
        let line = operation.to_string();
        if let Some(failure) = &mut inner.failure
            && failure.left > 0
            && line.starts_with(&failure.prefix)
        {
            failure.left -= 1;
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        if let Operation::Detach(attachment) = operation {
            inner.stale.remove(attachment);
        }
        world::execute(&mut inner.observed, operation);
        inner.executed.push(line);
        Ok(())
    }
}

impl Kernel for FakeKernel {
    async fn facts(
        &self,
        _uplinks: &[String],
        _adopted: &BTreeSet<String>,
    ) -> Result<NodeFacts, kernel::Error> {
        Ok(self.0.0.lock().unwrap().facts.clone())
    }

    /// The interfaces have the indices 1, 2, … in the order of their names.
    async fn interface(
        &self,
        index: u32,
        _uplinks: &[String],
        _adopted: &BTreeSet<String>,
    ) -> Result<Option<(DeviceRole, Interface)>, kernel::Error> {
        let inner = self.0.0.lock().unwrap();
        let found = inner.facts.facts.interfaces.iter().nth(index as usize - 1);
        Ok(found.map(|(name, interface)| {
            let device = DeviceRole {
                index,
                name: name.clone(),
                role: Role::Uplink(interface.header),
            };
            (device, interface.clone())
        }))
    }

    async fn observe(
        &self,
        scope: &Scope<'_>,
        observed: &mut Observed,
    ) -> Result<(), kernel::Error> {
        let world = self.0.observed();
        let bridges = scope.keys(|desired| &desired.bridges);
        let veths = scope.keys(|desired| &desired.veths);
        let namespaces = scope.members(|desired| &desired.namespaces);
        let namespaces: Option<BTreeSet<_>> = namespaces.map(|wanted| {
            wanted
                .into_iter()
                .map(|namespace| &namespace.path)
                .collect()
        });
        observed.bridges = world.bridges;
        observed
            .bridges
            .retain(|name, _| bridges.as_ref().is_none_or(|wanted| wanted.contains(name)));
        observed.left_over = world.left_over;
        observed.left_over.retain(|path| {
            namespaces
                .as_ref()
                .is_none_or(|wanted| wanted.contains(path))
        });
        observed.namespaces = world.namespaces;
        observed.namespaces.retain(|path| {
            namespaces
                .as_ref()
                .is_none_or(|wanted| wanted.contains(path))
        });
        observed.veths = world.veths;
        observed
            .veths
            .retain(|name, _| veths.as_ref().is_none_or(|wanted| wanted.contains(name)));
        for (name, veth) in &mut observed.veths {
            if scope.inside_of(name, veth).is_none() {
                veth.inside = None;
            }
        }
        Ok(())
    }

    async fn execute(&mut self, operation: &Operation) -> Result<(), kernel::Error> {
        let executed = self.0.execute(operation);
        executed.map_err(|source| kernel::Error::Syscall {
            call: "fake",
            object: operation.to_string(),
            source,
        })
    }

    fn port_conflicts(&self, _published: &[Published]) -> Result<Vec<Conflict>, kernel::Error> {
        Ok(Vec::new())
    }

    fn abort_connected(&mut self, _addresses: &[IpAddr]) {}
}

impl FakeDatapath {
    fn execute_on_world(&self, operation: &Operation) -> Result<(), DatapathError> {
        let executed = self.0.execute(operation);
        executed.map_err(|source| DatapathError::Syscall {
            call: "fake",
            object: operation.to_string(),
            source,
        })
    }
}

impl Datapath for FakeDatapath {
    fn observe(&self, scope: &Scope<'_>, observed: &mut Observed) -> Result<(), DatapathError> {
        let world = self.0.observed();
        macro_rules! keep {
            ($($field:ident: $Table:ident($Entry:ty),)+) => {$(
                let wanted = scope.keys(|desired| &desired.entries.$field);
                observed.entries.$field = world.entries.$field;
                observed
                    .entries
                    .$field
                    .retain(|key, _| wanted.as_ref().is_none_or(|wanted| wanted.contains(key)));
            )+};
        }
        for_each_table!(keep);
        Ok(())
    }

    fn execute(&mut self, operation: &Operation) -> Result<(), DatapathError> {
        self.execute_on_world(operation)
    }

    fn attach(&mut self, attachment: &Attachment) -> Result<(), DatapathError> {
        self.execute_on_world(&Operation::Attach(attachment.clone()))
    }

    fn detach(&mut self, attachment: &Attachment) -> Result<(), DatapathError> {
        self.execute_on_world(&Operation::Detach(attachment.clone()))
    }

    fn is_attached(&mut self, attachment: &Attachment) -> Result<bool, DatapathError> {
        Ok(self.0.observed().attached.contains(attachment))
    }

    fn pinned_attachments(&self) -> Result<Vec<Attachment>, DatapathError> {
        let attached = self.0.observed().attached;
        Ok(attached.union(&self.0.pins()).cloned().collect())
    }

    fn missing(&mut self) -> Result<Vec<Operation>, DatapathError> {
        Ok(Vec::new())
    }
}
