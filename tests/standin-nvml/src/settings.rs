//! What the stand-in is told: a text file beside it, one `key value` line each.
//!
//! `label`, `driver`, `vbios`: the GPU. `golden FILE`: golden values that it measures. `report FILE`, `chain FILE` and `any-nonce yes`: a
//! recording instead of a GPU. `record FILE`: a line for each call. `fault NAME`, or `fault-from FILE`, in which
//! `fault:NAME` is one and anything else is none.

use std::path::{Path, PathBuf};

use crate::fault::Fault;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) label: String,
    pub(crate) driver: String,
    pub(crate) vbios: String,
    pub(crate) golden: Option<PathBuf>,
    pub(crate) report: Option<PathBuf>,
    pub(crate) chain: Option<PathBuf>,
    pub(crate) any_nonce: bool,
    pub(crate) record: Option<PathBuf>,
    pub(crate) fault: Option<Fault>,
}

impl Settings {
    /// Reads the file; `None` where a line is not understood.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let mut settings = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(' ')?;
            settings.take(key, value)?;
        }
        Some(settings)
    }

    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        let text = || value.to_owned();
        match key {
            "label" => self.label = text(),
            "driver" => self.driver = text(),
            "vbios" => self.vbios = text(),
            "golden" => self.golden = Some(text().into()),
            "report" => self.report = Some(text().into()),
            "chain" => self.chain = Some(text().into()),
            "any-nonce" => self.any_nonce = value == "yes",
            "record" => self.record = Some(text().into()),
            "fault" => self.fault = Some(Fault::named(value)?),
            "fault-from" => {
                let text = std::fs::read_to_string(value).unwrap_or_default();
                if let Some(name) = text.trim().strip_prefix("fault:") {
                    self.fault = Some(Fault::named(name)?);
                }
            }
            _ => return None,
        }
        Some(())
    }
}
