//! Outcomes as they come, in a file: a run that was cut off goes on where it was.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Result, anyhow, bail};

use crate::hunt::Outcome;
use crate::mutant::Mutant;

/// What an earlier run found, and where this one adds.
pub(crate) struct Known {
    found: BTreeMap<String, Outcome>,
    file: Mutex<File>,
}

impl Known {
    /// Starts anew, or with what a run over the same sources and tests left in the file.
    pub(crate) fn open(path: &Path, digest: u64, resume: bool) -> Result<Self> {
        let mut found = BTreeMap::new();
        if resume {
            let text = fs::read_to_string(path)?;
            let mut lines = text.lines();
            if lines.next() != Some(digest.to_string().as_str()) {
                bail!("sources or tests are others than those of the run that was cut off");
            }
            // The last line may be half of one.
            found.extend(
                lines.filter_map(|line| serde_json::from_str::<(String, Outcome)>(line).ok()),
            );
        }
        let mut file = File::create(path)?;
        writeln!(file, "{digest}")?;
        for entry in &found {
            writeln!(file, "{}", serde_json::to_string(&entry)?)?;
        }
        let file = Mutex::new(file);
        Ok(Self { found, file })
    }

    pub(crate) fn get(&self, mutant: &Mutant) -> Option<Outcome> {
        self.found.get(&mutant.name).cloned()
    }

    pub(crate) fn add(&self, mutant: &Mutant, outcome: &Outcome) -> Result<()> {
        let line = serde_json::to_string(&(&mutant.name, outcome))?;
        let mut file = self.file.lock().map_err(|_| anyhow!("a worker broke"))?;
        Ok(writeln!(file, "{line}")?)
    }
}
