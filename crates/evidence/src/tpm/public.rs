//! `TPMT_PUBLIC` of an attestation key.

use sha2::{Digest, Sha256};

use super::{ALG_ECC, ALG_ECDSA, ALG_NULL, ALG_SHA256, Cursor, ECC_NIST_P256, RH_OWNER, TpmError};

/// `fixedTPM` (Part 2, table "Definition of (UINT32) TPMA_OBJECT Bits", like the next ones).
pub const FIXED_TPM: u32 = 1 << 1;
/// `fixedParent`.
pub const FIXED_PARENT: u32 = 1 << 4;
/// `sensitiveDataOrigin`.
pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
/// `restricted`.
pub const RESTRICTED: u32 = 1 << 16;
/// `sign`.
pub const SIGN: u32 = 1 << 18;
const USER_WITH_AUTH: u32 = 1 << 6;
const NO_DA: u32 = 1 << 10;

/// `objectAttributes` of Cloister's attestation key: made in the TPM, cannot leave it, signs only what
/// the TPM generated; usable with its (empty) authorisation and outside dictionary-attack lockout.
pub const AK_ATTRIBUTES: u32 =
    FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | NO_DA | RESTRICTED | SIGN;

const WHAT: &str = "TPMT_PUBLIC";
const MAX_POLICY: usize = 64;

/// The public area of an ECDSA P-256 key that signs SHA-256 digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationKey {
    /// `objectAttributes`.
    pub attributes: u32,
    /// `authPolicy`, empty or a digest.
    pub auth_policy: Vec<u8>,
    /// Affine x coordinate, 32 bytes big-endian.
    pub x: [u8; 32],
    /// Affine y coordinate, 32 bytes big-endian.
    pub y: [u8; 32],
    name: [u8; 34],
}

impl AttestationKey {
    /// Parses `TPMT_PUBLIC` (table "Definition of TPMT_PUBLIC Structure") with `TPMS_ECC_PARMS` and
    /// `TPMS_ECC_POINT`. Type ECC, name algorithm SHA-256, no symmetric cipher, scheme ECDSA with
    /// SHA-256, curve P-256 and no KDF are the only values accepted.
    ///
    /// # Errors
    /// When `input` is anything but one such public area.
    pub fn parse(input: &[u8]) -> Result<Self, TpmError> {
        let mut cursor = Cursor::new(WHAT, input)?;
        cursor.exact("type", ALG_ECC)?;
        cursor.exact("nameAlg", ALG_SHA256)?;
        let attributes = cursor.u32("objectAttributes")?;
        let auth_policy = cursor.sized("authPolicy", MAX_POLICY)?.to_owned();
        cursor.exact("parameters.symmetric.algorithm", ALG_NULL)?;
        cursor.exact("parameters.scheme.scheme", ALG_ECDSA)?;
        cursor.exact("parameters.scheme.details.hashAlg", ALG_SHA256)?;
        cursor.exact("parameters.curveID", ECC_NIST_P256)?;
        cursor.exact("parameters.kdf.scheme", ALG_NULL)?;
        let x = cursor.coordinate("unique.x")?;
        let y = cursor.coordinate("unique.y")?;
        cursor.finish()?;
        Ok(Self {
            attributes,
            auth_policy,
            x,
            y,
            name: name(input),
        })
    }

    /// The key's name: `nameAlg` and the digest of the public area (Part 1, "Names").
    pub fn name(&self) -> &[u8; 34] {
        &self.name
    }

    /// The qualified name that a quote shows if this is a primary key of the owner hierarchy:
    /// `nameAlg` and the digest of `TPM_RH_OWNER` and the name (Part 1, "Qualified Names").
    pub fn owner_qualified_name(&self) -> [u8; 34] {
        let digest = Sha256::new()
            .chain_update(RH_OWNER.to_be_bytes())
            .chain_update(self.name);
        with_algorithm(digest.finalize().into())
    }
}

/// The `TPMT_PUBLIC` template for `TPM2_CreatePrimary` in the owner hierarchy that gives Cloister's
/// attestation key.
pub fn ak_template() -> Vec<u8> {
    let mut template = Vec::new();
    template.extend(ALG_ECC.to_be_bytes());
    template.extend(ALG_SHA256.to_be_bytes());
    template.extend(AK_ATTRIBUTES.to_be_bytes());
    template.extend([0, 0]); // authPolicy: empty
    for word in [ALG_NULL, ALG_ECDSA, ALG_SHA256, ECC_NIST_P256, ALG_NULL] {
        template.extend(word.to_be_bytes());
    }
    template.extend([0, 0, 0, 0]); // unique: empty x and y
    template
}

fn name(public: &[u8]) -> [u8; 34] {
    with_algorithm(Sha256::digest(public).into())
}

fn with_algorithm(digest: [u8; 32]) -> [u8; 34] {
    let mut name = [0; 34];
    let (algorithm, rest) = name.split_at_mut(2);
    algorithm.copy_from_slice(&ALG_SHA256.to_be_bytes());
    rest.copy_from_slice(&digest);
    name
}
