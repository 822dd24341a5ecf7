//! The launch digest chain the secure processor keeps in `GCTX.LD`.
//!
//! Spec: AMD 56860, `SNP_LAUNCH_UPDATE`, table `PAGE_INFO` (0x70 bytes, little-endian): 0x00 digest so far (48),
//! 0x30 contents (48), 0x60 length, 0x62 page type, 0x63 IMI flag, 0x64 to 0x66 VMPL3 to VMPL1 permissions, 0x67
//! reserved, 0x68 guest physical address. VMMs here use 0 for IMI and permissions.

use std::fmt;

use sha2::{Digest as _, Sha384};

use super::vmsa::PAGE_SIZE;
use crate::digest::Digest;

/// MEASUREMENT of an attestation report: 48 bytes of SHA-384.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaunchDigest(pub [u8; 48]);

impl From<LaunchDigest> for Digest {
    fn from(digest: LaunchDigest) -> Digest {
        Digest::Sha384(digest.0)
    }
}

impl fmt::Display for LaunchDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LaunchDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LaunchDigest({self})")
    }
}

/// How a page enters the launch digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageType {
    /// 1: contents are hashed.
    Normal,
    /// 2: a vCPU's save area; contents are hashed.
    Vmsa,
    /// 3: a page of zeros; only its place is hashed.
    Zero,
    /// 4: host-chosen contents; only its place is hashed.
    Unmeasured,
    /// 5: secrets from the secure processor; only its place is hashed.
    Secrets,
    /// 6: CPUID values; only its place is hashed.
    Cpuid,
}

impl PageType {
    fn code(self) -> u8 {
        match self {
            PageType::Normal => 1,
            PageType::Vmsa => 2,
            PageType::Zero => 3,
            PageType::Unmeasured => 4,
            PageType::Secrets => 5,
            PageType::Cpuid => 6,
        }
    }
}

impl fmt::Display for PageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PageType::Normal => "NORMAL",
            PageType::Vmsa => "VMSA",
            PageType::Zero => "ZERO",
            PageType::Unmeasured => "UNMEASURED",
            PageType::Secrets => "SECRETS",
            PageType::Cpuid => "CPUID",
        })
    }
}

/// SHA-384 of one page's contents, or zeros for page types without.
pub(crate) type Contents = [u8; 48];

/// Hashes the contents of one page.
pub(crate) fn contents(page: &[u8; PAGE_SIZE]) -> Contents {
    Sha384::digest(page).into()
}

/// A launch digest that is still being extended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gctx {
    digest: [u8; 48],
}

impl Gctx {
    /// Starts at zeros, as `SNP_LAUNCH_START` does.
    pub(crate) fn new() -> Gctx {
        Gctx { digest: [0; 48] }
    }

    /// Goes on from a digest that was computed before.
    pub(crate) fn resume(digest: LaunchDigest) -> Gctx {
        Gctx { digest: digest.0 }
    }

    /// Adds one page at guest physical address `gpa`.
    pub(crate) fn update(&mut self, page_type: PageType, gpa: u64, contents: &Contents) {
        let mut hasher = Sha384::new();
        hasher.update(self.digest);
        hasher.update(contents);
        hasher.update([0x70, 0, page_type.code(), 0, 0, 0, 0, 0]);
        hasher.update(gpa.to_le_bytes());
        self.digest = hasher.finalize().into();
    }

    /// Returns the digest so far.
    pub(crate) fn digest(&self) -> LaunchDigest {
        LaunchDigest(self.digest)
    }
}
