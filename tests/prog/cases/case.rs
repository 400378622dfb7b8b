//! A case as data: packets that pass programs one after the other, and the expected result of each.

use std::collections::BTreeSet;

use netpath_common::reason::{Reason, Verdict};
use netpath_tests::{
    artifacts_of,
    packet::{FIRST_TUNNEL_PORT, Packet, difference, fragments::fragment_id, write_pcap},
    prog::{Flow, PacketContext, Prog, Setup, Shown, verdict},
    table::{Requests, Table},
};

/// A named sequence of steps.
pub struct Case {
    name: String,
    steps: Vec<Step>,
}

/// A step.
pub enum Step {
    /// A packet passes a program.
    Send(Box<Send>),
    /// The daemon changes its maps.
    Change(Box<dyn Fn(&mut Prog) + std::marker::Send + Sync>),
}

/// A packet and its expected result.
pub struct Send {
    program: &'static str,
    context: PacketContext,
    packet: Vec<u8>,
    reason: Reason,
    output: Output,
    flows: Flows,
}

enum Output {
    Unchanged,
    Packet(Vec<u8>),
    /// This packet, with a new identification.
    NewId(Box<Packet>),
    /// This packet, with the source port of a tunnel.
    Tunnel(Box<Packet>),
    /// This packet, with the outer port of the new flow, or of the only flow if none is new.
    OuterPort(Box<dyn Fn(u16) -> Packet + std::marker::Send + Sync>),
}

enum Flows {
    /// The tuples before the packet.
    Same,
    /// Exactly these lines; `*` matches any word, and any port.
    Are(Vec<String>),
    Number(usize),
}

impl Case {
    /// A case without steps.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            steps: Vec::new(),
        }
    }

    /// The name: a statement that the case checks.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a step.
    pub fn then(mut self, step: impl Into<Step>) -> Self {
        self.steps.push(step.into());
        self
    }

    /// Adds a change on the node.
    pub fn change(self, change: impl Fn(&mut Prog) + std::marker::Send + Sync + 'static) -> Self {
        self.then(Step::Change(Box::new(change)))
    }

    /// The reasons that the packets of the case are counted under.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> {
        self.steps.iter().filter_map(|step| match step {
            Step::Send(send) => Some(send.reason),
            Step::Change(_) => None,
        })
    }

    /// Runs the steps; the error names the failed step and the difference.
    fn run(&self, prog: &mut Prog) -> Result<(), String> {
        prog.reset();
        for (number, step) in (1..).zip(&self.steps) {
            let outcome = match step {
                Step::Change(change) => {
                    change(prog);
                    Ok(())
                }
                Step::Send(send) => send.run(prog),
            };
            outcome.map_err(|text| format!("step {number} of {}:\n{text}", self.steps.len()))?;
        }
        let wrong = prog.wrong_usage();
        if !wrong.is_empty() {
            return Err(format!(
                "at the end: slots, flows they are charged with, and flows they have: {wrong:?}"
            ));
        }
        Ok(())
    }
}

/// A packet that passes a program at a device.
pub fn send(program: &'static str, device: impl Into<String>, packet: &Packet) -> Send {
    send_bytes(program, device, packet.build())
}

/// A packet of any bytes that passes a program at a device.
pub fn send_bytes(program: &'static str, device: impl Into<String>, packet: Vec<u8>) -> Send {
    Send {
        program,
        context: PacketContext {
            device: device.into(),
            ..PacketContext::default()
        },
        packet,
        reason: Reason::NotOurs,
        output: Output::Unchanged,
        flows: Flows::Same,
    }
}

impl Send {
    /// Sets the device the packet was received on.
    pub fn from(mut self, device: impl Into<String>) -> Self {
        self.context.from = Some(device.into());
        self
    }

    /// Makes it a GSO packet with segments of this many bytes.
    pub fn gso(mut self, size: u32) -> Self {
        self.context.gso_size = size;
        self
    }

    /// Sets the expected reason.
    pub fn is(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }

    /// Sets the expected packet. Without this call, the packet must be unchanged.
    pub fn sends(mut self, packet: &Packet) -> Self {
        self.output = Output::Packet(packet.build());
        self
    }

    /// Sets the expected packet, whose identification must be a new one.
    pub fn sends_with_new_id(mut self, packet: &Packet) -> Self {
        self.output = Output::NewId(Box::new(packet.clone()));
        self
    }

    /// Sets the expected tunnel packet, whose source port must be that of a tunnel.
    pub fn sends_in_tunnel(mut self, packet: &Packet) -> Self {
        self.output = Output::Tunnel(Box::new(packet.clone()));
        self
    }

    /// Sets the expected packet as a function of the outer port of the new flow, or of the only flow if none is new.
    pub fn sends_with_port(
        mut self,
        packet: impl Fn(u16) -> Packet + std::marker::Send + Sync + 'static,
    ) -> Self {
        self.output = Output::OuterPort(Box::new(packet));
        self
    }

    /// Sets the expected flows with their states. Without this call, the flows must be unchanged.
    pub fn flows<const N: usize>(mut self, flows: [String; N]) -> Self {
        self.flows = Flows::Are(flows.into());
        self
    }

    /// Sets the expected number of flows.
    pub fn number_of_flows(mut self, number: usize) -> Self {
        self.flows = Flows::Number(number);
        self
    }

    fn run(&self, prog: &mut Prog) -> Result<(), String> {
        let counters = prog.counters();
        let before = shown(&prog.flows(), Shown::Plain);
        let outcome = prog
            .try_run(self.program, &self.context, &self.packet)
            .map_err(|error| format!("    the kernel refuses: {error:?}"))?;
        let mut complaints = Vec::new();
        let mut moved = Vec::new();
        for ((reason, packets, bytes), (_, old_packets, old_bytes)) in
            prog.counters().into_iter().zip(counters)
        {
            let is_packet = reason.verdict() != Verdict::Evict;
            if is_packet && (packets, bytes) != (old_packets, old_bytes) {
                moved.push((reason, packets - old_packets, bytes - old_bytes));
            }
        }
        if moved != [(self.reason, 1, self.packet.len() as u64)] {
            complaints.push(format!(
                "    counters: expected {:?} once with {} bytes, found {moved:?}",
                self.reason,
                self.packet.len()
            ));
        }
        let found = verdict(outcome.verdict);
        // The kernel drops the original of a consumed packet.
        let wanted = match self.reason.verdict() {
            Verdict::Consume => Verdict::Drop,
            other => other,
        };
        if found != Some(wanted) {
            complaints.push(format!(
                "    verdict: expected {wanted:?}, found {found:?} ({:#x})",
                outcome.verdict
            ));
        }
        let flows = prog.flows();
        let expected = match &self.output {
            Output::Unchanged => Some(self.packet.clone()),
            Output::Packet(bytes) => Some(bytes.clone()),
            Output::NewId(packet) => {
                let id = fragment_id(&outcome.packet);
                if fragment_id(&self.packet) == id {
                    complaints.push("    the identification is the old one".to_owned());
                }
                Some(packet.clone().fragment_id(id).build())
            }
            Output::Tunnel(packet) => {
                let port = source_port(&outcome.packet);
                if port < FIRST_TUNNEL_PORT {
                    complaints.push(format!("    {port} is no source port of a tunnel"));
                }
                Some((**packet).clone().sport(port).build())
            }
            Output::OuterPort(packet) => {
                let is_new = |flow: &&Flow| !before.contains(&flow.show(Shown::Plain));
                let flow = flows.iter().find(is_new).or(flows.first());
                flow.map(|flow| packet(flow.outer_port()).build())
            }
        };
        if let Some(expected) = expected {
            let difference = difference(&expected, &outcome.packet);
            if !difference.is_empty() && wanted != Verdict::Drop {
                complaints.push(format!("    packet:\n{}", difference.trim_end()));
                self.keep(&expected, &outcome.packet);
            }
        }
        complaints.extend(self.check_flows(&flows, &before));
        if complaints.is_empty() {
            Ok(())
        } else {
            Err(complaints.join("\n"))
        }
    }

    fn check_flows(&self, flows: &[Flow], before: &BTreeSet<String>) -> Option<String> {
        let (expected, found): (Vec<String>, _) = match &self.flows {
            Flows::Same => (before.iter().cloned().collect(), shown(flows, Shown::Plain)),
            Flows::Are(lines) => (lines.clone(), shown(flows, Shown::WithState)),
            Flows::Number(number) if flows.len() == *number => return None,
            Flows::Number(number) => {
                return Some(format!(
                    "    flows: expected {number}, found {:#?}",
                    shown(flows, Shown::WithState)
                ));
            }
        };
        let mut rest: Vec<_> = found.iter().collect();
        for wanted in &expected {
            match rest.iter().position(|line| matches(wanted, line)) {
                Some(at) => {
                    rest.remove(at);
                }
                None => {
                    return Some(format!(
                        "    flows: expected {expected:#?}, found {found:#?}"
                    ));
                }
            }
        }
        (!rest.is_empty()).then(|| format!("    flows: expected {expected:#?}, found {found:#?}"))
    }

    /// Writes the packet as sent, expected and found to a capture file.
    fn keep(&self, expected: &[u8], found: &[u8]) {
        let path = artifacts_of("prog_cases").join(format!("{}.pcap", self.program));
        if let Err(error) = write_pcap(&path, &[&self.packet, expected, found]) {
            eprintln!("{}: {error}", path.display());
        }
    }
}

impl From<Send> for Step {
    fn from(send: Send) -> Self {
        Self::Send(Box::new(send))
    }
}

/// A table of cases that share a node; every case starts from the same state.
pub fn table(name: &'static str, setup: Setup, cases: fn() -> Vec<Case>) -> Table {
    let names = move || cases().into_iter().map(|case| case.name).collect();
    let serve = move |requests: &mut Requests| {
        let cases = cases();
        Prog::with(setup, |prog| {
            requests.serve(|name| {
                let case = cases.iter().find(|case| case.name == name);
                case.ok_or("no such case")?.run(prog)
            });
        });
    };
    Table::new(name, names, serve)
}

/// The source port of a datagram without options or extension headers; 0 if the packet is too short.
fn source_port(packet: &[u8]) -> u16 {
    let header = if packet.get(12) == Some(&8) { 34 } else { 54 };
    let bytes = packet.get(header..header + 2).unwrap_or(&[0, 0]);
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn shown(flows: &[Flow], how: Shown) -> BTreeSet<String> {
    flows.iter().map(|flow| flow.show(how)).collect()
}

/// Whether a line matches, word by word; `*` matches any word, and any port after a colon.
fn matches(wanted: &str, line: &str) -> bool {
    let (wanted, line) = (wanted.split(' '), line.split(' '));
    wanted.clone().count() == line.clone().count()
        && wanted.zip(line).all(|(wanted, word)| {
            wanted == "*"
                || wanted == word
                || wanted.strip_suffix(":*").is_some_and(|prefix| {
                    word.rsplit_once(':')
                        .is_some_and(|(start, _)| start == prefix)
                })
        })
}
