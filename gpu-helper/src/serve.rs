//! The helper's loop: a request in, calls, a record out.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::record::{
    Cause, Device, Evidence, Failure, MAX_DEVICES, Probe, REQUEST, Record, Request,
};
use crate::sys::Nvml;

/// Where Debian's and NVIDIA's packages put the library.
pub const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1";

/// Answers requests from `input` on `output` with what the library at `path` says, until `input` ends.
///
/// # Errors
/// When either fails, or a request is malformed.
pub fn serve(path: &Path, mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut session = Session {
        path,
        nvml: None,
        count: 0,
    };
    loop {
        let mut bytes = [0; REQUEST];
        match input.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let request = Request::decode(&bytes).map_err(io::Error::other)?;
        let record = session.answer(&request).unwrap_or_else(Record::Failed);
        let body = record.encode();
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        output.write_all(&[&length.to_le_bytes(), body.as_slice()].concat())?;
        output.flush()?;
    }
}

/// The library, and how many devices it had.
struct Session<'p> {
    path: &'p Path,
    nvml: Option<Nvml>,
    count: u32,
}

impl Session<'_> {
    fn answer(&mut self, request: &Request) -> Result<Record, Failure> {
        match request {
            Request::Probe => self.probe(),
            Request::Evidence { nonce } => self.evidence(nonce),
            Request::Ready => self.ready(),
            Request::KeyRotation { attacker_advantage } => self.key_rotation(*attacker_advantage),
        }
    }

    fn nvml(&mut self) -> Result<&Nvml, Failure> {
        let nvml = match self.nvml.take() {
            Some(nvml) => nvml,
            None => Nvml::load(self.path)?,
        };
        Ok(self.nvml.insert(nvml))
    }

    fn probe(&mut self) -> Result<Record, Failure> {
        let nvml = self.nvml()?;
        let driver = nvml.driver_version()?;
        let capabilities = nvml.capabilities()?;
        let settings = nvml.settings()?;
        let ready = nvml.ready()?;
        let count = nvml.count()?;
        if usize::try_from(count).is_ok_and(|count| count > MAX_DEVICES) {
            return Err(counted(count));
        }
        let device = |number| {
            let device = nvml.device(number)?;
            Ok(Device {
                uuid: device.uuid()?,
                vbios: device.vbios()?,
                architecture: device.architecture()?,
            })
        };
        let devices: Result<Vec<Device>, Failure> = (0..count).map(device).collect();
        let devices = devices?;
        self.count = count;
        Ok(Record::Probe(Probe {
            driver,
            cpu_caps: capabilities.cpu_caps,
            gpus_caps: capabilities.gpus_caps,
            environment: settings.environment,
            cc_feature: settings.cc_feature,
            dev_tools_mode: settings.dev_tools_mode,
            multi_gpu_mode: settings.multi_gpu_mode,
            ready,
            devices,
        }))
    }

    fn evidence(&mut self, nonce: &[u8; 32]) -> Result<Record, Failure> {
        let known = self.count;
        let nvml = self.nvml()?;
        let count = nvml.count()?;
        if count != known {
            return Err(counted(count));
        }
        let evidence = |number| {
            let device = nvml.device(number)?;
            let chain = device.chain()?;
            let report = device.report(nonce)?;
            Ok(Evidence { report, chain })
        };
        let all: Result<Vec<Evidence>, Failure> = (0..count).map(evidence).collect();
        all.map(Record::Evidence)
    }

    /// A library without the call, or a driver that does not support it, has no threshold; every other failure is one.
    fn key_rotation(&mut self, attacker_advantage: u64) -> Result<Record, Failure> {
        let nvml = self.nvml()?;
        match nvml.set_attacker_advantage(attacker_advantage) {
            Ok(()) => nvml.attacker_advantage().map(Some),
            Err(failure) if is_absent(failure.cause) => Ok(None),
            Err(failure) => Err(failure),
        }
        .map(Record::KeyRotation)
    }

    fn ready(&mut self) -> Result<Record, Failure> {
        let nvml = self.nvml()?;
        let before = nvml.ready()?;
        nvml.set_ready()?;
        let after = nvml.ready()?;
        Ok(Record::Ready { before, after })
    }
}

/// Whether a call is not there: no symbol, or "not supported" or "function not found" of the driver.
fn is_absent(cause: Cause) -> bool {
    matches!(cause, Cause::Symbol | Cause::Code(3 | 13))
}

/// More devices than a record has room for, or another number than before.
fn counted(count: u32) -> Failure {
    Failure {
        call: "nvmlDeviceGetCount_v2".to_owned(),
        cause: Cause::Count(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(path: &str, requests: &[u8]) -> (io::Result<()>, Vec<u8>) {
        let mut output = Vec::new();
        let served = serve(Path::new(path), requests, &mut output);
        (served, output)
    }

    fn record(output: &[u8]) -> Record {
        let (length, body) = output.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_le_bytes(*length) as usize, body.len());
        Record::decode(body).unwrap()
    }

    #[test]
    fn an_absent_library_and_one_without_the_calls_are_told_apart() {
        let (served, output) = answers("/absent.so", &Request::Probe.encode());
        served.unwrap();
        let absent = Failure {
            call: "/absent.so".to_owned(),
            cause: Cause::Library,
        };
        assert_eq!(record(&output), Record::Failed(absent));
        let (served, output) = answers("libc.so.6", &Request::Ready.encode());
        served.unwrap();
        let other = Failure {
            call: "nvmlInit_v2".to_owned(),
            cause: Cause::Symbol,
        };
        assert_eq!(record(&output), Record::Failed(other));
    }

    #[test]
    fn a_malformed_request_ends_the_helper_without_a_record() {
        let (served, output) = answers("/absent.so", &[9; REQUEST]);
        assert!(served.is_err() && output.is_empty());
        let (served, output) = answers("/absent.so", &[]);
        assert!(served.is_ok() && output.is_empty());
    }
}
