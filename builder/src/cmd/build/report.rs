//! What a build says at its end: outputs, measurements, times.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use cloister_measure::reference::ReferenceValues;

use super::plan::Plan;
use crate::cmd::{CommandError, StoreContext};
use crate::output::Outputs;

/// How long each stage took.
pub(super) type Times = Vec<(&'static str, Duration)>;

/// The result of a build.
pub(super) struct Summary {
    outputs: Outputs,
    times: Option<Times>,
}

impl Summary {
    /// Nothing had to be made.
    pub(super) fn unchanged(outputs: Outputs) -> Self {
        Self {
            outputs,
            times: None,
        }
    }

    /// Everything was made.
    pub(super) fn built(outputs: Outputs, times: Times) -> Self {
        Self {
            outputs,
            times: Some(times),
        }
    }

    /// Prints values to stdout and the rest to stderr.
    pub(super) fn print(
        &self,
        plan: &Plan,
        references: &[ReferenceValues],
        ctx: &StoreContext,
    ) -> Result<(), CommandError> {
        if ctx.json {
            println!(
                "{}",
                self.json(plan, references)
                    .context("summary could not be written")?
            );
            return Ok(());
        }
        self.outputs_and_times(plan)
            .lines()
            .for_each(|line| ctx.progress.say(line));
        print!("{}", values(references));
        Ok(())
    }

    fn json(
        &self,
        plan: &Plan,
        references: &[ReferenceValues],
    ) -> Result<String, serde_json::Error> {
        let milliseconds = |times: &Times| -> serde_json::Map<String, serde_json::Value> {
            let number =
                |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into();
            times
                .iter()
                .map(|(stage, time)| ((*stage).to_owned(), number(time)))
                .collect()
        };
        let measurements: serde_json::Map<String, serde_json::Value> = references
            .iter()
            .map(|reference| Ok((reference.platform.clone(), serde_json::to_value(reference)?)))
            .collect::<Result<_, serde_json::Error>>()?;
        let result = serde_json::json!({
            "recipe": plan.recipe.name,
            "directory": plan.out,
            "unchanged": self.times.is_none(),
            "outputs": serde_json::to_value(&self.outputs)?,
            "milliseconds": self.times.as_ref().map(milliseconds),
            "measurements": measurements,
        });
        serde_json::to_string_pretty(&result)
    }

    fn outputs_and_times(&self, plan: &Plan) -> String {
        let mut text = match &self.times {
            None => format!(
                "{}: unchanged, in `{}`\n",
                plan.recipe.name,
                plan.out.display()
            ),
            Some(_) => format!("{}: built, in `{}`\n", plan.recipe.name, plan.out.display()),
        };
        let width = self.outputs.keys().map(String::len).max().unwrap_or(0);
        for (name, output) in &self.outputs {
            let _ = writeln!(
                text,
                "  {name:width$}  {:>9}  {}",
                size(output.size),
                output.sha256
            );
        }
        if let Some(times) = &self.times {
            let shown = times
                .iter()
                .map(|(stage, time)| format!("{stage} {:.2}", time.as_secs_f64()));
            let _ = writeln!(text, "  seconds: {}", shown.collect::<Vec<_>>().join(", "));
        }
        text
    }
}

/// A size for people: `34.1 MB`, decimal units.
fn size(bytes: u64) -> String {
    for (unit, name) in [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")] {
        if bytes >= unit {
            let tenths = bytes.saturating_mul(10) / unit;
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// Every register and launch digest, one per line.
fn values(references: &[ReferenceValues]) -> String {
    let mut text = String::new();
    for reference in references {
        let note = if reference.confidential {
            ""
        } else {
            " (not confidential)"
        };
        let _ = writeln!(text, "{}{note}", reference.platform);
        let mut registers: Vec<_> = reference.registers.iter().collect();
        registers.sort_by_key(|(name, _)| (name.len(), *name));
        for (name, register) in registers {
            let shown: Vec<_> = register.values.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "  {name:6} {}", shown.join(" or "));
        }
        for entry in &reference.launch_digests {
            let _ = writeln!(
                text,
                "  {} x{:<3} {}",
                entry.vcpu_model, entry.vcpus, entry.digest
            );
        }
    }
    text
}
