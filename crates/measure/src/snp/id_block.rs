//! ID block and ID authentication information: which launch the owner of a guest agrees to, signed.
//!
//! The secure processor compares the ID block with the launch before the guest runs, and reports the digests of the keys that
//! signed it. Spec: AMD 56860, `SNP_LAUNCH_FINISH`, tables "ID block" (96 bytes) and "ID authentication information" (4096
//! bytes), chapter 10 (ECDSA P-384 with SHA-384). Integers are little-endian, and so are key and signature parts, 72 bytes
//! each. There are no private keys here: the bytes to be signed go out, signatures come in. Nothing checks a signature here.

use sha2::{Digest as _, Sha384};

use super::gctx::LaunchDigest;
use super::policy::GuestPolicy;
use crate::digest::Digest;

/// Size of the ID block in bytes.
pub const ID_BLOCK_SIZE: usize = 96;
/// Size of the ID authentication information in bytes.
pub const ID_AUTH_SIZE: usize = 4096;
/// Size of a public key in bytes, as it stands there.
pub const ID_KEY_SIZE: usize = 1028;
/// Size of a signature in bytes, as it stands there.
const SIGNATURE_SIZE: usize = 512;
/// Room for each part of a key or signature, 48 of which are used.
const PART: usize = 72;
/// ECDSA P-384 with SHA-384, as algorithm of a key; P-384, as curve.
const ALGORITHM: u32 = 1;
const CURVE: u32 = 2;

/// The launch that is agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdBlock {
    /// The launch digest that hardware must arrive at.
    pub launch_digest: LaunchDigest,
    /// Freely chosen, reported as it is.
    pub family_id: [u8; 16],
    /// Freely chosen, reported as it is.
    pub image_id: [u8; 16],
    /// Version of the guest's security, for verifiers that demand a least one.
    pub guest_svn: u32,
    /// The policy that the guest must have been started with.
    pub policy: GuestPolicy,
}

impl IdBlock {
    /// Returns the bytes that the ID key signs, whole.
    pub fn to_bytes(&self) -> [u8; ID_BLOCK_SIZE] {
        let mut bytes = Layout([0; ID_BLOCK_SIZE]);
        bytes.put(0x00, &self.launch_digest.0);
        bytes.put(0x30, &self.family_id);
        bytes.put(0x40, &self.image_id);
        bytes.put(0x50, &1_u32.to_le_bytes());
        bytes.put(0x54, &self.guest_svn.to_le_bytes());
        bytes.put(0x58, &self.policy.bits().to_le_bytes());
        bytes.0
    }
}

/// The public part of an ID key or author key: a point on P-384, big-endian as in SEC 1. That it is on the curve is the
/// caller's to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdKey {
    /// Coordinate x.
    pub x: [u8; 48],
    /// Coordinate y.
    pub y: [u8; 48],
}

impl IdKey {
    /// Returns the key as hardware takes it; the author key signs these bytes of the ID key.
    pub fn to_bytes(&self) -> [u8; ID_KEY_SIZE] {
        let mut bytes = Layout([0; ID_KEY_SIZE]);
        bytes.put(0, &CURVE.to_le_bytes());
        bytes.put(4, &little_endian(&self.x));
        bytes.put(4 + PART, &little_endian(&self.y));
        bytes.0
    }

    /// Returns `ID_KEY_DIGEST` or `AUTHOR_KEY_DIGEST` of the report: SHA-384 of the key's bytes.
    pub fn digest(&self) -> Digest {
        Digest::Sha384(Sha384::digest(self.to_bytes()).into())
    }
}

/// An ECDSA signature over P-384 with SHA-384, big-endian as in SEC 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdSignature {
    /// Part r.
    pub r: [u8; 48],
    /// Part s.
    pub s: [u8; 48],
}

impl IdSignature {
    fn to_bytes(self) -> [u8; SIGNATURE_SIZE] {
        let mut bytes = Layout([0; SIGNATURE_SIZE]);
        bytes.put(0, &little_endian(&self.r));
        bytes.put(PART, &little_endian(&self.s));
        bytes.0
    }
}

/// Who agrees: keys and signatures beside an ID block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdAuth {
    /// Signature of the ID key over [`IdBlock::to_bytes`].
    pub block_signature: IdSignature,
    /// The ID key.
    pub id_key: IdKey,
    /// Signature of the author key over [`IdKey::to_bytes`] of the ID key, and the author key, if there is one.
    pub author: Option<(IdSignature, IdKey)>,
}

impl IdAuth {
    /// Returns the page that the host hands over with the ID block. Without author key its algorithm is 0 and the launch must
    /// say that there is none.
    pub fn to_bytes(&self) -> [u8; ID_AUTH_SIZE] {
        let mut bytes = Layout([0; ID_AUTH_SIZE]);
        bytes.put(0x000, &ALGORITHM.to_le_bytes());
        bytes.put(0x040, &self.block_signature.to_bytes());
        bytes.put(0x240, &self.id_key.to_bytes());
        if let Some((signature, key)) = self.author {
            bytes.put(0x004, &ALGORITHM.to_le_bytes());
            bytes.put(0x680, &signature.to_bytes());
            bytes.put(0x880, &key.to_bytes());
        }
        bytes.0
    }
}

fn little_endian(part: &[u8; 48]) -> [u8; 48] {
    let mut bytes = *part;
    bytes.reverse();
    bytes
}

struct Layout<const N: usize>([u8; N]);

impl<const N: usize> Layout<N> {
    /// Writes `bytes` at `offset`; every caller writes inside.
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        let place = self.0.get_mut(offset..offset.saturating_add(bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    }
}
