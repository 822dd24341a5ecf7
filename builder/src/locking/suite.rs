//! One suite of the Debian archive: found, verified, indexed.

use std::io::Read as _;

use super::{LockError, Locking};
use crate::debian::{Index, Release, ReleaseError, verify_release};
use crate::fetch::{Place, Wanted};
use crate::recipe::Base;
use crate::source::HttpError;

/// A suite whose signature verified, with the packages of the wanted components.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) release: Release,
    pub(super) index: Index,
}

impl Locking<'_> {
    /// Finds the first archive that has the suite; what it says must then verify.
    pub(super) fn suite(
        &self,
        name: &str,
        base: &Base,
        keys: &[(String, Vec<u8>)],
    ) -> Result<Suite, LockError> {
        let (archive, bytes) = self.in_release(name)?;
        let release = match verify_release(name, &bytes, keys, self.now) {
            Err(ReleaseError::Expired { until, .. }) if self.settings.frozen_archive => {
                self.progress.warn(&format!(
                    "suite `{name}` expired ({until}); accepted because this machine's apt accepts expired suites"
                ));
                verify_release(name, &bytes, keys, 0)?
            }
            result => result?,
        };
        let mut index = Index::default();
        for component in &base.components {
            let text = self.packages(name, &archive, component, &base.architecture, &release)?;
            index.add(&text).map_err(|source| LockError::Index {
                suite: name.to_owned(),
                source,
            })?;
        }
        Ok(Suite { release, index })
    }

    fn in_release(&self, suite: &str) -> Result<(String, Vec<u8>), LockError> {
        let mut last = None;
        for archive in self.settings.archives()? {
            match self
                .fetcher
                .client
                .read(&format!("{archive}/dists/{suite}/InRelease"), "")
            {
                Ok((bytes, _)) => return Ok((archive.clone(), bytes)),
                Err(error @ HttpError::Gone(_)) => last = last.or(Some(error)),
                Err(error) => last = Some(error),
            }
        }
        let source = last.unwrap_or_else(|| HttpError::Gone(suite.to_owned()));
        Err(LockError::NoSuite {
            suite: suite.to_owned(),
            source,
        })
    }

    /// The uncompressed `Packages` of one component, through the store.
    fn packages(
        &self,
        suite: &str,
        archive: &str,
        component: &str,
        architecture: &str,
        release: &Release,
    ) -> Result<Vec<u8>, LockError> {
        let folder = format!("{component}/binary-{architecture}");
        let path = format!("{folder}/Packages.xz");
        let (size, sha256) = release.files.get(&path).ok_or_else(|| LockError::NoIndex {
            suite: suite.to_owned(),
            path: path.clone(),
        })?;
        let place = |path: &str| Place::Url(format!("{archive}/dists/{suite}/{path}"));
        let wanted = Wanted {
            name: format!("{suite} {path}"),
            sha256: *sha256,
            size: Some(*size),
            places: vec![
                place(&format!("{folder}/by-hash/SHA256/{sha256}")),
                place(&path),
            ],
        };
        let task = self.progress.task(&format!("{suite} {component}"), *size);
        self.fetcher.one(&wanted, &task)?;
        task.done("verified");
        let stored = |source| {
            LockError::Fetch(crate::fetch::FetchError::Store {
                name: wanted.name.clone(),
                source,
            })
        };
        let compressed = self.fetcher.store.read(sha256).map_err(stored)?;
        let mut text = Vec::new();
        liblzma::read::XzDecoder::new(compressed.as_slice())
            .read_to_end(&mut text)
            .map_err(|source| LockError::Xz {
                suite: suite.to_owned(),
                path,
                source,
            })?;
        Ok(text)
    }
}
