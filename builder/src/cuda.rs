//! Whether a driver has the CUDA that the wheels were compiled for.
//!
//! A program needs a driver of its CUDA's major version, or of a later one; within a major version any driver will do (minor-version
//! compatibility), except for code that the driver itself compiles (PTX) of a newer minor version, which torch's wheels do not
//! depend on. Source: NVIDIA, "CUDA Compatibility", and the table of drivers in the release notes of the CUDA toolkit.
//! Which CUDA a wheel is for is read from its name and version: `nvidia-cuda-runtime-cu12`, `torch 2.10.0+cu128`, and
//! `nvidia-cuda-runtime` from CUDA 13 on. Not covered: the compatibility libraries (`cuda-compat`), which no recipe has.

use std::fmt::{self, Display, Formatter};

use thiserror::Error;

use crate::cmd::Hinted;
use crate::lock::LockedWheel;

/// Branches of the driver and the CUDA that each brings.
const DRIVERS: [(u32, Cuda); 13] = [
    (525, Cuda(12, 0)),
    (530, Cuda(12, 1)),
    (535, Cuda(12, 2)),
    (545, Cuda(12, 3)),
    (550, Cuda(12, 4)),
    (555, Cuda(12, 5)),
    (560, Cuda(12, 6)),
    (565, Cuda(12, 7)),
    (570, Cuda(12, 8)),
    (575, Cuda(12, 9)),
    (580, Cuda(13, 0)),
    (590, Cuda(13, 1)),
    (595, Cuda(13, 2)),
];

/// A version of CUDA: major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cuda(u32, u32);

/// Why driver and wheels do not go together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CudaError {
    /// The wheels want a newer CUDA.
    #[error(
        "wheel `{wheel}` {version} is for CUDA {wanted}, and driver {driver} has CUDA {has}: drivers for CUDA {} begin with {first}", wanted.0
    )]
    TooNew {
        /// The wheel.
        wheel: String,
        /// Its version.
        version: String,
        /// Its CUDA.
        wanted: Cuda,
        /// The recipe's driver.
        driver: String,
        /// The driver's CUDA.
        has: Cuda,
        /// The first branch of drivers that has it.
        first: u32,
    },
    /// A driver that the table does not know, and older than all of it.
    #[error("driver {driver} is older than any that is known here (branch {first})")]
    OldDriver {
        /// The recipe's driver.
        driver: String,
        /// The first known branch.
        first: u32,
    },
    /// A CUDA that no known driver has.
    #[error("wheel `{wheel}` {version} is for CUDA {wanted}, which no known driver has")]
    Unknown {
        /// The wheel.
        wheel: String,
        /// Its version.
        version: String,
        /// Its CUDA.
        wanted: Cuda,
    },
}

impl Hinted for CudaError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::TooNew { wanted, first, .. } => Some(format!(
                "pin wheels for CUDA {} in `python.wheels` (torch and vLLM together), or take a driver of branch {first} or later",
                wanted.0.saturating_sub(1)
            )),
            Self::OldDriver { first, .. } => {
                Some(format!("take a driver of branch {first} or later"))
            }
            Self::Unknown { .. } => Some("pin a wheel for an earlier CUDA".to_owned()),
        }
    }
}

impl Display for Cuda {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Refuses the first wheel, in the lock's order, whose CUDA is of a later major version than the driver's.
pub(crate) fn check(wheels: &[LockedWheel], driver: &str) -> Result<(), CudaError> {
    let mut wanted = wheels
        .iter()
        .filter_map(|wheel| Some((wheel, of_wheel(&wheel.name, &wheel.version)?)))
        .peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let has = of_driver(driver)?;
    for (wheel, cuda) in wanted {
        if cuda.0 <= has.0 {
            continue;
        }
        let (name, version) = (wheel.name.clone(), wheel.version.clone());
        let Some((first, _)) = DRIVERS.iter().find(|(_, other)| other.0 == cuda.0) else {
            return Err(CudaError::Unknown {
                wheel: name,
                version,
                wanted: cuda,
            });
        };
        return Err(CudaError::TooNew {
            wheel: name,
            version,
            wanted: cuda,
            driver: driver.to_owned(),
            has,
            first: *first,
        });
    }
    Ok(())
}

/// The CUDA of a driver: that of its branch, or of the last known one before it.
fn of_driver(driver: &str) -> Result<Cuda, CudaError> {
    let branch = driver.split('.').next().and_then(|text| text.parse().ok());
    let known = DRIVERS
        .iter()
        .rev()
        .find(|(known, _)| branch.is_some_and(|branch: u32| branch >= *known));
    known
        .map(|(_, cuda)| *cuda)
        .ok_or_else(|| CudaError::OldDriver {
            driver: driver.to_owned(),
            first: DRIVERS.first().map_or(0, |(first, _)| *first),
        })
}

/// The CUDA that a wheel is for; `None` where its name does not say.
fn of_wheel(name: &str, version: &str) -> Option<Cuda> {
    if name.starts_with("nvidia-cuda-runtime") {
        // `12.8.90`: versions of the runtime are those of CUDA.
        let mut numbers = version.split('.').map_while(|part| part.parse().ok());
        return Some(Cuda(numbers.next()?, numbers.next()?));
    }
    let (_, local) = version.split_once('+')?;
    let digits = local.strip_prefix("cu")?;
    let digits = digits.split('.').next()?;
    // `cu128`: two digits and what is left.
    let (major, minor) = digits.split_at_checked(2)?;
    Some(Cuda(major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn wheels(names: &[(&str, &str)]) -> Vec<LockedWheel> {
        let wheel = |(name, version): &(&str, &str)| LockedWheel {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            file: format!("{name}-{version}-py3-none-any.whl"),
            size: 1,
            sha256: Digest([0; 32]),
        };
        names.iter().map(wheel).collect()
    }

    #[test]
    fn of_wheel_reads_names_that_say_a_cuda() {
        for (name, version, wanted) in [
            ("nvidia-cuda-runtime-cu12", "12.8.90", Some(Cuda(12, 8))),
            ("nvidia-cuda-runtime", "13.0.96", Some(Cuda(13, 0))),
            ("torch", "2.10.0+cu128", Some(Cuda(12, 8))),
            ("vllm", "0.19.1+cu130.git1", Some(Cuda(13, 0))),
            ("torch", "2.13.0+cpu", None),
            ("torch", "2.10.0", None),
            ("cupy", "1.0+cux", None),
            ("nvidia-cublas-cu12", "12.8.4.1", None),
        ] {
            assert_eq!(of_wheel(name, version), wanted, "{name} {version}");
        }
    }

    #[test]
    fn minor_versions_are_compatible_and_older_ones_too() {
        let twelve = wheels(&[("nvidia-cuda-runtime-cu12", "12.8.90"), ("torch", "2.10.0")]);
        for driver in [
            "550.163.01",
            "535.261.03",
            "570.86.15",
            "580.95.05",
            "600.1.1",
        ] {
            assert_eq!(check(&twelve, driver), Ok(()), "{driver}");
        }
        assert_eq!(
            check(&wheels(&[("torch", "2.13.0+cpu")]), "470.1.1"),
            Ok(())
        );
        let thirteen = wheels(&[("nvidia-cuda-runtime", "13.0.96")]);
        for driver in ["580.65.06", "595.71.05"] {
            assert_eq!(check(&thirteen, driver), Ok(()), "{driver}");
        }
    }

    #[test]
    fn a_newer_major_version_is_refused_with_both_versions() {
        let error =
            check(&wheels(&[("nvidia-cuda-runtime", "13.0.96")]), "550.163.01").unwrap_err();
        assert_eq!(
            error.to_string(),
            "wheel `nvidia-cuda-runtime` 13.0.96 is for CUDA 13.0, and driver 550.163.01 has CUDA 12.4: drivers for CUDA 13 begin with 580"
        );
        assert!(error.hint().unwrap().contains("wheels for CUDA 12"));
        let torch = wheels(&[("torch", "2.13.0+cu130")]);
        assert!(
            matches!(check(&torch, "575.57.08"), Err(CudaError::TooNew { has, .. }) if has == Cuda(12, 9))
        );
    }

    #[test]
    fn what_no_table_knows_is_refused() {
        let old = check(
            &wheels(&[("nvidia-cuda-runtime-cu12", "12.8.90")]),
            "470.82.01",
        );
        assert!(matches!(old, Err(CudaError::OldDriver { first: 525, .. })));
        let new = check(&wheels(&[("nvidia-cuda-runtime", "14.0.1")]), "595.71.05");
        assert!(matches!(new, Err(CudaError::Unknown { wanted, .. }) if wanted == Cuda(14, 0)));
    }
}
