//! The binding: 64 bytes that tie evidence to a TLS key, a freshness value, a session, the devices
//! and the event log.
//!
//! Spec: `docs/evidence-format.md`, section "Binding". SHA-512 over the ASCII label `cloister-ra/1`
//! and six fields, each as a `u16` big-endian length and the bytes: mode, SHA-256 of the leaf's
//! SubjectPublicKeyInfo, freshness, exporter, SHA-256 of the device section, SHA-256 of the log section.
//!
//! There is one function, [`binding`]; the guest and the verifier both call it.

use core::fmt;

use sha2::{Digest, Sha256, Sha512};

use crate::frame::Frame;

/// TLS exporter label (RFC 8446, section 7.5) of session mode; the context is the nonce.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-cloister-ra-1";

/// Longest validity of a leaf, in seconds.
pub const MAX_LEAF_VALIDITY: u64 = 24 * 60 * 60;

const LABEL: &str = "cloister-ra/1";
const GPU_LABEL: &str = "cloister-ra/1 gpu";
const MODE_LEAF: [u8; 1] = [1];
const MODE_SESSION: [u8; 1] = [2];

/// What makes evidence fresh, and whose it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Mode {
    /// Evidence for a leaf certificate, in the same words as its validity.
    Leaf {
        /// `notBefore`, seconds since the Unix epoch.
        not_before: u64,
        /// `notAfter`, seconds since the Unix epoch.
        not_after: u64,
    },
    /// Evidence for one TLS connection.
    Session {
        /// The client's nonce.
        nonce: [u8; 32],
        /// TLS exporter of the connection: [`EXPORTER_LABEL`], context = nonce. Never sent.
        exporter: [u8; 32],
    },
}

impl fmt::Debug for Mode {
    /// Leaves the exporter out: it is a secret of the connection.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf {
                not_before,
                not_after,
            } => f
                .debug_struct("Leaf")
                .field("not_before", not_before)
                .field("not_after", not_after)
                .finish(),
            Self::Session { nonce, .. } => f
                .debug_struct("Session")
                .field("nonce", &hex::encode(nonce))
                .finish_non_exhaustive(),
        }
    }
}

/// The result of [`binding`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Binding([u8; 64]);

impl Binding {
    /// The 64 bytes.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// What the hardware signs in leaf mode: the binding itself.
    pub fn report_data(&self) -> ReportData {
        ReportData(self.0)
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binding({})", hex::encode(self.0))
    }
}

/// The 64 bytes that a report carries: a binding in leaf mode, the commitment to a batch in session mode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReportData(pub(crate) [u8; 64]);

impl ReportData {
    /// REPORT_DATA of an SNP or TDX report.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Qualifying data (`extraData`) of a TPM quote: the SHA-256 of the 64 bytes.
    pub fn qualifying_data(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl fmt::Debug for ReportData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReportData({})", hex::encode(self.0))
    }
}

/// Computes the binding.
///
/// `spki_sha256` is the SHA-256 of the leaf's DER SubjectPublicKeyInfo; `devices` and `log` are the
/// bytes of the `devices` and `log` sections exactly as the bundle carries them (hashed here).
pub fn binding(mode: &Mode, spki_sha256: &[u8; 32], devices: &[u8], log: &[u8]) -> Binding {
    let frame = Frame::<Sha512>::new(LABEL);
    let frame = match mode {
        Mode::Leaf {
            not_before,
            not_after,
        } => {
            let freshness = leaf_freshness(*not_before, *not_after);
            frame
                .array(&MODE_LEAF)
                .array(spki_sha256)
                .array(&freshness)
                .array(&[])
        }
        Mode::Session { nonce, exporter } => frame
            .array(&MODE_SESSION)
            .array(spki_sha256)
            .array(nonce)
            .array(exporter),
    };
    let devices: [u8; 32] = Sha256::digest(devices).into();
    let log: [u8; 32] = Sha256::digest(log).into();
    Binding(frame.array(&devices).array(&log).finish())
}

/// The nonce that a GPU is asked with: its report is of the leaf whose key and dates these are, or of one session with that key.
///
/// Spec: `docs/evidence-format.md`, section 8. SHA-256 over the label `cloister-ra/1 gpu` and mode, SHA-256 of the
/// leaf's SubjectPublicKeyInfo and freshness, framed as in [`binding`]. A session's exporter is not in it: the binding, which has the
/// report in it, has the exporter too.
pub fn gpu_nonce(mode: &Mode, spki_sha256: &[u8; 32]) -> [u8; 32] {
    let frame = Frame::<Sha256>::new(GPU_LABEL);
    let frame = match mode {
        Mode::Leaf {
            not_before,
            not_after,
        } => frame
            .array(&MODE_LEAF)
            .array(spki_sha256)
            .array(&leaf_freshness(*not_before, *not_after)),
        Mode::Session { nonce, .. } => frame.array(&MODE_SESSION).array(spki_sha256).array(nonce),
    };
    frame.finish()
}

fn leaf_freshness(not_before: u64, not_after: u64) -> [u8; 16] {
    let mut freshness = [0; 16];
    let (low, high) = freshness.split_at_mut(8);
    low.copy_from_slice(&not_before.to_be_bytes());
    high.copy_from_slice(&not_after.to_be_bytes());
    freshness
}
