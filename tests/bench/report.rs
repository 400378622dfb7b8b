//! The results as a table and as JSON.

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::{Map, Value, json};

use crate::{
    Args, deny,
    measure::{Measure, Sample},
    node, prog,
    setups::Setup,
    stats::Spread,
};

/// All results.
pub struct Report {
    settings: Value,
    machine: Value,
    load_after: f64,
    lines: Vec<Line>,
    programs: Vec<prog::Cost>,
    node: Vec<node::Cost>,
    deny: Vec<deny::Cost>,
    rounds: usize,
}

/// A measurement over all rounds, values in the order of [`Setup::ALL`].
struct Line {
    measure: Measure,
    rounds: Vec<[f64; 3]>,
}

impl Line {
    fn values(&self, setup: Setup) -> Vec<f64> {
        let of_setup = self.rounds.iter().map(|round| round[setup as usize]);
        of_setup.collect()
    }

    /// netpath as a multiple of another setup, per round.
    fn ratios(&self, other: Setup) -> Vec<f64> {
        let ratios = self
            .rounds
            .iter()
            .map(|round| round[Setup::Netpath as usize] / round[other as usize]);
        ratios.collect()
    }
}

/// The setups that netpath is compared with.
const OTHERS: [Setup; 2] = [Setup::Iptables, Setup::Routing];

impl Report {
    /// No results.
    pub fn new(args: &Args, machine: Value) -> Self {
        Self {
            settings: json!({
                "family": if args.v6 { "ipv6" } else { "ipv4" },
                "rounds": args.rounds,
                "seconds": args.seconds,
                "userland_proxy": !args.no_userland_proxy,
                "user_network": args.user_network,
            }),
            machine,
            load_after: f64::NAN,
            lines: Vec::new(),
            programs: Vec::new(),
            node: Vec::new(),
            deny: Vec::new(),
            rounds: args.rounds,
        }
    }

    /// Adds a round of a measurement.
    pub fn add(&mut self, measure: Measure, samples: &[Sample]) {
        let mut values = [f64::NAN; 3];
        for sample in samples {
            values[sample.setup as usize] = sample.value;
        }
        let label = measure.label();
        match self
            .lines
            .iter_mut()
            .find(|line| line.measure.label() == label)
        {
            Some(line) => line.rounds.push(values),
            None => self.lines.push(Line {
                measure,
                rounds: vec![values],
            }),
        }
    }

    /// Prints a round of a measurement.
    pub fn progress(&self, round: usize, measure: &Measure, samples: &[Sample]) {
        let mut values = Vec::new();
        for setup in Setup::ALL {
            for sample in samples.iter().filter(|sample| sample.setup == setup) {
                values.push(format!("{} {}", setup.name(), number(sample.value)));
            }
        }
        eprintln!(
            "round {}/{}: {}: {} {}",
            round + 1,
            self.rounds,
            measure.label(),
            values.join(", "),
            measure.unit()
        );
    }

    /// Adds the costs of packets in programs.
    pub fn programs(&mut self, costs: Vec<prog::Cost>) {
        self.programs = costs;
    }

    /// Adds the costs of packets in the node.
    pub fn node(&mut self, costs: Vec<node::Cost>) {
        self.node.extend(costs);
    }

    /// Adds the costs of dropping packets of denied hosts.
    pub fn deny(&mut self, costs: Vec<deny::Cost>) {
        self.deny = costs;
    }

    /// Adds the load at the end.
    pub fn finish(&mut self, load: f64) {
        self.load_after = load;
    }

    /// Prints the tables.
    pub fn print(&self) {
        let text = |key: &str| self.machine[key].as_str().unwrap_or("unknown").to_owned();
        println!(
            "\nLinux {}, {} cores of {}, load {} before and {} after\n{}, {}{}; {}, {} rounds of {} s",
            text("kernel"),
            self.machine["cores"],
            text("processor"),
            self.machine["load_before"],
            self.load_after,
            text("iptables"),
            if self.settings["user_network"] == true {
                "a network that a user made"
            } else {
                "the default network"
            },
            if self.settings["userland_proxy"] == true {
                ""
            } else {
                " without userland proxy"
            },
            self.settings["family"].as_str().unwrap_or_default(),
            self.settings["rounds"],
            self.settings["seconds"],
        );
        if !self.lines.is_empty() {
            println!("{}\n", self.traffic());
            println!(
                "Medians over the rounds. Ratios are netpath's figure divided by the other's of the same round; in \
                 brackets lies the middle half of them. ✓ or ✗: whether the median reaches the target.\n"
            );
        }
        if !self.programs.is_empty() {
            println!("{}\n", self.costs());
        }
        if !self.node.is_empty() {
            println!("{}\n", self.node_costs());
            println!(
                "Nanoseconds per packet above the floor: the same sender and sink without a node between them. Minima \
                 over the rounds. Ratios are netpath's figure divided by the other's.\n"
            );
        }
        if !self.deny.is_empty() {
            println!("{}\n", self.deny_costs());
            println!(
                "Nanoseconds of one core per dropped packet, including the sender's part. Minima over the rounds, and the \
                 middle half of the rounds. Packets per second follow from the minimum.\n"
            );
        }
    }

    fn deny_costs(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "denied packets",
            "dropped by",
            "ns per packet",
            "middle half",
            "packets/s",
        ]);
        for cost in &self.deny {
            let (minimum, spread) = (cost.minimum(), cost.spread());
            table.add_row([
                cost.label(),
                cost.method().to_owned(),
                format!("{minimum:.0}"),
                format!("{:.0}–{:.0}", spread.lower, spread.upper),
                number(1e9 / minimum),
            ]);
        }
        table
    }

    fn traffic(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "measurement",
            "unit",
            "netpath",
            "iptables",
            "routing",
            "to iptables",
            "target",
            "to routing",
            "target",
        ]);
        for line in &self.lines {
            let mut row = vec![line.measure.label(), line.measure.unit().to_owned()];
            row.extend(Setup::ALL.map(|setup| number(Spread::of(&line.values(setup)).median)));
            for other in OTHERS {
                let ratio = Spread::of(&line.ratios(other));
                let target = line.measure.target(other);
                let mark = if ratio.median >= target { '✓' } else { '✗' };
                row.push(format!(
                    "{:.2}× [{:.2}–{:.2}]",
                    ratio.median, ratio.lower, ratio.upper
                ));
                row.push(format!("{mark} {target}×"));
            }
            table.add_row(row);
        }
        for column in 2..5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    fn costs(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY);
        table.set_header(["program", "packet", "ns per packet", "middle half"]);
        for cost in &self.programs {
            let spread = Spread::of(&cost.nanoseconds);
            table.add_row([
                cost.program.to_owned(),
                cost.packet.to_owned(),
                format!("{:.0}", spread.median),
                format!("{:.0}–{:.0}", spread.lower, spread.upper),
            ]);
        }
        table
    }

    fn node_costs(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "node",
            "netpath",
            "iptables",
            "routing",
            "floor",
            "to iptables",
            "to routing",
        ]);
        for cost in &self.node {
            let mut row = vec![cost.label()];
            row.extend(Setup::ALL.map(|setup| format!("{:.0}", cost.above_floor(setup))));
            row.push(format!("{:.0}", cost.floor()));
            row.extend(OTHERS.map(|other| {
                let ratio = cost.above_floor(Setup::Netpath) / cost.above_floor(other);
                format!("{ratio:.2}×")
            }));
            table.add_row(row);
        }
        for column in 1..7 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// All values, and the numbers of the tables.
    pub fn json(&self) -> String {
        let lines = self.lines.iter().map(|line| {
            let mut sides = Map::new();
            for setup in Setup::ALL {
                let values = line.values(setup);
                let spread = Spread::of(&values);
                sides.insert(
                    setup.name().to_owned(),
                    json!({ "values": values, "spread": spread }),
                );
            }
            for other in OTHERS {
                let ratios = line.ratios(other);
                let (spread, target) = (Spread::of(&ratios), line.measure.target(other));
                sides.insert(
                    format!("to_{}", other.name()),
                    json!({
                        "values": ratios,
                        "spread": spread,
                        "target": target,
                        "reached": spread.median >= target,
                    }),
                );
            }
            json!({
                "measurement": line.measure.label(),
                "unit": line.measure.unit(),
                "sides": sides,
            })
        });
        let programs = self.programs.iter().map(|cost| {
            json!({
                "program": cost.program,
                "packet": cost.packet,
                "nanoseconds": cost.nanoseconds,
                "spread": Spread::of(&cost.nanoseconds),
            })
        });
        let all = json!({
            "settings": self.settings,
            "machine": self.machine,
            "load_after": self.load_after,
            "measurements": lines.collect::<Vec<_>>(),
            "programs": programs.collect::<Vec<_>>(),
            "node": self.node.iter().map(node::Cost::json).collect::<Vec<_>>(),
            "deny": self.deny.iter().map(deny::Cost::json).collect::<Vec<_>>(),
        });
        format!("{all:#}\n")
    }
}

/// Three significant digits, or a whole number with separators.
fn number(value: f64) -> String {
    if value < 1000.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_significant_digits() {
        assert_eq!(number(13.456), "13.46");
        assert_eq!(number(999.9), "999.90");
        assert_eq!(number(1000.0), "1,000");
        assert_eq!(number(1_234_567.8), "1,234,568");
    }
}
