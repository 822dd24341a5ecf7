//! What several launches are measured from, as it is given on the command line: firmware, kernel, initrd, command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use cloister_measure::snp::{KernelHashes, LaunchDigest, Ovmf};
use sha2::{Digest as _, Sha256};

use super::error::MeasureError;
use super::files::{end, read};
use super::numbers::{Input, launch_digest};
use crate::cmd::CommandError;

/// Bytes at the end of firmware that hold its tables: those of edk2 are in the last 4 KiB.
const TABLES: u64 = 16 << 10;

/// Firmware of an SNP launch.
#[derive(Debug, clap::Args)]
pub(super) struct Firmware {
    /// Firmware image; with `--firmware-digest` its end with the tables is enough
    #[arg(long = "firmware", id = "firmware", value_name = "FILE")]
    pub(super) path: PathBuf,
    /// Launch digest after the firmware's own pages, instead of hashing them; whether firmware verifies a kernel is then
    /// not checked
    #[arg(long = "firmware-digest", id = "firmware-digest", value_name = "HEX", value_parser = launch_digest)]
    pub(super) digest: Option<LaunchDigest>,
}

/// Kernel command line.
#[derive(Debug, clap::Args)]
pub(super) struct CommandLine {
    /// Kernel command line, exactly as given to `-append`: white space counts
    #[arg(
        long = "cmdline",
        id = "cmdline",
        value_name = "STR",
        allow_hyphen_values = true,
        conflicts_with = "cmdline-file"
    )]
    text: Option<OsString>,
    /// File with the kernel command line, byte for byte: a newline at its end counts
    #[arg(long = "cmdline-file", id = "cmdline-file", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What a direct boot hands to firmware.
#[derive(Debug, clap::Args)]
pub(super) struct DirectBoot {
    /// Kernel of a direct boot with kernel hashes; without it firmware boots from disk
    #[arg(long, value_name = "FILE|sha256:HEX", value_parser = OsStringValueParser::new().try_map(Input::parse))]
    pub(super) kernel: Option<Input>,
    /// Initrd of a direct boot; hashed in constant memory
    #[arg(long, value_name = "FILE|sha256:HEX", value_parser = OsStringValueParser::new().try_map(Input::parse))]
    pub(super) initrd: Option<Input>,
    #[command(flatten)]
    pub(super) command_line: CommandLine,
}

impl CommandLine {
    /// The option that was given, if one was.
    pub(super) fn given(&self) -> Option<&'static str> {
        match (&self.text, &self.file) {
            (Some(_), _) => Some("--cmdline"),
            (None, Some(_)) => Some("--cmdline-file"),
            (None, None) => None,
        }
    }

    /// The bytes; none is an empty line. One with a NUL inside cannot be handed to a kernel.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, MeasureError> {
        let Some(path) = &self.file else {
            let text = self.text.as_deref().unwrap_or_default();
            return Ok(text.as_bytes().to_vec());
        };
        let bytes = read(path)?;
        match bytes.iter().position(|byte| *byte == 0) {
            Some(offset) => Err(MeasureError::Nul {
                path: path.clone(),
                offset,
            }),
            None => Ok(bytes),
        }
    }
}

impl DirectBoot {
    /// Refuses what would not be measured without a kernel.
    pub(super) fn check(&self) -> Result<(), CommandError> {
        if self.kernel.is_some() {
            return Ok(());
        }
        let initrd = self.initrd.as_ref().map(|_| "--initrd");
        initrd
            .or(self.command_line.given())
            .map_or(Ok(()), |option| Err(without_kernel(option)))
    }

    /// Whether there is nothing to read: threads would cost more than they give.
    fn is_hashes(&self) -> bool {
        let hash = |input: &Option<Input>| !matches!(input, Some(Input::File(_)));
        hash(&self.kernel) && hash(&self.initrd)
    }

    /// SHA-256 of the initrd, if there is one.
    pub(super) fn initrd(&self) -> Result<Option<[u8; 32]>, MeasureError> {
        self.initrd.as_ref().map(Input::sha256).transpose()
    }

    /// SHA-256 of the kernel, if there is one. QEMU refuses an empty one.
    pub(super) fn kernel(&self) -> Result<Option<[u8; 32]>, MeasureError> {
        let hash = self.kernel.as_ref().map(Input::sha256).transpose()?;
        match hash {
            Some(hash) if hash == <[u8; 32]>::from(Sha256::digest([])) => {
                Err(MeasureError::EmptyKernel)
            }
            hash => Ok(hash),
        }
    }
}

/// Refuses an option that says something of a kernel that is not there.
pub(super) fn without_kernel(option: &str) -> CommandError {
    let error = anyhow::anyhow!("`{option}` without `--kernel` would not be measured");
    CommandError::new(error).with_hint("add `--kernel FILE`")
}

/// Reads firmware by `firmware` and hashes the files of `boot`, each in a thread of its own if more than one of `jobs` may
/// work at once: the initrd is the largest, and is not to wait.
pub(super) fn measured(
    boot: &DirectBoot,
    jobs: Option<NonZeroUsize>,
    firmware: impl FnOnce() -> Result<Ovmf, MeasureError> + Send,
) -> Result<(Ovmf, Option<KernelHashes>), MeasureError> {
    let command_line = boot.command_line.bytes()?;
    let alone = boot.is_hashes() || jobs == Some(NonZeroUsize::MIN);
    let (firmware, kernel, initrd) = if alone {
        (firmware(), boot.kernel(), boot.initrd())
    } else {
        thread::scope(|scope| {
            let firmware = scope.spawn(firmware);
            let kernel = scope.spawn(|| boot.kernel());
            let initrd = boot.initrd();
            (joined(firmware.join()), joined(kernel.join()), initrd)
        })
    };
    let (firmware, kernel, initrd) = (firmware?, kernel?, initrd?);
    let hashes = kernel.map(|kernel| KernelHashes::new(kernel, initrd, &command_line));
    Ok((firmware, hashes))
}

fn joined<T>(result: thread::Result<Result<T, MeasureError>>) -> Result<T, MeasureError> {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Firmware {
    /// Reads and measures the firmware; `kernel` says whether it is to boot a measured kernel, when firmware that would boot
    /// any is refused. With `--firmware-digest` that cannot be told.
    pub(super) fn read(&self, kernel: bool) -> Result<Ovmf, MeasureError> {
        if let Some(digest) = self.digest {
            return self.tables(digest);
        }
        let image = read(&self.path)?;
        let firmware = Ovmf::from_image(&image).map_err(|source| self.failed(source))?;
        if kernel {
            enforcing(&self.path, &firmware, &image)?;
        }
        Ok(firmware)
    }

    /// Reads the tables alone. They are found from the end of the file, so that its end gives what the whole file would, if it
    /// gives anything; a file whose tables begin before that, or are damaged, is read whole.
    fn tables(&self, digest: LaunchDigest) -> Result<Ovmf, MeasureError> {
        if let Ok(firmware) = Ovmf::from_tables(&end(&self.path, TABLES)?, digest) {
            return Ok(firmware);
        }
        let image = read(&self.path)?;
        Ovmf::from_tables(&image, digest).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: cloister_measure::snp::OvmfError) -> MeasureError {
        MeasureError::Firmware {
            path: self.path.clone(),
            source,
        }
    }
}

/// Reads and measures a firmware image that is to boot a measured kernel, and refuses one that would boot any.
pub(super) fn verifying_firmware(path: &Path) -> Result<Ovmf, MeasureError> {
    let firmware = Firmware {
        path: path.to_owned(),
        digest: None,
    };
    firmware.read(true)
}

fn enforcing(path: &Path, firmware: &Ovmf, image: &[u8]) -> Result<(), MeasureError> {
    firmware
        .check_enforcement(image)
        .map_err(|source| MeasureError::Enforcement {
            path: path.to_owned(),
            source,
        })
}
