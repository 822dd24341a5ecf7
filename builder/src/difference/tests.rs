use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::output::MANIFEST;
use crate::store::Digest;

/// Writes an output directory with the files that a comparison reads.
fn write_build(directory: &Path, libssl: &str, init: &[u8]) {
    let version = format!("3.{libssl}");
    let digest = |text: &str| text.repeat(64).chars().take(64).collect::<String>();
    let members = std::collections::BTreeMap::from([(
        "init".to_owned(),
        crate::initrd::Member::File {
            mode: 0o755,
            bytes: init,
        },
    )]);
    let archive = crate::initrd::archive(&members, 0).unwrap();
    let cmdline = format!("quiet cloister.verity={}", digest(libssl));
    let provenance = json!({
        "schema-version": 1, "kernel": {}, "origins": {"package libssl3": {"version": version}},
        "root": {"/usr/lib/libssl.so.3": {
            "kind": "file", "mode": "0644", "uid": 0, "gid": 0, "origin": "package libssl3", "size": 1,
            "sha256": digest(libssl),
        }},
    });
    let files: [(&str, Vec<u8>); 3] = [
        ("cmdline", cmdline.into_bytes()),
        ("initrd", archive),
        ("provenance.json", provenance.to_string().into_bytes()),
    ];
    let mut outputs = serde_json::Map::new();
    for (name, bytes) in files {
        let sha256 = Digest::of_reader(&mut bytes.as_slice())
            .unwrap()
            .0
            .to_string();
        outputs.insert(
            name.to_owned(),
            json!({"sha256": sha256, "size": bytes.len()}),
        );
        fs::write(directory.join(name), bytes).unwrap();
    }
    let package =
        json!({"name": "libssl3", "version": version, "sha256": digest(libssl), "roles": ["root"]});
    let manifest = json!({
        "outputs": outputs,
        "verity": {"data-sha256": Digest::of(libssl.as_bytes()).to_string()},
        "lock": {"package": [package]},
        "guest-binary": {"inputs": {"sources": Digest::of_reader(&mut &init[..]).unwrap().0.to_string()}},
    });
    fs::write(directory.join(MANIFEST), manifest.to_string()).unwrap();
}

#[test]
fn changed_package_is_named_through_every_output() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_build(a.path(), "1", b"same");
    write_build(b.path(), "2", b"same");
    let text = render(&compare(a.path(), b.path()).unwrap());
    let wanted = "\
        partition root: 6b86b273ff34fce1 -> d4735e3a265e16ee\n\
        \x20 <- /usr/lib/libssl.so.3: file 0644 0:0 1111111111111111 -> file 0644 0:0 2222222222222222\n\
        \x20   <- package libssl3: 3.1 1111111111111111 -> 3.2 2222222222222222\n";
    assert!(text.starts_with(wanted), "{text}");
    let word = format!(
        "<- word: cloister.verity={} -> cloister.verity={}",
        "1".repeat(64),
        "2".repeat(64)
    );
    assert!(
        text.contains(&word) && text.contains("<- partition root: 6b86b273ff34fce1"),
        "{text}"
    );
    assert!(
        text.ends_with("package libssl3: 3.1 1111111111111111 -> 3.2 2222222222222222\n"),
        "{text}"
    );
    assert!(!text.contains("initrd"), "{text}");
}

#[test]
fn changed_guest_binary_is_explained_by_its_sources() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_build(a.path(), "1", b"one");
    write_build(b.path(), "1", b"two");
    let changes = compare(a.path(), b.path()).unwrap();
    assert_eq!(changes[0].what, "initrd");
    assert_eq!(changes[0].because[0].what, "initrd entry init");
    assert_eq!(
        changes[0].because[0].because[0].what,
        "guest binary sources"
    );
}

#[test]
fn equal_builds_have_no_difference_and_other_things_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    write_build(dir.path(), "1", b"same");
    assert_eq!(compare(dir.path(), dir.path()).unwrap(), []);
    let file = dir.path().join("cmdline");
    assert!(matches!(
        compare(dir.path(), &file),
        Err(DifferenceError::Kinds { .. })
    ));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        compare(dir.path(), empty.path()),
        Err(DifferenceError::Read { .. })
    ));
    fs::write(empty.path().join(MANIFEST), "x").unwrap();
    assert!(matches!(
        compare(dir.path(), empty.path()),
        Err(DifferenceError::Json { .. })
    ));
}
