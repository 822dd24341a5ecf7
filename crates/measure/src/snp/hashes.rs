//! The table of hashes through which kernel, initrd and command line enter the launch digest.
//!
//! Source: QEMU `target/i386/sev.c` (`sev_add_kernel_loader_hashes`); edk2
//! `OvmfPkg/AmdSev/BlobVerifierLibSevHashes` reads it. 168 bytes padded to 176.

use sha2::{Digest as _, Sha256};

use crate::ovmf_table::guid;

/// GUIDs of the table and its entries, in the order of the table.
const TABLE: &str = "9438d606-4f22-4cc9-b479-a793d411fd21";
pub(super) const COMMAND_LINE: &str = "97d02dd8-bd20-4c94-aa78-e7714d36ab2a";
pub(super) const INITRD: &str = "44baf731-3a2f-4bd7-9af1-41e29169781d";
pub(super) const KERNEL: &str = "4de79437-abd2-427f-b835-d5b172d2045b";
/// Size of the table, and of each of its entries.
const TABLE_SIZE: u16 = 168;
const ENTRY_SIZE: u16 = 50;
/// Size of the table with padding.
pub(super) const PADDED_SIZE: usize = 176;

/// SHA-256 of what QEMU hands to the firmware at direct boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelHashes {
    /// Of the kernel file.
    pub kernel: [u8; 32],
    /// Of the initrd file; without initrd, of nothing.
    pub initrd: [u8; 32],
    /// Of the command line and its terminating NUL.
    pub command_line: [u8; 32],
}

impl KernelHashes {
    /// Takes the hashes of the files and the command line itself, as given to `-append`. It is hashed as it
    /// is: white space counts.
    pub fn new(kernel: [u8; 32], initrd: Option<[u8; 32]>, command_line: &[u8]) -> KernelHashes {
        let hasher = Sha256::new().chain_update(command_line).chain_update([0]);
        KernelHashes {
            kernel,
            initrd: initrd.unwrap_or_else(|| Sha256::digest([]).into()),
            command_line: hasher.finalize().into(),
        }
    }

    /// Returns the table as it lies in guest memory, with padding.
    pub(super) fn table(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity(PADDED_SIZE);
        table.extend_from_slice(&guid(TABLE));
        table.extend_from_slice(&TABLE_SIZE.to_le_bytes());
        for (name, hash) in [
            (COMMAND_LINE, &self.command_line),
            (INITRD, &self.initrd),
            (KERNEL, &self.kernel),
        ] {
            table.extend_from_slice(&guid(name));
            table.extend_from_slice(&ENTRY_SIZE.to_le_bytes());
            table.extend_from_slice(hash);
        }
        table.resize(PADDED_SIZE, 0);
        table
    }
}
