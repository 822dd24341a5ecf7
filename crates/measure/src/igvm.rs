//! IGVM files: one file with every page, register and parameter of a launch, here for SEV-SNP.
//!
//! Two digests are right for one file: a page without data is launched as a NORMAL page of zeros (the format's own
//! rule, and QEMU's) or as a ZERO page ([`ZeroPages`]). KVM launches a file as written only under the conditions that
//! [`KvmFinding`] names; with a finding, KVM reports another digest than both.
//!
//! Spec: IGVM format as in crate `igvm_defs` 0.5.0; AMD 56860, `SNP_LAUNCH_UPDATE`. Units: addresses and lengths in bytes,
//! pages of 4 KiB, integers little-endian. Parsing is done by crate `igvm` 0.5.0. That crate is written for files of one's own:
//! arithmetic overflow, a division by zero, slices and assertions panic on hostile bytes. [`guard`] refuses such bytes first.
//! Not covered: pages of 2 MiB, other platforms than SEV-SNP, signatures of ID blocks.

mod guard;
mod kvm;
mod snp;

use igvm::{
    IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader, IgvmPlatformHeader, IsolationType,
};
use igvm_defs::{IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY, IgvmPlatformType};
use thiserror::Error;
use zerocopy::IntoBytes as _;

use crate::digest::{Bank, Digest};

pub use guard::HeaderFault;
pub use kvm::KvmFinding;
pub use snp::ZeroPages;

/// Largest file that is read, in bytes.
pub const MAX_FILE: usize = 512 << 20;
/// Pages that one launch may ask for: 16 GiB of them.
const MAX_PAGES: u64 = 1 << 22;

/// Why bytes are not an IGVM file that can be measured for SEV-SNP.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IgvmError {
    /// Larger than [`MAX_FILE`].
    #[error("IGVM file has {found} bytes, at most {MAX_FILE} are read")]
    TooLarge {
        /// Size of the file.
        found: usize,
    },
    /// A field of the fixed header.
    #[error("IGVM fixed header has {what} {found:#x}, wanted {wanted:#x}")]
    Fixed {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The value, or the most, that is read here.
        wanted: u64,
    },
    /// A variable header that contradicts itself or the file.
    #[error("IGVM header {kind:#x} at byte {offset}: {fault}")]
    Header {
        /// Its type.
        kind: u32,
        /// Where it starts in the file.
        offset: usize,
        /// What is wrong.
        fault: HeaderFault,
    },
    /// The `igvm` crate refused the file.
    #[error("IGVM file is not valid: {reason}")]
    Invalid {
        /// The crate's words.
        reason: String,
    },
    /// The file is for other platforms.
    #[error("IGVM file is not for SEV-SNP")]
    NotSnp,
    /// A page that is larger than those measured here.
    #[error("IGVM file has a page of 2 MiB at {gpa:#x}, and only 4 KiB pages are measured")]
    LargePage {
        /// Guest physical address.
        gpa: u64,
    },
    /// More pages than any launch has.
    #[error("IGVM file asks for more than {MAX_PAGES} pages")]
    TooManyPages,
}

/// Facts of an ID block in the file. The secure processor checks it at launch; its signature is not checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdBlock {
    /// Launch digest that the block demands.
    pub launch_digest: Digest,
    /// Family, 16 bytes.
    pub family_id: [u8; 16],
    /// Image, 16 bytes.
    pub image_id: [u8; 16],
    /// Version of the block.
    pub version: u32,
    /// Security version of the guest, in the report.
    pub guest_svn: u32,
    /// SHA-384 of the ID key, as in the report.
    pub id_key_digest: Digest,
    /// SHA-384 of the author key, where one signed the ID key.
    pub author_key_digest: Option<Digest>,
}

/// An IGVM file as far as a SEV-SNP launch depends on it.
#[derive(Debug)]
pub struct Igvm {
    file: IgvmFile,
    mask: u32,
    pages: u64,
}

impl Igvm {
    /// Parses a whole file.
    ///
    /// # Errors
    /// See [`IgvmError`].
    pub fn parse(bytes: &[u8]) -> Result<Igvm, IgvmError> {
        guard::check(bytes)?;
        let file = IgvmFile::new_from_binary(bytes, Some(IsolationType::Snp))
            .map_err(|error| invalid(&error))?;
        let mask =
            file.platforms()
                .iter()
                .find_map(|IgvmPlatformHeader::SupportedPlatform(platform)| {
                    (platform.platform_type == IgvmPlatformType::SEV_SNP)
                        .then_some(platform.compatibility_mask)
                });
        let mut igvm = Igvm {
            mask: mask.ok_or(IgvmError::NotSnp)?,
            file,
            pages: 0,
        };
        igvm.pages = igvm.count_pages()?;
        Ok(igvm)
    }

    /// Returns how many pages a launch has at most.
    pub fn page_count(&self) -> u64 {
        self.pages
    }

    /// Returns the guest policy, where the file carries one. It is not in the launch digest.
    pub fn policy(&self) -> Option<u64> {
        self.file
            .initializations()
            .iter()
            .find_map(|header| match header {
                IgvmInitializationHeader::GuestPolicy {
                    policy,
                    compatibility_mask,
                } => (compatibility_mask & self.mask != 0).then_some(*policy),
                _ => None,
            })
    }

    /// Returns the ID block, where the file carries one; the last counts.
    pub fn id_block(&self) -> Option<IdBlock> {
        self.directives()
            .rev()
            .find_map(|directive| match directive {
                IgvmDirectiveHeader::SnpIdBlock {
                    author_key_enabled,
                    ld,
                    family_id,
                    image_id,
                    version,
                    guest_svn,
                    id_public_key,
                    author_public_key,
                    ..
                } => Some(IdBlock {
                    launch_digest: Digest::Sha384(*ld),
                    family_id: *family_id,
                    image_id: *image_id,
                    version: *version,
                    guest_svn: *guest_svn,
                    id_key_digest: key_digest(id_public_key),
                    author_key_digest: (*author_key_enabled != 0)
                        .then(|| key_digest(author_public_key)),
                }),
                _ => None,
            })
    }

    /// Returns the directives for SEV-SNP in file order.
    fn directives(&self) -> impl DoubleEndedIterator<Item = &IgvmDirectiveHeader> {
        let applies = |directive: &&IgvmDirectiveHeader| {
            directive
                .compatibility_mask()
                .is_none_or(|mask| mask & self.mask != 0)
        };
        self.file.directives().iter().filter(applies)
    }
}

/// The crate's error with its causes; its own text leaves them out.
fn invalid(error: &igvm::Error) -> IgvmError {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        reason = format!("{reason}: {inner}");
        cause = inner.source();
    }
    IgvmError::Invalid { reason }
}

/// Digest of a key as in reports: 1028 bytes of curve, x and y. The file has four reserved bytes behind the curve.
fn key_digest(key: &IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY) -> Digest {
    let used = 4 + key.qx.len() + key.qy.len();
    let padding = [0; 1028];
    Bank::Sha384.hash(&[
        key.curve.as_bytes(),
        &key.qx,
        &key.qy,
        padding.get(used..).unwrap_or_default(),
    ])
}

#[cfg(test)]
mod tests;
