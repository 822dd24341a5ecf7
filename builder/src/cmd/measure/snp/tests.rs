//! The command line and its JSON, on the synthetic firmware of `tests/vectors/snp`. Digests have their oracle there.

use clap::Parser;
use insta::assert_snapshot;

use super::*;
use crate::cmd::Hinted as _;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn vector(name: &str) -> String {
    format!("{}/../tests/vectors/snp/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn parse(firmware: &str, words: &[&str]) -> Result<Args, clap::Error> {
    let firmware = vector(firmware);
    let line = ["snp", "--firmware", &firmware];
    Line::try_parse_from(line.iter().chain(words)).map(|line| line.args)
}

fn measured(firmware: &str, words: &[&str]) -> Value {
    let args = parse(firmware, words).unwrap();
    measure(&args, None).unwrap().json(&args)
}

#[test]
fn json_of_a_direct_boot_is_as_documented() {
    let (kernel, initrd) = (vector("kernel"), vector("initrd"));
    let words = [
        "--kernel",
        &kernel,
        "--initrd",
        &initrd,
        "--cmdline",
        "console=ttyS0",
        "--vcpus",
        "64,0x1",
        "--vcpu-model",
        "EPYC-v4",
    ];
    assert_snapshot!(format!("{:#}", measured("enforcing.fd", &words)));
}

#[test]
fn json_of_a_cloud_from_a_firmware_digest_is_as_documented() {
    let digest = "f4e14d89f8678c99cd1fed031ff1f6233fe6e0e2c82d256e1d439db6f4761b1be8dc8ce86192e0f0b164b54feae8dd7f";
    let words = [
        "--vcpus",
        "2",
        "--host-profile",
        "gce",
        "--firmware-digest",
        digest,
        "--transcript",
    ];
    assert_snapshot!(format!("{:#}", measured("enforcing.fd", &words)));
}

#[test]
fn json_reports_sections_of_unknown_type() {
    let words = [
        "--vcpus",
        "1",
        "--vcpu-signature",
        "8392466",
        "--guest-features",
        "0x21",
    ];
    assert_snapshot!(format!("{:#}", measured("unknown-section.fd", &words)));
}

#[test]
fn lists_and_numbers_are_parsed() {
    let args = parse("f", &["--vcpus", "1,0x2,64", "--guest-features", "33"]).unwrap();
    assert_eq!(args.counts().collect::<Vec<_>>(), [1, 2, 64]);
    assert_eq!(args.guest_features, 0x21);
    for words in [
        &["--vcpu-model", "EPYC"][..],
        &["--vcpus", "1,"],
        &["--vcpus", "0"],
        &["--vcpus", "4294967295"],
        &["--vcpus", "1-4097"],
        &["--vcpus", "1", "--guest-features", "x"],
        &["--vcpus", "1", "--kernel", "sha256:abcd"],
        &[
            "--vcpus",
            "1",
            "--vcpu-model",
            "EPYC",
            "--vcpu-signature",
            "1",
        ],
        &["--vcpus", "1", "--cmdline", "a", "--cmdline-file", "b"],
        &["--vcpus", "1", "--firmware-digest", "00"],
    ] {
        assert!(parse("f", words).is_err(), "{words:?}");
    }
}

#[test]
fn a_vcpu_model_is_needed_where_it_is_measured() {
    for (host, needed) in [
        ("qemu", true),
        ("qemu-before-6.9", true),
        ("ec2", false),
        ("gce", false),
        ("gce-genoa", false),
    ] {
        let args = parse("enforcing.fd", &["--vcpus", "1", "--host-profile", host]).unwrap();
        assert_eq!(measure(&args, None).is_err(), needed, "{host}");
    }
}

#[test]
fn digests_are_printed_in_the_order_asked_for_and_twice_if_asked_twice() {
    let lines = |counts: &str| {
        let args = parse("enforcing.fd", &["--vcpus", counts, "--vcpu-model", "EPYC"]).unwrap();
        measure(&args, None).unwrap().lines(&args)
    };
    let of = |count: &str| lines(count).trim_end().to_owned();
    let (one, two, three) = (of("1"), of("2"), of("3"));
    let wanted = format!("3 {three}\n1 {one}\n2 {two}\n3 {three}\n");
    assert_eq!(lines("3,1-3"), wanted);
    assert_eq!(lines("1,1"), format!("1 {one}\n1 {one}\n"));
    assert_eq!(lines("2-2"), format!("{two}\n"));
}

#[test]
fn an_empty_kernel_is_refused_and_an_empty_initrd_is_none() {
    let of = |kernel: &str, initrd: &[&str]| {
        let words = ["--vcpus", "1", "--vcpu-model", "EPYC", "--kernel", kernel];
        let args = parse("enforcing.fd", &[&words[..], initrd].concat()).unwrap();
        launch::measured(&args.boot, None, || args.firmware.read(true))
    };
    let nothing = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for kernel in ["/dev/null", nothing] {
        assert!(matches!(of(kernel, &[]), Err(MeasureError::EmptyKernel)));
    }
    let kernel = vector("kernel");
    let without = of(&kernel, &[]).unwrap().1;
    for initrd in ["/dev/null", nothing] {
        assert_eq!(of(&kernel, &["--initrd", initrd]).unwrap().1, without);
    }
}

#[test]
fn inputs_of_a_direct_boot_need_a_kernel() {
    for word in ["--cmdline", "--cmdline-file", "--initrd"] {
        let args = parse("f", &["--vcpus", "1", word, "-x"]);
        let args = args
            .or_else(|_| parse("f", &["--vcpus", "1", word, "x"]))
            .unwrap();
        assert!(args.boot.check().is_err());
    }
    let args = parse("f", &["--vcpus", "1"]).unwrap();
    assert!(args.boot.check().is_ok());
}

#[test]
fn firmware_that_would_boot_any_kernel_is_refused_for_a_kernel_alone() {
    let kernel = [
        "--kernel",
        &vector("kernel"),
        "--vcpus",
        "1",
        "--vcpu-model",
        "EPYC",
    ];
    let args = parse("not-enforcing.fd", &kernel).unwrap();
    let error = args.firmware.read(true).unwrap_err();
    assert!(matches!(error, MeasureError::Enforcement { .. }));
    assert!(error.hint().unwrap().contains("AmdSev"));
    assert!(measure(&parse("not-enforcing.fd", &kernel[2..]).unwrap(), None).is_ok());
    assert!(measure(&parse("enforcing.fd", &kernel).unwrap(), None).is_ok());
}

#[test]
fn tables_are_found_wherever_they_are_in_firmware_with_a_digest() {
    // dc886566-984a-4798-a75e-5585a7bf67cc, behind the distance of the metadata from the end and the entry's length.
    const SEV_METADATA: &[u8] = b"\x66\x65\x88\xdc\x4a\x98\x98\x47\xa7\x5e\x55\x85\xa7\xbf\x67\xcc";
    let near = std::fs::read(vector("enforcing.fd")).unwrap();
    let entry = near
        .windows(16)
        .position(|bytes| bytes == SEV_METADATA)
        .unwrap();
    let distance = u32::from_le_bytes(near[entry - 6..entry - 2].try_into().unwrap()) as usize;
    let metadata = near[near.len() - distance..][..256].to_vec();
    let mut far = vec![0; 64 << 10];
    far.extend(&near);
    far[100..356].copy_from_slice(&metadata);
    let entry = entry + (64 << 10);
    let moved = u32::try_from(far.len() - 100).unwrap();
    far[entry - 6..entry - 2].copy_from_slice(&moved.to_le_bytes());

    let file = tempfile::NamedTempFile::new().unwrap();
    let read = |image: &[u8]| {
        std::fs::write(file.path(), image).unwrap();
        let firmware = launch::Firmware {
            path: file.path().to_owned(),
            digest: Some(LaunchDigest([7; 48])),
        };
        firmware.read(true)
    };
    let wanted = read(&near).unwrap();
    assert!(!wanted.sections().is_empty());
    assert_eq!(read(&far).unwrap(), wanted);
    far[100] ^= 1;
    let error = read(&far).unwrap_err();
    assert!(matches!(error, MeasureError::Firmware { .. }), "{error}");
}

#[test]
fn command_line_of_a_file_is_taken_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cmdline");
    let of = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let name = path.to_str().unwrap();
        let args = parse("f", &["--vcpus", "1", "--cmdline-file", name]).unwrap();
        args.boot.command_line.bytes()
    };
    for bytes in [&b" a \n"[..], b"", b"\xff\xfe"] {
        assert_eq!(of(bytes).unwrap(), bytes);
    }
    assert!(matches!(
        of(b"ab\0"),
        Err(MeasureError::Nul { offset: 2, .. })
    ));
}
