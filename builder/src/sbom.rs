//! `sbom.cdx.json`: what an image is made of, as CycloneDX 1.5.
//!
//! Spec: CycloneDX 1.5 (ECMA-424), package-url types `deb`, `pypi`, `cargo`. The serial number is
//! derived from the content and there is no time stamp, so the same lock gives the same bytes.
//! Components are sorted by their package-url. Licences stand where the package states them in a
//! machine-readable way, as names, not judged. The crates are those that `Cargo.lock` names for
//! the guest binary, including those that only its build and tests use.

use std::collections::{BTreeMap, BTreeSet};

use cyclonedx_bom::external_models::normalized_string::NormalizedString;
use cyclonedx_bom::external_models::uri::Purl;
use cyclonedx_bom::models::bom::{Bom, SpecVersion, UrnUuid};
use cyclonedx_bom::models::component::{Classification, Component, Components};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::models::property::{Properties, Property};
use cyclonedx_bom::models::tool::{Tool, Tools};
use serde::Deserialize;

use crate::lock::{Lock, LockedPackage, Role};
use crate::store::Digest;
use crate::tree::Built;
use crate::wheel::Licence;

/// Crate whose dependencies are the guest's.
const GUEST: &str = "cloister-init";

/// Why no SBOM can be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SbomError {
    /// `Cargo.lock` cannot be parsed.
    #[error("`Cargo.lock` of the guest binary cannot be read")]
    CargoLock(#[from] toml::de::Error),
    /// The document cannot be serialised.
    #[error("CycloneDX document cannot be written")]
    Write(#[from] cyclonedx_bom::errors::JsonWriteError),
}

/// Writes the document for an image. `cargo_lock` is the text of the `Cargo.lock` that the guest
/// binary was built with.
pub(crate) fn write(
    lock: &Lock,
    built: &Built,
    cargo_lock: Option<&str>,
) -> Result<Vec<u8>, SbomError> {
    let mut components = debian(lock, built);
    components.extend(wheels(lock, built));
    if let Some(text) = cargo_lock {
        components.extend(crates(text)?);
    }
    components.sort_by(|a, b| a.bom_ref.cmp(&b.bom_ref));
    let subject = Component::new(
        Classification::OperatingSystem,
        &lock.recipe,
        &lock.recipe_sha256.to_string(),
        Some("image".into()),
    );
    let tool = Tool {
        vendor: None,
        ..Tool::new("", "cloister", env!("CARGO_PKG_VERSION"))
    };
    let metadata = Metadata {
        component: Some(subject),
        tools: Some(Tools::List(vec![tool])),
        ..Metadata::default()
    };
    let mut bom = Bom {
        spec_version: SpecVersion::V1_5,
        serial_number: None,
        metadata: Some(metadata),
        components: Some(Components(components)),
        ..Bom::default()
    };
    let mut draft = Vec::new();
    bom.clone().output_as_json(&mut draft, SpecVersion::V1_5)?;
    bom.serial_number = Some(serial_number(&draft));
    let mut document = Vec::new();
    bom.output_as_json(&mut document, SpecVersion::V1_5)?;
    document.push(b'\n');
    Ok(document)
}

/// A UUID of version 8 (RFC 9562: custom) made of the SHA-256 of the document without it.
fn serial_number(draft: &[u8]) -> UrnUuid {
    let hex: Vec<char> = Digest::of(draft).to_string().chars().take(32).collect();
    let part = |from: usize, to: usize| {
        hex.get(from..to)
            .unwrap_or_default()
            .iter()
            .collect::<String>()
    };
    UrnUuid(format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    ))
}

fn debian(lock: &Lock, built: &Built) -> Vec<Component> {
    let facts: BTreeMap<&str, _> = built
        .packages
        .iter()
        .map(|facts| (facts.name.as_str(), facts))
        .collect();
    let mut components = Vec::new();
    for package in &lock.packages {
        let LockedPackage {
            name,
            version,
            architecture,
            suite,
            sha256,
            roles,
            ..
        } = package;
        let purl = format!(
            "pkg:deb/debian/{}@{}?arch={}&distro={}",
            escape(name),
            escape(version),
            escape(architecture),
            escape(suite)
        );
        let kind = if roles.contains(&Role::Firmware) {
            Classification::Firmware
        } else {
            Classification::Library
        };
        let mut component = component(kind, name, version, &purl, Some(sha256.to_string()));
        let used: Vec<&str> = roles.iter().map(|role| role_name(*role)).collect();
        component.properties = Some(Properties(vec![Property::new(
            "cloister:roles",
            &used.join(","),
        )]));
        let licences = facts
            .get(name.as_str())
            .map(|facts| facts.licences.iter().map(String::as_str));
        component.licenses = licences.and_then(named);
        components.push(component);
    }
    components
}

fn wheels(lock: &Lock, built: &Built) -> Vec<Component> {
    let none = Licence::default();
    let licences = built.wheel_licences.iter().chain(std::iter::repeat(&none));
    let wheels = lock.wheels.iter().zip(licences);
    wheels
        .map(|(wheel, licence)| {
            let purl = format!(
                "pkg:pypi/{}@{}",
                escape(&wheel.name),
                escape(&wheel.version)
            );
            let sha256 = Some(wheel.sha256.to_string());
            let mut component = component(
                Classification::Library,
                &wheel.name,
                &wheel.version,
                &purl,
                sha256,
            );
            component.licenses = named(licence.names.iter().map(String::as_str));
            let files = licence.files.iter();
            let files = files.map(|file| Property::new("cloister:licence-file", file));
            let files: Vec<Property> = files.collect();
            component.properties = (!files.is_empty()).then_some(Properties(files));
            component
        })
        .collect()
}

fn component(
    kind: Classification,
    name: &str,
    version: &str,
    purl: &str,
    sha256: Option<String>,
) -> Component {
    let mut component = Component::new(kind, name, version, Some(purl.to_owned()));
    component.purl = purl.parse::<Purl>().ok();
    component.hashes = sha256.map(|hex| {
        Hashes(vec![Hash {
            alg: HashAlgorithm::SHA_256,
            content: HashValue(hex),
        }])
    });
    component
}

fn named<'a>(names: impl Iterator<Item = &'a str>) -> Option<Licenses> {
    let choices: Vec<LicenseChoice> = names
        .map(|name| LicenseChoice::license(&NormalizedString::new(name)))
        .collect();
    (!choices.is_empty()).then_some(Licenses(choices))
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Root => "root",
        Role::Kernel => "kernel",
        Role::Stub => "stub",
        Role::Erofs => "erofs",
        Role::Firmware => "firmware",
        Role::GuestTools => "guest-tools",
        Role::ModuleTools => "module-tools",
        Role::ModuleSource => "module-source",
    }
}

/// Percent-encodes what a package-url may not hold plainly.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[derive(Deserialize)]
struct CargoLock {
    #[serde(default, rename = "package")]
    packages: Vec<CargoPackage>,
}

#[derive(Deserialize)]
struct CargoPackage {
    name: String,
    version: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// The guest's crate and everything below it.
fn crates(text: &str) -> Result<Vec<Component>, SbomError> {
    let lock: CargoLock = toml::from_str(text)?;
    let mut reached: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut todo = vec![(GUEST, None)];
    while let Some((name, version)) = todo.pop() {
        // A dependency names a version only where the lock has several.
        let matches = |p: &&CargoPackage| p.name == name && version.is_none_or(|v| p.version == v);
        for package in lock.packages.iter().filter(matches) {
            if reached.insert((&package.name, &package.version)) {
                let names = package.dependencies.iter().map(|d| {
                    let mut words = d.split(' ');
                    (words.next().unwrap_or_default(), words.next())
                });
                todo.extend(names);
            }
        }
    }
    let packages = lock
        .packages
        .iter()
        .filter(|p| reached.contains(&(p.name.as_str(), p.version.as_str())));
    Ok(packages
        .map(|package| {
            let purl = format!(
                "pkg:cargo/{}@{}",
                escape(&package.name),
                escape(&package.version)
            );
            let kind = if package.name == GUEST {
                Classification::Application
            } else {
                Classification::Library
            };
            let mut made = component(
                kind,
                &package.name,
                &package.version,
                &purl,
                package.checksum.clone(),
            );
            if package.source.is_none() {
                made.properties = Some(Properties(vec![Property::new(
                    "cloister:source",
                    "this repository",
                )]));
            }
            made
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARGO: &str = r#"
        version = 4
        [[package]]
        name = "cloister-init"
        version = "0.1.0"
        dependencies = ["a", "b 2.0.0"]
        [[package]]
        name = "a"
        version = "1.0.0"
        source = "registry+x"
        checksum = "00"
        dependencies = ["a", "b 1.0.0"]
        [[package]]
        name = "b"
        version = "1.0.0"
        [[package]]
        name = "b"
        version = "2.0.0"
        [[package]]
        name = "unrelated"
        version = "1.0.0"
    "#;

    #[test]
    fn crates_are_those_the_guest_reaches() {
        let found = crates(CARGO).unwrap();
        let refs: Vec<_> = found.iter().filter_map(|c| c.bom_ref.as_deref()).collect();
        assert_eq!(
            refs,
            [
                "pkg:cargo/cloister-init@0.1.0",
                "pkg:cargo/a@1.0.0",
                "pkg:cargo/b@1.0.0",
                "pkg:cargo/b@2.0.0"
            ]
        );
        assert!(found[1].hashes.is_some() && found[2].hashes.is_none());
        assert!(matches!(crates("x"), Err(SbomError::CargoLock(_))));
    }

    #[test]
    fn serial_number_depends_on_content_alone() {
        let a = serial_number(b"a");
        assert_eq!(a, serial_number(b"a"));
        assert_ne!(a, serial_number(b"b"));
        assert!(UrnUuid::new(a.0).is_ok());
        assert_eq!(escape("1:2.0+dfsg~1"), "1:2.0%2Bdfsg~1");
    }
}
