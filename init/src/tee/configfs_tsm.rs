//! SNP reports through the kernel's common interface.
//!
//! Spec: Linux `Documentation/ABI/testing/configfs-tsm`: making a directory makes a report entry;
//! 64 bytes go to `inblob`, the report comes from `outblob`, the certificate table (GHCB
//! specification, extended guest request) from `auxblob`, and `generation` counts the writes.
//! Section: `docs/evidence-format.md`, "SEV-SNP report". Not covered: TDX quotes.

use std::path::{Path, PathBuf};

use cloister_evidence::binding::ReportData;
use cloister_evidence::bundle::{CpuKind, CpuSection};
use cloister_evidence::log::Event;
use minicbor::Encoder;

use super::{Tee, TeeError};

/// Where report entries are made.
pub(super) const REPORTS: &str = "/sys/kernel/config/tsm/report";

const PROVIDER: &str = "sev_guest";

/// Length of `ATTESTATION_REPORT` in bytes (AMD 56860).
const REPORT: usize = 1184;

/// One report entry, made at the start and used by nobody else.
#[derive(Debug)]
pub struct ConfigfsTsm {
    entry: PathBuf,
    generation: u64,
}

impl ConfigfsTsm {
    /// Makes the entry `cloister` below `reports`.
    ///
    /// # Errors
    /// [`TeeError::Provider`] for a provider that is not SNP's, and [`TeeError::File`].
    pub fn new(reports: &Path) -> Result<Self, TeeError> {
        let entry = reports.join("cloister");
        match std::fs::create_dir(&entry) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(TeeError::File {
                    path: entry.display().to_string(),
                    source,
                });
            }
        }
        let mut this = Self {
            entry,
            generation: 0,
        };
        let provider = this.text("provider")?;
        if provider != PROVIDER {
            return Err(TeeError::Provider(provider));
        }
        this.generation = this.found_generation()?.1;
        Ok(this)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, TeeError> {
        let path = self.entry.join(name);
        std::fs::read(&path).map_err(|source| TeeError::File {
            path: path.display().to_string(),
            source,
        })
    }

    fn text(&self, name: &str) -> Result<String, TeeError> {
        self.read(name)
            .map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    fn found_generation(&self) -> Result<(String, u64), TeeError> {
        let found = self.text("generation")?;
        let number = found.parse().map_err(|_| TeeError::Generation {
            found: found.clone(),
            wanted: self.generation,
        })?;
        Ok((found, number))
    }
}

impl Tee for ConfigfsTsm {
    fn kind(&self) -> CpuKind {
        CpuKind::SnpReport
    }

    fn extend(&mut self, _event: &Event) -> Result<(), TeeError> {
        // SNP has no run-time register: the log is bound by its hash in REPORT_DATA alone.
        Ok(())
    }

    fn firmware_log(&self) -> Result<Vec<u8>, TeeError> {
        // Nothing that a register would vouch for.
        Ok(Vec::new())
    }

    fn evidence(&mut self, report_data: &ReportData) -> Result<CpuSection, TeeError> {
        let inblob = self.entry.join("inblob");
        // Not `fs::write`: the attribute exists, and is not to be made.
        std::fs::File::options()
            .write(true)
            .open(&inblob)
            .and_then(|mut file| std::io::Write::write_all(&mut file, report_data.as_bytes()))
            .map_err(|source| TeeError::File {
                path: inblob.display().to_string(),
                source,
            })?;
        let wanted = self.generation.wrapping_add(1);
        let report = self.read("outblob")?;
        let certificates = self.read("auxblob")?;
        let (found, number) = self.found_generation()?;
        if number != wanted {
            return Err(TeeError::Generation { found, wanted });
        }
        self.generation = wanted;
        if report.len() != REPORT {
            return Err(TeeError::ReportLength(report.len()));
        }
        Ok(CpuSection {
            kind: CpuKind::SnpReport,
            value: section(&report, &certificates),
        })
    }
}

/// `{1: report, 2: certificate table}`.
fn section(report: &[u8], certificates: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    let written = (|| {
        encoder
            .map(2)?
            .u8(1)?
            .bytes(report)?
            .u8(2)?
            .bytes(certificates)?
            .ok()
    })();
    // Writing to memory cannot fail; if it did, an empty section is refused by every verifier.
    written.map_or_else(
        |_: minicbor::encode::Error<_>| Vec::new(),
        |()| encoder.into_writer(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_evidence::binding::{Mode, binding};

    /// A directory with the attributes of a report entry; `std` writes do not answer as configfs
    /// does, so the tests set what the kernel would have answered.
    fn reports(provider: &str, generation: &str, report: usize) -> tempfile::TempDir {
        let reports = tempfile::tempdir().unwrap();
        let entry = reports.path().join("cloister");
        std::fs::create_dir(&entry).unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(entry.join(name), bytes).unwrap();
        write("provider", provider.as_bytes());
        write("generation", generation.as_bytes());
        write("inblob", &[]);
        write("outblob", &vec![7; report]);
        write("auxblob", &[9]);
        reports
    }

    fn data() -> ReportData {
        binding(
            &Mode::Leaf {
                not_before: 0,
                not_after: 1,
            },
            &[0; 32],
            &[],
            &[],
        )
        .report_data()
    }

    fn set_generation(reports: &tempfile::TempDir, generation: &str) {
        std::fs::write(reports.path().join("cloister/generation"), generation).unwrap();
    }

    #[test]
    fn new_refuses_another_provider() {
        let reports = reports("tdx_guest\n", "0\n", REPORT);
        let error = ConfigfsTsm::new(reports.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "report provider `tdx_guest`, wanted `sev_guest`"
        );
    }

    #[test]
    fn evidence_carries_report_and_certificates() {
        let reports = reports("sev_guest\n", "4\n", REPORT);
        let mut tee = ConfigfsTsm::new(reports.path()).unwrap();
        set_generation(&reports, "5\n");
        let section = tee.evidence(&data()).unwrap();
        assert_eq!(section.kind, CpuKind::SnpReport);
        assert_eq!(&section.value[..5], &[0xa2, 1, 0x59, 0x04, 0xa0]);
        assert_eq!(&section.value[5 + REPORT..], &[2, 0x41, 9]);
        let written = std::fs::read(reports.path().join("cloister/inblob")).unwrap();
        assert_eq!(written, data().as_bytes());
    }

    #[test]
    fn evidence_refuses_a_foreign_generation() {
        let reports = reports("sev_guest\n", "4\n", REPORT);
        let mut tee = ConfigfsTsm::new(reports.path()).unwrap();
        set_generation(&reports, "6\n");
        let error = tee.evidence(&data()).unwrap_err();
        assert_eq!(error.to_string(), "report generation is 6, wanted 5");
    }

    #[test]
    fn evidence_refuses_a_short_report() {
        let reports = reports("sev_guest\n", "4\n", 1183);
        let mut tee = ConfigfsTsm::new(reports.path()).unwrap();
        set_generation(&reports, "5\n");
        let error = tee.evidence(&data()).unwrap_err();
        assert_eq!(error.to_string(), "SNP report has 1183 bytes, wanted 1184");
    }
}
