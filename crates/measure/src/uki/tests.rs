use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::pe::tests::image;

const STUB: &[u8] = b"#### LoaderInfo: systemd-stub 257.13-1~deb13u1 ####\0";

fn kernel() -> Vec<u8> {
    image((1, 1), &[(".text", b"kernel", 6)])
}

/// A UKI as `cloister build` makes it, with `extra` sections and the given stub.
fn uki(stub: &[u8], extra: &[(&str, &[u8])]) -> Vec<u8> {
    let kernel = kernel();
    let mut sections: Vec<(&str, &[u8])> = vec![
        (".text", b"stub code"),
        (".sdmagic", stub),
        (".sbat", b"sbat,1,x\n"),
        (".cmdline", b"console=ttyS0 panic=-1\0"),
        (".initrd", b"initrd"),
        (".linux", &kernel),
    ];
    sections.extend_from_slice(extra);
    let sections: Vec<_> = sections.iter().map(|(n, b)| (*n, *b, b.len())).collect();
    image((0, 0), &sections)
}

#[test]
fn predict_measures_sections_in_canonical_order_with_the_sbat_of_the_stub() {
    let prediction = predict(&uki(STUB, &[]), Bank::Sha256).unwrap();
    assert_eq!(
        prediction.pcrs.keys().copied().collect::<Vec<_>>(),
        [4, 9, 11, 12, 13]
    );
    assert!(prediction.unpredicted.is_empty());
    let names: Vec<&str> = prediction
        .transcript
        .of(&Register::Pcr(11))
        .filter(|step| step.what.ends_with("contents"))
        .map(|step| step.input.as_str())
        .collect();
    assert_eq!(names, ["`.linux`", "`.cmdline`", "`.initrd`", "`.sbat`"]);
    assert_eq!(prediction.pcrs[&12], Digest::zero(Bank::Sha256));
    assert_eq!(prediction.pcrs[&13], Digest::zero(Bank::Sha256));
}

#[test]
fn predict_leaves_pcr9_open_where_no_boot_was_compared() {
    let prediction = predict(&uki(STUB, &[(".ucode", b"x")]), Bank::Sha384).unwrap();
    assert_eq!(prediction.pcrs.get(&9), None);
    let reason = &prediction.unpredicted[&9];
    assert!(reason.contains(".ucode"), "{reason}");
    for name in [".osrel", ".pcrsig", ".pcrpkey"] {
        let image = uki(STUB, &[(name, b"x")]);
        let predicted = predict(&image, Bank::Sha384).unwrap().pcrs[&9];
        let surveyed = survey(&image, None, Bank::Sha384).unwrap();
        assert_eq!(surveyed.pcrs[&9], [predicted]);
    }
}

#[test]
fn predict_refuses_what_it_has_no_model_for() {
    let stub = |text: &[u8]| predict(&uki(text, &[]), Bank::Sha256).unwrap_err();
    let newer = "#### LoaderInfo: systemd-stub 258.1 ####";
    assert_eq!(
        stub(newer.as_bytes()),
        UkiError::Stub {
            found: newer.to_owned()
        }
    );
    assert_eq!(
        stub(b"2570"),
        UkiError::Stub {
            found: "2570".to_owned()
        }
    );
    let extra = |name: &str| predict(&uki(STUB, &[(name, b"x")]), Bank::Sha256).unwrap_err();
    assert_eq!(
        extra(".profile"),
        UkiError::SelectedSection { name: ".profile" }
    );
    assert_eq!(
        extra(".dtbauto"),
        UkiError::SelectedSection { name: ".dtbauto" }
    );
    assert_eq!(
        extra(".cmdline"),
        UkiError::RepeatedSection { name: ".cmdline" }
    );
    let old = image((1, 0), &[]);
    let bare = image(
        (0, 0),
        &[(".sdmagic", STUB, STUB.len()), (".linux", &old, old.len())],
    );
    assert_eq!(
        predict(&bare, Bank::Sha256),
        Err(UkiError::OldKernel { major: 1, minor: 0 })
    );
    let bare = image((0, 0), &[(".sdmagic", STUB, STUB.len())]);
    assert_eq!(
        predict(&bare, Bank::Sha256),
        Err(UkiError::MissingSection { name: ".linux" })
    );
}

#[test]
fn stub_command_line_follows_the_stub() {
    for (section, wanted) in [
        (&b"console=ttyS0 ro"[..], "console=ttyS0 ro"),
        (b" \t console=ttyS0\nro \n\0junk", "console=ttyS0 ro"),
        (b"a\x7fb  c", "a b  c"),
        ("ü \u{1f980}x".as_bytes(), "ü x"),
        (b"", ""),
    ] {
        assert_eq!(stub_command_line(section), Ok(wanted.to_owned()));
    }
    assert_eq!(
        stub_command_line(b"ab\xff"),
        Err(UkiError::CommandLine { offset: 2 })
    );
}

/// Origin: registers of swtpm 0.7 read by Linux 6.12.107-1 (Debian cloud kernel, Authenticode 782467f0...) on 2026-11-22, booted under QEMU by
/// Debian OVMF 2025.02-8+deb13u1 through a UKI (Authenticode 3231810e...) with systemd stub 257.13-1~deb13u1, whose `.cmdline`
/// was ` console=ttyS0\tloglevel=3 panic=-1 \n`.
#[test]
fn pcr4_and_pcr9_equal_a_booted_guest() {
    let digest = |text: &str| text.parse::<Digest>().unwrap();
    let pcr4 = pcr4(
        digest("3231810e07dc82745562a30f2bc3d1efa2009a362fa805c02f2c35e11f852a68"),
        digest("782467f032ce2d6a96d9131eac2bcf910ba46099c99e6cfd20555da97a7f1390"),
    );
    let wanted = "52d56156edf00289f4dd1db90cb6d4ca96db639c99b3aa5b03ac1eeb9f8e13c0";
    assert_eq!(pcr4.value(), digest(wanted));
    let command_line = stub_command_line(b" console=ttyS0\tloglevel=3 panic=-1 \n").unwrap();
    let initrd = digest("731725e4bfe0f2c6d0df11f3e7326b98b2219c7b43dffecd1bfb1acb91eef72f");
    let pcr9 = pcr9(&command_line, Some(initrd), Bank::Sha256);
    let wanted = "d474af50e86fd996b8ab46dc3423fe9013915914cac5e8fc284341c8c18e8c25";
    assert_eq!(pcr9.value(), digest(wanted));
}

/// A disk with an empty partition table.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; crate::gpt::USUAL_BYTES];
    disk[512..520].copy_from_slice(b"EFI PART");
    disk[512 + 72] = 2;
    disk[512 + 80] = 128;
    disk[512 + 84] = 128;
    disk
}

#[test]
fn survey_agrees_with_predict_and_adds_what_reference_values_leave_open() {
    for bank in [Bank::Sha256, Bank::Sha384] {
        let image = uki(STUB, &[]);
        let (survey, predicted) = (
            survey(&image, Some(&disk()), bank).unwrap(),
            predict(&image, bank).unwrap(),
        );
        for (index, value) in &predicted.pcrs {
            assert_eq!(survey.pcrs[index], [*value], "pcr{index}");
        }
        let known: Vec<u32> = survey.pcrs.keys().copied().collect();
        assert_eq!(known, [4, 5, 8, 9, 11, 12, 13, 14, 15]);
        assert_eq!(survey.pcr11.before_pid1, survey.pcr11.after_pid1);
        assert_eq!(survey.pcr11.systemd_phases.len(), 4);
        assert_eq!(survey.pcrs[&5].len(), 2);
        assert_eq!(survey.rtmrs.len(), if bank == Bank::Sha384 { 2 } else { 0 });
    }
}

/// Origin: own replay of the events, spelled out here from research 1.8 and 1.9.
#[test]
fn survey_computes_pcr5_and_rtmrs_event_by_event() {
    let image = uki(STUB, &[]);
    let bank = Bank::Sha384;
    let survey = survey(&image, Some(&disk()), bank).unwrap();
    let replay = |digests: &[Digest]| {
        let start = Digest::zero(bank);
        digests
            .iter()
            .fold(start, |value, digest| crate::pcr::extend(&value, digest))
    };
    let hash = |bytes: &[u8]| bank.hash(&[bytes]);
    let mut table = disk()[512..604].to_vec();
    table.extend([0; 8]);
    let exits = [
        hash(b"Exit Boot Services Invocation"),
        hash(b"Exit Boot Services Returned with Success"),
    ];
    let failed = hash(b"Exit Boot Services Returned with Failure");
    let partitions = [separator(bank), hash(&table)];
    let first = replay(&[&partitions[..], &exits].concat());
    let second = replay(&[&partitions[..], &[failed], &exits].concat());
    assert_eq!(survey.pcrs[&5], [first, second]);
    let pe = Pe::parse(&image).unwrap();
    let kernel = kernel();
    let loaded = [
        pe.authenticode(bank),
        Pe::parse(&kernel).unwrap().authenticode(bank),
    ];
    let calling = hash(b"Calling EFI Application from Boot Option");
    let rtmr1 = replay(&[&[calling], &partitions[..], &loaded, &exits].concat());
    let wide: Vec<u8> = "console=ttyS0 panic=-1\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let own = [hash(&wide), hash(b"initrd")];
    let sections = pcr11(&pe, bank).unwrap();
    let sections: Vec<Digest> = sections.steps().iter().map(|step| step.digest).collect();
    let [plain, both] = &survey.rtmrs[..] else {
        panic!("{:?}", survey.rtmrs)
    };
    assert_eq!((plain.rtmr1[0], plain.rtmr2), (rtmr1, Some(replay(&own))));
    assert_eq!(both.rtmr2, Some(replay(&[&sections[..], &own].concat())));
    assert_eq!((plain.rtmr1.len(), both.rtmr1[0]), (2, rtmr1));
}

#[test]
fn survey_takes_any_uki_and_says_what_it_does_not_know() {
    let foreign = survey(&uki(b"other", &[(".pcrsig", b"{}")]), None, Bank::Sha384).unwrap();
    let known: Vec<u32> = foreign.pcrs.keys().copied().collect();
    assert_eq!(known, [8, 11, 14, 15]);
    let open: Vec<u32> = foreign.unpredicted.keys().copied().collect();
    assert_eq!(open, [4, 5, 9, 12, 13]);
    assert!(
        foreign
            .rtmrs
            .iter()
            .all(|model| model.rtmr1.is_empty() && model.rtmr2.is_none())
    );
    let kernel = kernel();
    let no_magic = image((0, 0), &[(".linux", &kernel, kernel.len())]);
    let wanted = UkiError::MissingSection { name: ".linux" };
    assert!(survey(&no_magic, Some(b"x"), Bank::Sha256).is_ok());
    let empty = image((0, 0), &[(".text", b"x", 1)]);
    assert_eq!(survey(&empty, None, Bank::Sha256).unwrap_err(), wanted);
}

#[test]
fn survey_joins_generated_archives_to_the_initrd() {
    let plain = survey(&uki(STUB, &[]), None, Bank::Sha256).unwrap();
    let with = survey(&uki(STUB, &[(".osrel", b"ID=x\n")]), None, Bank::Sha256).unwrap();
    assert_ne!(plain.pcrs[&9], with.pcrs[&9]);
    // By hand: both pieces are multiples of four once `initrd` has two zeros more.
    let header = |inode: u32, mode: &str, size: usize, name: usize| {
        format!(
            "070701{inode:08x}{mode}00000000000000000000000100000000{size:08x}\
             00000000000000000000000000000000{name:08x}00000000"
        )
    };
    let mut joined = b"initrd\0\0".to_vec();
    joined.extend(header(1, "0000416d", 0, 7).bytes());
    joined.extend(b".extra\0\0\0\0");
    joined.extend(header(2, "00008124", 5, 18).bytes());
    joined.extend(b".extra/os-release\0ID=x\n\0\0\0");
    joined.extend(b"070701000000000000000000000000000000000000000100000000");
    joined.extend(b"0000000000000000000000000000000000000000");
    joined.extend(b"0000000B00000000TRAILER!!!\0\0\0\0");
    let initrd = Bank::Sha256.hash(&[&joined]);
    let wanted = pcr9("console=ttyS0 panic=-1", Some(initrd), Bank::Sha256).value();
    assert_eq!(with.pcrs[&9], [wanted]);
}

#[test]
fn profiles_replace_the_sections_before_them() {
    let with = |extra: &[(&str, &[u8])]| {
        let data = uki(STUB, extra);
        pcr11(&Pe::parse(&data).unwrap(), Bank::Sha256).map(|pcr| pcr.value())
    };
    let first = with(&[(".profile", b"ID=a"), (".cmdline", b"a\0")]).unwrap();
    let two = [
        (".profile", &b"ID=a"[..]),
        (".cmdline", b"a\0"),
        (".profile", b"ID=b"),
        (".cmdline", b"b\0"),
    ];
    assert_eq!(with(&two), Ok(first));
    assert_ne!(with(&[]), Ok(first));
    let data = uki(STUB, &two);
    let names: Vec<String> = pcr11(&Pe::parse(&data).unwrap(), Bank::Sha256)
        .unwrap()
        .steps()
        .iter()
        .map(|step| step.input.clone())
        .collect();
    assert!(names.contains(&"`.profile`".to_owned()), "{names:?}");
}

/// Sections that every version of systemd's tool knows, as its options call them.
const TOOL_SECTIONS: [&str; 7] = [
    "linux", "osrel", "cmdline", "initrd", "splash", "dtb", "pcrpkey",
];

/// Returns the values that systemd's own tool prints for these sections, sorted.
fn by_systemd_measure(tool: &Path, sections: &[(String, Vec<u8>)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(tool);
    let banks = ["--bank=sha1", "--bank=sha256", "--bank=sha384"];
    command.arg("calculate").args(banks);
    for (name, bytes) in sections {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        command.arg(format!("--{name}={}", path.display()));
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let values = told.lines().filter(|line| line.starts_with("11:"));
    let mut values: Vec<String> = values.map(str::to_owned).collect();
    values.sort_unstable();
    values
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Random sections in random order, where the machine has systemd's tool. It prints values from the first phase on.
    #[test]
    fn pcr11_and_phases_equal_systemd_measure(
        contents in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 1..900)), TOOL_SECTIONS.len()),
        linux in prop::collection::vec(any::<u8>(), 1..900),
        shift in 0..TOOL_SECTIONS.len(),
    ) {
        let tool = Path::new("/usr/lib/systemd/systemd-measure");
        if !tool.exists() {
            println!("skipped: no systemd-measure on this machine");
            return Ok(());
        }
        let names = TOOL_SECTIONS.iter().map(|name| (*name).to_owned());
        let mut sections: Vec<(String, Vec<u8>)> = names.zip(contents).filter_map(|(n, c)| Some((n, c?))).collect();
        sections.retain(|(name, _)| name != "linux");
        sections.push(("linux".to_owned(), linux));
        let told = by_systemd_measure(tool, &sections);
        let shift = shift % sections.len();
        sections.rotate_left(shift);
        let dotted: Vec<(String, Vec<u8>)> = sections.into_iter().map(|(n, b)| (format!(".{n}"), b)).collect();
        let in_file: Vec<_> = dotted.iter().map(|(n, b)| (n.as_str(), b.as_slice(), b.len())).collect();
        let data = image((0, 0), &in_file);
        let pe = Pe::parse(&data).unwrap();
        let mut ours: Vec<String> = Vec::new();
        for bank in [Bank::Sha1, Bank::Sha256, Bank::Sha384] {
            let pcr = pcr11(&pe, bank).unwrap();
            let values = phases(&pcr).into_iter().map(|(_, value)| value);
            ours.extend(values.map(|value| format!("11:{bank}={value}")));
        }
        ours.sort_unstable();
        prop_assert_eq!(told, ours);
    }
}
