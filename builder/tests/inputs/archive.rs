//! A small Debian archive and wheel index, signed by a key made here.

use std::collections::BTreeMap;
use std::io::Write as _;

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey,
};
use pgp::types::Password;
use sha2::{Digest as _, Sha256};

/// Files by path below the server's root.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Packages: name, version, further fields.
const PACKAGES: [(&str, &str, &str); 10] = [
    ("libc6", "2.41-1", ""),
    ("libc6", "2.40-9", ""),
    (
        "app",
        "1.0-1",
        "Depends: libc6 (>= 2.41), python3.13-minimal\nRecommends: extra\n",
    ),
    (
        "python3.13-minimal",
        "3.13.5-1",
        "Pre-Depends: libc6\nDepends: extra\n",
    ),
    ("extra", "1", ""),
    (
        "linux-image-cloud-amd64",
        "6.12.1-1",
        "Depends: linux-image-6.12.1-cloud-amd64 (= 6.12.1-1)\n",
    ),
    (
        "linux-image-6.12.1-cloud-amd64",
        "6.12.1-1",
        "Depends: extra, kmod\n",
    ),
    ("linux-headers-6.12.1-cloud-amd64", "6.12.0-1", ""),
    ("erofs-utils", "1.8-1", "Depends: libc6\n"),
    ("systemd-boot-efi", "257-1", "Depends: gone\n"),
];

/// A recipe that uses it.
pub(crate) fn recipe() -> String {
    r#"schema-version = 1
name = "small"
platforms = ["qemu-vtpm"]

[base]
suite = "test"
architecture = "amd64"
keys = ["archive.asc"]
packages = ["app"]
exclude = ["extra"]

[python]
interpreter = "python3"
wheels = ["Tiny_Model==1.0"]
site = "/usr/lib/python3/dist-packages"

[kernel]
package = "linux-image-cloud-amd64"
modules = ["erofs"]
cmdline = ["console=ttyS0"]

[tools]
erofs = { suite = "test", package = "erofs-utils" }
stub = { suite = "test", package = "systemd-boot-efi", file = "usr/lib/stub" }

[[user]]
name = "workload"
uid = 1000
gid = 1000
home = "/"

[guest]
listen = 443
network = { mode = "dhcp" }
gpu = "none"
model = "root"

[guest.workload]
exec = ["/opt/run"]
user = "workload"
socket = "http.sock"
"#
    .to_owned()
}

/// Signed archive and index.
pub(crate) struct Archive {
    key: SignedSecretKey,
    files: Files,
}

impl Archive {
    pub(crate) fn new() -> Archive {
        let mut archive = Archive {
            key: key(),
            files: Files::new(),
        };
        let mut index = String::new();
        for (name, version, fields) in PACKAGES {
            let path = format!("pool/{name}_{version}_amd64.deb");
            let bytes = deb(name, version);
            index.push_str(&format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}Filename: {path}\nSize: {}\nSHA256: {}\n\
                 Description: {name}\n more words\n\n",
                bytes.len(),
                sha256(&bytes)
            ));
            archive.files.insert(format!("debian/{path}"), bytes);
        }
        archive.publish(
            &xz(index.as_bytes()),
            "Valid-Until: Thu, 01 Jan 2099 00:00:00 UTC\n",
        );
        archive.add_wheels();
        archive
    }

    /// Signs a release of `packages` (the compressed index), with further fields.
    pub(crate) fn publish(&mut self, packages: &[u8], fields: &str) {
        let path = "main/binary-amd64/Packages.xz";
        let release = format!(
            "Origin: Test\nSuite: test\nCodename: test\nDate: Sun, 15 Nov 2026 10:21:33 UTC\n{fields}Components: main\n\
             SHA256:\n {} {} {path}\n",
            sha256(packages),
            packages.len()
        );
        let signed = sign(&self.key, &release);
        self.files
            .insert(format!("debian/dists/test/{path}"), packages.to_vec());
        self.files
            .insert("debian/dists/test/InRelease".to_owned(), signed);
    }

    fn add_wheels(&mut self) {
        let names = [
            "tiny_model-1.0-py3-none-any.whl",
            "tiny_model-1.1-py3-none-any.whl",
            "tiny_model-1.0.tar.gz",
        ];
        let mut files = Vec::new();
        for name in names {
            let bytes = format!("wheel {name}").repeat(500).into_bytes();
            files.push(format!(
                r#"{{"filename":"{name}","url":"../../files/{name}","hashes":{{"sha256":"{}"}},"size":{}}}"#,
                sha256(&bytes),
                bytes.len()
            ));
            self.files.insert(format!("files/{name}"), bytes);
        }
        let page = format!(
            r#"{{"meta":{{"api-version":"1.1"}},"files":[{}]}}"#,
            files.join(",")
        );
        self.files
            .insert("simple/tiny-model/".to_owned(), page.into_bytes());
    }

    pub(crate) fn files(&self) -> Files {
        self.files.clone()
    }

    pub(crate) fn public_key(&self) -> String {
        armour(&self.key)
    }
}

/// A key, and another each time.
pub(crate) fn key() -> SignedSecretKey {
    let mut parameters = SecretKeyParamsBuilder::default();
    parameters
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true);
    parameters.primary_user_id("Archive of a test <archive@test.invalid>".into());
    parameters
        .build()
        .unwrap()
        .generate(rand::thread_rng())
        .unwrap()
}

pub(crate) fn armour(key: &SignedSecretKey) -> String {
    SignedPublicKey::from(key.clone())
        .to_armored_string(ArmorOptions::default())
        .unwrap()
}

pub(crate) fn sign(key: &SignedSecretKey, text: &str) -> Vec<u8> {
    let message = CleartextSignedMessage::sign(
        rand::thread_rng(),
        text,
        &key.primary_key,
        &Password::empty(),
    );
    message
        .unwrap()
        .to_armored_bytes(ArmorOptions::default())
        .unwrap()
}

/// What stands for a package: only its bytes matter here. Large enough to be interrupted in the middle.
fn deb(name: &str, version: &str) -> Vec<u8> {
    format!("{name} {version} ").repeat(20_000).into_bytes()
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
