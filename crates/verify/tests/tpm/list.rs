//! PCR lists of tpm2-tools.

use cloister_evidence::tpm::{PcrListError, PcrSelection, PcrValues, SelectionError};

use cloister_test_pki::azure::pcr_list;

use crate::scene::{Scene, pcrs};

#[test]
fn list_gives_every_value_by_its_register() {
    for count in [1, 7, 8, 9, 16, 23, 24] {
        let pcrs = &pcrs()[..count];
        let values = PcrValues::from_tools(&pcr_list(pcrs)).unwrap();
        let wanted = (0..).zip(pcrs.iter().copied()).collect();
        assert_eq!(values, PcrValues(wanted), "{count}");
    }
    // By bitmap: PCR 2 and 9.
    let mut list = pcr_list(&pcrs()[..2]);
    list[7..9].copy_from_slice(&[4, 2]);
    let values = PcrValues::from_tools(&list).unwrap();
    assert_eq!(values.get(2), Some(&pcrs()[0]));
    assert_eq!(values.get(9), Some(&pcrs()[1]));
    assert_eq!(values.get(0), None);
}

#[test]
fn list_refuses_each_mistake_by_name() {
    let genuine = pcr_list(&pcrs()[..2]);
    let with = |at: usize, byte: u8| {
        let mut list = genuine.clone();
        list[at] = byte;
        PcrValues::from_tools(&list).unwrap_err()
    };
    let count = |field, offset, wanted, found| PcrListError::Count {
        field,
        offset,
        wanted,
        found,
    };
    let selection = PcrListError::Selection;
    assert_eq!(with(0, 2), selection(SelectionError::Banks { found: 2 }));
    assert_eq!(with(0, 0), selection(SelectionError::Banks { found: 0 }));
    let bank = with(4, 0x04);
    assert_eq!(bank, selection(SelectionError::Bank { found: 4 }));
    assert!(bank.to_string().contains("SHA-1 (0x0004)"), "{bank}");
    assert_eq!(with(6, 4), selection(SelectionError::Bitmap { found: 4 }));
    assert_eq!(with(6, 2), selection(SelectionError::Bitmap { found: 2 }));
    assert_eq!(with(10, 1), PcrListError::Unused { offset: 10 });
    assert_eq!(with(11, 1), PcrListError::Unused { offset: 10 });
    assert_eq!(with(131, 1), PcrListError::Unused { offset: 12 });
    let lists = "count of digest lists";
    assert_eq!(with(132, 0), count(lists, 132, "1 to 24", 0));
    assert_eq!(with(132, 25), count(lists, 132, "1 to 24", 25));
    assert_eq!(with(135, 0xff), count(lists, 132, "1 to 24", 0xff00_0001));
    let digests = "count of digests";
    assert_eq!(with(136, 0), count(digests, 136, "1 to 8", 0));
    assert_eq!(with(136, 9), count(digests, 136, "1 to 8", 9));
    let size = "size of a digest";
    assert_eq!(with(140, 20), count(size, 140, "32", 20));
    assert_eq!(with(174, 1), PcrListError::Unused { offset: 174 });
    assert_eq!(with(667, 1), PcrListError::Unused { offset: 602 });
    let values = |wanted, found| PcrListError::Values { wanted, found };
    assert_eq!(with(7, 7), values(3, 2));
    assert_eq!(with(7, 1), values(1, 2));
    for length in 0..genuine.len() {
        let refused = PcrValues::from_tools(&genuine[..length]).unwrap_err();
        let wanted = matches!(refused, PcrListError::Length { found, .. } if found == length);
        assert!(wanted, "{length}: {refused}");
    }
    let longer = [genuine.as_slice(), &[0]].concat();
    let length = PcrListError::Length {
        wanted: 668,
        found: 669,
    };
    assert_eq!(PcrValues::from_tools(&longer), Err(length));
}

#[test]
fn selection_is_read_by_its_bitmap() {
    let bank = |hash, select: &[u8]| PcrSelection {
        hash,
        select: select.to_vec(),
    };
    let selected = PcrSelection::sha256(&[bank(0x000b, &[1, 0x80, 0x81])]).unwrap();
    assert_eq!(selected, [0, 15, 16, 23].into());
    let error = PcrSelection::sha256(&[bank(0x000c, &[0; 3])]).unwrap_err();
    assert_eq!(error, SelectionError::Bank { found: 0x000c });
    let error = PcrSelection::sha256(&[bank(0x000b, &[0; 4])]).unwrap_err();
    assert_eq!(error, SelectionError::Bitmap { found: 4 });
    assert_eq!(
        PcrSelection::sha256(&[]),
        Err(SelectionError::Banks { found: 0 })
    );
}

/// Registers that a policy names, and how the verdict says them.
const RUNS: [(&[u8], &str); 9] = [
    (&[], "no PCR"),
    (&[0], "PCRs 0"),
    (&[7, 8], "PCRs 7-8"),
    (&[0, 2], "PCRs 0, 2"),
    (&[0, 1, 3], "PCRs 0-1, 3"),
    (&[0, 2, 3], "PCRs 0, 2-3"),
    (&[9, 0, 1, 2, 14, 4, 3], "PCRs 0-4, 9, 14"),
    (&[1, 3, 5, 23, 255], "PCRs 1, 3, 5, 23, 255"),
    (&[254, 255], "PCRs 254-255"),
];

#[test]
fn selections_are_said_in_runs() {
    for (named, words) in RUNS {
        let mut scene = Scene::new();
        scene.policy.pcrs = Some(named.to_vec());
        let verdict = scene.verdict();
        let check = verdict.check("pcr-selection").unwrap();
        assert_eq!(check.wanted, format!("{words} of the SHA-256 bank"));
        assert_eq!(check.found, "PCRs 0-23");
    }
    let mut scene = Scene::new();
    scene.list = Some(pcr_list(&scene.pcrs[..16]));
    let verdict = scene.verdict();
    let selection = verdict.check("pcr-selection").unwrap();
    assert_eq!(
        selection.wanted,
        "PCRs 0-15 or PCRs 0-23 of the SHA-256 bank"
    );
    let digest = verdict.check("pcr-digest").unwrap();
    let said = (digest.wanted.as_str(), digest.found.as_str());
    assert_eq!(said, ("values of PCRs 0-23", "of PCRs 0-15"));
}
