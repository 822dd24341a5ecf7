//! Collateral in files: bundles, folders with the answers of vendors' services, certificates and revocation lists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cloister_verify::collateral::{Collateral, CollateralError};
use cloister_verify::x509::{Crl, X509};

use super::evidence::read;
use crate::cmd::CommandError;

/// What `--collateral` names.
#[derive(Default)]
pub(super) struct Given {
    /// Certificates and revocation lists.
    pub(super) files: Vec<Vec<u8>>,
    pub(super) bundle: Collateral,
}

/// Reads each: a folder or a bundle fills what is not there yet; anything else is for [`sorted`].
pub(super) fn given(paths: &[PathBuf]) -> Result<Given, CommandError> {
    let mut given = Given::default();
    for path in paths {
        let found = match path.is_dir() {
            true => read_bundle(path)?,
            false => {
                let bytes = read(path)?;
                // Certificates begin with a dash or a DER sequence; bundles are JSON or YAML.
                if !matches!(bytes.trim_ascii_start(), [b'{' | b'a'..=b'z', ..]) {
                    given.files.push(bytes);
                    continue;
                }
                bundle(path, &bytes)?
            }
        };
        given.bundle.snp = given.bundle.snp.take().or(found.snp);
        given.bundle.tdx = given.bundle.tdx.take().or(found.tdx);
    }
    Ok(given)
}

/// Certificates and revocation lists. A file with both counts as both; one with neither is for a check to refuse.
pub(super) fn sorted(collateral: &[Vec<u8>]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let (mut certificates, mut crls): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    for input in collateral {
        let lists = Crl::read_all(input).is_ok();
        if lists {
            crls.push(input);
        }
        if !lists || X509::read_all(input).is_ok() {
            certificates.push(input);
        }
    }
    (certificates, crls)
}

/// Reads a bundle, or the files of a folder.
pub(super) fn read_bundle(path: &Path) -> Result<Collateral, CommandError> {
    match path.is_dir() {
        true => usable(path, Collateral::from_files(&files(path)?)),
        false => bundle(path, &read(path)?),
    }
}

/// Reads the bundle that is in the file at `path`.
fn bundle(path: &Path, input: &[u8]) -> Result<Collateral, CommandError> {
    usable(path, Collateral::read(input))
}

fn usable(
    path: &Path,
    parsed: Result<Collateral, CollateralError>,
) -> Result<Collateral, CommandError> {
    parsed
        .with_context(|| format!("collateral `{}` cannot be used", path.display()))
        .map_err(|error| {
            CommandError::new(error).with_hint(
                "wanted is what `cloister collateral fetch` writes, or what Intel's services answer",
            )
        })
}

/// The files of a folder that collateral is made of.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, CommandError> {
    let mut files = BTreeMap::new();
    for name in Collateral::FILES {
        let path = folder.join(name);
        if path.is_file() {
            files.insert(name.to_owned(), read(&path)?);
        }
    }
    Ok(files)
}
