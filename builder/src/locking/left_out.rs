//! What `python.exclude` saves, and which wheels ask for what is missing then.
//!
//! Requirements stand in a wheel's `METADATA`. A wheel that is in the store tells its own; of others the index may serve
//! the file by itself (PEP 658, PEP 714), which some do without saying so or giving its digest: what comes is shown to a
//! person and decides nothing. Of the rest the end of the wheel is read, where its directory is and `METADATA` should be
//! (PyPA binary distribution format: `.dist-info` comes last). Where that fails, too, the build tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::fit::Target;
use super::wheels::{Found, listed};
use super::{LockError, Locking};
use crate::digest::Digest;
use crate::fetch::{CONNECTIONS, FetchError};
use crate::lock::LeftOutWheel;
use crate::parallel::each;
use crate::source::{HttpError, IndexFile};
use crate::wheel::{metadata_of, requirements_of};

/// Packages that are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Sorted by name.
    pub(crate) wheels: Vec<LeftOutWheel>,
    /// Wheels that require one of them, by its name.
    pub(crate) required_by: BTreeMap<String, BTreeSet<String>>,
    /// Wheels whose requirements are not known yet.
    pub(crate) unasked: usize,
}

impl Locking<'_> {
    /// Asks every wheel for what it requires.
    pub(super) fn requirers(
        &self,
        wheels: Vec<LeftOutWheel>,
        found: &[Found],
        target: Target,
    ) -> Result<LeftOut, LockError> {
        let environment = target.environment();
        let mut left_out = LeftOut {
            wheels,
            ..LeftOut::default()
        };
        let answers = each(found, CONNECTIONS, |found| self.metadata(found));
        for (found, metadata) in found.iter().zip(answers) {
            let read = metadata?.map(|bytes| requirements_of(&bytes, &environment));
            let Some(Ok(requirements)) = read else {
                left_out.unasked += 1;
                continue;
            };
            for requirement in requirements {
                let missing = left_out
                    .wheels
                    .iter()
                    .any(|wheel| wheel.name == requirement.name);
                if missing {
                    let by = left_out.required_by.entry(requirement.name);
                    by.or_default().insert(found.wheel.name.clone());
                }
            }
        }
        Ok(left_out)
    }

    /// `METADATA` of a wheel, from its bytes in the store or in a directory, or from the index.
    fn metadata(&self, found: &Found) -> Result<Option<Vec<u8>>, LockError> {
        if let Ok(file) = self.fetcher.store.open_verified(&found.wheel.sha256) {
            return Ok(inside(BufReader::new(file)));
        }
        let entry = match &found.entry {
            Some(entry) => Some(entry.clone()),
            None => listed(self, &found.wheel.name)?
                .into_iter()
                .find(|file| file.sha256 == Some(found.wheel.sha256)),
        };
        let Some(IndexFile { url, metadata, .. }) = entry else {
            return Ok(None);
        };
        if let Some(path) = url.strip_prefix("file://") {
            return Ok(std::fs::File::open(path).ok().and_then(inside));
        }
        let wheel = (url.as_str(), found.wheel.size);
        let url = format!("{url}.metadata");
        let bytes = match (self.fetcher.client.read(&url, ""), metadata) {
            (Ok((bytes, _)), _) => bytes,
            (Err(HttpError::Gone(_)), _) | (Err(_), None) => return Ok(self.at_the_end(wheel)),
            (Err(error), Some(_)) => return Err(error.into()),
        };
        let found = Digest::of(&bytes);
        match metadata {
            Some(wanted) if wanted != found => Err(LockError::Fetch(FetchError::Hash {
                name: "METADATA".to_owned(),
                place: url,
                wanted,
                found,
            })),
            _ => Ok(Some(bytes)),
        }
    }

    /// `METADATA` from the end of the wheel with this address and size.
    fn at_the_end(&self, (url, size): (&str, u64)) -> Option<Vec<u8>> {
        ENDS.iter().find_map(|length| {
            let begin = size.saturating_sub(*length);
            let answer = self.fetcher.client.get(url, begin, "").ok()?;
            // A server without ranges would send the whole wheel.
            if answer.offset != begin {
                return None;
            }
            let mut bytes = Vec::new();
            answer.body.take(*length).read_to_end(&mut bytes).ok()?;
            inside(End {
                begin,
                bytes,
                at: 0,
            })
        })
    }
}

/// How many bytes of a wheel's end are asked for, first and then.
const ENDS: [u64; 2] = [128 << 10, 4 << 20];

/// The end of a file, which reads as the whole file does; what lies before it cannot be read.
struct End {
    begin: u64,
    bytes: Vec<u8>,
    at: u64,
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let from = self.at.checked_sub(self.begin);
        let from = from.and_then(|from| usize::try_from(from).ok());
        let from = from.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let count = self.bytes.get(from..).unwrap_or_default().read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for End {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => (self.begin + self.bytes.len() as u64).checked_add_signed(by),
        };
        self.at = place.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// `METADATA` of a wheel's bytes; a wheel that cannot be read tells nothing, and is refused by the build.
fn inside(wheel: impl Read + Seek) -> Option<Vec<u8>> {
    metadata_of(wheel).ok()
}
