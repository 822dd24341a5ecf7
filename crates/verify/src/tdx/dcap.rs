//! `dcap-qvl`: whether quoting enclave, TDX module and TCB of a platform are those that Intel's collateral describes.
//!
//! The crate verifies everything from the root on, so its verdict also is a second opinion on [`super::chain`]. It runs on the
//! cryptography of [`crate::signature`]: none of its backends is compiled in.

use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::intel::parse_pck_extension_with;
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::x509::X509CertBackend;
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Digest as _, Sha256, Sha384};
use thiserror::Error;

use super::quote::{Quote, QuoteError};
use crate::collateral::TdxCollateral;
use crate::signature::{PublicKey, Scheme};
use crate::x509::{X509, X509Error};

/// The standing of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// Intel's name for it.
    pub(super) status: String,
    /// Advisories that apply.
    pub(super) advisories: Vec<String>,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub(super) struct DcapError {
    /// What did not hold, as far as the error tells.
    pub(super) step: Step,
    /// The crate's words.
    pub(super) reason: String,
}

/// What an error of the crate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The quoting enclave is not that of the QE identity.
    Enclave,
    /// A level that Intel revoked.
    Revoked,
    /// The level of the platform, or anything else.
    Level,
}

/// Beginnings of the crate's errors about the quoting enclave.
const ENCLAVE: [&str; 7] = [
    "QE MRSIGNER",
    "QE report validation",
    "QE ISVPRODID",
    "QE MISCSELECT",
    "QE ATTRIBUTES",
    "Unsupported QE Identity",
    "QE ISVSVN",
];
const REVOKED: &str = "TCB status is invalid: Revoked";

/// Gives the standing of the platform that made `quote`, which must be without padding; `None` when a part of the collateral is
/// absent.
pub(super) fn evaluate(
    quote: &[u8],
    collateral: &TdxCollateral,
    root: &[u8],
    at: u64,
) -> Option<Result<Standing, DcapError>> {
    let (tcb_info, qe_identity) = (
        collateral.tcb_info.as_ref()?,
        collateral.qe_identity.as_ref()?,
    );
    let flat = QuoteCollateralV3 {
        // The chain in the quote has the same certificates.
        pck_crl_issuer_chain: String::new(),
        root_ca_crl: collateral.root_crl.as_ref()?.0.clone(),
        pck_crl: collateral.pck_crl.as_ref()?.0.clone(),
        tcb_info_issuer_chain: tcb_info.issuer_chain.clone()?,
        tcb_info: tcb_info.body.clone(),
        tcb_info_signature: tcb_info.signature.to_vec(),
        qe_identity_issuer_chain: qe_identity.issuer_chain.clone()?,
        qe_identity: qe_identity.body.clone(),
        qe_identity_signature: qe_identity.signature.to_vec(),
        pck_certificate_chain: None,
    };
    // Debugging and service TDs are checks of our own; here they would hide the standing.
    let verifier = QuoteVerifier::<Ours>::new_with_config(root.to_vec())
        .allow_debug(true)
        .allow_service_td(true);
    let verified = verifier.verify(quote, &flat, at);
    Some(match verified {
        Ok(report) => Ok(Standing {
            status: report.status,
            advisories: report.advisory_ids,
        }),
        Err(error) => {
            let reason = format!("{error:#}");
            let step = match reason.as_str() {
                REVOKED => Step::Revoked,
                text if ENCLAVE.iter().any(|start| text.starts_with(start)) => Step::Enclave,
                _ => Step::Level,
            };
            Err(DcapError { step, reason })
        }
    })
}

/// What the certification service is asked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// Family, model, stepping, platform type: what TCB info is about.
    pub fmspc: [u8; 6],
    /// Who issued the PCK certificate.
    pub ca: PckCa,
}

/// Intel's two PCK authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PckCa {
    /// Of platforms with one package.
    Processor,
    /// Of platforms with several, which register.
    Platform,
}

impl PckCa {
    /// The name in requests.
    pub fn name(self) -> &'static str {
        match self {
            PckCa::Processor => "processor",
            PckCa::Platform => "platform",
        }
    }
}

/// Why a quote does not tell its platform.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// Not a quote.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// Its certificates do not parse.
    #[error("certificates of the quote: {0}")]
    Certificates(#[from] X509Error),
    /// The PCK certificate has no readable SGX extension.
    #[error("PCK certificate: {reason}")]
    Extension {
        /// What the reader says.
        reason: String,
    },
    /// Issued by neither authority.
    #[error("PCK certificate is issued by `{issuer}`, wanted the Processor or the Platform CA")]
    Issuer {
        /// The issuer.
        issuer: String,
    },
}

/// Reads which platform made a quote, without checking anything: to ask for its collateral.
///
/// # Errors
/// See [`PlatformError`].
pub fn platform(quote: &[u8]) -> Result<Platform, PlatformError> {
    let quote = Quote::parse(quote)?;
    let certificates = X509::read_all(quote.endorsement.pck_chain)?;
    let leaf = certificates.first().ok_or(X509Error::None)?;
    let extension = parse_pck_extension_with::<Ours>(leaf.der());
    let extension = extension.map_err(|error| PlatformError::Extension {
        reason: format!("{error:#}"),
    })?;
    let issuer = leaf.issuer().to_string();
    let named = |name| issuer.split(',').any(|part| part == name);
    let ca = match (
        named("CN=Intel SGX PCK Processor CA"),
        named("CN=Intel SGX PCK Platform CA"),
    ) {
        (true, false) => PckCa::Processor,
        (false, true) => PckCa::Platform,
        _ => return Err(PlatformError::Issuer { issuer }),
    };
    Ok(Platform {
        fmspc: extension.fmspc,
        ca,
    })
}

/// The crate's parsers with our cryptography.
struct Ours;

impl Config for Ours {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Ours;
}

impl CryptoProvider for Ours {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &P256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        Sha256::digest(data).into()
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        Sha384::digest(data).into()
    }
}

/// ECDSA P-256 with SHA-256.
#[derive(Debug)]
struct P256;

impl SignatureVerificationAlgorithm for P256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let point = public_key.try_into().map_err(|_| InvalidSignature)?;
        PublicKey::P256(point)
            .verify(Scheme::EcdsaSha256Der, message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

#[cfg(test)]
mod tests;
