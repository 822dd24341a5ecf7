use super::*;
use crate::pe::tests::image;
use crate::vectors;

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
fn predict_leaves_pcr9_open_when_the_stub_adds_archives() {
    for name in [".osrel", ".pcrsig", ".pcrpkey", ".ucode"] {
        let prediction = predict(&uki(STUB, &[(name, b"x")]), Bank::Sha384).unwrap();
        assert_eq!(prediction.pcrs.get(&9), None);
        let reason = &prediction.unpredicted[&9];
        assert!(reason.contains(name), "{reason}");
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

/// Origin: shared vectors `pe/pcr11.json`: first case systemd-measure 252, second an own replay there.
#[test]
fn pcr11_equals_the_shared_vectors() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let cases = vectors::json(&directory, "pe/pcr11.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let sections: Vec<(String, Vec<u8>)> = case["sections"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, text)| (name.clone(), hex::decode(text.as_str().unwrap()).unwrap()))
            .collect();
        let sections: Vec<_> = sections
            .iter()
            .rev()
            .map(|(n, b)| (n.as_str(), b.as_slice(), b.len()))
            .collect();
        let data = image((0, 0), &sections);
        let pe = Pe::parse(&data).unwrap();
        for bank in [Bank::Sha256, Bank::Sha384] {
            let wanted = &case["expected"][bank.to_string()]["before-userspace"];
            let value = pcr11(&pe, bank).unwrap().value().to_string();
            assert_eq!(value, wanted.as_str().unwrap());
        }
    }
}

/// Origin: shared vectors `pe/pcr4-pcr9-model.json` (own replay there of the rules in flashbots/measured-boot) and
/// `pe/authenticode-debian.json`; the Debian files stand in for UKI and kernel by their digests.
#[test]
fn pcr4_and_pcr9_equal_the_shared_vectors() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let model = vectors::json(&directory, "pe/pcr4-pcr9-model.json");
    let files = vectors::json(&directory, "pe/authenticode-debian.json");
    for bank in [Bank::Sha256, Bank::Sha384] {
        let digest = |index: usize| -> Digest {
            files[index][format!("authenticode_{bank}")]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        };
        let wanted = &model["expected"][bank.to_string()];
        let pcr4 = pcr4(digest(0), digest(1)).value().to_string();
        assert_eq!(pcr4, wanted["pcr4_direct_uki"].as_str().unwrap());
        let initrd = bank.hash(&[&[0; 5000]]);
        let pcr9 = pcr9("console=ttyS0 ro", Some(initrd), bank)
            .value()
            .to_string();
        assert_eq!(pcr9, wanted["pcr9_linux_stub"].as_str().unwrap());
    }
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
