//! What `python.exclude` saves, and which wheels ask for what is missing then.
//!
//! Requirements stand in a wheel's `METADATA`. A wheel that is in the store tells its own; of others the index may serve
//! the file by itself (PEP 658, PEP 714), which some do without saying so or giving its digest: what comes is shown to a
//! person and decides nothing. Where neither does, the build tells it, when it has the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read, Seek};

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
        let url = format!("{url}.metadata");
        let bytes = match (self.fetcher.client.read(&url, ""), metadata) {
            (Ok((bytes, _)), _) => bytes,
            (Err(HttpError::Gone(_)), _) | (Err(_), None) => return Ok(None),
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
}

/// `METADATA` of a wheel's bytes; a wheel that cannot be read tells nothing, and is refused by the build.
fn inside(wheel: impl Read + Seek) -> Option<Vec<u8>> {
    metadata_of(wheel).ok()
}
