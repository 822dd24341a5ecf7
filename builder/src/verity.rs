//! dm-verity hash tree: hash format 1, SHA-256, 4096-byte data and hash blocks, no salt, no superblock.
//!
//! Spec: Linux `Documentation/admin-guide/device-mapper/verity.rst`; the on-disk format is that of cryptsetup's
//! `veritysetup format --no-superblock --salt=-`. Each level is an array of 32-byte digests, 128 to a block, padded
//! with zeros; the hash device starts with the highest level. A single data block has no tree: its digest is the root.
//! Units: blocks of 4096 bytes.
//! Why unsalted and without a superblock: docs/adr (verity).

use std::io::{self, Read};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Bytes per data block and per hash block.
pub(crate) const BLOCK: usize = 4096;
const DIGEST: usize = 32;
/// Bytes read and hashed in parallel at once.
const CHUNK: usize = 1024 * BLOCK;

/// The hash tree of a data device and what identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HashTree {
    /// Root digest, 32 bytes: goes on the kernel command line.
    pub(crate) root: [u8; 32],
    /// Contents of the hash device, whole blocks, highest level first; empty for one data block.
    pub(crate) tree: Vec<u8>,
    /// Number of data blocks.
    pub(crate) data_blocks: u64,
    /// Plain SHA-256 of the data, taken in the same pass.
    pub(crate) data_sha256: [u8; 32],
}

/// Why no hash tree could be made.
#[derive(Debug, Error)]
pub(crate) enum VerityError {
    /// The data could not be read.
    #[error("root image could not be read")]
    Read(#[source] io::Error),
    /// The data is not a whole number of blocks, or empty.
    #[error("root image has {0} bytes, wanted a positive multiple of 4096")]
    Length(u64),
}

impl HashTree {
    /// Reads `data` to its end once and hashes it on all cores of the current rayon pool.
    ///
    /// Memory: 4 MiB of data plus 32 bytes per data block.
    pub(crate) fn of(mut data: impl Read) -> Result<Self, VerityError> {
        let mut whole = Sha256::new();
        let mut leaves = Vec::new();
        let mut length = 0_u64;
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            chunk.clear();
            let read = data
                .by_ref()
                .take(CHUNK as u64)
                .read_to_end(&mut chunk)
                .map_err(VerityError::Read)?;
            if read == 0 {
                break;
            }
            length += read as u64;
            if read % BLOCK != 0 {
                return Err(VerityError::Length(length));
            }
            let (digests, ()) = rayon::join(|| level_above(&chunk), || whole.update(&chunk));
            leaves.extend(digests);
        }
        if length == 0 {
            return Err(VerityError::Length(0));
        }
        let (root, tree) = climb(leaves);
        Ok(Self {
            root,
            tree,
            data_blocks: length / BLOCK as u64,
            data_sha256: whole.finalize().into(),
        })
    }

    /// Length of the data in bytes.
    pub(crate) fn data_size(&self) -> u64 {
        self.data_blocks * BLOCK as u64
    }

    /// Of each run of `blocks` data blocks, in order: whether anything in it is not zero. The last one may be shorter.
    pub(crate) fn has_data(&self, blocks: usize) -> Vec<bool> {
        let zero = block_digest(&[]);
        let digests =
            usize::try_from(self.data_blocks).map_or(usize::MAX, |blocks| blocks * DIGEST);
        // Leaves are the last level, padded to whole blocks.
        let level = digests.next_multiple_of(BLOCK);
        let leaves = match self.tree.len().checked_sub(level) {
            Some(at) => self.tree.get(at..).unwrap_or_default(),
            None => self.root.as_slice(),
        };
        let leaves = leaves.get(..digests).unwrap_or(leaves);
        let runs = leaves.chunks(blocks.max(1) * DIGEST);
        runs.map(|run| run.chunks(DIGEST).any(|leaf| leaf != zero))
            .collect()
    }
}

/// The digests of all blocks of `level`, in order. A last, shorter block counts as padded with zeros.
fn level_above(level: &[u8]) -> Vec<u8> {
    level
        .par_chunks(BLOCK)
        .map(block_digest)
        .flatten_iter()
        .collect()
}

fn block_digest(block: &[u8]) -> [u8; DIGEST] {
    let mut hash = Sha256::new();
    hash.update(block);
    hash.update(vec![0; BLOCK.saturating_sub(block.len())]);
    hash.finalize().into()
}

/// Hashes level by level up to one digest; returns it and the levels, highest first.
fn climb(leaves: Vec<u8>) -> ([u8; DIGEST], Vec<u8>) {
    let mut levels = Vec::new();
    let mut digests = leaves;
    while digests.len() > DIGEST {
        let above = level_above(&digests);
        digests.resize(digests.len().next_multiple_of(BLOCK), 0);
        levels.push(digests);
        digests = above;
    }
    let root = digests.first_chunk::<DIGEST>().copied().unwrap_or_default();
    (root, levels.into_iter().rev().flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Deterministic data that differs from block to block.
    fn data(blocks: usize) -> Vec<u8> {
        (0..blocks * BLOCK)
            .map(|at| u8::try_from((at / 7 + at / BLOCK * 13) % 251).unwrap())
            .collect()
    }

    #[test]
    fn one_block_has_no_tree_and_its_digest_is_the_root() {
        let tree = HashTree::of(&*data(1)).unwrap();
        assert!(tree.tree.is_empty());
        assert_eq!(tree.root, <[u8; 32]>::from(Sha256::digest(data(1))));
        assert_eq!(tree.root, tree.data_sha256);
    }

    #[test]
    fn runs_of_zeros_are_known_from_the_tree() {
        for (blocks, run) in [
            (1, 16),
            (16, 16),
            (17, 16),
            (129, 16),
            (128 * 128 + 5, 16),
            (40, 1),
        ] {
            for holes in [vec![], vec![0], vec![blocks / 2], (0..blocks).collect()] {
                let mut bytes = data(blocks);
                for hole in &holes {
                    bytes[hole * BLOCK..][..BLOCK].fill(0);
                }
                let pieces = bytes.chunks(run * BLOCK);
                let wanted: Vec<bool> = pieces.map(|piece| piece.iter().any(|b| *b != 0)).collect();
                let tree = HashTree::of(bytes.as_slice()).unwrap();
                assert_eq!(tree.has_data(run), wanted, "{blocks} {run} {holes:?}");
            }
        }
    }

    #[test]
    fn partial_blocks_and_empty_data_are_refused() {
        assert!(matches!(
            HashTree::of(&[0; 4097][..]),
            Err(VerityError::Length(4097))
        ));
        assert!(matches!(HashTree::of(&[][..]), Err(VerityError::Length(0))));
    }

    /// Oracle: cryptsetup's own implementation; covers one, two and three levels and both sides of each step.
    #[test]
    fn tree_and_root_equal_veritysetup() {
        if Command::new("veritysetup")
            .arg("--version")
            .output()
            .is_err()
        {
            assert!(
                std::env::var_os("CI").is_none(),
                "veritysetup is not installed"
            );
            println!("skipped: veritysetup is not installed");
            return;
        }
        for blocks in [2, 127, 128, 129, 128 * 128, 128 * 128 + 1] {
            let dir = tempfile::tempdir().unwrap();
            let (data_path, hash_path) = (dir.path().join("data"), dir.path().join("hash"));
            std::fs::write(&data_path, data(blocks)).unwrap();
            let output = Command::new("veritysetup")
                .args([
                    "format",
                    "--no-superblock",
                    "--salt=-",
                    "--hash=sha256",
                    "--format=1",
                ])
                .args(["--data-block-size=4096", "--hash-block-size=4096"])
                .args([&data_path, &hash_path])
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            let wanted = text
                .lines()
                .find_map(|line| line.strip_prefix("Root hash:"))
                .unwrap()
                .trim();
            let ours = HashTree::of(&*data(blocks)).unwrap();
            assert_eq!(hex::encode(ours.root), wanted, "{blocks} blocks");
            assert_eq!(ours.data_blocks, blocks as u64);
            assert!(
                ours.tree == std::fs::read(&hash_path).unwrap(),
                "tree of {blocks} blocks"
            );
        }
    }
}
