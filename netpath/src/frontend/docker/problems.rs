//! What cannot be adopted or published, and why.

use std::collections::BTreeMap;

use crate::commands::Commands;

/// Topic of the report.
const TOPIC: &str = "docker";

/// Problems by object. A problem is logged when it is new or has changed.
#[derive(Default)]
pub struct Problems {
    known: BTreeMap<String, String>,
    found: BTreeMap<String, String>,
}

impl Problems {
    /// Notes a problem of this pass.
    pub fn note(&mut self, object: String, text: impl ToString) {
        self.found.insert(object, text.to_string());
    }

    /// Ends a pass: logs new problems and reports all of them in the status.
    pub async fn report(&mut self, commands: &Commands) {
        let found = std::mem::take(&mut self.found);
        if found == self.known {
            return;
        }
        for (object, text) in &found {
            if self.known.get(object) != Some(text) {
                tracing::warn!("{object}: {text}");
            }
        }
        let lines: Vec<_> = found
            .iter()
            .map(|(object, text)| format!("{object}: {text}"))
            .collect();
        let report = (!lines.is_empty()).then(|| lines.join("; "));
        commands.report(TOPIC, report).await;
        self.known = found;
    }
}
