//! GUIDs that are a function of what they name.
//!
//! Random GUIDs are a classic cause of disks that differ between two builds. Ours are RFC 9562 version 8 (vendor
//! specific) UUIDs made of the first 16 bytes of a SHA-256 over the recipe's name and the role, so that they are the
//! same in every build and differ between recipes.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A GUID, kept in the byte order of its text form (RFC 9562, big-endian).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Guid([u8; 16]);

/// Which object of an image a derived GUID names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The GPT itself.
    Disk,
    /// The EFI system partition.
    EspPartition,
    /// The partition that holds the root file system.
    RootPartition,
    /// The partition that holds the dm-verity hash tree.
    VerityPartition,
    /// The erofs superblock.
    RootFilesystem,
    /// The footer of the fixed VHD.
    Vhd,
}

impl Role {
    fn label(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::EspPartition => "esp-partition",
            Self::RootPartition => "root-partition",
            Self::VerityPartition => "verity-partition",
            Self::RootFilesystem => "root-filesystem",
            Self::Vhd => "vhd",
        }
    }
}

impl Guid {
    /// EFI system partition (UEFI 2.10, table 5.7).
    pub(crate) const TYPE_ESP: Self = Self::new(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b);
    /// Root partition, x86-64 (UAPI discoverable partitions specification).
    pub(crate) const TYPE_ROOT: Self = Self::new(0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709);
    /// Root verity partition, x86-64 (UAPI discoverable partitions specification).
    pub(crate) const TYPE_ROOT_VERITY: Self = Self::new(0x2c73_57ed_ebd2_46d9_aec1_23d4_37ec_2bf5);

    /// A GUID from its text form read as one big-endian number.
    pub(crate) const fn new(text_order: u128) -> Self {
        Self(text_order.to_be_bytes())
    }

    /// The GUID of `role` in images of the recipe called `recipe`.
    pub(crate) fn derive(recipe: &str, role: Role) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"cloister guid 1\0");
        hash.update(role.label());
        hash.update([0]);
        hash.update(recipe);
        let digest: [u8; 32] = hash.finalize().into();
        let mut bytes = [0; 16];
        bytes
            .iter_mut()
            .zip(digest)
            .for_each(|(to, from)| *to = from);
        let number = u128::from_be_bytes(bytes);
        let versioned = number & !(0xf << 76) | 0x8 << 76;
        Self::new(versioned & !(0x3 << 62) | 0x2 << 62)
    }

    /// The mixed-endian form of GPT and PE files: the first three fields little-endian.
    pub(crate) fn to_disk(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let [i, j, k, l, m, n, o, p] = rest;
        [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
    }

    /// The inverse of [`Guid::to_disk`] (which is its own inverse).
    pub(crate) fn from_disk(bytes: [u8; 16]) -> Self {
        Self(Self(bytes).to_disk())
    }

    /// A GUID from its bytes in the order of the text form, as erofs stores it.
    pub(crate) fn from_text_order(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes in the order of the text form, as VHD footers store it.
    pub(crate) fn to_text_order(self) -> [u8; 16] {
        self.0
    }

    /// A FAT volume serial number made of the first four bytes.
    pub(crate) fn serial(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Whether all bits are zero (an unused GPT entry).
    pub(crate) fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_type_prints_and_is_mixed_endian_on_disk() {
        assert_eq!(
            Guid::TYPE_ESP.to_string(),
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
        );
        let disk = Guid::TYPE_ESP.to_disk();
        assert_eq!(disk[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
        assert_eq!(Guid::from_disk(disk), Guid::TYPE_ESP);
    }

    #[test]
    fn derived_guids_are_stable_version_8_and_distinct() {
        // Golden: changing the derivation changes every disk that was ever published.
        let disk = Guid::derive("demo", Role::Disk).to_string();
        assert_eq!(disk, "6aadbee6-73b3-86b9-81b1-63c2905655f5");
        let root = Guid::derive("demo", Role::RootPartition).to_string();
        assert_ne!(disk, root);
        assert_ne!(root, Guid::derive("demo2", Role::RootPartition).to_string());
        assert_eq!(root.as_bytes()[14], b'8');
        assert!(matches!(root.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }
}
