//! A machine with a made-up GPU: QEMU's VGA card stands on the bus, the stand-in for NVIDIA's library in the root image.
//!
//! The image is the product's `cloister build` of `tests/recipes/gpu`, from a copy of the sources in which one file is another:
//! `init/src/gpu/hardware.rs`, which says where hardware shows and whose GPUs are trusted. The driver's own files are in
//! the root image too; its device numbers are those of the serial port, so that the stand-in can record its calls there,
//! among the lines of PID 1. The stand-in's mark is taken off, without which `cloister build` refuses it. RIMs are NVIDIA's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use cloister_test_pki::gpu::Gpu;

use crate::guest::{self, BOOT_LIMIT, Guest, Turn};
use crate::images::{self, Image, copy_folder};
use crate::program::{Said, repository, run, scratch, succeed};
use crate::software_tpm::SoftwareTpm;

/// The name of the GPU's keys.
pub(super) const LABEL: &str = "the GPU";
/// Where the library lies.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1";
const MARK: &[u8] = b"standin_nvml_marker";

/// What the machine has on its bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bus {
    Nothing,
    One,
    Two,
    OneAndAnother,
}

/// NVIDIA's manifests of the shared vectors; `None`, said in words, where there are no vectors.
pub(super) fn rims() -> Option<PathBuf> {
    let workspace = repository();
    let places = [
        "../shared/vectors/gpu/rims",
        "../../shared/vectors/gpu/rims",
    ];
    let found = places.iter().map(|place| workspace.join(place));
    let found = found.into_iter().find(|place| place.is_dir());
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "no shared vectors"
    );
    if found.is_none() {
        eprintln!("skipped: no shared vectors");
    }
    found
}

/// The recipe as it is, locked, with NVIDIA's manifests beside it: what a product would be built from.
pub(super) fn recipe() -> Option<PathBuf> {
    static RECIPE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = || {
        let rims = rims()?;
        let recipes = scratch().join("gpu-recipes");
        let copy = images::copy_recipe(&repository().join("tests/recipes/gpu"), &recipes);
        let files = [
            ("NV_GPU_DRIVER_GH100_550.144.03.xml", "driver.xml"),
            ("1010_0200_882_96005E0003_PROD.swidtag", "vbios.xml"),
        ];
        for (from, to) in files {
            fs::copy(rims.join(from), copy.join("files").join(to)).expect("a manifest");
        }
        succeed(["lock".as_ref(), copy.as_os_str()]);
        succeed(["fetch".as_ref(), copy.as_os_str()]);
        Some(copy)
    };
    RECIPE.get_or_init(make).clone()
}

/// The image that the stand-in is in, built once in a run.
pub(super) fn image() -> Option<&'static Image> {
    static IMAGE: OnceLock<Option<Image>> = OnceLock::new();
    let build = || build(&recipe()?, "gpu", |text| text);
    IMAGE.get_or_init(build).as_ref()
}

/// The same image whose model is asked for another answer than it gives.
pub(super) fn image_of_another_answer() -> Option<Image> {
    let other = |text: String| text.replace("answer = \" Paris\"", "answer = \" Rome\"");
    build(&recipe()?, "gpu-rome", other)
}

fn build(recipe: &Path, name: &str, change: impl Fn(String) -> String) -> Option<Image> {
    let sources = sources();
    let copy = sources.join("recipes").join(name);
    copy_folder(
        &repository().join("recipes/keys"),
        &sources.join("recipes/keys"),
    );
    copy_folder(recipe, &copy);
    let library = library(&standin());
    let files = copy.join("files");
    fs::write(files.join("libnvidia-ml.so.1"), library).expect("library");
    let golden = golden(&files);
    fs::write(files.join("golden.json"), golden).expect("golden values");
    let configuration = format!(
        "label {LABEL}\ndriver 550.144.03\nvbios 96.00.5e.00.03\ngolden /usr/lib/standin/golden.json\nrecord /dev/nvidia64\nfault-from /sys/class/dmi/id/product_serial\n"
    );
    fs::write(files.join("standin.conf"), configuration).expect("configuration");
    fs::write(
        files.join("version"),
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.144.03  Release Build\n",
    )
    .expect("version");
    fs::write(
        files.join("information"),
        "Model: Stand-in\nDevice Minor: \t 64\n",
    )
    .expect("information");
    fs::write(
        files.join("devices"),
        "Character devices:\n  4 nvidia\n\nBlock devices:\n",
    )
    .expect("devices");
    let added = [
        (LIBRARY, "libnvidia-ml.so.1"),
        (&format!("{LIBRARY}.conf"), "standin.conf"),
        ("/usr/lib/standin/golden.json", "golden.json"),
        ("/usr/lib/standin/devices", "devices"),
        ("/usr/lib/standin/driver/version", "version"),
        (
            "/usr/lib/standin/driver/gpus/0000:00:05.0/information",
            "information",
        ),
    ];
    let text = fs::read_to_string(recipe.join("recipe.toml")).expect("recipe");
    let mut text = change(text).replace("name = \"gpu\"", &format!("name = \"{name}\""));
    for (path, source) in added {
        let mode = if path == LIBRARY { "0755" } else { "0644" };
        text += &format!(
            "\n[[file]]\npath = \"{path}\"\nsource = \"files/{source}\"\nmode = \"{mode}\"\n"
        );
    }
    fs::write(copy.join("recipe.toml"), text).expect("recipe");
    succeed(["lock".as_ref(), copy.as_os_str()]);
    let out = scratch().join("out").join(name);
    succeed([
        "build".as_ref(),
        copy.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ]);
    Some(Image { recipe: copy, out })
}

/// A copy of the sources in which the edge of the hardware is the one that this machine has.
fn sources() -> &'static Path {
    static SOURCES: OnceLock<PathBuf> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let to = scratch().join("gpu-sources");
        fs::remove_dir_all(&to).ok();
        let folders = [
            "builder",
            "crates",
            "gpu-helper",
            "init",
            "tests/it",
            "tests/pki",
            "tests/standin-nvml",
        ];
        for folder in folders {
            copy_folder(&repository().join(folder), &to.join(folder));
        }
        for file in [
            "Cargo.toml",
            "Cargo.lock",
            "rust-toolchain.toml",
            "tests/Cargo.toml",
        ] {
            fs::copy(repository().join(file), to.join(file)).expect("file");
        }
        let edge = to.join("init/src/gpu/hardware.rs");
        assert!(edge.is_file(), "the edge of the hardware lies elsewhere");
        fs::write(edge, hardware()).expect("source");
        to
    })
}

/// The public key of the made-up NVIDIA.
pub(super) fn root() -> [u8; 97] {
    Gpu::new(LABEL).and_then(|gpu| gpu.root()).expect("a key")
}

fn hardware() -> String {
    let root = root();
    format!(
        "//! The edge of the hardware in a test.\nuse cloister_gpu::RootKey;\npub(super) const VENDOR: &str = \"0x1234\";\npub(super) const NUMBERS: &str = \"/root/usr/lib/standin/devices\";\npub(super) const DRIVER: &str = \"/root/usr/lib/standin/driver\";\npub(super) fn roots() -> [RootKey; 1] {{ [RootKey({root:?})] }}\n"
    )
}

/// Builds the stand-in and gives its file.
fn standin() -> PathBuf {
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--locked",
            "--quiet",
            "--package",
            "cloister-standin-nvml",
        ])
        .current_dir(repository())
        .status()
        .expect("cargo starts");
    assert!(status.success(), "the stand-in cannot be built");
    // `target/tmp` is in the target folder that cargo uses for this test.
    let target = scratch();
    let target = target.parent().expect("a target folder");
    target.join("debug/libstandin_nvml.so")
}

/// The library without its mark.
fn library(file: &Path) -> Vec<u8> {
    let mut bytes = fs::read(file).expect("library");
    let places: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(MARK))
        .collect();
    assert!(!places.is_empty(), "the stand-in has no mark");
    for place in places {
        bytes[place..place + MARK.len()].copy_from_slice(b"stand_in_for_a_test");
    }
    bytes
}

fn golden(files: &Path) -> String {
    let arguments = [
        "gpu".into(),
        "golden".into(),
        "--json".into(),
        "--at".into(),
        "2025-03-01T00:00:00Z".into(),
    ];
    let rims = ["driver.xml", "vbios.xml"].map(|name| files.join(name));
    let rims = rims
        .into_iter()
        .flat_map(|rim| ["--rim".into(), rim.into_os_string()]);
    succeed(arguments.into_iter().chain(rims)).stdout
}

/// A guest on such a machine.
pub(super) struct Machine {
    pub(super) guest: Guest,
    _tpm: SoftwareTpm,
    _turn: Turn,
}

/// Boots `image` on a machine with this bus; `fault` is what the stand-in reads of the machine's serial number.
pub(super) fn boot(image: &Image, bus: Bus, fault: &str) -> Machine {
    let turn = Turn::take();
    let state = tempfile::tempdir().expect("folder").keep();
    let tpm = SoftwareTpm::start(&state, &["--terminate"]);
    let (mut words, port) = guest::without_a_tpm(&image.out.join("disk.raw"));
    words.extend(tpm.device());
    let (gpus, others) = match bus {
        Bus::Nothing => (0, 0),
        Bus::One => (1, 0),
        Bus::Two => (2, 0),
        Bus::OneAndAnother => (1, 1),
    };
    // Both are of QEMU's own vendor number; the second is no display.
    let devices = [("VGA,romfile=", gpus), ("edu", others)];
    for (device, count) in devices {
        for _ in 0..count {
            words.extend(["-device".into(), device.into()]);
        }
    }
    words.extend(["-smbios".into(), format!("type=1,serial={fault}").into()]);
    let guest = Guest::start(&words, port);
    Machine {
        guest,
        _tpm: tpm,
        _turn: turn,
    }
}

impl Machine {
    /// Waits until the canary was answered.
    pub(super) fn serves(&self) {
        let line = self.guest.line("cloister-init: canary: ok", BOOT_LIMIT);
        assert!(
            line.is_some(),
            "the guest does not serve:\n{}",
            self.guest.text()
        );
    }

    /// Waits for power-off and gives PID 1's last line and the calls that the library recorded.
    pub(super) fn refusal(mut self) -> (String, Vec<String>) {
        let text = self.guest.ended(BOOT_LIMIT + Duration::from_secs(60));
        let own = |line: &&str| line.starts_with("cloister-init: ");
        let last = text.lines().rfind(own).expect("a line");
        (last.to_owned(), calls(&text))
    }
}

/// The library's calls in a console.
pub(super) fn calls(text: &str) -> Vec<String> {
    let calls = text.lines().filter(|line| line.starts_with("nvml"));
    calls.map(str::to_owned).collect()
}

/// `cloister build` of a recipe whose image holds the stand-in with its mark.
pub(super) fn build_with_mark() -> Option<Said> {
    let recipe = recipe()?;
    let copy = scratch().join("gpu-recipes/marked");
    copy_folder(&recipe, &copy);
    fs::copy(standin(), copy.join("files/innocent.so")).expect("library");
    let text = fs::read_to_string(copy.join("recipe.toml")).expect("recipe");
    let text = text.replace("name = \"gpu\"", "name = \"marked\"")
        + "\n[[file]]\npath = \"/opt/gpu/innocent.so\"\nsource = \"files/innocent.so\"\n";
    fs::write(copy.join("recipe.toml"), text).expect("recipe");
    succeed(["lock".as_ref(), copy.as_os_str()]);
    let out = scratch().join("out/marked");
    Some(run([
        "build".as_ref(),
        copy.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ]))
}
