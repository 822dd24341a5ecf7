//! What must be refused, with which words, and that nothing changes.

use std::path::Path;

use crate::archive::{Archive, armour, key, sign, xz};
use crate::bench::{Bench, entries, ran};

const APP: &str = "debian/pool/app_1.0-1_amd64.deb";
const RELEASE: &str = "debian/dists/test/InRelease";
const PACKAGES: &str = "debian/dists/test/main/binary-amd64/Packages.xz";

/// A bench with a lock.
fn locked() -> Bench {
    let bench = Bench::new();
    bench.online(&["lock", "small"]).ok();
    bench
}

/// Asserts that the store holds only whole contents, and nothing half-done.
fn clean(bench: &Bench) {
    assert!(bench.contents().iter().all(|(_, whole)| *whole));
    assert!(entries(&bench.path("store/partial")).is_empty());
    assert!(entries(&bench.path("store/tmp")).is_empty());
}

#[test]
fn lock_refuses_a_tampered_release() {
    let bench = Bench::new();
    bench.server.alter(RELEASE, |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("Origin: Test", "Origin: Tost").into_bytes();
    });
    bench
        .online(&["lock", "small"])
        .refused(&["is not signed by any of the recipe's keys", "hint: "]);
    bench.server.alter(RELEASE, |bytes| {
        bytes.splice(0..0, *b"Origin: Evil\n").for_each(drop)
    });
    bench
        .online(&["lock", "small"])
        .refused(&["outside its signature"]);
    assert_eq!(bench.lock_text(), None);
    clean(&bench);
}

#[test]
fn lock_refuses_another_key() {
    let bench = Bench::new();
    std::fs::write(bench.path("recipes/keys/archive.asc"), armour(&key())).unwrap();
    bench
        .online(&["lock", "small"])
        .refused(&["is not signed by any of the recipe's keys"]);
    std::fs::write(bench.path("recipes/keys/archive.asc"), "no key").unwrap();
    bench
        .online(&["lock", "small"])
        .refused(&["key file `archive.asc` holds no OpenPGP public key"]);
    std::fs::remove_file(bench.path("recipes/keys/archive.asc")).unwrap();
    bench
        .online(&["lock", "small"])
        .refused(&["`base.keys`: `archive.asc` is not in", "recipe.toml:8:"]);
    assert_eq!(bench.lock_text(), None);
}

#[test]
fn lock_refuses_expired_and_foreign_releases() {
    let mut archive = Archive::new();
    let bench = Bench::new();
    std::fs::write(bench.path("recipes/keys/archive.asc"), archive.public_key()).unwrap();
    archive.publish(&xz(b""), "Valid-Until: Thu, 01 Jan 2026 00:00:00 UTC\n");
    bench.server.set_files(archive.files());
    bench
        .online(&["lock", "small"])
        .refused(&["expired", "Thu, 01 Jan 2026 00:00:00 UTC"]);

    let other = key();
    std::fs::write(bench.path("recipes/keys/archive.asc"), armour(&other)).unwrap();
    let text = "Suite: other\nCodename: other\nDate: Sun, 15 Nov 2026 10:21:33 UTC\nSHA256:\n";
    bench
        .server
        .alter(RELEASE, |bytes| *bytes = sign(&other, text));
    bench
        .online(&["lock", "small"])
        .refused(&["`other`", "`test`"]);
    assert_eq!(bench.lock_text(), None);
}

#[test]
fn lock_refuses_another_package_index() {
    let bench = Bench::new();
    bench.server.alter(PACKAGES, |bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    });
    bench
        .online(&["lock", "small"])
        .refused(&["Packages.xz", "wanted SHA-256", "found"]);
    bench.server.alter(PACKAGES, |bytes| bytes.push(0));
    bench
        .online(&["lock", "small"])
        .refused(&["Packages.xz", "bytes, found"]);
    assert_eq!(bench.lock_text(), None);
    clean(&bench);
}

#[test]
fn lock_explains_what_cannot_be_resolved() {
    let bench = Bench::new();
    let recipe = crate::archive::recipe();
    for (from, to, words) in [
        (
            "[\"app\"]",
            "[\"app\", \"python3.14-minimal\"]",
            ["suite has no package `python3.14-minimal`", "hint: "],
        ),
        (
            "[\"app\"]",
            "[\"systemd-boot-efi\"]",
            ["cannot be installed together", "gone"],
        ),
        (
            "Tiny_Model==1.0",
            "tiny-model==2.0",
            [
                "no wheel of `tiny-model` 2.0",
                "hint: versions with a fitting wheel: 1.0, 1.1",
            ],
        ),
        (
            "Tiny_Model==1.0",
            "nothing==2.0",
            ["no wheel of `nothing` 2.0", "0 files"],
        ),
        (
            "suite = \"test\"\narch",
            "suite = \"gone\"\narch",
            ["no configured archive has suite `gone`", "hint: "],
        ),
    ] {
        bench.write_recipe(&recipe.replace(from, to));
        bench.online(&["lock", "small"]).refused(&words);
        assert_eq!(bench.lock_text(), None);
    }
}

#[test]
fn no_archive_and_no_index_are_named() {
    let bench = Bench::new();
    bench
        .offline(&["lock", "small"])
        .refused(&["no Debian archive is configured", "--archive URL"]);
    let archive = bench.server.url("debian");
    bench
        .offline(&["lock", "small", "--archive", &archive])
        .refused(&["no Python package index is configured", "--index URL"]);
    bench.online(&["lock", "small"]).ok();
    bench
        .offline(&["fetch", "small"])
        .refused(&["no Debian archive is configured"]);
}

#[test]
fn user_configuration_names_locations() {
    let bench = Bench::new();
    let path = bench.path("home/.config/cloister/config.toml");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (archive, index) = (bench.server.url("debian"), bench.server.url("simple"));
    std::fs::write(
        &path,
        format!("archives = [\"{archive}\"]\nindexes = [\"{index}\"]\n"),
    )
    .unwrap();
    bench.offline(&["lock", "small"]).ok();
    std::fs::write(&path, "mirror = 1\n").unwrap();
    bench
        .offline(&["lock", "small"])
        .refused(&["config.toml", "mirror", "`archives`"]);
}

#[test]
fn missing_and_stale_locks_name_the_command() {
    let bench = Bench::new();
    bench
        .online(&["fetch", "small"])
        .refused(&["has no lock", "hint: `cloister lock small`"]);
    bench.online(&["lock", "small"]).ok();
    let text = bench.lock_text().unwrap();
    let recipe = crate::archive::recipe();
    bench.write_recipe(&recipe.replace("exclude = [\"extra\"]", "exclude = []"));
    bench
        .online(&["fetch", "small"])
        .refused(&["is stale", "hint: `cloister lock small`"]);
    bench.write_recipe(&format!(
        "# a comment\n{}",
        recipe.replace("listen = 443", "listen = 8443")
    ));
    bench.online(&["fetch", "small"]).ok();
    let path = bench.recipe().join("recipe.lock");
    std::fs::write(
        &path,
        text.replace("schema-version = 1", "schema-version = 9"),
    )
    .unwrap();
    bench
        .online(&["fetch", "small"])
        .refused(&["schema version 9, wanted 1"]);
    std::fs::write(
        &path,
        text.replace("[compression]", "surprise = 1\n[compression]"),
    )
    .unwrap();
    bench
        .online(&["fetch", "small"])
        .refused(&["is not a lock", "surprise"]);
}

#[test]
fn recipe_mistakes_come_before_any_download() {
    let bench = Bench::new();
    bench.write_recipe(
        &crate::archive::recipe()
            .replace("packages =", "pakages =")
            .replace("443", "\"443\""),
    );
    let ran = bench.online(&["lock", "small"]);
    let ran = ran.refused(&[
        "unknown key `base.pakages`",
        "did you mean `packages`?",
        "`guest.listen` is a string",
        "3 mistakes",
    ]);
    assert!(!ran.err.contains("error: error:"), "{}", ran.err);
    assert_eq!(bench.server.requests(RELEASE).len(), 0);
    bench
        .online(&["lock", "smal"])
        .refused(&["no recipe `smal`", "hint: "]);
}

#[test]
fn fetch_refuses_truncated_long_and_changed_packages() {
    let bench = locked();
    let original = bench.archive.files()[APP].clone();
    bench.server.alter(APP, |bytes| bytes.truncate(1000));
    bench
        .online(&["fetch", "small"])
        .refused(&["app 1.0-1", "bytes, found 1000", "hint: "]);
    bench
        .server
        .alter(APP, |bytes| *bytes = [&original[..], b"more"].concat());
    bench
        .online(&["fetch", "small"])
        .refused(&["app 1.0-1", "wanted"]);
    bench.server.alter(APP, |bytes| {
        *bytes = original.clone();
        bytes[5] ^= 1;
    });
    bench
        .online(&["fetch", "small"])
        .refused(&["app 1.0-1", "wanted SHA-256"]);
    clean(&bench);
    bench.server.alter(APP, |bytes| *bytes = original);
    bench.online(&["fetch", "small"]).ok();
}

#[test]
fn superseded_packages_and_wheels_name_the_command() {
    let bench = locked();
    bench.server.remove(APP);
    bench.online(&["fetch", "small"]).refused(&[
        "`app 1.0-1` is no longer in any",
        "superseded",
        "hint: `cloister lock small`",
    ]);
    clean(&bench);
    let bench = locked();
    bench.server.remove("simple/tiny-model/");
    bench.online(&["fetch", "small"]).refused(&[
        "tiny_model-1.0-py3-none-any.whl",
        "superseded",
        "hint: `cloister lock small`",
    ]);
    clean(&bench);
}

#[test]
fn several_failures_are_reported_together() {
    let bench = locked();
    bench.server.remove(APP);
    bench
        .server
        .alter("debian/pool/libc6_2.41-1_amd64.deb", |bytes| bytes[0] ^= 1);
    bench.online(&["fetch", "small"]).refused(&[
        "2 contents cannot be fetched",
        "app 1.0-1",
        "libc6 2.41-1",
        "hint: ",
    ]);
    clean(&bench);
}

#[test]
fn full_disk_is_named_and_leaves_nothing_half_written() {
    let bench = locked();
    let (archive, index) = (bench.server.url("debian"), bench.server.url("simple"));
    let arguments = ["fetch", "small", "--archive", &archive, "--index", &index];
    // A limit of 64 KiB for each file stands for the full disk: the write fails in the same place.
    let script = "trap '' XFSZ; ulimit -f 128; exec \"$0\" \"$@\"";
    let program = env!("CARGO_BIN_EXE_cloister");
    let output = bench
        .wrapped(Path::new("/bin/sh"), &["-c", script, program], &arguments)
        .output()
        .unwrap();
    ran(output).refused(&["no space left", "hint: free some space"]);
    clean(&bench);
    bench.online(&["fetch", "small"]).ok();
}
