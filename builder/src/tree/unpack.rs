//! One locked package from the store, unpacked, checked against the lock and read for the report.

use std::collections::BTreeSet;

use super::Origin;
use super::merge::Layer;
use crate::cmd::Hinted;
use crate::deb::scripts::{self, Alternative};
use crate::deb::{Body, Control, Deb, DebError, Member};
use crate::lock::LockedPackage;
use crate::store::{Store, StoreError};

/// Scripts that dpkg would run when the package is installed.
const AT_INSTALLATION: [&str; 2] = ["preinst", "postinst"];

/// What is known of a package beside its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Package name.
    pub(crate) name: String,
    /// Alternatives that its scripts would have registered.
    pub(crate) alternatives: Vec<Alternative>,
    /// By script, commands that no built-in effect covers.
    pub(crate) skipped: Vec<(String, Vec<String>)>,
    /// Licences named by its machine-readable copyright file, sorted.
    pub(crate) licences: BTreeSet<String>,
    /// Project page.
    pub(crate) homepage: Option<String>,
}

/// Why a locked package cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// The store does not have it, or it is damaged there.
    #[error("package `{name}` {version} cannot be read")]
    Store {
        /// Package.
        name: String,
        /// Version.
        version: String,
        /// Why.
        source: Box<StoreError>,
    },
    /// It is not a package.
    #[error("package `{name}` {version} cannot be unpacked")]
    Deb {
        /// Package.
        name: String,
        /// Version.
        version: String,
        /// Why.
        source: Box<DebError>,
    },
    /// It is another package than the lock says.
    #[error("package `{name}`: the lock says {field} `{wanted}`, the package itself `{found}`")]
    Other {
        /// Package.
        name: String,
        /// Which field.
        field: &'static str,
        /// In the lock.
        wanted: String,
        /// In the package.
        found: String,
    },
}

impl Hinted for UnpackError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Store { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// Unpacks `package` from the store.
pub(crate) fn layer(store: &Store, package: &LockedPackage) -> Result<(Layer, Facts), UnpackError> {
    let (name, version) = (package.name.clone(), package.version.clone());
    let bytes = store
        .read(&package.sha256)
        .map_err(|source| UnpackError::Store {
            name: name.clone(),
            version: version.clone(),
            source: Box::new(source),
        })?;
    let deb = Deb::read(&bytes).map_err(|source| UnpackError::Deb {
        name,
        version,
        source: Box::new(source),
    })?;
    check(&deb.control, package)?;
    let facts = facts(package, &deb);
    let origin = Origin::Package {
        name: package.name.clone(),
        version: package.version.clone(),
        sha256: package.sha256,
    };
    let replaces = deb.control.replaces().map(str::to_owned).collect();
    Ok((
        Layer {
            name: package.name.clone(),
            origin,
            replaces,
            members: deb.members,
        },
        facts,
    ))
}

fn check(control: &Control, package: &LockedPackage) -> Result<(), UnpackError> {
    let fields = [
        ("Package", &package.name),
        ("Version", &package.version),
        ("Architecture", &package.architecture),
    ];
    for (field, wanted) in fields {
        let found = control.field(field).unwrap_or_default();
        if found != wanted {
            let (name, wanted, found) = (package.name.clone(), wanted.clone(), found.to_owned());
            return Err(UnpackError::Other {
                name,
                field,
                wanted,
                found,
            });
        }
    }
    Ok(())
}

fn facts(package: &LockedPackage, deb: &Deb) -> Facts {
    let mut facts = Facts {
        name: package.name.clone(),
        homepage: deb.control.field("Homepage").map(str::to_owned),
        licences: licences(&package.name, &deb.members),
        ..Facts::default()
    };
    for (script, bytes) in deb
        .control
        .scripts()
        .filter(|(script, _)| AT_INSTALLATION.contains(script))
    {
        let findings = scripts::inspect(bytes);
        facts.alternatives.extend(findings.alternatives);
        if !findings.uncovered.is_empty() {
            facts.skipped.push((script.to_owned(), findings.uncovered));
        }
    }
    facts
}

/// The `License` short names of `copyright`, when it is in the machine-readable format 1.0.
fn licences(package: &str, members: &[Member]) -> BTreeSet<String> {
    let path = format!("usr/share/doc/{package}/copyright");
    let file = members.iter().find(|m| {
        m.path
            .as_ref()
            .is_some_and(|p| p.as_bytes() == path.as_bytes())
    });
    let Some(Body::File(bytes)) = file.map(|m| &m.body) else {
        return BTreeSet::new();
    };
    let text = String::from_utf8_lossy(bytes);
    if !text.trim_start().starts_with("Format:") {
        return BTreeSet::new();
    }
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("License:"))
        .map(str::trim);
    names
        .filter(|name| !name.is_empty() && name.len() <= 100)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::tests::deb;
    use crate::store::Digest;

    fn locked(bytes: &[u8], store: &Store) -> LockedPackage {
        LockedPackage {
            name: "p".into(),
            version: "1".into(),
            architecture: "all".into(),
            suite: "s".into(),
            path: "pool/p.deb".into(),
            size: bytes.len() as u64,
            sha256: store.put(bytes).unwrap(),
            roles: Vec::new(),
        }
    }

    #[test]
    fn layer_reads_scripts_and_licences() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let copyright = b"Format: x\n\nFiles: *\nLicense: GPL-3+\n text\n\nLicense: MIT\n";
        let bytes = deb(
            "p",
            "",
            "#!/bin/sh\nldconfig\nadduser x\n",
            &[("./usr/share/doc/p/copyright", b'0', "", copyright)],
        );
        let (layer, facts) = layer(&store, &locked(&bytes, &store)).unwrap();
        assert_eq!(layer.members.len(), 1);
        assert_eq!(
            facts.skipped,
            [("postinst".to_owned(), vec!["adduser x".to_owned()])]
        );
        assert_eq!(
            facts.licences.into_iter().collect::<Vec<_>>(),
            ["GPL-3+", "MIT"]
        );
    }

    #[test]
    fn layer_refuses_another_package_and_missing_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let bytes = deb("q", "", "", &[]);
        let error = layer(&store, &locked(&bytes, &store)).unwrap_err();
        assert!(
            matches!(
                error,
                UnpackError::Other {
                    field: "Package",
                    ..
                }
            ),
            "{error}"
        );
        let mut missing = locked(&bytes, &store);
        missing.sha256 = Digest([1; 32]);
        let error = layer(&store, &missing).unwrap_err();
        assert!(matches!(error, UnpackError::Store { .. }));
        assert!(error.hint().unwrap().contains("cloister fetch"));
        let broken = locked(b"!<arch>\n", &store);
        assert!(matches!(
            layer(&store, &broken),
            Err(UnpackError::Deb { .. })
        ));
    }
}
