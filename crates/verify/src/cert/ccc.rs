//! CCC interoperable RA-TLS: a quote and the claims that it commits to, in one certificate extension.
//!
//! Specs: CCC-Attestation `interoperable-ra-tls` (extension, tags, claims), TCG DICE Attestation Architecture (object identifier),
//! IANA Named Information registry (numbers of the hashes). The legacy extension of Gramine beside it is not read.

use minicbor::Decoder;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use thiserror::Error;

use super::quote::{Quote, QuoteKind};
use super::{Leaf, leaf, rules};
use crate::checks::{Checks, Rule};
use crate::verdict::{Mode, Subject, Trust};
use crate::x509::X509;
use crate::{Verdict, tdx};

/// `tcg-dice-TaggedEvidence` as the CCC uses it, dotted.
pub const EXTENSION: &str = "2.23.133.5.4.9";
/// Most claims that are read.
pub const MAX_CLAIMS: usize = 64;
/// Longest name of a claim, in bytes.
pub const MAX_NAME: usize = 256;

const PUBKEY_HASH: &str = "pubkey-hash";
const NONCE: &str = "nonce";
const PLATFORM: &str = "ccc-ra-tls";

/// The CBOR tag: what the byte string in front of the claims is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// 60000: a quote of SGX or TDX.
    Quote,
    /// 60001: a report of the TEE, which only its own machine can check.
    TeeReport,
    /// 60002: an SGX quote of the older kind.
    LegacySgxQuote,
}

/// A hash that a claim may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// 1.
    Sha256,
    /// 7.
    Sha384,
    /// 8.
    Sha512,
}

/// Why bytes are not such evidence or such claims.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CccError {
    /// Not the item that stands here.
    #[error("wanted {wanted} at byte {offset}")]
    Unexpected {
        /// What stands here in the specification.
        wanted: &'static str,
        /// Offset in bytes.
        offset: usize,
    },
    /// A tag without meaning here.
    #[error("tag {found}, wanted 60000, 60001 or 60002")]
    Tag {
        /// The tag.
        found: u64,
    },
    /// Bytes behind the value.
    #[error("value ends at byte {offset}, but bytes follow")]
    Trailing {
        /// Where the value ends, in bytes.
        offset: usize,
    },
    /// More claims than anybody makes, or a name that is too long.
    #[error("more than {MAX_CLAIMS} claims, or a name of more than {MAX_NAME} bytes")]
    TooLarge,
    /// A claim that stands twice.
    #[error("claim `{name}` stands twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// No hash of the key.
    #[error("no claim `pubkey-hash`")]
    NoPubkeyHash,
    /// A hash that is not known, or of another length.
    #[error("hash algorithm {algorithm} with {length} bytes, wanted 1 (32), 7 (48) or 8 (64)")]
    Hash {
        /// Number of the algorithm.
        algorithm: u64,
        /// Length of the hash in bytes.
        length: usize,
    },
}

/// The extension's value, not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// What the first byte string is.
    pub evidence: Evidence,
    /// The quote or report.
    pub quote: Vec<u8>,
    /// The claims as they were hashed.
    pub claims: Vec<u8>,
}

/// The claims, not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Algorithm of the hash of the key.
    pub algorithm: HashAlgorithm,
    /// Hash of the DER SubjectPublicKeyInfo.
    pub pubkey_hash: Vec<u8>,
    /// The verifier's nonce.
    pub nonce: Option<Vec<u8>>,
    /// Names of claims without meaning here, in order.
    pub unknown: Vec<String>,
}

impl Tagged {
    /// Reads the extension's value.
    ///
    /// # Errors
    /// See [`CccError`].
    pub fn parse(input: &[u8]) -> Result<Self, CccError> {
        let mut decoder = Decoder::new(input);
        let found = item(&mut decoder, "a tag", Decoder::tag)?.as_u64();
        let evidence = match found {
            60000 => Evidence::Quote,
            60001 => Evidence::TeeReport,
            60002 => Evidence::LegacySgxQuote,
            found => return Err(CccError::Tag { found }),
        };
        let wanted = "an array of quote and claims";
        let offset = decoder.position();
        if item(&mut decoder, wanted, Decoder::array)? != Some(2) {
            return Err(CccError::Unexpected { wanted, offset });
        }
        let quote = item(&mut decoder, "a quote as byte string", Decoder::bytes)?.to_vec();
        let claims = item(&mut decoder, "claims as byte string", Decoder::bytes)?.to_vec();
        end(&decoder, input)?;
        Ok(Self {
            evidence,
            quote,
            claims,
        })
    }
}

impl Claims {
    /// Reads the claims.
    ///
    /// # Errors
    /// See [`CccError`]; claims that are not known are listed.
    pub fn parse(input: &[u8]) -> Result<Self, CccError> {
        let mut decoder = Decoder::new(input);
        let wanted = "a map of known size";
        let offset = decoder.position();
        let entries = item(&mut decoder, wanted, Decoder::map)?;
        let entries = entries.ok_or(CccError::Unexpected { wanted, offset })?;
        if entries > MAX_CLAIMS as u64 {
            return Err(CccError::TooLarge);
        }
        let (mut hash, mut nonce) = (None, None);
        let mut names: Vec<String> = Vec::new();
        for _ in 0..entries {
            let name = item(&mut decoder, "the name of a claim", Decoder::str)?;
            if name.len() > MAX_NAME {
                return Err(CccError::TooLarge);
            }
            let name = name.to_owned();
            if names.contains(&name) {
                return Err(CccError::Twice { name });
            }
            match name.as_str() {
                PUBKEY_HASH => {
                    let value = item(&mut decoder, "a byte string", Decoder::bytes)?;
                    hash = Some(pubkey_hash(value)?);
                }
                NONCE => {
                    nonce = Some(item(&mut decoder, "a byte string", Decoder::bytes)?.to_vec());
                }
                _ => item(&mut decoder, "the value of a claim", Decoder::skip)?,
            }
            names.push(name);
        }
        end(&decoder, input)?;
        let (algorithm, pubkey_hash) = hash.ok_or(CccError::NoPubkeyHash)?;
        names.retain(|name| ![PUBKEY_HASH, NONCE].contains(&name.as_str()));
        Ok(Self {
            algorithm,
            pubkey_hash,
            nonce,
            unknown: names,
        })
    }
}

/// The CBOR inside the claim: `[algorithm, hash]`.
fn pubkey_hash(input: &[u8]) -> Result<(HashAlgorithm, Vec<u8>), CccError> {
    let mut decoder = Decoder::new(input);
    let (wanted, offset) = ("an array of algorithm and hash", decoder.position());
    if item(&mut decoder, wanted, Decoder::array)? != Some(2) {
        return Err(CccError::Unexpected { wanted, offset });
    }
    let algorithm = item(&mut decoder, "the number of a hash", Decoder::u64)?;
    let hash = item(&mut decoder, "a hash as byte string", Decoder::bytes)?.to_vec();
    end(&decoder, input)?;
    let known = match (algorithm, hash.len()) {
        (1, 32) => HashAlgorithm::Sha256,
        (7, 48) => HashAlgorithm::Sha384,
        (8, 64) => HashAlgorithm::Sha512,
        (algorithm, length) => return Err(CccError::Hash { algorithm, length }),
    };
    Ok((known, hash))
}

impl HashAlgorithm {
    fn digest(self, input: &[u8]) -> Vec<u8> {
        match self {
            HashAlgorithm::Sha256 => Sha256::digest(input).to_vec(),
            HashAlgorithm::Sha384 => Sha384::digest(input).to_vec(),
            HashAlgorithm::Sha512 => Sha512::digest(input).to_vec(),
        }
    }
}

/// Appraises a certificate.
///
/// `nonce` is the verifier's own, where it could send one; `at` is in seconds since the Unix epoch. For an SGX quote the check
/// `quote` is never made, so that the certificate is rejected.
pub fn appraise(
    leaf: &Leaf<'_>,
    nonce: Option<&[u8]>,
    expected: &tdx::Carried<'_>,
    at: u64,
) -> Verdict {
    let mut checks = Checks::default();
    let opened = leaf.open(at, &mut checks);
    let tagged = opened.and_then(|certificate| evidence(&certificate, nonce, &mut checks));
    let kind = tagged.and_then(|tagged| {
        let kind = bound(&tagged, &mut checks)?;
        match kind {
            QuoteKind::Tdx => _ = tdx::carried(&tagged.quote, expected, at, &mut checks),
            QuoteKind::Sgx => {
                let rule = &rules::QUOTE;
                let reason =
                    "SGX quotes are not judged by this verifier: it is about virtual machines";
                checks.skip(rule.name, true, rule.meaning, reason);
            }
        }
        Some(kind)
    });
    let of_quote = match kind {
        Some(QuoteKind::Tdx) => tdx::carried_rules(),
        Some(QuoteKind::Sgx) | None => vec![&rules::QUOTE],
    };
    let subject = Subject {
        mode: Mode::Evidence,
        platform: PLATFORM,
        recipe: expected.reference.map(|values| values.recipe.as_str()),
        confidential: true,
        trust: Trust::Hardware,
        at: Some(at),
    };
    let rules: Vec<&Rule> = [rules::LEAF, rules::CCC, &of_quote].concat();
    Verdict::new(&subject, checks.finish(&rules))
}

/// The checks of extension and claims; gives what the extension holds.
fn evidence(certificate: &X509, nonce: Option<&[u8]>, checks: &mut Checks) -> Option<Tagged> {
    let wanted = "CBOR tag 60000, 60001 or 60002 over quote and claims";
    let value = leaf::extension(certificate, EXTENSION);
    let tagged = leaf::parsed(&rules::EXTENSION, wanted, value, Tagged::parse, checks)?;
    if let Some(claims) = claims(certificate, &tagged.claims, checks) {
        match nonce {
            Some(wanted) => {
                let found = claims.nonce.as_deref().unwrap_or_default();
                checks.equal(&rules::NONCE, wanted, found);
            }
            None => {
                let reason =
                    "none was given; the claims tie the quote to the key, not to this moment";
                checks.skip(rules::NONCE.name, false, rules::NONCE.meaning, reason);
            }
        }
    }
    Some(tagged)
}

fn claims(certificate: &X509, input: &[u8], checks: &mut Checks) -> Option<Claims> {
    let rule = &rules::CLAIMS_FORMAT;
    let wanted = "a CBOR map with pubkey-hash";
    let claims = match Claims::parse(input) {
        Ok(claims) => claims,
        Err(error) => {
            checks.require(rule, false, wanted, error.to_string());
            return None;
        }
    };
    let found = match claims.unknown.as_slice() {
        [] => wanted.to_owned(),
        unknown => format!("{wanted}; not known and ignored: {}", shown(unknown)),
    };
    checks.require(rule, true, wanted, found);
    let wanted = claims.algorithm.digest(&certificate.spki());
    checks.equal(&rules::PUBKEY_HASH, &wanted, &claims.pubkey_hash);
    Some(claims)
}

fn shown(names: &[String]) -> String {
    let names = names
        .iter()
        .map(|name| format!("`{}`", name.escape_debug()));
    names.collect::<Vec<_>>().join(", ")
}

/// The checks of the quote's form and of what it commits to; gives what made it.
fn bound(tagged: &Tagged, checks: &mut Checks) -> Option<QuoteKind> {
    let rule = &rules::QUOTE_FORMAT;
    if tagged.evidence != Evidence::Quote {
        let found = match tagged.evidence {
            Evidence::TeeReport => "a report (tag 60001), which only its own machine can check",
            _ => "a legacy SGX quote (tag 60002)",
        };
        checks.require(rule, false, "a quote (tag 60000)", found);
        return None;
    }
    let quote = match Quote::parse(&tagged.quote) {
        Ok(quote) => quote,
        Err(error) => {
            checks.require(rule, false, "an SGX or TDX quote", error.to_string());
            return None;
        }
    };
    checks.require(rule, true, "an SGX or TDX quote", quote.to_string());
    let mut wanted = [0; 64];
    let digest = Sha256::digest(&tagged.claims);
    wanted
        .iter_mut()
        .zip(digest)
        .for_each(|(to, from)| *to = from);
    checks.equal(&rules::QUOTE_CLAIMS_BINDING, &wanted, &quote.user_data);
    Some(quote.kind)
}

fn end(decoder: &Decoder<'_>, input: &[u8]) -> Result<(), CccError> {
    let offset = decoder.position();
    match offset == input.len() {
        true => Ok(()),
        false => Err(CccError::Trailing { offset }),
    }
}

fn item<'b, T>(
    decoder: &mut Decoder<'b>,
    wanted: &'static str,
    read: impl FnOnce(&mut Decoder<'b>) -> Result<T, minicbor::decode::Error>,
) -> Result<T, CccError> {
    let offset = decoder.position();
    read(decoder).map_err(|_| CccError::Unexpected { wanted, offset })
}
