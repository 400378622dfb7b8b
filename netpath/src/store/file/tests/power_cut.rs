//! Recovery from a power failure: synced data is complete, later writes may be missing or incomplete.

use std::sync::Arc;

use redb::StorageBackend;

use super::*;
use crate::store::Expected;

#[derive(Clone, Debug)]
enum Step {
    Resize(u64),
    Write(u64, Vec<u8>),
    Sync,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Content>>);

impl Disk {
    fn of(bytes: Vec<u8>) -> Self {
        let steps = Vec::new();
        Self(Arc::new(Mutex::new(Content { bytes, steps })))
    }

    fn step(&self, step: Step) {
        let mut content = self.0.lock().unwrap();
        apply(&mut content.bytes, &step);
        content.steps.push(step);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let content = self.0.lock().unwrap();
        let offset = offset as usize;
        out.copy_from_slice(&content.bytes[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.step(Step::Resize(len));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.step(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.step(Step::Write(offset, data.to_owned()));
        Ok(())
    }
}

fn apply(bytes: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Resize(length) => bytes.resize(*length as usize, 0),
        Step::Write(offset, data) => {
            let end = *offset as usize + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*offset as usize..end].copy_from_slice(data);
        }
        Step::Sync => {}
    }
}

/// Contents of the disk after a power failure after `steps`, of which the last may be written in part.
fn image(steps: &[Step], seed: u64) -> Vec<u8> {
    let synced = steps.iter().rposition(|step| matches!(step, Step::Sync));
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ steps.len() as u64;
    let mut bytes = Vec::new();
    for (position, step) in steps.iter().enumerate() {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let lost =
            synced.is_none_or(|synced| position > synced) && (random >> 33).is_multiple_of(3);
        match step {
            Step::Write(offset, data) if position + 1 == steps.len() => {
                let part = &data[..data.len() / 2];
                apply(&mut bytes, &Step::Write(*offset, part.to_owned()));
            }
            Step::Resize(_) | Step::Sync => apply(&mut bytes, step),
            Step::Write(..) if lost => {}
            Step::Write(..) => apply(&mut bytes, step),
        }
    }
    bytes
}

#[test]
fn power_cut_leaves_a_complete_commit() {
    let path = Path::new("disk");
    let disk = Disk::default();
    let make = |disk: Disk| Database::builder().create_with_backend(disk).unwrap();
    let database = make(disk.clone());
    fill(&database).unwrap();
    let store = FileStore::on(path, database);
    let steps_done = || disk.0.lock().unwrap().steps.len();
    let mut commits = vec![(steps_done(), store.list("").unwrap())];
    for number in 0..6_u8 {
        let write = |key: u8, value: Option<Vec<u8>>| Write {
            key: format!("key{key}"),
            value,
            expected: Expected::Anything,
        };
        let length = usize::from(number) * 900;
        let writes = [
            write(number, Some(vec![number; length])),
            write(number / 2, (number % 2 == 0).then(|| vec![number])),
        ];
        store.commit(&writes[usize::from(number == 0)..]).unwrap();
        commits.push((steps_done(), store.list("").unwrap()));
    }
    let steps = disk.0.lock().unwrap().steps.clone();
    let (first, _) = commits[0];
    for cut in first..=commits[6].0 {
        let done = commits
            .iter()
            .rposition(|(steps, _)| *steps <= cut)
            .unwrap();
        for seed in 0..4 {
            let disk = Disk::of(image(&steps[..cut], seed));
            let database = make(disk);
            assert_eq!(schema(path, &database).unwrap(), SCHEMA);
            let found = FileStore::on(path, database).list("").unwrap();
            let revision = found.revision as usize;
            assert!(
                revision == done || revision == done + 1,
                "{revision} after {done}"
            );
            assert_eq!(found, commits[revision].1, "cut after step {cut}");
        }
    }
}
