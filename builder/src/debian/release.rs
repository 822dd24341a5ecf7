//! `InRelease`: the signed list of a suite's index files.
//!
//! Format: a Debian control paragraph inside an OpenPGP cleartext signature (RFC 9580, section 7). The signature
//! covers the paragraph; the paragraph's `SHA256` field covers the index files.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use pgp::composed::{
    CleartextSignedMessage, Deserializable as _, SignedPublicKey, SignedPublicSubKey,
};
use pgp::types::KeyDetails as _;
use thiserror::Error;

use crate::cmd::Hinted;
use crate::digest::Digest;

/// A suite whose signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// Code name, for example `trixie`.
    pub(crate) codename: String,
    /// Suite name, for example `stable`.
    pub(crate) suite: String,
    /// `Date`, as it stands in the file.
    pub(crate) date: String,
    /// `Date` in seconds since 1970.
    pub(crate) date_seconds: u64,
    /// Digest of the whole `InRelease`.
    pub(crate) sha256: Digest,
    /// Fingerprints of the given keys whose signature verified, sorted, upper-case hexadecimal.
    pub(crate) signed_by: Vec<String>,
    /// Index files: path below the suite's folder -> length in bytes and digest.
    pub(crate) files: BTreeMap<String, (u64, Digest)>,
}

/// Why an `InRelease` is not believed.
#[derive(Debug, Error)]
pub(crate) enum ReleaseError {
    /// A key file holds no OpenPGP public key.
    #[error("key file `{0}` holds no OpenPGP public key")]
    Key(String),
    /// The file is not a cleartext-signed text.
    #[error("`InRelease` of `{suite}` is not a signed text")]
    NotSigned {
        /// The suite that was asked for.
        suite: String,
    },
    /// Bytes stand outside the signed text.
    #[error("`InRelease` of `{suite}` has text outside its signature")]
    Outside {
        /// The suite that was asked for.
        suite: String,
    },
    /// No given key made any of the signatures.
    #[error("`InRelease` of `{suite}` is not signed by any of the recipe's keys: {}", keys.join(", "))]
    Signature {
        /// The suite that was asked for.
        suite: String,
        /// Fingerprints of the keys that were tried.
        keys: Vec<String>,
    },
    /// The archive answered with another suite.
    #[error("archive gave suite `{found}` where `{wanted}` was asked for")]
    OtherSuite {
        /// The suite that was asked for.
        wanted: String,
        /// Its own name.
        found: String,
    },
    /// A field is missing or cannot be read.
    #[error("`InRelease` of `{suite}`: field `{field}` is missing or malformed")]
    Field {
        /// The suite that was asked for.
        suite: String,
        /// The field.
        field: &'static str,
    },
    /// The signed validity is over.
    #[error("`InRelease` of `{suite}` expired: valid until {until}")]
    Expired {
        /// The suite that was asked for.
        suite: String,
        /// `Valid-Until` as it stands in the file.
        until: String,
    },
}

impl Hinted for ReleaseError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Signature { .. } | Self::Key(_) => Some("add the archive's signing key to `recipes/keys/` and name it in `base.keys`".to_owned()),
            Self::Expired { .. } => Some("the archive is stale or this machine's clock is wrong; try another archive with `--archive`".to_owned()),
            Self::OtherSuite { .. } => Some("name suites by code name, for example `trixie`".to_owned()),
            _ => None,
        }
    }
}

/// Checks the signature of an `InRelease` against `keys` (file name, ASCII armour) and reads it.
///
/// `now` is the time in seconds since 1970 against which `Valid-Until` is judged.
pub(crate) fn verify_release(
    suite: &str,
    bytes: &[u8],
    keys: &[(String, Vec<u8>)],
    now: u64,
) -> Result<Release, ReleaseError> {
    let not_signed = || ReleaseError::NotSigned {
        suite: suite.to_owned(),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| not_signed())?;
    if !text.starts_with("-----BEGIN PGP SIGNED MESSAGE-----\n")
        || !text.trim_end().ends_with("-----END PGP SIGNATURE-----")
    {
        return Err(ReleaseError::Outside {
            suite: suite.to_owned(),
        });
    }
    let (message, _) = CleartextSignedMessage::from_string(text).map_err(|_| not_signed())?;
    let signed_by = signers(suite, &message, keys)?;
    let fields = paragraph(&message.signed_text());
    read(suite, &fields, Digest::of(bytes), signed_by, now)
}

/// Fingerprints of the keys that made a signature of `message`; an error if there is none.
fn signers(
    suite: &str,
    message: &CleartextSignedMessage,
    keys: &[(String, Vec<u8>)],
) -> Result<Vec<String>, ReleaseError> {
    let (mut made, mut tried) = (Vec::new(), Vec::new());
    for (name, armour) in keys {
        let bad = || ReleaseError::Key(name.clone());
        let (found, _) = SignedPublicKey::from_armor_many(armour.as_slice()).map_err(|_| bad())?;
        for key in found {
            let key = key.map_err(|_| bad())?;
            let fingerprint = format!("{:X}", key.fingerprint());
            // The file vouches for the primary key, and the primary key for its subkeys; what others say about its
            // names does not matter here.
            let bound = |sub: &&SignedPublicSubKey| sub.verify_bindings(&key.primary_key).is_ok();
            let ok = message.verify(&key).is_ok()
                || key
                    .public_subkeys
                    .iter()
                    .filter(bound)
                    .any(|sub| message.verify(sub).is_ok());
            if ok {
                made.push(fingerprint.clone());
            }
            tried.push(fingerprint);
        }
    }
    made.sort();
    made.dedup();
    if made.is_empty() {
        return Err(ReleaseError::Signature {
            suite: suite.to_owned(),
            keys: tried,
        });
    }
    Ok(made)
}

/// Fields of one control paragraph; continuation lines are joined by line feeds.
fn paragraph(text: &str) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(value) = fields.get_mut(&last) {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            last = name.to_owned();
            fields.insert(last.clone(), value.trim().to_owned());
        }
    }
    fields
}

fn read(
    suite: &str,
    fields: &BTreeMap<String, String>,
    sha256: Digest,
    signed_by: Vec<String>,
    now: u64,
) -> Result<Release, ReleaseError> {
    let field = |field: &'static str| {
        let missing = ReleaseError::Field {
            suite: suite.to_owned(),
            field,
        };
        fields.get(field).cloned().ok_or(missing)
    };
    let seconds = |name: &'static str, text: &str| {
        seconds(text).ok_or_else(|| ReleaseError::Field {
            suite: suite.to_owned(),
            field: name,
        })
    };
    let (codename, name, date) = (field("Codename")?, field("Suite")?, field("Date")?);
    if suite != codename && suite != name {
        return Err(ReleaseError::OtherSuite {
            wanted: suite.to_owned(),
            found: codename,
        });
    }
    if let Some(until) = fields.get("Valid-Until")
        && seconds("Valid-Until", until)? < now
    {
        return Err(ReleaseError::Expired {
            suite: suite.to_owned(),
            until: until.clone(),
        });
    }
    let files = files(&field("SHA256")?).ok_or_else(|| ReleaseError::Field {
        suite: suite.to_owned(),
        field: "SHA256",
    })?;
    let date_seconds = seconds("Date", &date)?;
    Ok(Release {
        codename,
        suite: name,
        date,
        date_seconds,
        sha256,
        signed_by,
        files,
    })
}

/// Lines of `digest length path`.
fn files(field: &str) -> Option<BTreeMap<String, (u64, Digest)>> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let digest = words.next()?.parse().ok()?;
        let len = words.next()?.parse().ok()?;
        Some((words.next()?.to_owned(), (len, digest)))
    };
    field.lines().filter(|l| !l.is_empty()).map(line).collect()
}

/// Seconds since 1970 of an RFC 2822 date in UTC, the form that archives use.
fn seconds(text: &str) -> Option<u64> {
    let stamp = text
        .strip_suffix("UTC")
        .map_or_else(|| text.to_owned(), |t| format!("{t}GMT"));
    // Days of one digit are written without a leading zero or space by some archives.
    let padded = stamp
        .split_once(", ")
        .map(|(day, rest)| match rest.find(' ') {
            Some(1) => format!("{day}, 0{rest}"),
            _ => stamp.clone(),
        })?;
    let time = httpdate::parse_http_date(padded.trim()).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_reads_the_forms_that_archives_write() {
        // Origin: `date -u -d '2026-11-15 10:21:33' +%s` and the first of that month.
        assert_eq!(
            seconds("Sun, 15 Nov 2026 10:21:33 UTC"),
            Some(1_794_738_093)
        );
        assert_eq!(seconds("Sun, 1 Nov 2026 00:00:00 UTC"), Some(1_793_491_200));
        assert_eq!(seconds("yesterday"), None);
    }

    #[test]
    fn verify_release_rejects_text_without_or_outside_a_signature() {
        let outside = b"Origin: x\n-----BEGIN PGP SIGNED MESSAGE-----\n";
        assert!(matches!(
            verify_release("trixie", outside, &[], 0),
            Err(ReleaseError::Outside { .. })
        ));
        assert!(matches!(
            verify_release("trixie", &[0xff], &[], 0),
            Err(ReleaseError::NotSigned { .. })
        ));
    }
}
