//! A log of a real boot that lies in the repository, with the registers of its TPM. Origin: `tests/vectors/README.md`. That
//! it replays to them is in `crate::vectors`.

use super::*;
use crate::{gpt, uki};

fn recorded() -> Vec<u8> {
    read("qemu-ovmf-swtpm.eventlog")
}

fn read(name: &str) -> Vec<u8> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    std::fs::read(directory.join("measurement").join(name)).unwrap()
}

/// Register values as the guest read them of its TPM.
fn tpm(bank: Bank, index: u32) -> String {
    let values: serde_json::Value =
        serde_json::from_slice(&read("qemu-ovmf-swtpm.pcrs.json")).unwrap();
    let value = &values[bank.to_string()][index.to_string()];
    value.as_str().unwrap().to_owned()
}

const BANKS: [Bank; 3] = [Bank::Sha1, Bank::Sha256, Bank::Sha384];

#[test]
fn check_finds_nothing_in_the_log() {
    let bytes = recorded();
    let log = EventLog::parse(&bytes).unwrap();
    assert_eq!(check(&log, log.kind()), []);
}

/// The partition table of the log gives the PCR 5 of the TPM, as the first of the predicted values.
#[test]
fn pcr5_of_the_tpm_is_in_the_predicted_set() {
    let bytes = recorded();
    let log = EventLog::parse(&bytes).unwrap();
    let mut events = log.events.iter();
    let table = events
        .find(|event| event.type_name() == "EV_EFI_GPT_EVENT")
        .unwrap();
    let disk = gpt::tests::disk(table.data);
    let linux = crate::pe::tests::image((0, 0), &[(".linux", b"x", 1)]);
    for bank in BANKS {
        let survey = uki::survey(&linux, Some(&disk), bank).unwrap();
        let values: Vec<String> = survey.pcrs[&5].iter().map(Digest::to_string).collect();
        assert_eq!(values.len(), 2);
        assert_eq!(values[0], tpm(bank, 5));
    }
}

#[test]
fn pcr11_of_the_tpm_has_the_sections_in_the_order_of_the_stub() {
    let bytes = recorded();
    let log = EventLog::parse(&bytes).unwrap();
    let events = log.events.iter().filter(|event| event.register == 11);
    let names: Vec<String> = events.step_by(2).map(Event::summary).collect();
    let wanted = [
        ".linux", ".osrel", ".cmdline", ".initrd", ".sbat", ".pcrpkey", ".profile",
    ];
    assert_eq!(names, wanted);
}

/// A log that ends early, anywhere: no log, or one with fewer registers or another value.
#[test]
fn a_log_cut_anywhere_is_an_error_or_leads_elsewhere() {
    let bytes = recorded();
    let whole = EventLog::parse(&bytes).unwrap();
    let values = whole.replay(Bank::Sha256).unwrap();
    let ends: Vec<usize> = whole.events.iter().map(|event| event.offset).collect();
    for length in 0..bytes.len() {
        match EventLog::parse(&bytes[..length]) {
            Ok(log) => {
                // The four bytes of a register number that is zero look like padding.
                let near = ends.iter().any(|end| (*end..=end + 4).contains(&length));
                assert!(near, "{length}");
                assert_ne!(log.replay(Bank::Sha256).unwrap(), values);
            }
            Err(error) => assert!(
                matches!(
                    error,
                    EventLogError::Truncated { .. } | EventLogError::NotALog
                ),
                "{length}: {error}"
            ),
        }
    }
}

/// One bit turned, anywhere: no log, other registers, a finding, or data that no digest is of.
#[test]
fn a_log_with_a_bit_turned_never_passes_where_data_is_checked() {
    let bytes = recorded();
    let whole = EventLog::parse(&bytes).unwrap();
    let values = BANKS.map(|bank| whole.replay(bank).unwrap());
    let mut described = 0;
    for at in (0..bytes.len()).step_by(3) {
        let mut turned = bytes.clone();
        turned[at] ^= 0x10;
        let Ok(log) = EventLog::parse(&turned) else {
            continue;
        };
        let same = BANKS
            .iter()
            .zip(&values)
            .all(|(bank, value)| log.replay(*bank).as_ref() == Ok(value));
        if same && check(&log, log.kind()).is_empty() {
            described += 1;
        }
    }
    println!(
        "{described} of {} bytes tried describe what they are no digest of",
        bytes.len() / 3
    );
    // Descriptions of images and blobs, event types of these, the SHA-512 bank, and the header.
    assert!(described < bytes.len() / 6, "{described}");
}
