//! dm-verity over the root partition, through the device-mapper control device.
//!
//! Spec: Linux `Documentation/admin-guide/device-mapper/verity.rst` (table, version 1) and
//! `include/uapi/linux/dm-ioctl.h` (interface 4). SHA-256, no salt, no superblock, blocks of 4096
//! bytes on both devices; the hash device begins with the top level of the tree.
//! A corrupt block reads as an I/O error and raises a uevent (`crate::uevent`), on which PID 1
//! powers off; the kernel's own answers (reboot, panic) would end in a reboot on some clouds.
//! Units: data in blocks of 4096 bytes, device-mapper lengths in sectors of 512.

use std::fs::File;

use nix::errno::Errno;

use crate::sys::device_mapper::{HEADER, command};

/// Name of the device-mapper device.
pub const NAME: &str = "root";

/// The first device-mapper device of a guest: nothing else makes any.
pub const DEVICE: &str = "/dev/dm-0";

const CONTROL: &str = "/dev/mapper/control";

/// Device-mapper commands (`DM_*_CMD`).
const DEV_CREATE: u8 = 3;
const DEV_SUSPEND: u8 = 6;
const TABLE_LOAD: u8 = 9;
const TABLE_STATUS: u8 = 12;

/// `DM_READONLY_FLAG`.
const READ_ONLY: u32 = 1;

/// Room for the answer of a status command.
const ANSWER: usize = 16 * 1024;

/// What dm-verity is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verity {
    /// `MAJOR:MINOR` of the data partition.
    pub data: String,
    /// `MAJOR:MINOR` of the hash partition.
    pub hash: String,
    /// Length of the data in blocks.
    pub blocks: u64,
    /// Root of the hash tree.
    pub root: [u8; 32],
}

/// Why there is no verified root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerityError {
    /// The control device cannot be opened.
    #[error("{CONTROL}: {0}")]
    Control(std::io::Error),
    /// A command failed.
    #[error("device-mapper {what}: {errno}")]
    Command {
        /// The command.
        what: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The device is there but does not say that it verifies.
    #[error("dm-verity status is `{0}`, wanted `V`")]
    Status(String),
}

impl Verity {
    /// The target's parameters (`verity.rst`, "Construction Parameters").
    #[must_use]
    pub fn table(&self) -> String {
        let Self {
            data,
            hash,
            blocks,
            root,
        } = self;
        format!(
            "1 {data} {hash} 4096 4096 {blocks} 0 sha256 {} -",
            hex::encode(root)
        )
    }

    /// Makes the device `/dev/dm-0`, read-only.
    ///
    /// # Errors
    /// [`VerityError`], also when the kernel's device does not report itself as verified.
    pub fn open(&self) -> Result<(), VerityError> {
        let control = File::options()
            .read(true)
            .write(true)
            .open(CONTROL)
            .map_err(VerityError::Control)?;
        let run = |what, number, mut message: Vec<u8>| {
            command(&control, number, &mut message)
                .map(|()| message)
                .map_err(|errno| VerityError::Command { what, errno })
        };
        run("create", DEV_CREATE, message(READ_ONLY, None, 0))?;
        let load = message(
            READ_ONLY,
            Some((self.blocks.saturating_mul(8), &self.table())),
            0,
        );
        run("table load", TABLE_LOAD, load)?;
        run("resume", DEV_SUSPEND, message(READ_ONLY, None, 0))?;
        let answer = run("status", TABLE_STATUS, message(0, None, ANSWER))?;
        match status(&answer) {
            Some("V") => Ok(()),
            other => Err(VerityError::Status(
                other.unwrap_or("unreadable").to_owned(),
            )),
        }
    }
}

/// One `struct dm_ioctl` for the device, then at most one target (`struct dm_target_spec` and its
/// parameters) of a length in sectors, then `room` bytes.
fn message(flags: u32, target: Option<(u64, &str)>, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    let count = u32::from(target.is_some());
    // version, data_size (set by `command`), data_start, target_count, open_count, flags,
    // event_nr, padding
    for word in [4, 0, 0, 0, 312, count, 0, flags, 0, 0_u32] {
        out.extend(word.to_ne_bytes());
    }
    out.extend([0; 8]); // dev
    out.extend(NAME.as_bytes());
    out.resize(HEADER, 0); // rest of name, uuid, padding
    if let Some((sectors, parameters)) = target {
        out.extend(0_u64.to_ne_bytes()); // sector_start
        out.extend(sectors.to_ne_bytes());
        out.extend([0; 8]); // status, next
        out.extend(b"verity\0\0\0\0\0\0\0\0\0\0");
        out.extend(parameters.as_bytes());
        // NUL, and the multiple of 8 that the kernel wants.
        out.resize((out.len() / 8 + 1) * 8, 0);
    }
    out.resize(out.len().saturating_add(room), 0);
    out
}

/// The text of the first target in the answer to a status command.
fn status(answer: &[u8]) -> Option<&str> {
    const TARGET: usize = 40;
    let text = answer.get(HEADER.checked_add(TARGET)?..)?;
    let end = text.iter().position(|b| *b == 0)?;
    std::str::from_utf8(text.get(..end)?)
        .ok()
        .map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Verity {
        Verity {
            data: "254:2".into(),
            hash: "254:3".into(),
            blocks: 7,
            root: [0xab; 32],
        }
    }

    #[test]
    fn table_has_the_parameters_of_the_kernel_documentation() {
        // verity.rst: version, data device, hash device, both block sizes, data blocks, first hash
        // block, algorithm, root, salt (`-` for none).
        let root = "ab".repeat(32);
        assert_eq!(
            demo().table(),
            format!("1 254:2 254:3 4096 4096 7 0 sha256 {root} -")
        );
    }

    #[test]
    fn load_message_has_the_layout_of_the_uapi_header() {
        let table = demo().table();
        let message = message(READ_ONLY, Some((56, &table)), 0);
        let word = |at: usize| u32::from_ne_bytes(message[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(16), word(20), word(28)), (4, 312, 1, 1));
        assert_eq!(&message[48..53], b"root\0");
        assert_eq!(message[312 + 8..312 + 16], 56_u64.to_ne_bytes());
        assert_eq!(&message[312 + 24..312 + 31], b"verity\0");
        assert_eq!(&message[352..352 + table.len()], table.as_bytes());
        assert_eq!(message[352 + table.len()], 0);
        assert_eq!(message.len() % 8, 0);
    }

    #[test]
    fn status_reads_the_first_target() {
        let mut answer = vec![0; 352];
        assert_eq!(status(&answer), None);
        answer.extend(b"V \0");
        assert_eq!(status(&answer), Some("V"));
        assert_eq!(status(&[]), None);
    }
}
