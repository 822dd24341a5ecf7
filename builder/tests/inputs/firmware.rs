//! MRTD of firmware that Debian ships, fetched from the archive that this machine's apt is configured for.

use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Package, version, file, SHA-256 of the file, MRTD add-then-extend, MRTD two-pass.
///
/// Origin: an own replay of the rule in google/gce-tcb-verifier @ 74582c0 `tdx/measurement.go`, outside this repository;
/// the add-then-extend values also by tdx-measure (sahason/tdx-measure @ ee97d8b). No live quote.
const FIRMWARE: [[&str; 6]; 3] = [
    [
        "ovmf-amdsev",
        "2026.08+ds-2",
        "usr/share/ovmf/OVMF.amdsev.fd",
        "3e4fd0b3fe3b2dbe481c3d9e99418a034174f26cbe1f55aa212b0f18c12d2d6f",
        "5f77220a7135b2be2087c3555b897a1c56ca84516fafc622a33fa498a46305a12597a18bb57bc50f714ffab9fe6f004d",
        "85ed058ce01afaac31effa3fcf2cdf65bd0e4e3bcf61adabb3ece33fdf300b569785d7d6c0c3d29fe11bbbc09da1cd43",
    ],
    [
        "ovmf",
        "2025.02-8+deb13u1",
        "usr/share/ovmf/OVMF.fd",
        "14954040cc754ade0c625ac3470ea46d4c14318b5b1396de4ef77090203d76db",
        "bdc6fb145880f06f30c8b346b8dce2a99d9351b56892df22f80fcf6574caa9f9c31df8e8576d53b4d0cd1c3f28910e11",
        "456f07902150d008bb913c3e1e84e9297f735a6c83cd2a957a1f0a8bbedb06df188e3837ae48d32c73d473d097dc0db2",
    ],
    [
        "ovmf-inteltdx",
        "2026.08+ds-2",
        "usr/share/ovmf/OVMF.inteltdx.ms.fd",
        "a265075b4147a096109e501e76196df1ec8a18659c26f7401492c597ec88f312",
        "a7a1f751abc454f9cbab198ca8d2edb2821935df525c74182b5e776cb0929e8c59aefecce725b0d08a5e9d3d3183bd08",
        "b90b236113eb4c0d4df4ef590568c14e6028a3a31d7e8ac63dee9845df5008d3ebf82d4f5974e933798f65d7a279b9a9",
    ],
];

#[test]
fn mrtd_of_debian_firmware_equals_the_independent_values() {
    let place = TempDir::new().unwrap();
    let Some(apt) = Apt::configured(place.path()) else {
        return;
    };
    let mut compared = 0;
    for [package, version, file, sha256, add_then_extend, two_pass] in FIRMWARE {
        let Some(image) = apt.file(package, version, file) else {
            println!("skipped: {package} {version} is no longer in the archive");
            continue;
        };
        let bytes = std::fs::read(&image).unwrap();
        assert_eq!(hex(&Sha256::digest(bytes)), sha256, "{package}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        let output = command.args(["measure", "tdx", "--firmware"]).arg(&image);
        let output = output.output().unwrap();
        let wanted = format!("mrtd add-then-extend {add_then_extend}\nmrtd two-pass {two_pass}\n");
        assert_eq!(String::from_utf8_lossy(&output.stdout), wanted, "{package}");
        compared += 1;
    }
    println!("{compared} of {} firmware images compared", FIRMWARE.len());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// apt with lists of its own, so that nothing of the machine's changes.
struct Apt<'a> {
    place: &'a Path,
}

impl Apt<'_> {
    /// Reads the lists of trixie and sid from the machine's Debian archive; says so where there is none.
    fn configured(place: &Path) -> Option<Apt<'_>> {
        let format = [
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
            "Origin: Debian",
        ];
        let output = Command::new("apt-get").args(format).output();
        let text = output.map_or(String::new(), |output| {
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        let Some(archive) = text
            .lines()
            .find(|line| line.trim_end_matches('/').ends_with("/debian"))
        else {
            println!("skipped: apt knows no Debian archive here");
            return None;
        };
        let keys = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";
        let lines = ["trixie", "sid"].map(|suite| format!("deb [{keys}] {archive} {suite} main\n"));
        for directory in ["lists/partial", "cache/archives/partial", "etc"] {
            std::fs::create_dir_all(place.join(directory)).unwrap();
        }
        std::fs::write(place.join("sources.list"), lines.concat()).unwrap();
        std::fs::write(place.join("status"), "").unwrap();
        let apt = Apt { place };
        if !apt.run(&["update"]) {
            println!("skipped: the archive cannot be reached from here");
            return None;
        }
        Some(apt)
    }

    fn run(&self, arguments: &[&str]) -> bool {
        let path = |name: &str| self.place.join(name).display().to_string();
        let options = [
            format!("Dir::Etc={}", path("etc")),
            format!("Dir::Etc::SourceList={}", path("sources.list")),
            format!("Dir::State::lists={}", path("lists")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            "APT::Sandbox::User=".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        let options = options.iter().flat_map(|option| ["-o", option]);
        let mut command = Command::new("apt-get");
        let output = command
            .current_dir(self.place)
            .args(options)
            .args(arguments)
            .output();
        output.is_ok_and(|output| output.status.success())
    }

    fn file(&self, package: &str, version: &str, file: &str) -> Option<std::path::PathBuf> {
        let unpacked = self.place.join(package);
        self.run(&["download", &format!("{package}={version}")])
            .then_some(())?;
        let archive = self.place.join(format!("{package}_{version}_all.deb"));
        let mut command = Command::new("dpkg-deb");
        let status = command
            .arg("-x")
            .args([&archive, &unpacked])
            .status()
            .ok()?;
        status.success().then(|| unpacked.join(file))
    }
}
