//! What is said of each register, and logs that fit the registers and nothing else.

use cloister_evidence::devices::{Devices, GpuEvidence};
use cloister_evidence::log::{Event, EventLog, predict_pcr15};
use cloister_measure::digest::{Bank, Digest};
use cloister_measure::reference::{Class, Register};
use cloister_verify::tpm::appraise_leaf;
use cloister_verify::{Outcome, Policy, Verdict};

use crate::support::{Guest, NOW, VALIDITY};

fn appraise(guest: &Guest) -> Verdict {
    let (leaf, bundle) = guest.leaf(VALIDITY);
    appraise_leaf(&leaf, &bundle, &guest.reference(), &Policy::default(), NOW)
}

/// Words of what each register covers (TCG PC Client Platform Firmware Profile, table "PCR usage").
const COVERS: [&str; 16] = [
    "the firmware's code",
    "the firmware's configuration",
    "option ROMs",
    "the configuration of option ROMs",
    "the boot applications",
    "the partition table",
    "the host's manufacturer",
    "Secure Boot",
    "a boot loader measures",
    "the command line and the initrd",
    "IMA",
    "the UKI's sections",
    "added from outside: a replaced command line",
    "system extensions",
    "shim",
    "Cloister's own log",
];

#[test]
fn each_register_is_compared_and_explained_by_its_own_meaning() {
    let guest = Guest::boot();
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let mut reference = guest.reference();
    reference.unpredicted.clear();
    let mut two = |index: usize| {
        let other = Digest::from_bytes(Bank::Sha256, &[0xee; 32]).unwrap();
        let value = Digest::from_bytes(Bank::Sha256, &guest.pcrs.0[index]).unwrap();
        let mut register = Register::single(Class::Image, other);
        register.values.push(value);
        reference.registers.insert(format!("pcr{index}"), register);
    };
    (0..COVERS.len()).for_each(&mut two);
    let policy = Policy::default();
    let verdict = appraise_leaf(&leaf, &bundle, &reference, &policy, NOW);
    assert!(verdict.accepted, "{verdict}");
    for (index, words) in COVERS.into_iter().enumerate() {
        let check = verdict.check(&format!("pcr{index}")).unwrap();
        let found = hex::encode(guest.pcrs.0[index]);
        assert_eq!(check.wanted, format!("{} or {found}", "ee".repeat(32)));
        assert_eq!((&check.found, check.outcome), (&found, Outcome::Pass));
        let cause = &check.explanation;
        assert!(
            cause.starts_with(&format!("PCR {index} covers ")),
            "{cause}"
        );
        assert!(cause.contains(words), "{cause}");
    }
}

#[test]
fn registers_that_no_quote_has_are_refused_as_such() {
    let guest = Guest::boot();
    let (leaf, bundle) = guest.leaf(VALIDITY);
    for name in ["pcr16", "pcr23", "rtmr0", "mrtd"] {
        let mut reference = guest.reference();
        let value = Digest::from_bytes(Bank::Sha256, &[0; 32]).unwrap();
        let register = Register::single(Class::Image, value);
        reference.registers.insert(name.to_owned(), register);
        let policy = Policy::default();
        let verdict = appraise_leaf(&leaf, &bundle, &reference, &policy, NOW);
        let check = verdict.check(name).unwrap();
        assert_eq!(check.outcome, Outcome::Fail, "{verdict}");
        assert_eq!(check.found, "not in the quote");
        let meaning = "this register is not part of a TPM quote";
        assert_eq!(check.explanation, meaning);
    }
}

/// PCR 15 is of the very log here: that it is not closed once is all that is wrong.
#[test]
fn log_that_fits_its_register_must_be_closed_once_at_the_end() {
    let genuine = Guest::boot().log.events().to_vec();
    let separator = genuine.last().unwrap();
    let ready = Event::new("ready", b"").unwrap();
    let [open, twice, early] = [
        genuine[..4].to_vec(),
        [&genuine[..], std::slice::from_ref(separator)].concat(),
        [&genuine[..], &[ready]].concat(),
    ];
    for (events, closed) in [
        (genuine, true),
        (open, false),
        (twice, false),
        (early, false),
    ] {
        let mut guest = Guest::boot();
        guest.pcrs.0[15] = predict_pcr15(&events);
        let firmware = guest.log.firmware().to_vec();
        guest.log = EventLog::new(events, firmware).unwrap();
        let verdict = appraise(&guest);
        assert_eq!(verdict.accepted, closed, "{verdict}");
        let failures: Vec<&str> = verdict
            .failures()
            .map(|check| check.name.as_str())
            .collect();
        let wanted: &[&str] = if closed { &[] } else { &["cloister-log"] };
        assert_eq!(failures, wanted, "{verdict}");
        if !closed {
            let found = &verdict.check("cloister-log").unwrap().found;
            assert_eq!(found, "a log that is not closed once");
        }
    }
}

/// The log says `none` as the image wants it; the section of devices does not.
#[test]
fn devices_that_the_image_does_not_name_are_refused_by_the_section_itself() {
    let mut guest = Guest::boot();
    let gpu = GpuEvidence {
        report: vec![1; 64],
        chain: vec![2; 64],
    };
    guest.devices = Devices::H100(gpu).encode();
    let verdict = appraise(&guest);
    assert!(!verdict.accepted, "{verdict}");
    let check = verdict.check("devices").unwrap();
    assert_eq!(check.outcome, Outcome::Fail, "{verdict}");
    let wanted = "no GPU, and one log event `gpu` that says `none`";
    assert_eq!(check.wanted, wanted);
    assert_eq!(check.found, "a section that says `h100`");
}
