//! Reports and certificate tables, byte for byte.

use cloister_verify::snp::{Report, ReportError, Table, TableError};

use crate::scene::Scene;

/// A byte of a report, and the start of the reserved field that it lies in (AMD 56860, table "ATTESTATION_REPORT Structure").
const RESERVED: [(usize, usize); 18] = [
    (0x4b, 0x48),
    (0x4c, 0x4c),
    (0x4f, 0x4c),
    (0x18b, 0x18b),
    (0x19f, 0x18b),
    (0x1eb, 0x1eb),
    (0x1ef, 0x1ef),
    (0x1f8, 0x1f8),
    (0x1ff, 0x1f8),
    (0x200, 0x200),
    (0x207, 0x200),
    (0x208, 0x208),
    (0x29f, 0x208),
    (0x2d0, 0x2d0),
    (0x2e7, 0x2d0),
    (0x318, 0x318),
    (0x32f, 0x318),
    (0x49f, 0x330),
];

#[test]
fn a_reserved_byte_is_refused_with_the_place_of_its_field() {
    let genuine = Scene::genoa().signed_report();
    assert!(Report::parse(&genuine).is_ok());
    for (at, offset) in RESERVED {
        let mut report = genuine.clone();
        report[at] = 0x80;
        let found = Report::parse(&report).unwrap_err();
        assert_eq!(found, ReportError::Reserved { offset }, "{at:#x}");
        let text = format!("SNP report is not zero in the reserved field at {offset:#x}");
        assert_eq!(found.to_string(), text);
    }
    // Version 2 has no CPUID.
    let mut report = genuine;
    report[0] = 2;
    let reserved = ReportError::Reserved { offset: 0x188 };
    assert_eq!(Report::parse(&report), Err(reserved));
}

/// GUIDs by AMD 56421, "SNP Extended Guest Request".
const VCEK: &str = "63da758de6644564adc5f4b93be8accd";
const VLEK: &str = "a8074bc2a25a483eaae639c045a0b8a1";
const ASK: &str = "4ab7b379bbac4fe4a02f05aef327c782";
const ARK: &str = "c0b406a4a803495297433fb6014cd0ae";
const CRL: &str = "92f81bc358114d3d97ffd19f88dc67ea";

/// A table of certificates that stand one behind the other.
fn table(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut start = 24 * (entries.len() + 1);
    let (mut rows, mut bodies) = (Vec::new(), Vec::new());
    for (guid, body) in entries {
        rows.extend(hex::decode(guid).unwrap());
        rows.extend(u32::try_from(start).unwrap().to_le_bytes());
        rows.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        bodies.extend(*body);
        start += body.len();
    }
    [rows, vec![0; 24], bodies].concat()
}

#[test]
fn table_gives_each_certificate_by_its_kind() {
    let other = "00112233445566778899aabbccddeeff";
    for signer in [VCEK, VLEK] {
        let entries: [(&str, &[u8]); 5] = [
            (ASK, b"ask"),
            (CRL, b"list"),
            (signer, b"key"),
            (other, b"passed over"),
            (ARK, b"ark"),
        ];
        let table = table(&entries);
        let wanted = Table {
            vek: Some(b"key"),
            chain: vec![b"ask", b"ark"],
            crls: vec![b"list"],
        };
        assert_eq!(Table::parse(&table), Ok(wanted));
    }
    assert_eq!(Table::parse(&[]), Ok(Table::default()));
    assert_eq!(Table::parse(&[0; 24]), Ok(Table::default()));
}

#[test]
fn table_refuses_each_mistake_by_name() {
    for kinds in [[VCEK, VLEK], [VLEK, VCEK], [ASK, ASK], [CRL, CRL]] {
        let table = table(&kinds.map(|kind| (kind, b"body".as_slice())));
        let twice = TableError::Twice { entry: 1 };
        assert_eq!(Table::parse(&table), Err(twice), "{kinds:?}");
    }
    let genuine = table(&[(VCEK, b"body")]);
    let with = |at: usize, byte: u8| {
        let mut table = genuine.clone();
        table[at] = byte;
        Table::parse(&table).map(|table| table.vek.map(<[u8]>::len))
    };
    let outside = Err(TableError::Outside { entry: 0 });
    assert_eq!(with(16, 48), Ok(Some(4)));
    // Not inside of the entries, and not past the end.
    assert_eq!(with(16, 47), outside);
    assert_eq!(with(16, 49), outside);
    assert_eq!(with(20, 5), outside);
    assert_eq!(with(20, 3), Ok(Some(3)));
    let many = |count: usize| {
        let names: Vec<String> = (1..=count).map(|kind| format!("{kind:032x}")).collect();
        let entries: Vec<(&str, &[u8])> = names
            .iter()
            .map(|name| (name.as_str(), b"x".as_slice()))
            .collect();
        table(&entries)
    };
    assert!(Table::parse(&many(16)).is_ok());
    for table in [many(17), many(18), vec![1; 24], genuine[..47].to_vec()] {
        let found = table.len();
        assert_eq!(Table::parse(&table), Err(TableError::NotClosed { found }));
    }
}
