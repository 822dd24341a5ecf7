//! Errors of `cloister measure`, and reading its files.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use cloister_measure::eventlog::EventLogError;
use cloister_measure::gpt::GptError;
use cloister_measure::pe::PeError;
use cloister_measure::reference::ReferenceError;
use cloister_measure::snp::{
    EnforcementError, LaunchError, OvmfError, UnknownHost, UnknownVcpuModel,
};
use cloister_measure::uki::UkiError;
use ring::digest::{Context, SHA256};
use thiserror::Error;

use crate::cmd::Hinted;
use crate::corim::CorimError;

/// Bytes read at once when a file is only hashed.
const CHUNK: usize = 64 << 10;
/// Largest file that is read whole: firmware is not larger.
const MOST: u64 = 64 << 20;

/// Why something could not be measured.
#[derive(Debug, Error)]
pub(super) enum MeasureError {
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write `{}`", path.display())]
    Create {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write the result")]
    Write { source: std::io::Error },
    #[error("cannot measure firmware `{}`", path.display())]
    Firmware { path: PathBuf, source: OvmfError },
    #[error("`{}` has more than {MOST} bytes", path.display())]
    Large { path: PathBuf },
    #[error("command line `{}` has a NUL at byte {offset}, where every kernel would end it", path.display())]
    Nul { path: PathBuf, offset: usize },
    #[error("firmware `{}` cannot be trusted with a measured kernel", path.display())]
    Enforcement {
        path: PathBuf,
        source: EnforcementError,
    },
    #[error("cannot launch with firmware `{}`", path.display())]
    Launch { path: PathBuf, source: LaunchError },
    #[error("cannot measure `{}`", path.display())]
    Uki { path: PathBuf, source: UkiError },
    #[error("cannot hash `{}`", path.display())]
    Pe { path: PathBuf, source: PeError },
    #[error("cannot measure the partition table of `{}`", path.display())]
    Disk { path: PathBuf, source: GptError },
    #[error("log `{}` is not one that firmware writes: {count} of its findings are refused, the first is {first}", path.display())]
    Refused {
        path: PathBuf,
        count: usize,
        first: String,
    },
    #[error("nothing in the search space gives {digest}")]
    NoMatch { digest: String },
    #[error("cannot replay `{}`", path.display())]
    Log {
        path: PathBuf,
        source: EventLogError,
    },
    #[error("cannot use reference values `{}`", path.display())]
    Reference {
        path: PathBuf,
        source: ReferenceError,
    },
    #[error("cannot export reference values `{}`", path.display())]
    Corim { path: PathBuf, source: CorimError },
    #[error("cannot write `{}`", path.display())]
    Output {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` holds no `measurements/*.json`", path.display())]
    NoMeasurements { path: PathBuf },
    #[error(transparent)]
    Host(#[from] UnknownHost),
    #[error(transparent)]
    Model(#[from] UnknownVcpuModel),
}

impl Hinted for MeasureError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            MeasureError::Launch {
                source: LaunchError::NoKernelHashes | LaunchError::HashTableElsewhere { .. },
                ..
            } => "use the `AmdSev` build of OVMF, or boot a UKI from disk and leave `--kernel` out",
            MeasureError::Enforcement { .. } => {
                "use the `AmdSev` build of OVMF, such as Debian's `ovmf-amdsev`, or boot a UKI from disk and leave `--kernel` out"
            }
            MeasureError::Launch {
                source: LaunchError::NoApReset { .. },
                ..
            } => "use `--vcpus 1`, or firmware with an AP reset entry",
            MeasureError::Firmware {
                source: OvmfError::NoTable,
                ..
            } => "name the whole firmware, for example `OVMF.amdsev.fd`, not a variable store",
            MeasureError::Firmware {
                source: OvmfError::NoSevMetadata,
                ..
            } => "use a build of OVMF with SEV-SNP support, such as `AmdSev`",
            MeasureError::Uki {
                source: UkiError::Stub { .. },
                ..
            } => "lock a systemd stub of a version that `cloister measure` models",
            MeasureError::Refused { .. } => {
                "without `--strict` the registers are computed all the same"
            }
            MeasureError::NoMatch { .. } => {
                "tried were 1 to 256 vCPUs, every model, host and white space; compare firmware, kernel and initrd"
            }
            MeasureError::NoMeasurements { .. } => "name the directory that `cloister build` wrote",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, MeasureError> {
    std::fs::read(path).map_err(|source| MeasureError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Reads a whole file that must not be larger than firmware can be.
pub(super) fn read_small(path: &Path) -> Result<Vec<u8>, MeasureError> {
    let failed = |source| MeasureError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let length = file
        .take(MOST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match length as u64 > MOST {
        true => Err(MeasureError::Large {
            path: path.to_owned(),
        }),
        false => Ok(bytes),
    }
}

/// Hashes a file of any size in constant memory, with the SHA-256 that is fastest on every CPU here: a launch is measured
/// in hardly more time than its initrd takes to hash.
pub(super) fn hash(path: &Path) -> Result<[u8; 32], MeasureError> {
    let failed = |source| MeasureError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut chunk = vec![0; CHUNK];
    let mut hasher = Context::new(&SHA256);
    loop {
        let length = match file.read(&mut chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            length => length.map_err(failed)?,
        };
        match chunk.get(..length) {
            None | Some([]) => break,
            Some(bytes) => hasher.update(bytes),
        }
    }
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(hasher.finish().as_ref()) {
        *to = *from;
    }
    Ok(hash)
}

/// Lists the files of a directory with the given extension, sorted; none when there is no directory.
#[expect(clippy::disallowed_methods, reason = "the names are sorted here")]
pub(super) fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, MeasureError> {
    let failed = |source| MeasureError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn hash_of_a_file_larger_than_a_chunk_is_that_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("initrd");
        let bytes: Vec<u8> = (0..=250).cycle().take(CHUNK * 2 + 17).collect();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(
            hash(&path).unwrap(),
            <[u8; 32]>::from(Sha256::digest(&bytes))
        );
    }

    #[test]
    fn read_names_the_missing_file() {
        let error = hash(Path::new("/nonexistent/initrd")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/nonexistent/initrd`");
    }

    #[test]
    fn files_are_sorted_and_chosen_by_extension() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.json", "c.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let wanted = ["a.json", "b.json"].map(|name| dir.path().join(name));
        assert_eq!(files(dir.path(), "json").unwrap(), wanted);
        assert!(files(&dir.path().join("none"), "json").unwrap().is_empty());
    }
}
