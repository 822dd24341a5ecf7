//! The parsers of certificates of others: quote headers, certificate tables, GPU envelopes, forms.

use cloister_verify::cert::pgae::{Envelope, MAX_BYTES, PgaeError};
use cloister_verify::cert::{Form, Quote, QuoteError, QuoteKind, ccc, form, privasys};
use cloister_verify::cmw::CmwError;
use cloister_verify::snp::{Table, TableError};

use crate::leaf::{Made, plain};

#[test]
fn forms_are_told_by_extension() {
    let cases = [
        ("1.3.6.1.5.5.7.1.35", Some(Form::Wrapped)),
        (ccc::EXTENSION, Some(Form::Ccc)),
        (privasys::SNP, Some(Form::Privasys)),
        (privasys::TDX, Some(Form::Privasys)),
        (privasys::GPU, None),
        ("2.5.29.14", None),
    ];
    for (oid, wanted) in cases {
        assert_eq!(
            form(&Made::own(vec![plain(oid, [4, 0])]).der()),
            wanted,
            "{oid}"
        );
    }
    assert_eq!(form(b"not a certificate"), None);
}

#[test]
fn quotes_are_told_by_version_and_type() {
    let quote = |version: u16, tee: u32, body: u16, length: usize| {
        let mut bytes = vec![0; length];
        bytes[..2].copy_from_slice(&version.to_le_bytes());
        bytes[4..8].copy_from_slice(&tee.to_le_bytes());
        bytes[48..50].copy_from_slice(&body.to_le_bytes());
        bytes
    };
    let kind = |bytes: &[u8]| Quote::parse(bytes).map(|quote| quote.kind);
    let truncated = |found, wanted| Err(QuoteError::Truncated { found, wanted });
    let refused = |version, kind| Err(QuoteError::Kind { version, kind });
    let cases = [
        (quote(3, 0, 0, 432), Ok(QuoteKind::Sgx)),
        (quote(3, 0, 0, 431), truncated(431, 432)),
        (quote(4, 0x81, 0, 632), Ok(QuoteKind::Tdx)),
        (quote(4, 0x81, 0, 631), truncated(631, 632)),
        (quote(5, 0, 1, 438), Ok(QuoteKind::Sgx)),
        (quote(5, 0x81, 2, 638), Ok(QuoteKind::Tdx)),
        (quote(5, 0x81, 3, 638), Ok(QuoteKind::Tdx)),
        (quote(5, 0x81, 3, 637), truncated(637, 638)),
        (quote(5, 0x81, 1, 700), refused(5, 1)),
        (quote(5, 0, 2, 700), refused(5, 2)),
        (quote(4, 0, 0, 700), refused(4, 0)),
        (quote(3, 0x81, 0, 700), refused(3, 0x81)),
        (quote(2, 0, 0, 700), refused(2, 0)),
        (vec![3], truncated(1, 48)),
        (vec![], truncated(0, 48)),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(kind(&bytes), wanted);
    }
}

#[test]
fn tables_are_strict() {
    let row = |first: u8, start: u32, length: u32| {
        [
            &[first; 16][..],
            &start.to_le_bytes(),
            &length.to_le_bytes(),
        ]
        .concat()
    };
    let end = vec![0; 24];
    assert_eq!(Table::parse(&[]), Ok(Table::default()));
    assert_eq!(Table::parse(&end), Ok(Table::default()));
    let not_closed = |found| Err(TableError::NotClosed { found });
    assert_eq!(Table::parse(&end[..23]), not_closed(23));
    assert_eq!(Table::parse(&row(1, 48, 0)), not_closed(24));
    let many: Vec<u8> = (1..=17)
        .flat_map(|first| row(first, 432, 0))
        .chain(end.clone())
        .collect();
    assert_eq!(Table::parse(&many), not_closed(432));
    let outside = Err(TableError::Outside { entry: 0 });
    for (start, length) in [(47, 1), (48, 2), (u32::MAX, 1), (48, u32::MAX)] {
        let bytes = [row(1, start, length), end.clone(), vec![7]].concat();
        assert_eq!(Table::parse(&bytes), outside, "{start} {length}");
    }
    let [vcek, vlek] = [
        "63da758de6644564adc5f4b93be8accd",
        "a8074bc2a25a483eaae639c045a0b8a1",
    ]
    .map(|guid| {
        [
            &hex::decode(guid).unwrap()[..],
            &72_u32.to_le_bytes(),
            &[0; 4],
        ]
        .concat()
    });
    let both = [vcek, vlek, end.clone()].concat();
    assert_eq!(Table::parse(&both), Err(TableError::Twice { entry: 1 }));
    let twice = [row(1, 72, 0), row(1, 72, 0), end].concat();
    assert_eq!(Table::parse(&twice), Err(TableError::Twice { entry: 1 }));
}

#[test]
fn envelopes_are_strict() {
    let value = |tag: u8, value: &[u8]| {
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        [&[tag][..], &length, value].concat()
    };
    let nonce = value(1, &[0x5a; 32]);
    let report = value(2, &[&[0; 4][..], &[0x5a; 32]].concat());
    let of = |parts: &[&[u8]]| Envelope::parse(&[b"PGAE\x01", parts.concat().as_slice()].concat());
    let whole = of(&[
        &nonce,
        &report,
        &value(3, b"-----\n"),
        &value(7, b"96.00"),
        &value(10, &[0, 0, 0, 1]),
    ]);
    let whole = whole.unwrap();
    assert_eq!(
        (whole.vbios.as_deref(), whole.devtools, whole.environment),
        (Some("96.00"), Some(1), None)
    );
    assert_eq!(whole.report.len(), 36);
    let length = |tag, found, wanted| PgaeError::Length { tag, found, wanted };
    let cases: [(&[&[u8]], PgaeError); 11] = [
        (&[&report], PgaeError::Missing { tag: 1 }),
        (&[&nonce], PgaeError::Missing { tag: 2 }),
        (&[&nonce, &value(2, &[0x5a; 35])], PgaeError::Nonce),
        (&[&nonce, &value(2, &[0x5b; 36])], PgaeError::Nonce),
        (&[&nonce, &nonce], PgaeError::Twice { tag: 1 }),
        (&[&value(4, &[])], PgaeError::Tag { tag: 4 }),
        (&[&value(11, &[])], PgaeError::Tag { tag: 11 }),
        (&[&value(1, &[0; 31]), &report], length(1, 31, 32)),
        (&[&nonce, &report, &value(8, &[2])], length(8, 1, 4)),
        (
            &[&nonce, &report, &value(5, &[0x1b])],
            PgaeError::Text { tag: 5 },
        ),
        (
            &[&nonce, &[2, 0xff, 0xff, 0xff, 0xff, 1]],
            PgaeError::Truncated { tag: 2 },
        ),
    ];
    for (parts, wanted) in cases {
        assert_eq!(of(parts), Err(wanted));
    }
    assert_eq!(Envelope::parse(b"PGAE\x02"), Err(PgaeError::Header));
    assert_eq!(Envelope::parse(b""), Err(PgaeError::Header));
    let found = MAX_BYTES + 1;
    assert_eq!(
        Envelope::parse(&vec![0; found]),
        Err(PgaeError::TooLarge { found })
    );
}

#[test]
fn errors_say_what_was_wanted() {
    let error = CmwError::Choice.to_string();
    assert_eq!(
        error,
        "extension 1.3.6.1.5.5.7.1.35 is neither one DER UTF8String nor one DER OCTET STRING"
    );
}
