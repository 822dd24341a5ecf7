//! A made-up paravisor: HCL reports, and quotes of its vTPM.
//!
//! Formats: `cloister_measure::azure` names the source of the HCL report; TPM 2.0 Library, Part 2, for the quote.

use x509_cert::der::asn1::UintRef;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};

use crate::{Key, Parameters, PkiError};

/// Length of an HCL report in the NV index.
pub const HCL: usize = 2600;
/// Where its claims begin.
pub const CLAIMS: usize = 1236;
const REPORT: usize = 1184;

/// An HCL report of version 1 around a hardware's report and claims, with SHA-256 and everything consistent. `report_type` is 2 for
/// SEV-SNP and 4 for TDX.
pub fn hcl_report(report: &[u8], report_type: u32, claims: &[u8]) -> Vec<u8> {
    let length = u32::try_from(claims.len()).unwrap_or(u32::MAX);
    let size = 20 + length;
    let mut bytes = b"HCLA".to_vec();
    let words = |words: &[u32], bytes: &mut Vec<u8>| {
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    };
    words(&[1, 1216 + size, 2, 0, 0, 0, 0], &mut bytes);
    bytes.extend(report.iter().chain(&[0; REPORT]).take(REPORT));
    words(&[size, 1, report_type, 1, length], &mut bytes);
    bytes.extend(claims);
    let room = HCL.saturating_sub(bytes.len());
    bytes.extend(vec![0; room]);
    bytes
}

/// SHA-256 values of the PCRs from 0 on, at most 24, as `tpm2_quote --pcrs` writes them: a selection of one bank in room for 16, then digest
/// lists in room for 8 values each.
pub fn pcr_list(pcrs: &[[u8; 32]]) -> Vec<u8> {
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let bitmap = (1_u32 << pcrs.len().min(24)) - 1;
    let mut list = vec![1, 0, 0, 0, 0x0b, 0, 3];
    list.extend(bitmap.to_le_bytes().iter().take(3));
    list.resize(132, 0);
    let lists = pcrs.chunks(8);
    list.extend(number(lists.len()));
    for values in lists {
        list.extend(number(values.len()));
        for value in values {
            list.extend([32, 0]);
            list.extend(value);
            list.extend([0; 32]);
        }
        list.extend(vec![0; 66 * (8 - values.len())]);
    }
    list
}

/// Modulus and exponent of an RSA key, big-endian.
///
/// # Errors
/// [`PkiError::Der`], also when the key is of another kind.
pub fn rsa_numbers(key: &Key) -> Result<(Vec<u8>, Vec<u8>), PkiError> {
    let spki = key.spki()?;
    let bytes = spki.subject_public_key.as_bytes().unwrap_or_default();
    let mut reader = SliceReader::new(bytes)?;
    let numbers = reader.sequence(|body| {
        let modulus = UintRef::decode(body)?.as_bytes().to_vec();
        let exponent = UintRef::decode(body)?.as_bytes().to_vec();
        Ok((modulus, exponent))
    })?;
    Ok(numbers)
}

/// `TPMS_ATTEST` of a quote before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// `magic`.
    pub magic: u32,
    /// `type`.
    pub kind: u16,
    /// `extraData`.
    pub extra_data: Vec<u8>,
    /// Banks: algorithm and bitmap.
    pub banks: Vec<(u16, Vec<u8>)>,
    /// `pcrDigest`.
    pub pcr_digest: Vec<u8>,
}

impl Attest {
    /// A quote of all 24 PCRs of the SHA-256 bank.
    pub fn new(extra_data: &[u8], pcr_digest: &[u8]) -> Self {
        Self {
            magic: 0xff54_4347,
            kind: 0x8018,
            extra_data: extra_data.to_vec(),
            banks: vec![(0x000b, vec![0xff; 3])],
            pcr_digest: pcr_digest.to_vec(),
        }
    }

    /// The structure.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_be_bytes().to_vec();
        bytes.extend(self.kind.to_be_bytes());
        sized(&mut bytes, &[&[0, 0x0b], [7; 32].as_slice()].concat()); // qualifiedSigner
        sized(&mut bytes, &self.extra_data);
        bytes.extend(77_u64.to_be_bytes()); // clock
        bytes.extend([0, 0, 0, 3, 0, 0, 0, 0, 1]); // resetCount, restartCount, safe
        bytes.extend(0x2020_0312_0012_0003_u64.to_be_bytes()); // firmwareVersion
        bytes.extend(
            u32::try_from(self.banks.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        for (hash, bitmap) in &self.banks {
            bytes.extend(hash.to_be_bytes());
            bytes.push(u8::try_from(bitmap.len()).unwrap_or(u8::MAX));
            bytes.extend(bitmap);
        }
        sized(&mut bytes, &self.pcr_digest);
        bytes
    }

    /// The structure, and its RSASSA signature as it is.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn sign(&self, key: &Key) -> Result<(Vec<u8>, Vec<u8>), PkiError> {
        let bytes = self.encode();
        let signature = key.sign(Parameters::RsaPkcs1Sha256, &bytes)?;
        Ok((bytes, signature))
    }
}

/// `TPMT_SIGNATURE` of RSASSA with SHA-256.
pub fn tpmt_signature(signature: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0x14, 0, 0x0b];
    sized(&mut bytes, signature);
    bytes
}

fn sized(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend(bytes);
}
