use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;

use super::*;
use crate::disk::{self, Readable};
use crate::golden::NO_VALUES;
use crate::guid::{Guid, Role};
use crate::initrd::Member;
use crate::recipe::Recipe;
use crate::store::Digest;
use crate::tree::{Content, Module, Origin};
use crate::uki::BOOT_PATH;
use crate::{gcp_tar, guest, uki, vhd};

const EPOCH: u64 = 1_700_000_000;

/// What a made-up image is like.
pub(super) struct Made {
    pub(super) modules: Vec<&'static str>,
    pub(super) built_in: Vec<&'static str>,
    pub(super) platforms: Vec<&'static str>,
    pub(super) words: Vec<&'static str>,
    pub(super) boot_path: &'static str,
    pub(super) gpu: bool,
    /// What the configuration names as golden values of an H100.
    pub(super) golden: Option<&'static str>,
    pub(super) fixed_address: bool,
}

/// Everything that both clouds want.
pub(super) fn sound() -> Made {
    Made {
        modules: vec![
            "dm-mod",
            "dm-verity",
            "erofs",
            "hv_vmbus",
            "hv_storvsc",
            "sd_mod",
            "hv_netvsc",
            "gve",
        ],
        built_in: vec!["nvme"],
        platforms: vec!["azure-snp", "gcp-snp", "gcp-tdx"],
        words: vec!["console=ttyS0", "panic=-1"],
        boot_path: BOOT_PATH,
        gpu: false,
        golden: None,
        fixed_address: false,
    }
}

fn output(directory: &Path, name: &str) -> (String, serde_json::Value) {
    let bytes = std::fs::read(directory.join(name)).unwrap();
    let value = serde_json::json!({ "sha256": Digest::of(&bytes), "size": bytes.len() });
    (name.to_owned(), value)
}

fn initrd(made: &Made) -> Vec<u8> {
    let mut recipe: Recipe =
        toml::from_str(include_str!("../../../recipes/demo/recipe.toml")).unwrap();
    if made.fixed_address {
        recipe.guest.network = crate::recipe::Network::Static {
            address: "10.0.2.15/24".to_owned(),
            gateway: "10.0.2.2".to_owned(),
        };
    }
    if made.golden.is_some() {
        recipe.guest.gpu = "h100".to_owned();
        recipe.guest.canary = Some(crate::recipe::Canary {
            path: "/v1/completions".to_owned(),
            body: r#"{"prompt":"x"}"#.to_owned(),
            answer: " Paris".to_owned(),
            seconds: 600,
        });
    }
    let golden = made.golden.map(str::as_bytes);
    let module = |name: &&str| Module {
        name: name.replace('-', "_"),
        file_name: format!("{name}.ko"),
        content: Content::new(b"module".to_vec()),
        origin: Origin::Effect("test"),
    };
    let modules = made.modules.iter().map(module);
    let modules: Vec<_> = modules
        .map(|module| guest::ModuleFile::read(&module).unwrap())
        .collect();
    let configuration = guest::configuration(&recipe, &modules, 1, golden).unwrap();
    let directory = Member::Directory { mode: 0o755 };
    let file = Member::File {
        mode: 0o644,
        bytes: &configuration,
    };
    let members = BTreeMap::from([
        ("cloister".to_owned(), directory),
        ("cloister/guest.conf".to_owned(), file),
    ]);
    initrd::compress(&initrd::archive(&members, EPOCH).unwrap(), 3).unwrap()
}

fn uki_of(made: &Made, initrd: &[u8]) -> Vec<u8> {
    let root = format!("cloister.verity={}", "ab".repeat(32));
    let cmdline = [&made.words[..], &[root.as_str()]].concat().join(" ");
    let sections = uki::Sections {
        cmdline: cmdline.as_bytes(),
        initrd,
        linux: b"kernel",
    };
    uki::build(&uki::tests::small_stub(), &sections).unwrap()
}

fn disks(directory: &Path, made: &Made, uki: &[u8]) {
    let files = BTreeMap::from([(made.boot_path, uki)]);
    let path = directory.join("disk.raw");
    let (layout, written) = disk::tests::lay_out(&path, &files, &[5; 4096]);
    let create = |name: &str| {
        let mut options = File::options();
        let path = directory.join(name);
        options
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .unwrap()
    };
    let raw = File::open(&path).unwrap();
    let disk = Readable::whole(&raw);
    let id = Guid::derive("demo", Role::Vhd);
    let (size, extents) = (written.size, &written.extents);
    vhd::write(disk, size, extents, id, &create("disk.vhd")).unwrap();
    gcp_tar::write(disk, &layout, extents, EPOCH, &create("disk.tar.gz")).unwrap();
}

/// Writes an image as `cloister build` does, as far as clouds look at it.
pub(super) fn write(directory: &Path, made: &Made) {
    let initrd = initrd(made);
    let uki = uki_of(made, &initrd);
    std::fs::write(directory.join("initrd"), &initrd).unwrap();
    std::fs::write(directory.join("uki.efi"), &uki).unwrap();
    disks(directory, made, &uki);
    std::fs::create_dir(directory.join("measurements")).unwrap();
    let mut names = vec!["initrd", "uki.efi", "disk.raw", "disk.vhd", "disk.tar.gz"];
    let files = made.platforms.iter();
    let files: Vec<String> = files
        .map(|name| format!("measurements/{name}.json"))
        .collect();
    for (file, platform) in files.iter().zip(&made.platforms) {
        let values = format!(
            r#"{{"bank":"sha256","confidential":true,"inputs":{{}},"launch-digests":[],"launch-policy":null,
            "platform":"{platform}","recipe":"demo","registers":{{"pcr4":{{"class":"image","values":["{}"]}}}},
            "schema-version":1,"unpredicted":{{}}}}"#,
            "ab".repeat(32)
        );
        std::fs::write(directory.join(file), values).unwrap();
        names.push(file);
    }
    let outputs = names.iter().map(|name| output(directory, name));
    let outputs: serde_json::Map<String, serde_json::Value> = outputs.collect();
    let mut manifest = serde_json::json!({
        "schema-version": 1,
        "epoch": EPOCH,
        "recipe": "demo",
        "platforms": made.platforms,
        "outputs": outputs,
        "report": { "built-in-modules": made.built_in },
    });
    if made.gpu {
        manifest["gpu"] = serde_json::json!({});
    }
    let text = serde_json::to_vec(&manifest).unwrap();
    std::fs::write(directory.join(MANIFEST), text).unwrap();
}

/// Names of the checks that fail.
fn failed(directory: &Path, cloud: Cloud) -> Vec<&'static str> {
    let checks = check(&Image::open(directory).unwrap(), cloud);
    let failed = checks.iter().filter(|check| !check.pass);
    failed.map(|check| check.name).collect()
}

#[test]
fn sound_image_passes_every_check_of_both_clouds() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &sound());
    let image = Image::open(dir.path()).unwrap();
    for (cloud, names) in [
        (Cloud::Azure, ["footer", "drivers-network"]),
        (Cloud::Gcp, ["archive", "drivers-disk"]),
    ] {
        let checks = check(&image, cloud);
        let bad: Vec<&Check> = checks.iter().filter(|check| !check.pass).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        assert!(checks.len() >= 16, "{}", checks.len());
        let has = |name: &&str| checks.iter().any(|check| check.name == *name);
        assert!(names.iter().all(has));
    }
}

/// A change, the clouds that mind it, and the checks that fail.
type Case = (fn(&mut Made), &'static [Cloud], &'static [&'static str]);

#[test]
fn each_fault_of_the_image_fails_the_check_of_its_name() {
    let both: &[Cloud] = &[Cloud::Azure, Cloud::Gcp];
    let cases: [Case; 8] = [
        (
            |made| made.modules.retain(|name| *name != "erofs"),
            both,
            &["drivers-root"],
        ),
        (
            |made| made.modules.retain(|name| !name.starts_with("hv_")),
            &[Cloud::Azure],
            &["drivers-disk", "drivers-network"],
        ),
        (
            |made| made.built_in.clear(),
            &[Cloud::Gcp],
            &["drivers-disk"],
        ),
        (
            |made| made.modules.retain(|name| *name != "gve"),
            &[Cloud::Gcp],
            &["drivers-network"],
        ),
        (
            |made| made.words = vec!["quiet"],
            both,
            &["command-line", "console"],
        ),
        (|made| made.fixed_address = true, both, &["network"]),
        (
            |made| made.boot_path = "EFI/LINUX/CLOISTER.EFI",
            both,
            &["boot-file"],
        ),
        (|made| made.gpu = true, both, &["gpu"]),
    ];
    for (change, clouds, wanted) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut made = sound();
        change(&mut made);
        write(dir.path(), &made);
        for cloud in clouds {
            assert_eq!(failed(dir.path(), *cloud), wanted, "{cloud:?}");
        }
    }
}

/// Golden values themselves are the guest's to read: a check tells those of no RIM from any others.
#[test]
fn image_with_a_gpu_and_no_golden_values_fails_by_name() {
    for (golden, wanted) in [("{}\n", &[][..]), (NO_VALUES, &["gpu"][..])] {
        let dir = tempfile::tempdir().unwrap();
        let mut made = sound();
        made.gpu = true;
        made.golden = Some(golden);
        made.modules.extend(["pci-hyperv", "nvidia", "nvidia-uvm"]);
        write(dir.path(), &made);
        for cloud in [Cloud::Azure, Cloud::Gcp] {
            assert_eq!(failed(dir.path(), cloud), wanted, "{cloud:?} {golden}");
        }
    }
}

#[test]
fn damaged_files_fail() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &sound());
    let flip = |name: &str, at: u64| {
        let mut options = File::options();
        let file = options.read(true).write(true).open(dir.path().join(name));
        let (file, mut byte) = (file.unwrap(), [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    let length = std::fs::metadata(dir.path().join("disk.vhd"))
        .unwrap()
        .len();
    for (at, wanted) in [
        (length - 512 + 50, vec!["disk-file", "footer"]),
        (length - 512 - 512 + 20, vec!["disk-file", "backup-table"]),
        (512 + 20, vec!["disk-file", "partition-table", "boot-file"]),
    ] {
        flip("disk.vhd", at);
        assert_eq!(failed(dir.path(), Cloud::Azure), wanted, "byte {at}");
        flip("disk.vhd", at);
    }
    flip("measurements/azure-snp.json", 3);
    assert_eq!(failed(dir.path(), Cloud::Azure), ["reference-values"]);
    let length = std::fs::metadata(dir.path().join("disk.tar.gz"))
        .unwrap()
        .len();
    flip("disk.tar.gz", length - 6);
    let wanted = ["disk-file", "archive", "disk"];
    assert_eq!(failed(dir.path(), Cloud::Gcp), wanted);
    std::fs::remove_file(dir.path().join("disk.tar.gz")).unwrap();
    assert_eq!(failed(dir.path(), Cloud::Gcp), ["disk-file"]);
}

/// A disk that was written with a tool that knows nothing of clouds.
#[test]
fn disk_of_odd_length_fails_its_size() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &sound());
    let path = dir.path().join("disk.vhd");
    let file = File::options().write(true).open(&path).unwrap();
    let size = file.metadata().unwrap().len() - 512 + 4096;
    let footer = vhd::Footer::new(size, Guid::TYPE_ESP).encode();
    file.write_all_at(&footer, size).unwrap();
    let wanted = ["disk-file", "disk-size", "partition-table", "backup-table"];
    assert_eq!(failed(dir.path(), Cloud::Azure), wanted);
}

#[test]
fn image_for_other_platforms_fails_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let made = Made {
        platforms: vec!["qemu-vtpm"],
        ..sound()
    };
    write(dir.path(), &made);
    assert_eq!(failed(dir.path(), Cloud::Azure), ["platform"]);
    assert_eq!(failed(dir.path(), Cloud::Gcp), ["platform"]);
}

#[test]
fn directory_without_a_build_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Image::open(dir.path()).unwrap_err();
    assert!(matches!(error, ImageError::Read { .. }));
    assert!(error.hint().unwrap().contains("out/demo"));
    let path = dir.path().join(MANIFEST);
    std::fs::write(&path, "{}").unwrap();
    let error = Image::open(dir.path()).unwrap_err();
    assert!(matches!(error, ImageError::Manifest { .. }));
    let other =
        r#"{"schema-version":2,"epoch":0,"recipe":"x","platforms":[],"outputs":{},"report":{}}"#;
    std::fs::write(&path, other).unwrap();
    let error = Image::open(dir.path()).unwrap_err();
    assert!(matches!(error, ImageError::Schema { found: 2, .. }));
}
