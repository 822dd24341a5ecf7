//! Disks in the forms that clouds import: the real guest boots from each up to the stage that needs the cloud, and a
//! build that keeps the root of the one before gives the bytes of a build that keeps nothing.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::guest::{self, BOOT_LIMIT, Guest, Turn};
use crate::images::{copy_recipe, probe_recipe, walk};
use crate::program::{scratch, succeed};

/// What the console says last on a machine that has no device for evidence.
const LAST: &str = "cloister-init: attest: no attestation device: neither \
                    /sys/kernel/config/tsm/report nor /dev/tpmrm0";

/// The test workload's image in every form, and its recipe.
struct Forms {
    recipe: PathBuf,
    out: PathBuf,
}

fn forms() -> &'static Forms {
    static FORMS: OnceLock<Forms> = OnceLock::new();
    FORMS.get_or_init(|| {
        let folder = scratch().join("clouds");
        fs::remove_dir_all(&folder).ok();
        let recipe = copy_recipe(&probe_recipe(), &folder);
        change(
            &recipe,
            r#"["azure-snp", "qemu-vtpm"]"#,
            r#"["azure-snp", "gcp-snp", "gcp-tdx", "qemu-vtpm"]"#,
        );
        // What the clouds need, on a machine that is neither: a driver of a bus that is not there, and those above it.
        change(
            &recipe,
            r#"modules = ["virtio_blk", "virtio_net", "dm-verity", "erofs"]"#,
            r#"modules = ["hv_vmbus", "hv_storvsc", "sd_mod", "hv_netvsc", "pci-hyperv", "nvme", "gve", "virtio_blk", "virtio_net", "dm-verity", "erofs"]"#,
        );
        let out = folder.join("out");
        build(&recipe, &out);
        Forms { recipe, out }
    })
}

/// Replaces the one place of the recipe where `from` stands.
fn change(recipe: &Path, from: &str, to: &str) {
    let path = recipe.join("recipe.toml");
    let text = fs::read_to_string(&path).expect("a recipe");
    assert_eq!(text.matches(from).count(), 1, "{from}");
    fs::write(&path, text.replace(from, to)).expect("the recipe can be written");
}

fn build(recipe: &Path, out: &Path) -> String {
    let words = ["build".as_ref(), recipe.as_os_str(), "--out".as_ref()];
    succeed(words.into_iter().chain([out.as_os_str()])).stderr
}

/// Boots `disk` on a machine without a TPM; gives the last line of PID 1.
fn last_line(disk: &Path, format: &str) -> String {
    let _turn = Turn::take();
    let (mut words, port) = guest::without_a_tpm(disk);
    let raw = "if=none,id=disk,format=raw,";
    let drive = words
        .iter_mut()
        .find(|word| word.to_string_lossy().starts_with(raw))
        .expect("a drive");
    let rest = drive.to_string_lossy().replacen(raw, "", 1);
    *drive = OsString::from(format!("if=none,id=disk,format={format},{rest}"));
    let text = Guest::start(&words, port).ended(BOOT_LIMIT);
    assert!(text.contains("cloister-init: root: ok "), "{text}");
    let mut ours = text
        .lines()
        .filter(|line| line.starts_with("cloister-init: "));
    ours.next_back()
        .expect("a line of PID 1")
        .trim_end()
        .to_owned()
}

#[test]
fn a_fixed_vhd_boots_to_the_stage_that_needs_the_cloud() {
    assert_eq!(last_line(&forms().out.join("disk.vhd"), "vpc"), LAST);
}

#[test]
fn the_disk_in_googles_archive_boots_to_the_stage_that_needs_the_cloud() {
    let folder = scratch().join("clouds-google");
    fs::create_dir_all(&folder).expect("folder");
    let extracted = Command::new("tar")
        .arg("-xzSf")
        .arg(forms().out.join("disk.tar.gz"))
        .arg("-C")
        .arg(&folder)
        .status()
        .expect("tar");
    assert!(extracted.success());
    assert_eq!(last_line(&folder.join("disk.raw"), "raw"), LAST);
}

#[test]
fn a_kept_root_gives_the_bytes_of_a_whole_build() {
    let forms = forms();
    let recipe = copy_recipe(&forms.recipe, &scratch().join("clouds-kept"));
    let (kept, whole) = (
        scratch().join("clouds-kept/a"),
        scratch().join("clouds-kept/b"),
    );
    for out in [&kept, &whole] {
        fs::remove_dir_all(out).ok();
    }
    let first = build(&recipe, &kept);
    assert!(first.contains(", root "), "{first}");
    change(&recipe, "listen = 443", "listen = 8443");
    let second = build(&recipe, &kept);
    assert!(
        !second.contains(", root "),
        "the root was made again: {second}"
    );
    build(&recipe, &whole);
    let mut compared = 0;
    for folder in ["", "measurements"] {
        for path in walk(&whole.join(folder))
            .iter()
            .filter(|path| path.is_file())
        {
            let name = path.strip_prefix(&whole).expect("an output");
            // Stamps of files, and the lock of the folder.
            if name.to_string_lossy().starts_with('.') {
                continue;
            }
            let same =
                fs::read(path).expect("output") == fs::read(kept.join(name)).expect("output");
            assert!(same, "{}", name.display());
            compared += 1;
        }
    }
    assert_eq!(compared, 14);
    let third = build(&recipe, &kept);
    assert!(third.contains(": unchanged, in "), "{third}");
    a_disk_with_a_second_name_is_copied(&recipe, &kept);
    // A byte of the root that somebody changed is not kept.
    let path = kept.join("disk.raw");
    let mut bytes = fs::read(&path).expect("disk");
    bytes[66 << 20] ^= 1;
    fs::write(&path, bytes).expect("disk");
    let fourth = build(&recipe, &kept);
    assert!(fourth.contains(", root "), "{fourth}");
    let names = ["disk.raw", "disk.vhd"];
    for name in names {
        assert!(
            fs::read(kept.join(name)).expect("output")
                == fs::read(whole.join(name)).expect("output")
        );
    }
}

/// The disk of `out` gets another front while somebody keeps it by another name: that stays, and the build is as before.
fn a_disk_with_a_second_name_is_copied(recipe: &Path, out: &Path) {
    let read = |name: &str| fs::read(out.join(name)).expect("output");
    let (manifest, disk) = (read("manifest.json"), read("disk.raw"));
    let second = out.join("../second.raw");
    fs::hard_link(out.join("disk.raw"), &second).expect("second name");
    change(recipe, "listen = 8443", "listen = 9443");
    let said = build(recipe, out);
    assert!(!said.contains(", root "), "the root was made again: {said}");
    assert!(
        fs::read(&second).expect("second name") == disk,
        "it was changed"
    );
    assert!(read("disk.raw") != disk && read("disk.vhd").starts_with(&read("disk.raw")));
    fs::remove_file(&second).expect("second name");
    change(recipe, "listen = 9443", "listen = 8443");
    build(recipe, out);
    assert!(read("manifest.json") == manifest && read("disk.raw") == disk);
}

/// The tool writes a compressed root elsewhere first; another version of its own checker reads it from the disk.
#[test]
fn a_compressed_root_stands_whole_on_a_clean_disk() {
    let folder = scratch().join("clouds-compressed");
    fs::remove_dir_all(&folder).ok();
    let recipe = copy_recipe(&probe_recipe(), &folder);
    change(&recipe, "compression = \"none\"", "compression = \"lz4\"");
    let out = folder.join("out");
    build(&recipe, &out);
    let manifest = fs::read(out.join("manifest.json")).expect("manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let number = |pointer: &str| {
        let number = manifest.pointer(pointer).and_then(|number| number.as_u64());
        usize::try_from(number.expect(pointer)).expect("a size")
    };
    let disk = fs::read(out.join("disk.raw")).expect("disk");
    let start = 512 * number("/partitions/1/first-sector");
    // Between the table and the first partition there is nothing.
    assert!(disk[34 * 512..1 << 20].iter().all(|byte| *byte == 0));
    let image = folder.join("root");
    let root = &disk[start..][..4096 * number("/verity/data-blocks")];
    fs::write(&image, root).expect("an image");
    let extracted = folder.join("extracted");
    let status = Command::new("fsck.erofs")
        .arg(format!("--extract={}", extracted.display()))
        .arg(&image)
        .status()
        .expect("fsck.erofs");
    assert!(status.success());
    let read = |path: PathBuf| fs::read(path).expect("the workload");
    let probe = read(extracted.join("opt/probe/probe.py"));
    assert!(probe == read(recipe.join("files/probe.py")));
}
