//! Errors of `cloister measure`.

use std::path::PathBuf;

use cloister_measure::eventlog::EventLogError;
use cloister_measure::gpt::GptError;
use cloister_measure::pe::PeError;
use cloister_measure::reference::ReferenceError;
use cloister_measure::snp::{
    EnforcementError, LaunchError, OvmfError, UnknownHost, UnknownVcpuModel,
};
use cloister_measure::uki::UkiError;
use thiserror::Error;

use crate::cmd::{Hinted, read_hint};
use crate::corim::CorimError;

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
    #[error("`{}` has more than {most} bytes", path.display())]
    Large { path: PathBuf, most: u64 },
    #[error("command line `{}` has a NUL at byte {offset}, where every kernel would end it", path.display())]
    Nul { path: PathBuf, offset: usize },
    #[error("the kernel is empty, and nothing boots it")]
    EmptyKernel,
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
            MeasureError::Read { source, .. } => return Some(read_hint(source).to_owned()),
            MeasureError::Create { .. }
            | MeasureError::Output { .. }
            | MeasureError::Write { .. } => "choose a place that can be written and has room",
            MeasureError::Large { .. } => {
                "name the right file: the formats that are read here allow for no more"
            }
            MeasureError::Nul { .. } => {
                "write the line without it, for example with `printf %s LINE > FILE`"
            }
            MeasureError::EmptyKernel => "name the kernel that QEMU is given with `-kernel`",
            MeasureError::Firmware { source, .. } => firmware_hint(source),
            MeasureError::Launch { source, .. } => launch_hint(source),
            MeasureError::Enforcement { .. } => {
                "use the `AmdSev` build of OVMF, such as Debian's `ovmf-amdsev`, or boot a UKI from disk and leave `--kernel` out"
            }
            MeasureError::Uki {
                source: UkiError::Stub { .. },
                ..
            } => "lock a systemd stub of a version that `cloister measure` models",
            MeasureError::Uki { .. } => {
                "name a UKI, for example `uki.efi` of `cloister build`; for other programs there is `cloister measure pe`"
            }
            MeasureError::Pe { .. } => "name a UKI, a kernel or a boot loader for 64-bit UEFI",
            MeasureError::Disk { .. } => {
                "name the whole disk with its GPT, for example `disk.raw` of `cloister build`"
            }
            MeasureError::Refused { .. } => {
                "without `--strict` the registers are computed all the same"
            }
            MeasureError::NoMatch { .. } => {
                "tried were 1 to 256 vCPUs, every model, host and white space; compare firmware, kernel and initrd"
            }
            MeasureError::Log { .. } => {
                "copy a log whole, for example `/sys/kernel/security/tpm0/binary_bios_measurements`"
            }
            MeasureError::Reference { .. } | MeasureError::Corim { .. } => {
                "name a file that `cloister build` wrote, such as `measurements/RECIPE/PLATFORM.json`"
            }
            MeasureError::NoMeasurements { .. } => "name the directory that `cloister build` wrote",
            MeasureError::Host(_) => {
                "name the host that launches the guest, or leave `--host-profile` out"
            }
            MeasureError::Model(_) => {
                "give the model of QEMU's `-cpu`, or the signature of another by `--vcpu-signature`"
            }
        };
        Some(hint.to_owned())
    }
}

/// What to do about firmware that has no launch.
fn firmware_hint(error: &OvmfError) -> &'static str {
    match error {
        OvmfError::Size { .. } | OvmfError::NoTable => {
            "name the whole firmware, for example `OVMF.amdsev.fd`, not a variable store"
        }
        OvmfError::NoSevMetadata => "use a build of OVMF with SEV-SNP support, such as `AmdSev`",
        _ => "use firmware as its maker publishes it: this file is damaged",
    }
}

/// What to do about inputs that have no launch digest.
fn launch_hint(error: &LaunchError) -> &'static str {
    match error {
        LaunchError::NoKernelHashes | LaunchError::HashTableElsewhere { .. } => {
            "use the `AmdSev` build of OVMF, or boot a UKI from disk and leave `--kernel` out"
        }
        LaunchError::NoApReset { .. } => "use `--vcpus 1`, or firmware with an AP reset entry",
        _ => "give the number of QEMU's `-smp`",
    }
}
