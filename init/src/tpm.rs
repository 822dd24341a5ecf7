//! TPM 2.0 by raw commands, over anything that takes a command and gives a response.
//!
//! Spec: TCG TPM 2.0 Library, Part 3 "Commands" (each command is named where it is made) and
//! Part 1, "Command/Response Structure". Integers are big-endian; authorisation is the empty
//! password everywhere. Structures of the evidence itself are `cloister_evidence::tpm`'s.
//! Not covered: sessions with parameter encryption. The bus between guest and TPM is part of the
//! platform's trust; where it is not, the platform's own report is used instead.

use std::cmp::Ordering;
use std::io::{Read, Write};
use std::time::Duration;

use cloister_evidence::tpm::{
    ALG_NULL, ALG_SHA256, PCR_BITMAP, PCRS, PcrBank, RH_OWNER, ak_template,
};

/// Longest response in bytes; TPMs have buffers of 4096.
const LONGEST: usize = 4096;

const HEADER: usize = 10;

/// `TPM_RC_YIELDED`, `TPM_RC_TESTING`, `TPM_RC_RETRY`: nothing was done, ask again.
const PATIENCE_CODES: [u32; 3] = [0x908, 0x90a, 0x922];
const PAUSE: Duration = Duration::from_millis(20);
const ATTEMPTS: usize = 100;

/// `TPM_ST_NO_SESSIONS`.
const NO_SESSIONS: u16 = 0x8001;
/// `TPM_ST_SESSIONS`.
const SESSIONS: u16 = 0x8002;
/// `TPM_RS_PW`, the password session.
const PASSWORD: u32 = 0x4000_0009;

/// `TPM_CC` of the commands used (Part 2, table "Definition of TPM_CC Constants").
const CREATE_PRIMARY: u32 = 0x131;
const NV_READ: u32 = 0x14e;
const NV_READ_PUBLIC: u32 = 0x169;
const PCR_EVENT: u32 = 0x13c;
const QUOTE: u32 = 0x158;
const FLUSH_CONTEXT: u32 = 0x165;
const PCR_READ: u32 = 0x17e;

/// `TPM_RC_HANDLE` of the first handle: there is no such object.
const NO_SUCH_HANDLE: u32 = 0x18b;
/// Bytes of an NV index asked for at once; TPMs give at least 512.
const NV_CHUNK: u16 = 512;

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The device failed.
    #[error("TPM device: {0}")]
    Device(#[from] std::io::Error),
    /// The TPM refused (Part 2, "TPM_RC").
    #[error("TPM refused {command} with response code {code:#x}")]
    Refused {
        /// Name of the command.
        command: &'static str,
        /// The response code.
        code: u32,
    },
    /// The response has not the form that the specification demands.
    #[error("TPM response to {command} is malformed")]
    Malformed {
        /// Name of the command.
        command: &'static str,
    },
}

/// A quote as the TPM gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedQuote {
    /// `TPMS_ATTEST`, the bytes that were signed.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
}

/// A key that signs quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    handle: u32,
    /// `TPMT_PUBLIC`; empty for a key that is only named by its handle.
    pub public: Vec<u8>,
}

impl Key {
    /// The key that lies in the TPM at the persistent `handle`.
    pub fn persistent(handle: u32) -> Self {
        Self {
            handle,
            public: Vec::new(),
        }
    }
}

/// A TPM behind a stream: `/dev/tpmrm0`, or a software TPM's socket in tests.
#[derive(Debug)]
pub struct Tpm<S> {
    stream: S,
}

impl<S: Read + Write> Tpm<S> {
    /// Takes the stream; nothing is sent yet.
    pub fn new(stream: S) -> Self {
        Self { stream }
    }

    /// `TPM2_CreatePrimary` of Cloister's attestation key in the owner hierarchy. The same TPM
    /// gives the same key at every boot.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn create_attestation_key(&mut self) -> Result<Key, TpmError> {
        const WHAT: &str = "TPM2_CreatePrimary";
        let response = self.run(WHAT, &create_primary())?;
        let mut fields = Fields {
            command: WHAT,
            rest: &response,
        };
        let handle = fields.u32()?;
        fields.u32()?; // parameterSize
        Ok(Key {
            handle,
            public: fields.sized()?.to_vec(),
        })
    }

    /// `TPM2_Quote` by `key` over PCRs 0 to 15, SHA-256 bank, with `qualifying` as extra data.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn quote(&mut self, key: &Key, qualifying: &[u8; 32]) -> Result<SignedQuote, TpmError> {
        const WHAT: &str = "TPM2_Quote";
        let response = self.run(WHAT, &quote(key.handle, qualifying))?;
        let mut fields = Fields {
            command: WHAT,
            rest: &response,
        };
        let size = fields.length()?; // parameterSize: the authorisation area follows
        let mut parameters = Fields {
            command: WHAT,
            rest: fields.take(size)?,
        };
        let attest = parameters.sized()?.to_vec();
        Ok(SignedQuote {
            attest,
            signature: parameters.rest.to_vec(),
        })
    }

    /// `TPM2_PCR_Event`: hashes `data` (at most 1024 bytes) with the algorithm of each active bank
    /// and extends PCR `index` with it, so that no bank stays pristine. Returns the SHA-256 digest.
    ///
    /// # Errors
    /// [`TpmError`], also when the TPM has no SHA-256 bank.
    pub fn pcr_event(&mut self, index: u32, data: &[u8]) -> Result<[u8; 32], TpmError> {
        const WHAT: &str = "TPM2_PCR_Event";
        let malformed = TpmError::Malformed { command: WHAT };
        let response = self.run(WHAT, &pcr_event(index, data).ok_or(malformed)?)?;
        let mut fields = Fields {
            command: WHAT,
            rest: &response,
        };
        fields.u32()?; // parameterSize
        let count = fields.u32()?;
        let mut sha256 = None;
        for _ in 0..count {
            let algorithm = fields.u16()?;
            let length = digest_length(algorithm).ok_or(TpmError::Malformed { command: WHAT })?;
            let digest = fields.take(length)?;
            if algorithm == ALG_SHA256 {
                sha256 = digest.try_into().ok();
            }
        }
        sha256.ok_or(TpmError::Malformed { command: WHAT })
    }

    /// `TPM2_PCR_Read` of PCRs 0 to 15, SHA-256 bank; a TPM gives at most eight at once.
    ///
    /// # Errors
    /// [`TpmError`], also when the TPM leaves one out.
    pub fn read_pcrs(&mut self) -> Result<PcrBank, TpmError> {
        let mut bank = PcrBank([[0; 32]; PCRS]);
        for (values, bitmap) in bank.0.chunks_mut(8).zip([[0xff, 0, 0], [0, 0xff, 0]]) {
            self.read_eight(values, bitmap)?;
        }
        Ok(bank)
    }

    fn read_eight(&mut self, values: &mut [[u8; 32]], bitmap: [u8; 3]) -> Result<(), TpmError> {
        const WHAT: &str = "TPM2_PCR_Read";
        let response = self.run(WHAT, &pcr_read(bitmap))?;
        let mut fields = Fields {
            command: WHAT,
            rest: &response,
        };
        let selection = selection(bitmap);
        fields.u32()?; // pcrUpdateCounter
        let same = fields.take(selection.len())? == selection;
        let count = fields.length()?;
        if !same || count != values.len() {
            return Err(TpmError::Malformed { command: WHAT });
        }
        for value in values {
            *value = fields
                .sized()?
                .try_into()
                .map_err(|_| TpmError::Malformed { command: WHAT })?;
        }
        Ok(())
    }

    /// The contents of NV index `index`, read with the owner's empty password (`TPM2_NV_ReadPublic`, `TPM2_NV_Read`);
    /// `None` where there is no such index.
    ///
    /// # Errors
    /// [`TpmError`], also for an index of more than `limit` bytes.
    pub fn nv_read(&mut self, index: u32, limit: usize) -> Result<Option<Vec<u8>>, TpmError> {
        const WHAT: &str = "TPM2_NV_Read";
        let Some(size) = self.nv_size(index)? else {
            return Ok(None);
        };
        if usize::from(size) > limit {
            return Err(TpmError::Malformed { command: WHAT });
        }
        let mut contents = Vec::new();
        for offset in (0..size).step_by(NV_CHUNK.into()) {
            let wanted = size.saturating_sub(offset).min(NV_CHUNK);
            let response = self.run(WHAT, &nv_read(index, wanted, offset))?;
            let mut fields = Fields {
                command: WHAT,
                rest: &response,
            };
            fields.u32()?; // parameterSize
            let chunk = fields.sized()?;
            if chunk.len() != usize::from(wanted) {
                return Err(TpmError::Malformed { command: WHAT });
            }
            contents.extend(chunk);
        }
        Ok(Some(contents))
    }

    /// Size of an NV index in bytes; `None` where there is no such index.
    fn nv_size(&mut self, index: u32) -> Result<Option<u16>, TpmError> {
        const WHAT: &str = "TPM2_NV_ReadPublic";
        let mut command = header(NO_SESSIONS, HEADER + 4, NV_READ_PUBLIC);
        command.extend(index.to_be_bytes());
        let response = match self.run(WHAT, &command) {
            Err(TpmError::Refused {
                code: NO_SUCH_HANDLE,
                ..
            }) => return Ok(None),
            other => other?,
        };
        let mut fields = Fields {
            command: WHAT,
            rest: &response,
        };
        fields.u16()?; // size of TPMS_NV_PUBLIC
        let same = fields.u32()? == index;
        fields.u16()?; // nameAlg
        fields.u32()?; // attributes
        fields.sized()?; // authPolicy
        let size = fields.u16()?;
        match same {
            true => Ok(Some(size)),
            false => Err(TpmError::Malformed { command: WHAT }),
        }
    }

    /// `TPM2_FlushContext` of a key.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn flush(&mut self, key: Key) -> Result<(), TpmError> {
        let mut command = header(NO_SESSIONS, HEADER + 4, FLUSH_CONTEXT);
        command.extend(key.handle.to_be_bytes());
        self.run("TPM2_FlushContext", &command).map(drop)
    }

    /// Sends a command, again while the TPM asks for patience, and returns what follows the header
    /// of a response without error.
    fn run(&mut self, name: &'static str, command: &[u8]) -> Result<Vec<u8>, TpmError> {
        for _ in 0..ATTEMPTS {
            match self.run_once(name, command) {
                Err(TpmError::Refused { code, .. }) if PATIENCE_CODES.contains(&code) => {
                    std::thread::sleep(PAUSE);
                }
                other => return other,
            }
        }
        self.run_once(name, command)
    }

    fn run_once(&mut self, name: &'static str, command: &[u8]) -> Result<Vec<u8>, TpmError> {
        self.stream.write_all(command)?;
        let mut response = vec![0; LONGEST];
        let mut have: usize = 0;
        loop {
            let got = self
                .stream
                .read(response.get_mut(have..).unwrap_or_default())?;
            have = have.saturating_add(got);
            let whole = response.get(..have).unwrap_or_default();
            match complete(name, whole)? {
                Some(body) => return Ok(body),
                None if got == 0 => return Err(TpmError::Malformed { command: name }),
                None => {}
            }
        }
    }
}

/// What follows the header of a whole response; `None` while it is not whole.
fn complete(name: &'static str, response: &[u8]) -> Result<Option<Vec<u8>>, TpmError> {
    let mut fields = Fields {
        command: name,
        rest: response,
    };
    if response.len() < HEADER {
        return Ok(None);
    }
    fields.u16()?; // tag
    let size = fields.length()?;
    let code = fields.u32()?;
    match size.cmp(&response.len()) {
        Ordering::Greater if size <= LONGEST => Ok(None),
        Ordering::Equal if code == 0 => Ok(Some(fields.rest.to_vec())),
        Ordering::Equal => Err(TpmError::Refused {
            command: name,
            code,
        }),
        _ => Err(TpmError::Malformed { command: name }),
    }
}

/// Reads a response from its front.
struct Fields<'a> {
    command: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], TpmError> {
        let malformed = TpmError::Malformed {
            command: self.command,
        };
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TpmError> {
        let malformed = TpmError::Malformed {
            command: self.command,
        };
        self.take(N)?.try_into().map_err(|_| malformed)
    }

    fn u16(&mut self) -> Result<u16, TpmError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, TpmError> {
        self.array().map(u32::from_be_bytes)
    }

    fn length(&mut self) -> Result<usize, TpmError> {
        let malformed = TpmError::Malformed {
            command: self.command,
        };
        usize::try_from(self.u32()?).map_err(|_| malformed)
    }

    /// A `TPM2B`.
    fn sized(&mut self) -> Result<&'a [u8], TpmError> {
        let length = self.u16()?;
        self.take(length.into())
    }
}

/// Length in bytes of a digest (Part 2, table "TPM_ALG_ID").
fn digest_length(algorithm: u16) -> Option<usize> {
    match algorithm {
        0x0004 => Some(20),                   // SHA-1
        0x000b | 0x0012 | 0x0027 => Some(32), // SHA-256, SM3-256, SHA3-256
        0x000c | 0x0028 => Some(48),          // SHA-384, SHA3-384
        0x000d | 0x0029 => Some(64),          // SHA-512, SHA3-512
        _ => None,
    }
}

/// Tag, length of the whole command, command code. Commands here are far shorter than 4 GiB; a
/// length that did not fit would be refused by the TPM.
fn header(tag: u16, length: usize, code: u32) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    [
        tag.to_be_bytes().as_slice(),
        &length.to_be_bytes(),
        &code.to_be_bytes(),
    ]
    .concat()
}

/// A command whose first handle is authorised with the empty password.
fn authorised(code: u32, handles: &[u32], parameters: &[u8]) -> Vec<u8> {
    let mut area = PASSWORD.to_be_bytes().to_vec();
    area.extend([0; 5]); // nonce, session attributes, password
    let handles: Vec<u8> = handles
        .iter()
        .flat_map(|handle| handle.to_be_bytes())
        .collect();
    let area_length = [0, 0, 0, 9];
    let body = [handles.as_slice(), &area_length, &area, parameters].concat();
    [
        header(SESSIONS, HEADER.saturating_add(body.len()), code),
        body,
    ]
    .concat()
}

/// A `TPM2B`; `None` if `bytes` is too long for one.
fn sized(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(bytes.len()).ok()?;
    Some([length.to_be_bytes().as_slice(), bytes].concat())
}

/// `TPML_PCR_SELECTION` of some PCRs of the SHA-256 bank.
fn selection(bitmap: [u8; 3]) -> Vec<u8> {
    [
        [0, 0, 0, 1].as_slice(),
        &ALG_SHA256.to_be_bytes(),
        &[3],
        &bitmap,
    ]
    .concat()
}

fn create_primary() -> Vec<u8> {
    let sensitive = [0, 4, 0, 0, 0, 0]; // TPM2B_SENSITIVE_CREATE: empty password, no data
    let public = sized(&ak_template()).unwrap_or_default();
    let rest = [0; 6]; // outsideInfo, creationPCR: both empty
    authorised(
        CREATE_PRIMARY,
        &[RH_OWNER],
        &[sensitive.as_slice(), &public, &rest].concat(),
    )
}

fn quote(handle: u32, qualifying: &[u8; 32]) -> Vec<u8> {
    let scheme = ALG_NULL.to_be_bytes(); // the key's own
    let selection = selection(PCR_BITMAP);
    authorised(
        QUOTE,
        &[handle],
        &[[0, 32].as_slice(), qualifying, &scheme, &selection].concat(),
    )
}

fn pcr_event(index: u32, data: &[u8]) -> Option<Vec<u8>> {
    Some(authorised(PCR_EVENT, &[index], &sized(data)?))
}

fn nv_read(index: u32, size: u16, offset: u16) -> Vec<u8> {
    let range = [size.to_be_bytes(), offset.to_be_bytes()].concat();
    authorised(NV_READ, &[RH_OWNER, index], &range)
}

fn pcr_read(bitmap: [u8; 3]) -> Vec<u8> {
    let selection = selection(bitmap);
    [
        header(
            NO_SESSIONS,
            HEADER.saturating_add(selection.len()),
            PCR_READ,
        ),
        selection,
    ]
    .concat()
}

#[cfg(test)]
mod tests;
