//! TD quotes, versions 4 and 5, byte for byte.
//!
//! Spec: Intel TDX DCAP Quoting Library API, appendix A.3 (version 4) and A.4 (version 5); TDX Module ABI, table TDREPORT
//! (body). Integers are little-endian. Not covered: SGX quotes, body type 4 (TDX 1.5 extended), keys other than P-256.

use thiserror::Error;

/// Longest input that is read, in bytes; GCE pads to 8000.
pub const MAX_BYTES: usize = 64 << 10;
/// Length of the header in bytes.
const HEADER: usize = 48;
/// Body types of version 5: TDX 1.0 and TDX 1.5.
const TD_1_0: u16 = 2;
const TD_1_5: u16 = 3;
/// Length of a TDX 1.0 body in bytes.
const BODY_1_0: u32 = 584;
/// TDX 1.5 adds TEE_TCB_SVN_2 and MRSERVICETD.
const BODY_1_5: u32 = BODY_1_0 + 64;
/// Certification data: a QE report with its own certification data.
const QE_REPORT: u16 = 6;
/// Certification data: the PCK certificate and its chain in PEM.
const PCK_CHAIN: u16 = 5;
/// Length of the QE's authentication data, in bytes.
const QE_AUTHENTICATION: u16 = 32;

/// Why bytes are not a TD quote.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Too long to read.
    #[error("quote has {found} bytes, at most {MAX_BYTES} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// A field reaches past the end of what holds it.
    #[error("{what} at byte {offset} reaches past the end: wanted {need} bytes, found {have}")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Where it starts in the quote, in bytes.
        offset: usize,
        /// Its length.
        need: usize,
        /// What there is.
        have: usize,
    },
    /// Neither version 4 nor version 5.
    #[error("quote has version {found}, wanted 4 or 5")]
    Version {
        /// The version.
        found: u16,
    },
    /// A body of another kind.
    #[error("body has type {found}, wanted 2 (TDX 1.0) or 3 (TDX 1.5)")]
    BodyType {
        /// The type.
        found: u16,
    },
    /// A body whose length is not that of its type.
    #[error("body has {found} bytes, wanted {wanted}")]
    BodySize {
        /// Length in the quote.
        found: u32,
        /// Length of the type.
        wanted: u32,
    },
    /// Certification data of another kind, or authentication data of another length.
    #[error("{what} is {found}, wanted {wanted}")]
    Certification {
        /// What is meant.
        what: &'static str,
        /// What the quote has.
        found: u16,
        /// What is read.
        wanted: u16,
    },
    /// Bytes after the last field of a length-prefixed part.
    #[error("{what} has {found} bytes too many")]
    Excess {
        /// The part.
        what: &'static str,
        /// How many.
        found: usize,
    },
    /// Something other than zeros after the quote.
    #[error("byte {offset}, after the end of the quote, is not zero")]
    Trailing {
        /// Where, in bytes.
        offset: usize,
    },
}

/// What the TDX module reports about a TD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// TEE_TCB_SVN.
    pub tee_tcb_svn: [u8; 16],
    /// MRSEAM: SHA-384 of the TDX module.
    pub mr_seam: [u8; 48],
    /// MRSIGNERSEAM: zero for a module signed by Intel.
    pub mr_signer_seam: [u8; 48],
    /// SEAMATTRIBUTES.
    pub seam_attributes: u64,
    /// TDATTRIBUTES.
    pub td_attributes: u64,
    /// XFAM: processor features the TD may use.
    pub xfam: u64,
    /// MRTD: build-time measurement.
    pub mr_td: [u8; 48],
    /// MRCONFIGID.
    pub mr_config_id: [u8; 48],
    /// MROWNER.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG.
    pub mr_owner_config: [u8; 48],
    /// RTMR0 to RTMR3.
    pub rtmr: [[u8; 48]; 4],
    /// REPORTDATA.
    pub report_data: [u8; 64],
    /// What TDX 1.5 adds.
    pub v1_5: Option<Body15>,
}

/// The fields that only a TDX 1.5 body has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body15 {
    /// TEE_TCB_SVN_2: of the module that runs now.
    pub tee_tcb_svn_2: [u8; 16],
    /// MRSERVICETD: hash of the service TDs bound to this one.
    pub mr_service_td: [u8; 48],
}

/// A quote: header, body, and what signs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote<'a> {
    /// 4 or 5.
    pub version: u16,
    /// Type of the attestation key: 2 is ECDSA P-256.
    pub key_type: u16,
    /// Type of the TEE: 0x81 is TDX.
    pub tee_type: u32,
    /// Vendor of the quoting enclave.
    pub qe_vendor: [u8; 16],
    /// The body.
    pub body: Body,
    /// Everything the attestation key signs: header and body.
    pub signed: &'a [u8],
    /// Who signed, and what vouches for the key.
    pub endorsement: Endorsement<'a>,
    /// Length of all of it without padding, in bytes.
    pub length: usize,
}

/// The signature data: attestation key, quoting enclave, PCK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement<'a> {
    /// r and s, big-endian.
    pub signature: [u8; 64],
    /// x and y of the attestation key.
    pub attestation_key: [u8; 64],
    /// The quoting enclave's report, 384 bytes.
    pub qe_report: [u8; 384],
    /// r and s of the PCK's signature over the report.
    pub qe_report_signature: [u8; 64],
    /// The quoting enclave's authentication data.
    pub qe_authentication: &'a [u8],
    /// PCK certificate and chain, PEM.
    pub pck_chain: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Reads a quote; after it, zeros alone may stand.
    ///
    /// # Errors
    /// See [`QuoteError`].
    pub fn parse(input: &'a [u8]) -> Result<Self, QuoteError> {
        let found = input.len();
        if found > MAX_BYTES {
            return Err(QuoteError::TooLarge { found });
        }
        let mut reader = Reader::new(input, 0);
        let version = u16::from_le_bytes(reader.array("version")?);
        let key_type = u16::from_le_bytes(reader.array("attestation key type")?);
        let tee_type = u32::from_le_bytes(reader.array("TEE type")?);
        reader.take("versions of QE and PCE", 4)?;
        let qe_vendor = reader.array("QE vendor")?;
        reader.take("user data", HEADER - 28)?;
        let v1_5 = match version {
            4 => false,
            5 => body_type(&mut reader)?,
            found => return Err(QuoteError::Version { found }),
        };
        let body = body(&mut reader, v1_5)?;
        let signed = input.get(..reader.offset).unwrap_or_default();
        let length = length(&mut reader, "length of the signature")?;
        let mut part = reader.part("signature", length)?;
        let endorsement = endorsement(&mut part)?;
        let quote = Self {
            version,
            key_type,
            tee_type,
            qe_vendor,
            body,
            signed,
            length: reader.offset,
            endorsement,
        };
        reader.padding()?;
        Ok(quote)
    }
}

/// Whether the body of a version 5 quote is a TDX 1.5 one.
fn body_type(reader: &mut Reader<'_>) -> Result<bool, QuoteError> {
    let kind = u16::from_le_bytes(reader.array("body type")?);
    let found = u32::from_le_bytes(reader.array("body size")?);
    let (v1_5, wanted) = match kind {
        TD_1_0 => (false, BODY_1_0),
        TD_1_5 => (true, BODY_1_5),
        found => return Err(QuoteError::BodyType { found }),
    };
    if found != wanted {
        return Err(QuoteError::BodySize { found, wanted });
    }
    Ok(v1_5)
}

fn body(reader: &mut Reader<'_>, v1_5: bool) -> Result<Body, QuoteError> {
    let mut body = Body {
        tee_tcb_svn: reader.array("TEE_TCB_SVN")?,
        mr_seam: reader.array("MRSEAM")?,
        mr_signer_seam: reader.array("MRSIGNERSEAM")?,
        seam_attributes: u64::from_le_bytes(reader.array("SEAMATTRIBUTES")?),
        td_attributes: u64::from_le_bytes(reader.array("TDATTRIBUTES")?),
        xfam: u64::from_le_bytes(reader.array("XFAM")?),
        mr_td: reader.array("MRTD")?,
        mr_config_id: reader.array("MRCONFIGID")?,
        mr_owner: reader.array("MROWNER")?,
        mr_owner_config: reader.array("MROWNERCONFIG")?,
        rtmr: [
            reader.array("RTMR0")?,
            reader.array("RTMR1")?,
            reader.array("RTMR2")?,
            reader.array("RTMR3")?,
        ],
        report_data: reader.array("REPORTDATA")?,
        v1_5: None,
    };
    if v1_5 {
        body.v1_5 = Some(Body15 {
            tee_tcb_svn_2: reader.array("TEE_TCB_SVN_2")?,
            mr_service_td: reader.array("MRSERVICETD")?,
        });
    }
    Ok(body)
}

fn endorsement<'a>(reader: &mut Reader<'a>) -> Result<Endorsement<'a>, QuoteError> {
    let signature = reader.array("signature of the attestation key")?;
    let attestation_key = reader.array("attestation key")?;
    let mut report = certification(reader, "certification data of the quote", QE_REPORT)?;
    reader.end("signature")?;
    let qe_report = report.array("QE report")?;
    let qe_report_signature = report.array("signature of the QE report")?;
    let length = u16::from_le_bytes(report.array("length of the QE authentication data")?);
    if length != QE_AUTHENTICATION {
        return Err(QuoteError::Certification {
            what: "length of the QE authentication data",
            found: length,
            wanted: QE_AUTHENTICATION,
        });
    }
    let qe_authentication = report.take("QE authentication data", usize::from(length))?;
    let chain = certification(
        &mut report,
        "certification data of the QE report",
        PCK_CHAIN,
    )?;
    report.end("certification data of the quote")?;
    Ok(Endorsement {
        signature,
        attestation_key,
        qe_report,
        qe_report_signature,
        qe_authentication,
        pck_chain: chain.rest,
    })
}

/// Splits certification data of the type `wanted` off.
fn certification<'a>(
    reader: &mut Reader<'a>,
    what: &'static str,
    wanted: u16,
) -> Result<Reader<'a>, QuoteError> {
    let found = u16::from_le_bytes(reader.array("type of certification data")?);
    if found != wanted {
        return Err(QuoteError::Certification {
            what: "type of certification data",
            found,
            wanted,
        });
    }
    let length = length(reader, "length of certification data")?;
    reader.part(what, length)
}

fn length(reader: &mut Reader<'_>, what: &'static str) -> Result<usize, QuoteError> {
    let length = u32::from_le_bytes(reader.array(what)?);
    // A length that no address space holds is past every end.
    Ok(usize::try_from(length).unwrap_or(usize::MAX))
}

/// Takes from the front, and knows where it stands in the quote.
struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn new(rest: &'a [u8], offset: usize) -> Self {
        Self { rest, offset }
    }

    fn take(&mut self, what: &'static str, need: usize) -> Result<&'a [u8], QuoteError> {
        let truncated = QuoteError::Truncated {
            what,
            offset: self.offset,
            need,
            have: self.rest.len(),
        };
        let (taken, rest) = self.rest.split_at_checked(need).ok_or(truncated)?;
        self.rest = rest;
        self.offset += need;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], QuoteError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(what, N)?);
        Ok(array)
    }

    fn part(&mut self, what: &'static str, need: usize) -> Result<Reader<'a>, QuoteError> {
        let offset = self.offset;
        Ok(Reader::new(self.take(what, need)?, offset))
    }

    fn end(&self, what: &'static str) -> Result<(), QuoteError> {
        match self.rest.len() {
            0 => Ok(()),
            found => Err(QuoteError::Excess { what, found }),
        }
    }

    fn padding(&self) -> Result<(), QuoteError> {
        match self.rest.iter().position(|byte| *byte != 0) {
            None => Ok(()),
            Some(at) => Err(QuoteError::Trailing {
                offset: self.offset + at,
            }),
        }
    }
}
