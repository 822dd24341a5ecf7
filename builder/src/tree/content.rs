//! File contents, held once however many paths share them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

use crate::store::Digest;

/// Immutable bytes of a file. Clones share the bytes, so a hard link costs nothing.
#[derive(Clone)]
pub(crate) struct Content(Arc<Shared>);

struct Shared {
    bytes: Vec<u8>,
    sha256: OnceLock<Digest>,
}

impl Content {
    /// Takes over `bytes` without copying them.
    pub(crate) fn new(mut bytes: Vec<u8>) -> Content {
        if bytes.capacity() - bytes.len() > bytes.len() / 8 {
            bytes.shrink_to_fit();
        }
        Content(Arc::new(Shared {
            bytes,
            sha256: OnceLock::new(),
        }))
    }

    /// As [`Content::new`] for bytes whose SHA-256 the caller has just computed.
    pub(crate) fn with_sha256(bytes: Vec<u8>, sha256: Digest) -> Content {
        Content(Arc::new(Shared {
            bytes,
            sha256: OnceLock::from(sha256),
        }))
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        // A `usize` is never wider than 64 bits on a supported target.
        u64::try_from(self.0.bytes.len()).unwrap_or(u64::MAX)
    }

    /// SHA-256 of the bytes, computed on first use.
    pub(crate) fn sha256(&self) -> Digest {
        *self
            .0
            .sha256
            .get_or_init(|| Digest(Sha256::digest(&self.0.bytes).into()))
    }

    /// A number that hard links share and different files do not, within one process.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether both are the same allocation, that is, hard links of one file.
    pub(crate) fn is_shared_with(&self, other: &Content) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Content) -> bool {
        self.is_shared_with(other) || self.0.bytes == other.0.bytes
    }
}

impl Eq for Content {}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_clones_share_bytes() {
        let a = Content::new(b"x".to_vec());
        let b = a.clone();
        assert!(a.is_shared_with(&b));
        assert!(!a.is_shared_with(&Content::new(b"x".to_vec())));
        assert_eq!(a, Content::new(b"x".to_vec()));
        assert_eq!(a.len(), 1);
    }
}
