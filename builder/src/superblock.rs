//! The superblock of an erofs image, read only.
//!
//! Spec: Linux `fs/erofs/erofs_fs.h`, `struct erofs_super_block`, at byte 1024, little-endian.
//! Units: blocks of `block_size` bytes, times in seconds since 1970.

use thiserror::Error;

use crate::guid::Guid;
use crate::le::{array_at, u8_at, u16_at, u32_at, u64_at};

const SUPERBLOCK: usize = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;

/// What the superblock of an erofs image says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Bytes per block.
    pub(crate) block_size: u32,
    /// Blocks of the file system.
    pub(crate) blocks: u32,
    /// Number of inodes.
    pub(crate) inodes: u64,
    /// Time stamp of the file system, seconds since 1970.
    pub(crate) build_time: u64,
    /// UUID.
    pub(crate) uuid: Guid,
    /// Volume name.
    pub(crate) name: String,
    /// Features that a reader may ignore.
    pub(crate) compatible: u32,
    /// Features that a reader must know.
    pub(crate) incompatible: u32,
    /// Compression algorithms as a bit set (bit 0 lz4, 1 lzma, 2 deflate, 3 zstd).
    pub(crate) algorithms: u16,
}

/// Why bytes are not an erofs image.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum SuperblockError {
    /// Too short.
    #[error("erofs superblock is truncated")]
    Truncated,
    /// Wrong magic.
    #[error("no erofs magic at byte 1024")]
    Magic,
    /// A block size that no erofs has.
    #[error("erofs block size is 2^{0}")]
    BlockSize(u8),
}

impl Superblock {
    /// Reads the superblock of the image that begins with `bytes` (1152 of them are enough).
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SuperblockError> {
        let block = bytes.get(SUPERBLOCK..).ok_or(SuperblockError::Truncated)?;
        if u32_at(block, 0).ok_or(SuperblockError::Truncated)? != MAGIC {
            return Err(SuperblockError::Magic);
        }
        Self::fields(block).ok_or(SuperblockError::Truncated)?
    }

    fn fields(block: &[u8]) -> Option<Result<Self, SuperblockError>> {
        let bits = u8_at(block, 12)?;
        let Some(block_size) = 1_u32
            .checked_shl(u32::from(bits))
            .filter(|_| (9..=16).contains(&bits))
        else {
            return Some(Err(SuperblockError::BlockSize(bits)));
        };
        let name: [u8; 16] = array_at(block, 64)?;
        Some(Ok(Self {
            block_size,
            blocks: u32_at(block, 36)?,
            inodes: u64_at(block, 16)?,
            build_time: u64_at(block, 24)?,
            uuid: Guid::from_text_order(array_at(block, 48)?),
            name: String::from_utf8_lossy(&name)
                .trim_end_matches('\0')
                .to_owned(),
            compatible: u32_at(block, 8)?,
            incompatible: u32_at(block, 80)?,
            algorithms: u16_at(block, 84)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblock_is_read_and_damage_named() {
        let mut image = vec![0; 1152];
        let mut set =
            |at: usize, bytes: &[u8]| crate::le::put(&mut image, SUPERBLOCK + at, bytes).unwrap();
        set(0, &MAGIC.to_le_bytes());
        set(12, &[12]);
        set(16, &7_u64.to_le_bytes());
        set(24, &1_763_000_000_u64.to_le_bytes());
        set(36, &99_u32.to_le_bytes());
        set(48, &[0xab; 16]);
        set(64, b"root");
        let superblock = Superblock::parse(&image).unwrap();
        assert_eq!(
            (superblock.block_size, superblock.blocks, superblock.inodes),
            (4096, 99, 7)
        );
        assert_eq!(
            superblock.uuid.to_string(),
            "abababab-abab-abab-abab-abababababab"
        );
        assert_eq!(
            (superblock.build_time, superblock.name.as_str()),
            (1_763_000_000, "root")
        );
        assert_eq!(
            Superblock::parse(&image[..1100]),
            Err(SuperblockError::Truncated)
        );
        assert_eq!(
            Superblock::parse(&image[..10]),
            Err(SuperblockError::Truncated)
        );
        image[SUPERBLOCK + 12] = 40;
        assert_eq!(
            Superblock::parse(&image),
            Err(SuperblockError::BlockSize(40))
        );
        image[SUPERBLOCK] = 0;
        assert_eq!(Superblock::parse(&image), Err(SuperblockError::Magic));
    }
}
