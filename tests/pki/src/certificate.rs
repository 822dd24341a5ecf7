//! Certificates and revocation lists, right by default and as wrong as a test wants.

use core::str::FromStr as _;
use core::time::Duration;

use x509_cert::TbsCertificate;
use x509_cert::certificate::Version;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::{AnyRef, BitString, ObjectIdentifier, OctetString, UtcTime};
use x509_cert::der::{Any, Encode as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::{Time, Validity};

use crate::{Key, PkiError};

/// Signature algorithm with its parameters, right ones and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameters {
    /// RSASSA-PSS with SHA-384 and a salt of 48 bytes, trailer written out as AMD does.
    Pss,
    /// The same without trailer, as DER wants it.
    PssWithoutTrailer,
    /// The identifier says a salt of 32 bytes; the signature has 48.
    PssSalt32,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes, without trailer.
    PssSha256,
    /// RSASSA-PSS without any parameters: SHA-1 by default.
    PssBare,
    /// sha256WithRSAEncryption.
    RsaPkcs1Sha256,
    /// ecdsa-with-SHA256.
    EcdsaSha256,
    /// ecdsa-with-SHA384.
    EcdsaSha384,
    /// ecdsa-with-SHA384 with a NULL that RFC 5758 forbids.
    EcdsaSha384Null,
}

const PSS: &str = "1.2.840.113549.1.1.10";
/// SHA-384 and MGF1 with it.
const HASHES: [u8; 47] = [
    0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
];

impl Parameters {
    /// The identifier.
    ///
    /// # Errors
    /// [`PkiError::Der`], never with these values.
    pub fn identifier(self) -> Result<AlgorithmIdentifierOwned, PkiError> {
        let pss = |salt: u8, trailer: &[u8]| {
            let body = [&HASHES[..], &[0xa2, 3, 2, 1, salt], trailer].concat();
            let length = u8::try_from(body.len()).unwrap_or_default();
            [&[0x30, length], body.as_slice()].concat()
        };
        let (oid, parameters) = match self {
            Parameters::Pss => (PSS, Some(pss(48, &[0xa3, 3, 2, 1, 1]))),
            Parameters::PssWithoutTrailer => (PSS, Some(pss(48, &[]))),
            Parameters::PssSalt32 => (PSS, Some(pss(32, &[0xa3, 3, 2, 1, 1]))),
            Parameters::PssSha256 => (PSS, Some(pss_sha256())),
            Parameters::PssBare => (PSS, Some(vec![0x30, 0])),
            Parameters::RsaPkcs1Sha256 => ("1.2.840.113549.1.1.11", Some(vec![5, 0])),
            Parameters::EcdsaSha256 => ("1.2.840.10045.4.3.2", None),
            Parameters::EcdsaSha384 => ("1.2.840.10045.4.3.3", None),
            Parameters::EcdsaSha384Null => ("1.2.840.10045.4.3.3", Some(vec![5, 0])),
        };
        let any = |der: Vec<u8>| AnyRef::try_from(der.as_slice()).map(Any::from);
        Ok(AlgorithmIdentifierOwned {
            oid: oid_of(oid)?,
            parameters: parameters.map(any).transpose()?,
        })
    }
}

/// The parameters of SHA-384 with the last arc of SHA-256's identifier in both places, and a salt of 32 bytes.
fn pss_sha256() -> Vec<u8> {
    let mut hashes = HASHES;
    for arc in [14, 44] {
        if let Some(byte) = hashes.get_mut(arc) {
            *byte = 1;
        }
    }
    [&[0x30, 52][..], &hashes, &[0xa2, 3, 2, 1, 32]].concat()
}

/// An extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Object identifier, dotted.
    pub oid: String,
    /// Critical flag.
    pub critical: bool,
    /// extnValue, without the outer OCTET STRING.
    pub value: Vec<u8>,
}

impl Extension {
    /// Critical basic constraints of an authority.
    pub fn authority(path_length: Option<u8>) -> Self {
        let value = match path_length {
            Some(limit) => vec![0x30, 6, 1, 1, 0xff, 2, 1, limit],
            None => vec![0x30, 3, 1, 1, 0xff],
        };
        Self::critical("2.5.29.19", value)
    }

    /// Critical key usage: keyCertSign and, for a root, cRLSign.
    pub fn key_usage(crl: bool) -> Self {
        let value = match crl {
            true => vec![3, 2, 1, 6],
            false => vec![3, 2, 2, 4],
        };
        Self::critical("2.5.29.15", value)
    }

    /// A critical extension.
    pub fn critical(oid: &str, value: Vec<u8>) -> Self {
        Self {
            oid: oid.to_owned(),
            critical: true,
            value,
        }
    }

    fn encode(&self) -> Result<x509_cert::ext::Extension, PkiError> {
        Ok(x509_cert::ext::Extension {
            extn_id: oid_of(&self.oid)?,
            critical: self.critical,
            extn_value: OctetString::new(self.value.clone())?,
        })
    }
}

/// A certificate before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Version: 2 means v3.
    pub version: u8,
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// Common name of the issuer.
    pub issuer: String,
    /// Common name of the subject.
    pub subject: String,
    /// First and last second.
    pub validity: (u64, u64),
    /// Extensions in order.
    pub extensions: Vec<Extension>,
    /// Algorithm inside of the signed part; it is signed with this one.
    pub inner: Parameters,
    /// Algorithm beside the signature.
    pub outer: Parameters,
}

impl Certificate {
    /// Encodes and signs: `key` is the subject's, `signer` the issuer's.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn sign(&self, key: &Key, signer: &Key) -> Result<Vec<u8>, PkiError> {
        let extensions = self.extensions.iter().map(Extension::encode);
        let tbs_certificate = TbsCertificate {
            version: match self.version {
                0 => Version::V1,
                1 => Version::V2,
                _ => Version::V3,
            },
            serial_number: SerialNumber::new(&self.serial)?,
            signature: self.inner.identifier()?,
            issuer: name(&self.issuer)?,
            validity: Validity {
                not_before: time(self.validity.0)?,
                not_after: time(self.validity.1)?,
            },
            subject: name(&self.subject)?,
            subject_public_key_info: key.spki()?,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: match self.version {
                2 => Some(extensions.collect::<Result<_, _>>()?),
                _ => None,
            },
        };
        let signature = signer.sign(self.inner, &tbs_certificate.to_der()?)?;
        let certificate = x509_cert::Certificate {
            tbs_certificate,
            signature_algorithm: self.outer.identifier()?,
            signature: BitString::from_bytes(&signature)?,
        };
        Ok(certificate.to_der()?)
    }
}

/// A revocation list before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// Common name of the issuer.
    pub issuer: String,
    /// thisUpdate.
    pub this_update: u64,
    /// nextUpdate.
    pub next_update: Option<u64>,
    /// Serial numbers.
    pub revoked: Vec<Vec<u8>>,
    /// Extensions of the list.
    pub extensions: Vec<Extension>,
    /// Algorithm, in both places.
    pub parameters: Parameters,
}

impl Crl {
    /// Encodes and signs.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn sign(&self, signer: &Key) -> Result<Vec<u8>, PkiError> {
        let entry = |serial: &Vec<u8>| -> Result<RevokedCert, PkiError> {
            Ok(RevokedCert {
                serial_number: SerialNumber::new(serial)?,
                revocation_date: time(self.this_update)?,
                crl_entry_extensions: None,
            })
        };
        let revoked: Result<Vec<_>, _> = self.revoked.iter().map(entry).collect();
        let extensions: Result<Vec<_>, _> = self.extensions.iter().map(Extension::encode).collect();
        let tbs_cert_list = TbsCertList {
            version: Version::V2,
            signature: self.parameters.identifier()?,
            issuer: name(&self.issuer)?,
            this_update: time(self.this_update)?,
            next_update: self.next_update.map(time).transpose()?,
            revoked_certificates: Some(revoked?).filter(|list| !list.is_empty()),
            crl_extensions: Some(extensions?).filter(|list| !list.is_empty()),
        };
        let signature = signer.sign(self.parameters, &tbs_cert_list.to_der()?)?;
        let list = CertificateList {
            tbs_cert_list,
            signature_algorithm: self.parameters.identifier()?,
            signature: BitString::from_bytes(&signature)?,
        };
        Ok(list.to_der()?)
    }
}

fn name(common_name: &str) -> Result<Name, PkiError> {
    Ok(Name::from_str(&format!(
        "CN={common_name},O=Cloister Tests"
    ))?)
}

fn time(seconds: u64) -> Result<Time, PkiError> {
    let time = UtcTime::from_unix_duration(Duration::from_secs(seconds))?;
    Ok(Time::UtcTime(time))
}

fn oid_of(text: &str) -> Result<ObjectIdentifier, PkiError> {
    let oid = ObjectIdentifier::new(text);
    oid.map_err(|error| PkiError::Der(error.into()))
}
