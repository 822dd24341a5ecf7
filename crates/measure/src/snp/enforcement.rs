//! Whether firmware compares kernel, initrd and command line with the hashes that the launch digest covers.
//!
//! The hash page alone does not bind a kernel: firmware must hash what the VMM hands over and compare. In edk2 that is
//! `OvmfPkg/AmdSev/BlobVerifierLibSevHashes`, linked into the driver that fetches the kernel; it carries the GUIDs of the
//! three entries of the hash table to find them. Since edk2 4b1711d431 (2025-09-11) plain OVMF builds have the hash page
//! too, but link `BlobVerifierLibNull`, which compares nothing.
//!
//! The check finds the code, it does not run it. Not covered: firmware that contains the verifier and never calls it, and
//! AmdSev builds before 2024-06 (edk2 pull request 5769), whose verifier reported a mismatch without halting.

use std::ops::ControlFlow;

use memchr::memmem::Finder;
use thiserror::Error;

use super::Ovmf;
use super::hashes::{COMMAND_LINE, INITRD, KERNEL};
use super::volume::{Piece, Place, VolumeError, walk};
use crate::ovmf_table::guid;

/// Why firmware must not be trusted with a measured kernel.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnforcementError {
    /// No verifier: the launch digest would cover a kernel that nobody compares.
    #[error(
        "firmware does not verify kernel hashes: none of its {executables} executables knows the hash table, so it would \
         boot any kernel, initrd and command line, whatever the launch digest says"
    )]
    NotEnforced {
        /// Executables that were searched.
        executables: usize,
    },
    /// No verifier in what can be read, but there is more.
    #[error(
        "firmware may not verify kernel hashes: none of the {executables} executables that can be read knows the hash \
         table, and the section at {place} is packed in a way that is not read here ({how})"
    )]
    Closed {
        /// Executables that were searched.
        executables: usize,
        /// The section.
        place: Place,
        /// How it is packed.
        how: String,
    },
    /// The firmware's volumes are damaged.
    #[error("cannot tell whether firmware verifies kernel hashes")]
    Volume(#[from] VolumeError),
}

/// Checks that `image`, a whole firmware, contains the verifier of kernel hashes: one executable with the GUIDs of all
/// three entries of the hash table. [`Ovmf::check_enforcement`] is to be called before [`launch_digests`](super::launch_digests) with a kernel.
///
/// # Errors
/// See [`EnforcementError`].
pub fn check_enforcement(image: &[u8]) -> Result<(), EnforcementError> {
    let names = [COMMAND_LINE, INITRD, KERNEL].map(guid);
    let mut search = Search {
        entries: names.each_ref().map(|name| (Finder::new(name), false)),
        window: Vec::new(),
    };
    let Some(seen) = walk(image, &mut |piece| search.see(piece))? else {
        return Ok(());
    };
    let executables = seen.executables;
    Err(match seen.closed {
        None => EnforcementError::NotEnforced { executables },
        Some((place, how)) => EnforcementError::Closed {
            executables,
            place,
            how,
        },
    })
}

impl Ovmf {
    /// Checks that firmware parsed from `image` may be trusted with a measured kernel: [`check_enforcement`], where it has
    /// a page of kernel hashes. Without one there is no digest over a kernel, which the launch says in its own words.
    ///
    /// # Errors
    /// See [`EnforcementError`].
    pub fn check_enforcement(&self, image: &[u8]) -> Result<(), EnforcementError> {
        match self.has_hash_page() {
            true => check_enforcement(image),
            false => Ok(()),
        }
    }
}

/// Looks for the GUIDs of all entries in one executable.
struct Search<'n> {
    entries: [(Finder<'n>, bool); 3],
    /// The bytes at hand, after the last of those before them: a GUID may lie across.
    window: Vec<u8>,
}

impl Search<'_> {
    fn see(&mut self, piece: Piece<'_>) -> ControlFlow<()> {
        let bytes = match piece {
            Piece::Executable => {
                self.window.clear();
                self.entries
                    .iter_mut()
                    .for_each(|(_, found)| *found = false);
                return ControlFlow::Continue(());
            }
            Piece::Bytes(bytes) => bytes,
        };
        let before = self.window.len().saturating_sub(15);
        self.window.drain(..before);
        self.window.extend_from_slice(bytes);
        for (name, found) in &mut self.entries {
            *found = *found || name.find(&self.window).is_some();
        }
        match self.entries.iter().all(|(_, found)| *found) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
