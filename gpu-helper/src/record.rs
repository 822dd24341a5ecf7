//! What PID 1 asks and what the helper answers, over one stream socket.
//!
//! A request has 33 bytes: its number, then a nonce, or a number as `u64` little-endian and zeros, or zeros alone. A record is a frame: length as `u32`
//! little-endian, at most [`MAX_RECORD`] bytes, then the body: its number, then its fields in order. Numbers are `u32` little-endian;
//! bytes and text have a `u32` length in front; lists have a `u32` count. NVML's one `u64` is written as a number for its low half and one for its high half. What decodes encodes to the same bytes again.
//! Numbers of NVML are passed on as they came, whatever they say. Spec of those: NVML API reference, "Confidential Computing APIs".

use thiserror::Error;

/// Longest body of a record in bytes.
pub const MAX_RECORD: usize = 256 * 1024;
/// Length of a request in bytes.
pub const REQUEST: usize = 33;
/// Most devices in a record.
pub const MAX_DEVICES: usize = 16;
/// Longest attestation report in bytes: the array of `nvmlConfComputeGpuAttestationReport_t`.
pub const MAX_REPORT: usize = 0x2000;
/// Longest attestation certificate chain in bytes: the array of `nvmlConfComputeGpuCertificate_t`.
pub const MAX_CHAIN: usize = 0x1400;
/// Longest text in bytes: NVML's buffers have at most 96.
pub const MAX_TEXT: usize = 96;

/// A request of PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Initialise the library, if that is not done, and say what it says of the machine.
    Probe,
    /// Certificates and report of every device, for this nonce.
    Evidence {
        /// The nonce.
        nonce: [u8; 32],
    },
    /// Set the ready state to 1 and read it back.
    Ready,
    /// Set the threshold for key rotation and read it back.
    KeyRotation {
        /// `maxAttackerAdvantage`.
        attacker_advantage: u64,
    },
}

/// A record of the helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Answers [`Request::Probe`].
    Probe(Probe),
    /// Answers [`Request::Evidence`]: one for each device, in NVML's order.
    Evidence(Vec<Evidence>),
    /// Answers [`Request::Ready`].
    Ready {
        /// The ready state before it was set.
        before: u32,
        /// The ready state that was read back.
        after: u32,
    },
    /// Answers [`Request::KeyRotation`]: the attacker advantage that was read back, or `None` where library or driver have no such threshold.
    KeyRotation(Option<u64>),
    /// Answers anything: a call failed.
    Failed(Failure),
}

/// What NVML says of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// `nvmlSystemGetDriverVersion`.
    pub driver: String,
    /// `nvmlSystemGetConfComputeCapabilities`: `cpuCaps`, 0 none, 1 SEV, 2 TDX, 3 SEV-SNP, 4 SEV-SNP with vTOM.
    pub cpu_caps: u32,
    /// `gpusCaps`, 1 where the GPUs have confidential computing.
    pub gpus_caps: u32,
    /// `nvmlSystemGetConfComputeSettings`: `environment`, 0 unavailable, 1 simulation, 2 production.
    pub environment: u32,
    /// `ccFeature`, 1 where it is on.
    pub cc_feature: u32,
    /// `devToolsMode`, 1 where it is on.
    pub dev_tools_mode: u32,
    /// `multiGpuMode`, 0 none, 1 protected PCIe, 2 NVLink encryption.
    pub multi_gpu_mode: u32,
    /// `nvmlSystemGetConfComputeGpusReadyState`.
    pub ready: u32,
    /// Each device, in NVML's order.
    pub devices: Vec<Device>,
}

/// What NVML says of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `nvmlDeviceGetUUID`.
    pub uuid: String,
    /// `nvmlDeviceGetVbiosVersion`.
    pub vbios: String,
    /// `nvmlDeviceGetArchitecture`: 9 Hopper, 10 Blackwell.
    pub architecture: u32,
}

/// Evidence of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// `attestationReport` of `nvmlDeviceGetConfComputeGpuAttestationReport`.
    pub report: Vec<u8>,
    /// `attestationCertChain` of `nvmlDeviceGetConfComputeGpuCertificate`.
    pub chain: Vec<u8>,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Name of the call, path of the library, or the step of the start.
    pub call: String,
    /// How it failed.
    pub cause: Cause,
}

/// How a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The helper's process could not be confined or executed; PID 1's own code says so.
    Start,
    /// The library cannot be loaded.
    Library,
    /// The library has no such function.
    Symbol,
    /// `nvmlReturn_t` other than 0.
    Code(u32),
    /// A size beyond the array that it is of, in bytes.
    Size(u32),
    /// Another number of devices than before.
    Count(u32),
    /// Text without an end, or not ASCII.
    Text,
}

/// Why bytes are no record or no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a well-formed {0} of the GPU helper")]
pub struct RecordError(pub &'static str);

const RECORD: RecordError = RecordError("record");

impl Request {
    /// The 33 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; REQUEST] {
        let (number, nonce) = match self {
            Self::Probe => (1, [0; 32]),
            Self::Evidence { nonce } => (2, *nonce),
            Self::Ready => (3, [0; 32]),
            Self::KeyRotation { attacker_advantage } => (4, wide(*attacker_advantage)),
        };
        let mut bytes = [0; REQUEST];
        let (first, rest) = bytes.split_at_mut(1);
        first.fill(number);
        rest.copy_from_slice(&nonce);
        bytes
    }

    /// Undoes [`Request::encode`].
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(bytes: &[u8; REQUEST]) -> Result<Self, RecordError> {
        let [number, nonce @ ..] = bytes;
        let request = match number {
            1 => Self::Probe,
            2 => Self::Evidence { nonce: *nonce },
            3 => Self::Ready,
            4 => Self::KeyRotation {
                attacker_advantage: nonce
                    .first_chunk()
                    .map_or(0, |low| u64::from_le_bytes(*low)),
            },
            _ => return Err(RecordError("request")),
        };
        match request.encode() == *bytes {
            true => Ok(request),
            false => Err(RecordError("request")),
        }
    }
}

/// A number in the place of a nonce.
fn wide(number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(number.to_le_bytes()) {
        *to = from;
    }
    bytes
}

impl Record {
    /// The body of the frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::new());
        match self {
            Self::Probe(probe) => probe.write(&mut out),
            Self::Evidence(devices) => {
                out.number(2);
                out.count(devices.len());
                for device in devices {
                    out.bytes(&device.report);
                    out.bytes(&device.chain);
                }
            }
            Self::Ready { before, after } => {
                [3, *before, *after]
                    .into_iter()
                    .for_each(|number| out.number(number));
            }
            Self::KeyRotation(None) => {
                out.number(5);
                out.number(0);
            }
            Self::KeyRotation(Some(advantage)) => {
                out.number(5);
                out.number(1);
                out.0.extend(advantage.to_le_bytes());
            }
            Self::Failed(failure) => {
                let (kind, detail) = failure.cause.numbers();
                out.number(4);
                out.bytes(failure.call.as_bytes());
                out.number(kind);
                out.number(detail);
            }
        }
        out.0
    }

    /// Undoes [`Record::encode`].
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn decode(body: &[u8]) -> Result<Self, RecordError> {
        if body.len() > MAX_RECORD {
            return Err(RECORD);
        }
        let mut input = Reader(body);
        let record = match input.number()? {
            1 => Self::Probe(Probe::read(&mut input)?),
            2 => {
                let evidence = |input: &mut Reader<'_>| {
                    Ok(Evidence {
                        report: input.bytes(MAX_REPORT)?.to_vec(),
                        chain: input.bytes(MAX_CHAIN)?.to_vec(),
                    })
                };
                Self::Evidence(input.list(evidence)?)
            }
            3 => Self::Ready {
                before: input.number()?,
                after: input.number()?,
            },
            4 => Self::Failed(Failure {
                call: input.text()?,
                cause: Cause::read(input.number()?, input.number()?)?,
            }),
            5 => Self::KeyRotation(match input.number()? {
                0 => None,
                1 => Some(u64::from(input.number()?) | u64::from(input.number()?) << 32),
                _ => return Err(RECORD),
            }),
            _ => return Err(RECORD),
        };
        match input.0.is_empty() && record.encode() == body {
            true => Ok(record),
            false => Err(RECORD),
        }
    }
}

impl Probe {
    fn write(&self, out: &mut Writer) {
        out.number(1);
        out.bytes(self.driver.as_bytes());
        let numbers = [
            self.cpu_caps,
            self.gpus_caps,
            self.environment,
            self.cc_feature,
            self.dev_tools_mode,
            self.multi_gpu_mode,
            self.ready,
        ];
        numbers.into_iter().for_each(|number| out.number(number));
        out.count(self.devices.len());
        for device in &self.devices {
            out.bytes(device.uuid.as_bytes());
            out.bytes(device.vbios.as_bytes());
            out.number(device.architecture);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        let device = |input: &mut Reader<'_>| {
            Ok(Device {
                uuid: input.text()?,
                vbios: input.text()?,
                architecture: input.number()?,
            })
        };
        Ok(Self {
            driver: input.text()?,
            cpu_caps: input.number()?,
            gpus_caps: input.number()?,
            environment: input.number()?,
            cc_feature: input.number()?,
            dev_tools_mode: input.number()?,
            multi_gpu_mode: input.number()?,
            ready: input.number()?,
            devices: input.list(device)?,
        })
    }
}

impl Cause {
    fn numbers(self) -> (u32, u32) {
        match self {
            Self::Start => (7, 0),
            Self::Library => (1, 0),
            Self::Symbol => (2, 0),
            Self::Code(code) => (3, code),
            Self::Size(size) => (4, size),
            Self::Count(count) => (5, count),
            Self::Text => (6, 0),
        }
    }

    fn read(kind: u32, detail: u32) -> Result<Self, RecordError> {
        match (kind, detail) {
            (1, 0) => Ok(Self::Library),
            (2, 0) => Ok(Self::Symbol),
            (3, code) => Ok(Self::Code(code)),
            (4, size) => Ok(Self::Size(size)),
            (5, count) => Ok(Self::Count(count)),
            (6, 0) => Ok(Self::Text),
            (7, 0) => Ok(Self::Start),
            _ => Err(RECORD),
        }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    /// A length beyond 32 bits leaves a record that no reader takes.
    fn count(&mut self, count: usize) {
        self.number(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend(bytes);
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn number(&mut self) -> Result<u32, RecordError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(RECORD)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*number))
    }

    fn bytes(&mut self, limit: usize) -> Result<&'b [u8], RecordError> {
        let length = usize::try_from(self.number()?).map_err(|_| RECORD)?;
        let split = self.0.split_at_checked(length).ok_or(RECORD)?;
        self.0 = split.1;
        match length <= limit {
            true => Ok(split.0),
            false => Err(RECORD),
        }
    }

    fn text(&mut self) -> Result<String, RecordError> {
        let text = core::str::from_utf8(self.bytes(MAX_TEXT)?).map_err(|_| RECORD)?;
        Ok(text.to_owned())
    }

    fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let count = usize::try_from(self.number()?).map_err(|_| RECORD)?;
        if count > MAX_DEVICES {
            return Err(RECORD);
        }
        (0..count).map(|_| item(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let device = |uuid: &str| Device {
            uuid: uuid.into(),
            vbios: "96.00.9F.00.01".into(),
            architecture: 9,
        };
        let probe = Probe {
            driver: "550.144.03".into(),
            cpu_caps: 3,
            gpus_caps: 1,
            environment: 2,
            cc_feature: 1,
            dev_tools_mode: 0,
            multi_gpu_mode: 0,
            ready: 0,
            devices: vec![device("GPU-1"), device("GPU-2")],
        };
        let evidence = Evidence {
            report: vec![1; 4049],
            chain: vec![2; 4800],
        };
        let failed = |cause| {
            Record::Failed(Failure {
                call: "nvmlInit_v2".into(),
                cause,
            })
        };
        let mut records = vec![
            Record::Probe(probe),
            Record::Evidence(vec![evidence; 2]),
            Record::Evidence(Vec::new()),
            Record::Ready {
                before: 0,
                after: 1,
            },
            Record::KeyRotation(None),
            Record::KeyRotation(Some(60)),
            Record::KeyRotation(Some(u64::MAX - 1)),
        ];
        let causes = [Cause::Start, Cause::Library, Cause::Symbol, Cause::Text];
        records.extend(causes.map(failed));
        let causes = [Cause::Code(999), Cause::Size(u32::MAX), Cause::Count(2)];
        records.extend(causes.map(failed));
        records
    }

    #[test]
    fn records_and_requests_round_trip() {
        for record in records() {
            assert_eq!(Record::decode(&record.encode()), Ok(record));
        }
        let requests = [
            Request::Probe,
            Request::Evidence { nonce: [7; 32] },
            Request::Ready,
            Request::KeyRotation {
                attacker_advantage: 60,
            },
            Request::KeyRotation {
                attacker_advantage: u64::MAX,
            },
        ];
        for request in requests {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn decode_refuses_other_lengths() {
        for body in records().iter().map(Record::encode) {
            for cut in 0..body.len() {
                assert_eq!(Record::decode(&body[..cut]), Err(RECORD), "{cut}");
            }
            assert_eq!(Record::decode(&[&body[..], &[0]].concat()), Err(RECORD));
        }
    }

    #[test]
    fn decode_refuses_what_is_beyond_its_limits() {
        let refused = |record: Record| assert_eq!(Record::decode(&record.encode()), Err(RECORD));
        let evidence = |report, chain| Evidence {
            report: vec![0; report],
            chain: vec![0; chain],
        };
        refused(Record::Evidence(vec![evidence(MAX_REPORT + 1, 0)]));
        refused(Record::Evidence(vec![evidence(0, MAX_CHAIN + 1)]));
        refused(Record::Evidence(vec![evidence(0, 0); MAX_DEVICES + 1]));
        refused(Record::Failed(Failure {
            call: "n".repeat(MAX_TEXT + 1),
            cause: Cause::Text,
        }));
        assert_eq!(Record::decode(&[9, 0, 0, 0]), Err(RECORD));
    }

    #[test]
    fn decode_refuses_a_nonce_where_there_is_none() {
        for number in [0, 1, 3, 4] {
            let mut bytes = [5; REQUEST];
            bytes[0] = number;
            assert_eq!(Request::decode(&bytes), Err(RecordError("request")));
        }
    }
}
