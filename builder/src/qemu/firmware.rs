//! Finds OVMF on the host.
//!
//! No predicted register depends on this firmware: PCR 4, 9, 11, 12, 13 and 15 cover what it starts.

use std::path::Path;

use crate::platform::HostFirmware;

/// No firmware was found.
#[derive(Debug, thiserror::Error)]
#[error("no OVMF firmware found; looked for {}", looked.join(", "))]
pub(crate) struct FirmwareMissing {
    looked: Vec<String>,
}

/// The first pair of `candidates` whose files both exist.
pub(crate) fn find(candidates: &[HostFirmware]) -> Result<HostFirmware, FirmwareMissing> {
    candidates
        .iter()
        .find(|pair| is_file(&pair.code) && is_file(&pair.variables))
        .cloned()
        .ok_or_else(|| FirmwareMissing {
            looked: candidates
                .iter()
                .map(|pair| pair.code.display().to_string())
                .collect(),
        })
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_takes_first_complete_pair_and_names_what_it_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let pair = |name: &str| HostFirmware {
            code: dir.path().join(format!("{name}-code")),
            variables: dir.path().join(format!("{name}-vars")),
        };
        let (first, second) = (pair("a"), pair("b"));
        let candidates = [first.clone(), second.clone()];
        let error = find(&candidates).unwrap_err().to_string();
        assert!(
            error.contains("a-code") && error.contains("b-code"),
            "{error}"
        );
        std::fs::write(&first.code, "").unwrap();
        std::fs::write(&second.code, "").unwrap();
        std::fs::write(&second.variables, "").unwrap();
        assert_eq!(find(&candidates).unwrap(), second);
    }
}
