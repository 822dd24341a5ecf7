//! The JSON, on the made-up firmware and kernel of `tests/vectors`. Digests have their oracle in `tdx-expected.json`.

use clap::Parser;
use insta::assert_snapshot;
use sha2::{Digest as _, Sha384};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// SHA-384 of the configuration volume of `tdx-ovmf-like.fd`, from `tdx-expected.json`.
const VOLUME: &str = "c87d497780b78d1707ae12cf973a3b51d1cc819cc04789e0d715320231e0abb217e1bab54e6879b35897b6f7a0206a88";

fn vector(name: &str) -> String {
    format!("{}/../tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn measured(words: &[&str]) -> Value {
    let args = Line::try_parse_from([&["tdx"], words].concat()).unwrap();
    measure(&args.args).unwrap().into_json(args.args.transcript)
}

/// An event of RTMR0 (number 1 in a log) with a SHA-384 digest: UEFI 2.10, section 38.4.1.
fn event(kind: u32, digest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = [1, kind, 1].map(u32::to_le_bytes).concat();
    bytes.extend(0xc_u16.to_le_bytes());
    bytes.extend(digest);
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
}

/// A CCEL of one event for each thing that a digest can cover; the volume is that of the firmware.
fn ccel() -> Vec<u8> {
    let mut header = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02".to_vec();
    header.extend([1, 0, 0, 0, 0xc, 0, 48, 0, 0]);
    let mut log = [0, 3, 0, 0, 0, 0, 0].map(u32::to_le_bytes).concat();
    log.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    log.extend(header);
    let name = b"Fv(CFV)";
    let mut blob = vec![7];
    blob.extend(name);
    blob.extend([0; 16]);
    log.extend(event(0x8000_000a, &hex::decode(VOLUME).unwrap(), &blob));
    let mut variable = vec![0; 16];
    variable.extend([9_u64, 2].map(u64::to_le_bytes).concat());
    variable.extend("BootOrder".encode_utf16().flat_map(u16::to_le_bytes));
    variable.extend([1, 0]);
    log.extend(event(0x8000_0002, &Sha384::digest([1, 0]), &variable));
    log.extend(event(4, &Sha384::digest([0; 4]), &[0; 4]));
    log
}

#[test]
fn json_of_firmware_direct_boot_and_log_is_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (initrd, log) = (file("initrd", b"\x55"), file("ccel", &ccel()));
    let (firmware, kernel) = (vector("tdx-ovmf-like.fd"), vector("tdx-kernel-modern.bin"));
    let words = [
        "--firmware",
        &firmware,
        "--kernel",
        &kernel,
        "--memory",
        "4096",
        "--initrd",
        &initrd,
        "--cmdline",
        "vga=0x317 x",
        "--ccel",
        &log,
    ];
    assert_snapshot!(format!("{:#}", measured(&words)));
}

#[test]
fn json_with_transcript_is_as_documented() {
    let words = ["--firmware", &vector("tdx-mixed.fd"), "--transcript"];
    assert_snapshot!(format!("{:#}", measured(&words)));
}
