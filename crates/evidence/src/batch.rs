//! Merkle batches: one hardware report for many sessions.
//!
//! Spec: `docs/evidence-format.md`, section "Batch". `leaf = SHA-256(0x00 || binding)`,
//! `node = SHA-256(0x01 || left || right)`; an odd node at the end of a level moves up unchanged.
//! The report commits to the number of leaves and the root, so a proof has exactly one valid form.

use sha2::{Digest, Sha256, Sha512};

use crate::binding::{Binding, ReportData};
use crate::cbor::{CborError, Reader, Writer};
use crate::frame::Frame;

/// Most sessions that can share one report.
pub const MAX_LEAVES: u32 = 1024;

/// Longest proof: one sibling for each level of a tree of [`MAX_LEAVES`].
const MAX_SIBLINGS: usize = 10;

const LABEL: &str = "cloister-ra/1 batch";
const WHAT: &str = "batch section";
/// Bytes of a proof: ten siblings of 34 bytes and the heads.
const MAX_ENCODED: usize = 512;

/// A batch that cannot be made, or a proof that fits no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A batch has at least one and at most [`MAX_LEAVES`] sessions.
    #[error("a batch has 1 to {MAX_LEAVES} sessions, found {found}")]
    Size {
        /// Number of sessions.
        found: usize,
    },
    /// The index does not lie in the batch.
    #[error("session {index} does not lie in a batch of {count}")]
    Index {
        /// Index of the session, from zero.
        index: u32,
        /// Number of sessions.
        count: u32,
    },
    /// The path has another length than the tree demands.
    #[error("proof for session {index} of {count} has {found} siblings, wanted {wanted}")]
    Siblings {
        /// Index of the session, from zero.
        index: u32,
        /// Number of sessions.
        count: u32,
        /// Number of siblings that the tree demands.
        wanted: usize,
        /// Number of siblings in the proof.
        found: usize,
    },
}

/// The Merkle tree over the bindings of a batch.
#[derive(Debug, Clone)]
pub struct Batch {
    count: u32,
    /// Levels from the leaves up to the one below the root.
    levels: Vec<Vec<[u8; 32]>>,
    root: [u8; 32],
}

impl Batch {
    /// Builds the tree over `bindings`, in their order.
    ///
    /// # Errors
    /// [`BatchError::Size`] for none or more than [`MAX_LEAVES`] bindings.
    pub fn new(bindings: &[Binding]) -> Result<Self, BatchError> {
        let refused = BatchError::Size {
            found: bindings.len(),
        };
        let count = u32::try_from(bindings.len())
            .ok()
            .filter(|count| (1..=MAX_LEAVES).contains(count))
            .ok_or(refused)?;
        let mut level: Vec<_> = bindings.iter().map(leaf).collect();
        let mut levels = Vec::new();
        let root = loop {
            if let [root] = level.as_slice() {
                break *root;
            }
            let (pairs, alone) = level.as_chunks::<2>();
            let above = pairs.iter().map(|[left, right]| node(left, right));
            let above = above.chain(alone.iter().copied()).collect();
            levels.push(core::mem::replace(&mut level, above));
        };
        Ok(Self {
            count,
            levels,
            root,
        })
    }

    /// What the hardware signs for this batch.
    pub fn report_data(&self) -> ReportData {
        report_data(self.count, &self.root)
    }

    /// The proof that session `index` is in the batch.
    ///
    /// # Errors
    /// [`BatchError::Index`] when there is no such session.
    pub fn proof(&self, index: u32) -> Result<BatchProof, BatchError> {
        let count = self.count;
        if index >= count {
            return Err(BatchError::Index { index, count });
        }
        let mut position = usize::try_from(index).unwrap_or(usize::MAX);
        let mut siblings = Vec::new();
        for level in &self.levels {
            siblings.extend(level.get(position ^ 1));
            position /= 2;
        }
        Ok(BatchProof {
            index,
            count,
            siblings,
        })
    }
}

/// The `batch` section: where a session stands in the batch, and the path to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchProof {
    /// Index of the session, from zero.
    pub index: u32,
    /// Number of sessions in the batch.
    pub count: u32,
    /// Siblings from the leaf upwards; levels where the node moved up alone have none.
    pub siblings: Vec<[u8; 32]>,
}

impl BatchProof {
    /// The report data that a report over this batch must carry if `binding` is in it.
    ///
    /// # Errors
    /// When index, count and number of siblings fit no tree.
    pub fn report_data(&self, binding: &Binding) -> Result<ReportData, BatchError> {
        let Self { index, count, .. } = *self;
        if count == 0 || count > MAX_LEAVES {
            return Err(BatchError::Size {
                found: usize::try_from(count).unwrap_or(usize::MAX),
            });
        }
        if index >= count {
            return Err(BatchError::Index { index, count });
        }
        let sides = sides(index, count);
        if sides.len() != self.siblings.len() {
            let (wanted, found) = (sides.len(), self.siblings.len());
            return Err(BatchError::Siblings {
                index,
                count,
                wanted,
                found,
            });
        }
        let mut hash = leaf(binding);
        for (side, sibling) in sides.iter().zip(&self.siblings) {
            hash = match side {
                Side::Left => node(&hash, sibling),
                Side::Right => node(sibling, &hash),
            };
        }
        Ok(report_data(count, &hash))
    }

    /// The CBOR of the section: `{1: index, 2: count, 3: [siblings]}`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer
            .map(3)
            .uint(1)
            .uint(self.index.into())
            .uint(2)
            .uint(self.count.into());
        writer.uint(3).array(self.siblings.len());
        for sibling in &self.siblings {
            writer.bytes(sibling);
        }
        writer.finish()
    }

    /// Reads the CBOR of the section.
    ///
    /// # Errors
    /// When `input` is not the deterministic encoding of a proof within the limits.
    pub fn decode(input: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(WHAT, input, MAX_ENCODED)?;
        reader.map(3)?;
        reader.exact_uint(1, "key 1 (index)")?;
        let index = reader.uint()?;
        reader.exact_uint(2, "key 2 (count)")?;
        let count = reader.uint()?;
        reader.exact_uint(3, "key 3 (siblings)")?;
        let siblings = (0..reader.array_of(MAX_SIBLINGS)?)
            .map(|_| reader.digest())
            .collect::<Result<_, _>>()?;
        let proof = Self {
            index,
            count,
            siblings,
        };
        reader.finish(&proof.encode())?;
        Ok(proof)
    }
}

/// On which side of its sibling a node stands.
enum Side {
    Left,
    Right,
}

/// The sides of a leaf's path from the bottom, without the levels where it has no sibling.
fn sides(index: u32, count: u32) -> Vec<Side> {
    let (mut position, mut width) = (index, count);
    let mut sides = Vec::new();
    while width > 1 {
        if position % 2 == 1 {
            sides.push(Side::Right);
        } else if position + 1 < width {
            sides.push(Side::Left);
        }
        position /= 2;
        width = width.div_ceil(2);
    }
    sides
}

fn leaf(binding: &Binding) -> [u8; 32] {
    Sha256::new()
        .chain_update([0])
        .chain_update(binding.as_bytes())
        .finalize()
        .into()
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

fn report_data(count: u32, root: &[u8; 32]) -> ReportData {
    ReportData(
        Frame::<Sha512>::new(LABEL)
            .array(&count.to_be_bytes())
            .array(root)
            .finish(),
    )
}
