//! The `cpu` section of a confidential VM on Azure: a quote of the paravisor's vTPM, and the HCL report that ties
//! the quote's key to the hardware.
//!
//! Spec: `docs/evidence-format.md`, "Azure"; TCG TPM 2.0 Library, Part 2, for the quote. The report is what NV index
//! `0x01400001` holds, whole; `cloister_measure::azure` reads it. The attestation key is not carried beside it: the
//! report names it, and no other key counts.

use crate::cbor::{CborError, Reader, Writer};
use crate::tpm::{MAX_STRUCTURE, PcrBank};

/// NV index that holds the HCL report.
pub const HCL_REPORT_INDEX: u32 = 0x0140_0001;
/// Handle of the attestation key that the report names.
pub const AK_HANDLE: u32 = 0x8100_0003;
/// Longest HCL report in bytes; real ones have 2600.
pub const MAX_HCL_REPORT: usize = 16 * 1024;

const WHAT: &str = "cpu section (Azure)";
const MAX_ENCODED: usize = MAX_HCL_REPORT + 2 * MAX_STRUCTURE + 1024;

/// The `cpu` section of a confidential VM on Azure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureEvidence {
    /// `TPMS_ATTEST`, the bytes that were signed; [`crate::tpm::Quote::parse`].
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`, RSASSA with SHA-256.
    pub signature: Vec<u8>,
    /// The HCL report.
    pub hcl_report: Vec<u8>,
    /// The PCR values that the quote is said to cover.
    pub pcrs: PcrBank,
}

impl AzureEvidence {
    /// The CBOR of the section: `{1: attest, 2: signature, 3: HCL report, 4: [[index, value]...]}`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.map(4).uint(1).bytes(&self.attest);
        writer.uint(2).bytes(&self.signature);
        writer.uint(3).bytes(&self.hcl_report).uint(4);
        self.pcrs.write(&mut writer);
        writer.finish()
    }

    /// Reads the CBOR of the section; the structures in it are not looked into.
    ///
    /// # Errors
    /// When `input` is not the deterministic encoding of a section within the limits.
    pub fn decode(input: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(WHAT, input, MAX_ENCODED)?;
        reader.map(4)?;
        reader.exact_uint(1, "key 1 (TPMS_ATTEST)")?;
        let attest = reader.bytes(MAX_STRUCTURE)?.to_owned();
        reader.exact_uint(2, "key 2 (TPMT_SIGNATURE)")?;
        let signature = reader.bytes(MAX_STRUCTURE)?.to_owned();
        reader.exact_uint(3, "key 3 (HCL report)")?;
        let hcl_report = reader.bytes(MAX_HCL_REPORT)?.to_owned();
        reader.exact_uint(4, "key 4 (PCR values)")?;
        let pcrs = PcrBank::read(&mut reader)?;
        let evidence = Self {
            attest,
            signature,
            hcl_report,
            pcrs,
        };
        reader.finish(&evidence.encode())?;
        Ok(evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::PCRS;

    fn evidence() -> AzureEvidence {
        AzureEvidence {
            attest: vec![1; 145],
            signature: vec![2; 262],
            hcl_report: vec![3; 2600],
            pcrs: PcrBank([[4; 32]; PCRS]),
        }
    }

    #[test]
    fn decode_gives_back_what_was_encoded_and_nothing_else() {
        let encoded = evidence().encode();
        assert_eq!(AzureEvidence::decode(&encoded), Ok(evidence()));
        for cut in 0..encoded.len() {
            assert!(AzureEvidence::decode(&encoded[..cut]).is_err(), "{cut}");
        }
        let longer = [encoded.as_slice(), &[0]].concat();
        assert!(AzureEvidence::decode(&longer).is_err());
    }

    #[test]
    fn decode_refuses_a_report_over_the_limit() {
        let mut evidence = evidence();
        evidence.hcl_report = vec![0; MAX_HCL_REPORT];
        assert!(AzureEvidence::decode(&evidence.encode()).is_ok());
        evidence.hcl_report.push(0);
        assert!(AzureEvidence::decode(&evidence.encode()).is_err());
    }
}
