//! Real firmware of the archive: the one that boots any kernel is refused, the one that verifies is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::images::copy_recipe;
use crate::program::{repository, run, scratch, succeed};

/// A recipe that locks `file` of `package` in Debian sid as firmware. `None` where the archive cannot be used or the
/// package is gone, which is said.
fn locked(package: &str, file: &str) -> Option<PathBuf> {
    let name = format!("probe-{package}");
    let recipe = copy_recipe(
        &repository().join("tests/recipes/probe"),
        &scratch().join("firmware").join(&name),
    );
    let path = recipe.join("recipe.toml");
    let tool = format!(
        "[tools]\nfirmware = {{ suite = \"sid\", package = \"{package}\", file = \"{file}\" }}\n"
    );
    let text = fs::read_to_string(&path).expect("recipe");
    let text = text.replace("[tools]\n", &tool);
    let text = text.replace(
        "platforms = [\"azure-snp\", \"qemu-vtpm\"]",
        "platforms = [\"qemu-snp\"]",
    );
    fs::write(&path, text).expect("recipe");
    for verb in ["lock", "fetch"] {
        let said = run([verb.as_ref(), recipe.as_os_str()]);
        if said.code != 0 {
            let gone = [
                "cannot be reached",
                "is configured",
                "expired",
                "ended early",
                package,
                "gone",
            ];
            assert!(
                gone.iter().any(|word| said.stderr.contains(word)),
                "{said:#?}"
            );
            println!("skipped: `{package}` cannot be had: {}", said.stderr);
            return None;
        }
    }
    Some(recipe)
}

/// Unpacks the locked firmware with Debian's own tool.
fn unpacked(recipe: &Path, file: &str) -> PathBuf {
    let store = recipe.join("store");
    succeed([
        "fetch".as_ref(),
        recipe.as_os_str(),
        "--to".as_ref(),
        store.as_os_str(),
    ]);
    let lock = fs::read_to_string(recipe.join("recipe.lock")).expect("lock");
    let block = lock
        .split("[[package]]")
        .find(|block| block.contains("roles = [\"firmware\"]"))
        .expect("the lock names the firmware");
    let value = |key: &str| {
        let line = block
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.expect("a value").trim_end_matches('"').to_owned()
    };
    println!("{} {}", value("name"), value("version"));
    let digest = value("sha256");
    let package = store.join("sha256").join(&digest[..2]).join(&digest);
    let folder = recipe.join("unpacked");
    let status = Command::new("dpkg-deb")
        .arg("-x")
        .args([&package, &folder])
        .status();
    assert!(status.expect("dpkg-deb starts").success());
    folder.join(file)
}

fn measured(firmware: &Path) -> crate::program::Said {
    let hash = format!("sha256:{}", "ab".repeat(32));
    let firmware = firmware.to_str().expect("a path of words");
    run([
        "measure",
        "snp",
        "--firmware",
        firmware,
        "--kernel",
        &hash,
        "--vcpus",
        "1",
        "--vcpu-model",
        "EPYC-v4",
    ])
}

#[test]
fn plain_ovmf_of_debian_is_refused_for_a_kernel() {
    let file = "usr/share/ovmf/OVMF.fd";
    let Some(recipe) = locked("ovmf-generic", file) else {
        return;
    };
    let firmware = unpacked(&recipe, file);
    let said = measured(&firmware);
    assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{said:#?}");
    for words in [
        "would boot any kernel, initrd and command line",
        "hint: use the `AmdSev` build",
    ] {
        assert!(said.stderr.contains(words), "{said:#?}");
    }
    // Booting from disk it can be measured: then the digest covers firmware alone, and says nothing else.
    let firmware = firmware.to_str().expect("a path of words");
    succeed([
        "measure",
        "snp",
        "--firmware",
        firmware,
        "--vcpus",
        "1",
        "--vcpu-model",
        "EPYC-v4",
    ]);
    let out = recipe.join("out");
    let said = run([
        "build".as_ref(),
        recipe.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ]);
    assert_eq!(said.code, 2, "{said:#?}");
    assert!(said.stderr.contains("would boot any kernel"), "{said:#?}");
    assert!(
        !said.stderr.contains("guest binary"),
        "refused too late: {said:#?}"
    );
    assert!(!out.join("measurements/qemu-snp.json").exists());
}

#[test]
fn amdsev_ovmf_of_debian_is_measured() {
    let file = "usr/share/ovmf/OVMF.amdsev.fd";
    let Some(recipe) = locked("ovmf-amdsev", file) else {
        return;
    };
    let said = measured(&unpacked(&recipe, file));
    assert_eq!((said.code, said.stdout.trim().len()), (0, 96), "{said:#?}");
}
