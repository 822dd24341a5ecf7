//! What to do next after an error of a build stage.

use cloister_rim::RimError;

use crate::cmd::Hinted;
use crate::disk::DiskError;
use crate::erofs::{CompressionError, ErofsError};
use crate::fat::FatWriteError;
use crate::gcp_tar::GcpTarError;
use crate::golden::RecipeRimsError;
use crate::gpu_driver::DriverError;
use crate::guest::GuestError;
use crate::initrd::InitrdError;
use crate::measurements::MeasurementsError;
use crate::standin::StandinError;
use crate::tool::ToolError;
use crate::uki::UkiError;
use crate::verity::VerityError;
use crate::vhd::VhdError;

const ROOM: &str = "make room, or choose another disk with `--out DIR`";

impl Hinted for InitrdError {
    fn hint(&self) -> Option<String> {
        let version = matches!(self, Self::ZstdVersion { .. });
        version.then(|| {
            "run `cloister lock` again, or use the `cloister` that wrote the lock".to_owned()
        })
    }
}

impl Hinted for FatWriteError {
    fn hint(&self) -> Option<String> {
        let size = matches!(self, Self::Full { .. } | Self::Size(_));
        size.then(|| "change `esp-mib` in the recipe's `[disk]`".to_owned())
    }
}

impl Hinted for DiskError {
    fn hint(&self) -> Option<String> {
        matches!(self, Self::Io(error) if is_full(error)).then(|| ROOM.to_owned())
    }
}

impl Hinted for VhdError {
    fn hint(&self) -> Option<String> {
        let Self::Io(error) = self;
        is_full(error).then(|| ROOM.to_owned())
    }
}

impl Hinted for GcpTarError {
    fn hint(&self) -> Option<String> {
        matches!(self, Self::Io(error) if is_full(error)).then(|| ROOM.to_owned())
    }
}

fn is_full(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::StorageFull
}

impl Hinted for ErofsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Tool(ToolError::Failed { stderr, .. }) if stderr.contains("No space left") => {
                Some(ROOM.to_owned())
            }
            Self::Tool(error) => error.hint(),
            Self::Copy(error) if is_full(error) => Some(ROOM.to_owned()),
            _ => None,
        }
    }
}

impl Hinted for MeasurementsError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoFirmware(_) => {
                "add `firmware` to the recipe's `[tools]`, or name other platforms with `--platform`"
            }
            Self::Enforcement(_) => {
                "lock the `AmdSev` build of OVMF in the recipe's `[tools]`, such as Debian's `ovmf-amdsev`"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl Hinted for RecipeRimsError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Digest { .. } => "write the digest of the file you mean into `[[gpu.rim]]`",
            Self::Refused { source, .. } if matches!(**source, RimError::Time(_)) => {
                "get the newest edition of the RIM from NVIDIA, or change `rims-checked-at`"
            }
            Self::Refused { .. } => {
                "get the RIM from NVIDIA again; this file is not what they signed"
            }
            Self::Driver { .. } => "name the RIM of the driver that the image has",
            Self::Rims(_) => "name one RIM of the driver, and one for each VBIOS that is allowed",
            Self::Read { .. } | Self::Time(_) => return None,
        };
        Some(hint.to_owned())
    }
}

impl Hinted for StandinError {
    fn hint(&self) -> Option<String> {
        let hint =
            "take it out of the recipe; the library that belongs there comes with NVIDIA's driver";
        matches!(self, Self::Found { .. }).then(|| hint.to_owned())
    }
}

impl Hinted for DriverError {
    fn hint(&self) -> Option<String> {
        let hint = "give the image module, firmware and libraries of one version, and name it in the recipe's `[gpu]`, with the RIM of that driver";
        Some(hint.to_owned())
    }
}

impl Hinted for CompressionError {}
impl Hinted for UkiError {}
impl Hinted for GuestError {}
impl Hinted for VerityError {}
