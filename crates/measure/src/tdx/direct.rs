//! RTMR1 and RTMR2 of a direct boot: QEMU hands kernel, initrd and command line to OVMF, which starts the kernel.
//!
//! QEMU writes into the kernel's setup header (`hw/i386/x86-common.c`, `x86_load_linux`), so the image that OVMF loads and
//! measures is not the file: its digest depends on the memory size and the initrd's size. Since QEMU 10.0 the file as
//! given is offered too (fw_cfg `etc/boot/kernel`), and firmware that looks for it measures that one. Both are given.
//!
//! Spec: Linux `Documentation/arch/x86/boot.rst` (setup header); edk2 `OvmfPkg/Library/GenericQemuLoadImageLib` (appends
//! ` initrd=initrd`); Linux `drivers/firmware/efi/libstub` (measures load options and initrd). Read, not seen on hardware.
//! Not covered: kernels that are not loaded high or older than protocol 2.3, `-dtb`, `-shim`, QEMU 7.2's random seed.

use thiserror::Error;

use crate::digest::{Bank, Digest};
use crate::pcr::{Extension, separator};
use crate::pe::{Pe, PeError};
use crate::transcript::{Register, Transcript};

const HEADER_MAGIC: usize = 0x202;
const PROTOCOL: usize = 0x206;
const VIDEO_MODE: usize = 0x1fa;
const LOADER_TYPE: usize = 0x210;
const LOAD_FLAGS: usize = 0x211;
const INITRD_ADDRESS: usize = 0x218;
const INITRD_SIZE: usize = 0x21c;
const HEAP_END: usize = 0x224;
const COMMAND_LINE: usize = 0x228;
const INITRD_MAX: usize = 0x22c;
const XLOAD_FLAGS: usize = 0x236;

/// Where QEMU puts the setup code and the command line of kernels that are loaded high.
const REAL_ADDRESS: u32 = 0x1_0000;
const COMMAND_LINE_ADDRESS: u32 = 0x2_0000;
/// Memory that QEMU keeps for ACPI tables (`acpi_data_size` of machine `q35`).
const ACPI_DATA: u64 = 0x2_8000;
/// Machine `q35` ends low memory at 2 GiB when the guest has at least this much.
const SPLIT: u64 = 0xb000_0000;
const LOW_WHEN_SPLIT: u64 = 0x8000_0000;
/// What OVMF appends to the command line when there is an initrd.
const INITRD_OPTION: &str = " initrd=initrd";

/// Why a direct boot cannot be predicted.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectBootError {
    /// The kernel is no PE image, so firmware cannot start it.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// The kernel has no setup header, or one that QEMU treats in a way that is not modelled.
    #[error("kernel setup header has {what} {found:#x}, wanted {wanted}")]
    SetupHeader {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u32,
        /// What is modelled.
        wanted: &'static str,
    },
    /// QEMU refuses such an initrd.
    #[error(
        "an initrd of {size} bytes does not fit below {limit:#x} in a guest with {memory} bytes of memory"
    )]
    Initrd {
        /// Its size in bytes.
        size: u32,
        /// Where it must end.
        limit: u64,
        /// Memory of the guest in bytes.
        memory: u64,
    },
    /// QEMU refuses such a command line.
    #[error("command line has `vga={word}`, wanted `normal`, `ext`, `ask` or a 16-bit number")]
    VideoMode {
        /// What follows `vga=`.
        word: String,
    },
    /// A command line ends at its first NUL.
    #[error("command line contains a NUL")]
    Nul,
}

/// Which bytes of the kernel firmware loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelImage {
    /// The setup header as QEMU writes it: QEMU before 10.0, or firmware that takes the kernel from the old place.
    Patched,
    /// The file: QEMU 10.0 or newer with firmware that reads fw_cfg `etc/boot/kernel`.
    AsGiven,
}

impl KernelImage {
    /// Both, the older first.
    pub const ALL: [KernelImage; 2] = [KernelImage::Patched, KernelImage::AsGiven];

    /// Returns the name in output.
    pub fn name(self) -> &'static str {
        match self {
            KernelImage::Patched => "patched",
            KernelImage::AsGiven => "as-given",
        }
    }
}

/// An initrd as far as registers depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initrd {
    /// Its size in bytes, not 0.
    pub size: u32,
    /// SHA-384 of its bytes.
    pub digest: Digest,
}

/// What QEMU boots directly, without a boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectBoot<'a> {
    /// The kernel file, a bzImage with EFI stub.
    pub kernel: &'a [u8],
    /// The initrd, if any.
    pub initrd: Option<Initrd>,
    /// The command line exactly as given to `-append`; white space counts.
    pub command_line: &'a str,
    /// Memory of the guest (`-m`) in bytes.
    pub memory: u64,
}

impl DirectBoot<'_> {
    /// Returns the kernel as QEMU hands it to firmware.
    ///
    /// # Errors
    /// See [`DirectBootError`].
    pub fn patched_kernel(&self) -> Result<Vec<u8>, DirectBootError> {
        let header = SetupHeader::check(self.kernel)?;
        let mut kernel = self.kernel.to_vec();
        let heap_end = COMMAND_LINE_ADDRESS - REAL_ADDRESS - 0x200;
        put(&mut kernel, LOADER_TYPE, &[0xb0]);
        put(&mut kernel, LOAD_FLAGS, &[header.load_flags | 0x80]);
        put(&mut kernel, HEAP_END, &heap_end.to_le_bytes());
        put(
            &mut kernel,
            COMMAND_LINE,
            &COMMAND_LINE_ADDRESS.to_le_bytes(),
        );
        if let Some(mode) = video_mode(self.command_line)? {
            put(&mut kernel, VIDEO_MODE, &mode.to_le_bytes());
        }
        if let Some(initrd) = self.initrd.filter(|initrd| initrd.size > 0) {
            let address = self.initrd_address(initrd.size, header.initrd_max)?;
            put(&mut kernel, INITRD_ADDRESS, &address.to_le_bytes());
            put(&mut kernel, INITRD_SIZE, &initrd.size.to_le_bytes());
        }
        Ok(kernel)
    }

    /// Returns where QEMU puts the initrd of a kernel that takes it up to `most`.
    fn initrd_address(&self, size: u32, most: u32) -> Result<u32, DirectBootError> {
        let low = if self.memory >= SPLIT {
            LOW_WHEN_SPLIT
        } else {
            SPLIT
        };
        let end = self.memory.min(low).saturating_sub(ACPI_DATA);
        let limit = u64::from(most).min(end.saturating_sub(1));
        let refused = DirectBootError::Initrd {
            size,
            limit,
            memory: self.memory,
        };
        let start = limit
            .checked_sub(u64::from(size))
            .filter(|start| *start > 0);
        u32::try_from(start.ok_or(refused.clone())? & !4095).map_err(|_| refused)
    }

    /// Returns RTMR1 with its account: the kernel, then the events of every boot.
    ///
    /// # Errors
    /// See [`DirectBootError`].
    pub fn rtmr1(
        &self,
        image: KernelImage,
        transcript: &mut Transcript,
    ) -> Result<Digest, DirectBootError> {
        let patched = self.patched_kernel()?;
        let (bytes, input) = match image {
            KernelImage::Patched => (
                patched.as_slice(),
                "Authenticode of the kernel as QEMU patches it",
            ),
            KernelImage::AsGiven => (self.kernel, "Authenticode of the kernel file"),
        };
        let kernel = Pe::parse(bytes)?.authenticode(Bank::Sha384);
        let mut rtmr = Extension::new(Register::Rtmr(1), Bank::Sha384);
        let constant = "constant of firmware";
        rtmr.extend(kernel, "EV_EFI_BOOT_SERVICES_APPLICATION", input);
        rtmr.measure(
            b"Calling EFI Application from Boot Option",
            "EV_EFI_ACTION calling application",
            constant,
        );
        rtmr.extend(separator(Bank::Sha384), "EV_SEPARATOR", constant);
        rtmr.measure(
            b"Exit Boot Services Invocation",
            "EV_EFI_ACTION exit boot services",
            constant,
        );
        rtmr.measure(
            b"Exit Boot Services Returned with Success",
            "EV_EFI_ACTION exit boot services done",
            constant,
        );
        Ok(rtmr.finish(transcript))
    }

    /// Returns RTMR2 with its account: command line and initrd, as the kernel's EFI stub measures them.
    ///
    /// # Errors
    /// [`DirectBootError::Nul`].
    pub fn rtmr2(&self, transcript: &mut Transcript) -> Result<Digest, DirectBootError> {
        if self.command_line.contains('\0') {
            return Err(DirectBootError::Nul);
        }
        let initrd = self.initrd.filter(|initrd| initrd.size > 0);
        let options = format!(
            "{}{}",
            self.command_line,
            if initrd.is_some() { INITRD_OPTION } else { "" }
        );
        let mut rtmr = Extension::new(Register::Rtmr(2), Bank::Sha384);
        if !options.is_empty() {
            let wide: Vec<u8> = options
                .encode_utf16()
                .chain([0])
                .flat_map(u16::to_le_bytes)
                .collect();
            rtmr.measure(
                &wide,
                "EV_EVENT_TAG LOADED_IMAGE::LoadOptions",
                format!("`{options}` as UTF-16LE with NUL"),
            );
        }
        if let Some(initrd) = initrd {
            rtmr.extend(initrd.digest, "EV_EVENT_TAG Linux initrd", "initrd");
        }
        Ok(rtmr.finish(transcript))
    }
}

/// Returns what QEMU writes for a `vga=` on the command line; it takes the first, wherever it stands.
fn video_mode(command_line: &str) -> Result<Option<u16>, DirectBootError> {
    let Some((_, rest)) = command_line.split_once("vga=") else {
        return Ok(None);
    };
    for (name, mode) in [("normal", 0xffff), ("ext", 0xfffe), ("ask", 0xfffd)] {
        if rest.starts_with(name) {
            return Ok(Some(mode));
        }
    }
    let word = rest.split(' ').next().unwrap_or_default();
    let number = match (word.strip_prefix("0x"), word.strip_prefix('0')) {
        (Some(digits), _) => u16::from_str_radix(digits, 16),
        (None, Some(digits)) if !digits.is_empty() => u16::from_str_radix(digits, 8),
        _ => word.parse(),
    };
    match number {
        Ok(mode) if !word.contains('+') => Ok(Some(mode)),
        _ => Err(DirectBootError::VideoMode {
            word: word.to_owned(),
        }),
    }
}

/// What of the setup header decides how QEMU patches it.
struct SetupHeader {
    load_flags: u8,
    /// Highest address that an initrd may reach.
    initrd_max: u32,
}

impl SetupHeader {
    fn check(kernel: &[u8]) -> Result<SetupHeader, DirectBootError> {
        let refuse = |what, found, wanted| DirectBootError::SetupHeader {
            what,
            found,
            wanted,
        };
        // Missing fields read as zero, which none of the checks lets through.
        let magic = long(kernel, HEADER_MAGIC);
        if magic != u32::from_le_bytes(*b"HdrS") {
            return Err(refuse("magic", magic, "`HdrS`, as every Linux kernel has"));
        }
        let [flags, ..] = long(kernel, LOAD_FLAGS).to_le_bytes();
        let [low, high, ..] = long(kernel, PROTOCOL).to_le_bytes();
        let protocol = u16::from_le_bytes([low, high]);
        let [extended, ..] = long(kernel, XLOAD_FLAGS).to_le_bytes();
        if protocol < 0x203 {
            return Err(refuse("protocol", protocol.into(), "0x203 or newer"));
        }
        if flags & 1 == 0 {
            return Err(refuse(
                "load flags",
                flags.into(),
                "bit 0, a kernel that is loaded high",
            ));
        }
        let anywhere = protocol >= 0x20c && extended & 2 != 0;
        let initrd_max = if anywhere {
            u32::MAX
        } else {
            long(kernel, INITRD_MAX)
        };
        Ok(SetupHeader {
            load_flags: flags,
            initrd_max,
        })
    }
}

/// Returns the integer at byte `at`, 0 behind the end.
fn long(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn put(kernel: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = kernel
        .get_mut(at..)
        .and_then(|rest| rest.get_mut(..bytes.len()))
    {
        place.copy_from_slice(bytes);
    }
}
