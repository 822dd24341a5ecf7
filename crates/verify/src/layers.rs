//! Layers A (leaf) and B (session) of "cloister-ra/1", whatever the platform.
//!
//! Spec: `docs/evidence-format.md`, sections 2 to 5 and 9. The reference values name the platform, and the platform decides what the `cpu` section
//! must be; evidence of another kind is rejected. What no platform changes stands here: certificate, bundle, binding.
//! Left out: platforms without appraisal of bundles (SEV-SNP and TDX by themselves), whose reference values are refused.

use cloister_evidence::batch::BatchError;
use cloister_evidence::binding::{Mode, ReportData, binding};
use cloister_evidence::bundle::{self, Bundle, BundleError};
use cloister_gpu::RootKey;
use cloister_measure::reference::ReferenceValues;

use crate::certificate::{self, Leaf};
use crate::checks::{self, Checks};
use crate::collateral::SnpCollateral;
use crate::policy::PolicyFile;
use crate::{Policy, Verdict, azure, gpu, tpm};

/// What an endpoint is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The image and its platform.
    pub reference: &'a ReferenceValues,
    /// Demands of any platform.
    pub policy: &'a Policy,
    /// Demands of the one platform.
    pub platform: &'a PolicyFile,
    /// Who is trusted; [`azure::MICROSOFT`] outside of tests.
    pub roots: &'a azure::Roots<'a>,
    /// What AMD publishes about the chip; nothing of it adds trust.
    pub collateral: Option<&'a SnpCollateral>,
    /// Keys that the chain of a GPU may end in: [`RootKey::nvidia`] outside of tests.
    pub gpu_roots: &'a [RootKey],
}

/// Appraises a leaf certificate and the bundle served with it.
///
/// `leaf_der` is the certificate of the TLS handshake, `bundle` the answer of
/// `GET /.well-known/attestation`, `now` the verifier's own clock in seconds since the Unix epoch.
/// TLS itself must have shown that the peer holds the leaf's key. Where the reference values name a GPU, its checks are part of the verdict.
pub fn appraise_leaf(leaf_der: &[u8], bundle: &[u8], expected: &Expected<'_>, now: u64) -> Verdict {
    let (reference, policy) = (expected.reference, expected.policy);
    let verdict = match reference.platform.as_str() {
        azure::ON_SNP => azure::appraise_leaf(leaf_der, bundle, expected, now),
        _ => tpm::leaf(leaf_der, bundle, reference, policy, now),
    };
    let nonce = certificate::gpu_nonce(leaf_der);
    with_gpu(verdict, nonce, bundle, reference, expected.gpu_roots, now)
}

/// Adds the checks of the GPU that the reference values name; its report must answer `nonce`.
pub(crate) fn with_gpu(
    verdict: Verdict,
    nonce: Option<[u8; 32]>,
    bundle: &[u8],
    reference: &ReferenceValues,
    roots: &[RootKey],
    now: u64,
) -> Verdict {
    let Some(wanted) = &reference.gpu else {
        return verdict;
    };
    let bundle = Bundle::decode(bundle).ok();
    let section = bundle.as_ref().map(|bundle| bundle.devices.as_slice());
    verdict.and(gpu::appraise_section(section, nonce, wanted, roots, now))
}

/// Appraises a bundle that was made for one TLS connection. Where there is a GPU, its section is the one of the leaf, unchanged.
///
/// `leaf_der` is the certificate that the peer showed in the handshake of this very connection, other arguments as for
/// [`tpm::appraise_session`]; `now` is the verifier's own clock in seconds since the Unix epoch, against which the
/// certificates behind the hardware's report are held.
pub fn appraise_session(
    leaf_der: &[u8],
    nonce: &[u8; 32],
    exporter: &[u8; 32],
    bundle: &[u8],
    expected: &Expected<'_>,
    now: u64,
) -> Verdict {
    let gpu = certificate::gpu_nonce(leaf_der);
    session_of(leaf_der, nonce, exporter, bundle, expected, now, gpu)
}

/// [`appraise_session`] of a bundle for which the client had asked with `"gpu":"new"`: the GPU's report must answer `nonce` too.
pub fn appraise_session_with_new_gpu(
    leaf_der: &[u8],
    nonce: &[u8; 32],
    exporter: &[u8; 32],
    bundle: &[u8],
    expected: &Expected<'_>,
    now: u64,
) -> Verdict {
    let gpu = certificate::session_gpu_nonce(leaf_der, nonce);
    session_of(leaf_der, nonce, exporter, bundle, expected, now, gpu)
}

/// Layer B whose GPU was asked with the nonce `gpu`.
fn session_of(
    leaf_der: &[u8],
    nonce: &[u8; 32],
    exporter: &[u8; 32],
    bundle: &[u8],
    expected: &Expected<'_>,
    now: u64,
    gpu: Option<[u8; 32]>,
) -> Verdict {
    let (reference, policy) = (expected.reference, expected.policy);
    // A leaf whose key cannot be read fails the check of the key.
    let spki = certificate::spki(leaf_der).unwrap_or_default();
    let verdict = match reference.platform.as_str() {
        azure::ON_SNP => azure::appraise_session(&spki, nonce, exporter, bundle, expected, now),
        _ => tpm::session(&spki, nonce, exporter, bundle, reference, policy),
    };
    with_gpu(verdict, gpu, bundle, reference, expected.gpu_roots, now)
}

/// A bundle, and what the hardware must have committed to.
pub(crate) struct Bound {
    pub(crate) bundle: Bundle,
    /// Absent where certificate, key or batch cannot be used; a check has said so.
    pub(crate) report_data: Option<ReportData>,
}

/// The checks of layer A that come before the hardware's.
pub(crate) fn leaf(
    leaf_der: &[u8],
    bundle: &[u8],
    policy: &Policy,
    now: u64,
    checks: &mut Checks,
) -> Option<Bound> {
    let leaf = certificate::appraise(leaf_der, policy, now, checks);
    let decoded = decode(bundle, false, checks)?;
    let report_data = leaf.as_ref().map(|leaf| {
        named_bundle(leaf, bundle, &decoded, checks);
        let mode = Mode::Leaf {
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        };
        binding(&mode, &leaf.spki_sha256, &decoded.devices, &decoded.log).report_data()
    });
    Some(Bound {
        bundle: decoded,
        report_data,
    })
}

/// The checks of layer B that come before the hardware's.
pub(crate) fn session(
    spki_der: &[u8],
    nonce: &[u8; 32],
    exporter: &[u8; 32],
    bundle: &[u8],
    checks: &mut Checks,
) -> Option<Bound> {
    let spki_sha256 = certificate::appraise_spki(spki_der, checks);
    let decoded = decode(bundle, true, checks)?;
    let report_data = spki_sha256.and_then(|spki_sha256| {
        let mode = Mode::Session {
            nonce: *nonce,
            exporter: *exporter,
        };
        let binding = binding(&mode, &spki_sha256, &decoded.devices, &decoded.log);
        let proof = decoded.batch.as_ref()?;
        let report_data: Result<_, BatchError> = proof.report_data(&binding);
        checks.take(&checks::BATCH, "a path in a batch of its size", report_data)
    });
    Some(Bound {
        bundle: decoded,
        report_data,
    })
}

/// Decodes a bundle that has a batch section or must not have one.
fn decode(input: &[u8], batch: bool, checks: &mut Checks) -> Option<Bundle> {
    let rule = &checks::BUNDLE_FORMAT;
    let wanted = match batch {
        false => "a leaf bundle (without batch section)",
        true => "a session bundle (with batch section)",
    };
    let decoded: Result<_, BundleError> = Bundle::decode(input);
    match decoded {
        Ok(decoded) if decoded.batch.is_some() != batch => {
            checks.require(rule, false, wanted, "a bundle of the other kind");
            None
        }
        other => checks.take(rule, wanted, other),
    }
}

/// The bundle and the leaf must name each other.
fn named_bundle(leaf: &Leaf, encoded: &[u8], decoded: &Bundle, checks: &mut Checks) {
    let Some(extension) = &leaf.extension else {
        return;
    };
    let found = bundle::digest(encoded);
    if found == extension.bundle_sha256 && decoded.cpu != extension.cpu {
        let wanted = "the hardware evidence that the leaf carries";
        checks.require(&checks::BUNDLE_DIGEST, false, wanted, "other evidence");
    } else {
        checks.equal(&checks::BUNDLE_DIGEST, &extension.bundle_sha256, &found);
    }
}
