//! Implements the reconciler's trait `Datapath`. The code for each table is generated from the list of planned tables.

use super::{Datapath, Scope};
use crate::{
    datapath::{
        self, DatapathError,
        tables::{MapTable as _, Tables},
    },
    plan::{
        Attachment, Observed, Operation,
        tables::{Addition, Removal, Table as _, for_each_table},
    },
};

macro_rules! access {
    ($($field:ident: $Table:ident($Entry:ty),)+) => {
        /// Reads the entries in scope from every table.
        fn observe(tables: &Tables, scope: &Scope<'_>, observed: &mut Observed) -> Result<(), DatapathError> {
            $(observed.entries.$field = match scope.keys(|desired| <$Entry>::of(&desired.entries)) {
                None => <$Entry>::read_all(tables)?,
                Some(keys) => <$Entry>::read(tables, &keys)?,
            };)+
            Ok(())
        }

        fn put(tables: &mut Tables, addition: &Addition) -> Result<(), DatapathError> {
            match addition {
                $(Addition::$Table(list) => tables.put(list),)+
            }
        }

        fn remove(tables: &mut Tables, removal: &Removal) -> Result<(), DatapathError> {
            match removal {
                $(Removal::$Table(keys) => tables.remove::<$Entry>(keys),)+
            }
        }
    };
}

for_each_table!(access);

impl Datapath for datapath::Datapath {
    fn observe(&self, scope: &Scope<'_>, observed: &mut Observed) -> Result<(), DatapathError> {
        observe(&self.tables, scope, observed)
    }

    fn execute(&mut self, operation: &Operation) -> Result<(), DatapathError> {
        match operation {
            Operation::Put(addition) => {
                put(&mut self.tables, addition)?;
                match addition {
                    Addition::Ports(list) => self.remove_flows_of(list),
                    _ => Ok(()),
                }
            }
            Operation::Remove(removal) => remove(&mut self.tables, removal),
            Operation::PinMap { map } => self.pin_map(map),
            Operation::AttachSocket { program } => self.attach_socket(program),
            _ => Ok(()),
        }
    }

    fn attach(&mut self, attachment: &Attachment) -> Result<(), DatapathError> {
        Self::attach(self, attachment)
    }

    fn detach(&mut self, attachment: &Attachment) -> Result<(), DatapathError> {
        Self::detach(self, attachment)
    }

    fn is_attached(&mut self, attachment: &Attachment) -> Result<bool, DatapathError> {
        Self::is_attached(self, attachment)
    }

    fn pinned_attachments(&self) -> Result<Vec<Attachment>, DatapathError> {
        Self::pinned_attachments(self)
    }

    fn missing(&mut self) -> Result<Vec<Operation>, DatapathError> {
        let maps = self.missing_maps().into_iter();
        let maps = maps.map(|map| Operation::PinMap { map });
        let sockets = self.missing_sockets()?.into_iter();
        let sockets = sockets.map(|program| Operation::AttachSocket {
            program: program.to_owned(),
        });
        Ok(maps.chain(sockets).collect())
    }
}
