//! What a daemon has in the kernel beside devices.

use std::path::PathBuf;

use netpath_tests::{Netns, pin_names};

use crate::world::{bpf_exists, bpf_of, devices, eventually, link_of};

/// Its programs, maps and links.
pub(crate) struct Traces {
    host: Netns,
    objects: Vec<(&'static str, u64)>,
}

impl Traces {
    /// Of a running daemon, by its directory of pins and its number.
    #[track_caller]
    pub(crate) fn of(bpf_dir: PathBuf, pid: i32, host: &Netns) -> Self {
        let mut objects = bpf_of(pid);
        let links = bpf_dir.join("links");
        for pin in pin_names(&links) {
            let (link, program) = link_of(host, &links.join(pin));
            objects.push(("link", link));
            objects.push(("prog", program));
        }
        assert!(objects.len() > 30, "{objects:?}");
        Self {
            host: host.clone(),
            objects,
        }
    }

    /// Programs and maps are freed a moment after the last user went.
    #[track_caller]
    pub(crate) fn assert_gone(&self) {
        for (kind, id) in &self.objects {
            eventually(&format!("{kind} {id} is gone"), 10, || {
                !bpf_exists(&self.host, kind, *id)
            });
        }
        let cgroup = self.host.cgroup().expect("cgroup").display().to_string();
        let shown = self.host.run(&["bpftool", "cgroup", "show", &cgroup]);
        assert!(!shown.stdout.contains("connect4"), "{}", shown.stdout);
        assert_eq!(devices(&self.host), [""; 0]);
    }
}
