use super::*;

fn record(content_type: ContentType, value: &[u8], indicator: Option<u32>) -> Cmw {
    Cmw::Record(Record {
        content_type,
        value: value.to_vec(),
        indicator,
        tagged: false,
    })
}

fn media(name: &str) -> ContentType {
    ContentType::Media(name.to_owned())
}

/// Worked out by hand from the formula of RFC 9277, section 4.3.
#[test]
fn tags_are_those_of_content_formats() {
    let cases = [
        (0x6374_0101, Ok(0)),
        (0x6374_01ff, Ok(254)),
        (0x6374_0201, Ok(255)),
        (0x6374_7632, Ok(29_884)),
        (0x6374_ffff, Ok(65_024)),
        (0x6374_0100, Err(Fault::Tag { found: 0x6374_0100 })),
        (0x6374_0200, Err(Fault::Tag { found: 0x6374_0200 })),
        (0x6375_0001, Err(Fault::Tag { found: 0x6375_0001 })),
        (0x6375_0101, Err(Fault::Tag { found: 0x6375_0101 })),
        (0, Err(Fault::Tag { found: 0 })),
        (u64::MAX, Err(Fault::Tag { found: u64::MAX })),
    ];
    for (tag, wanted) in cases {
        assert_eq!(format_of_tag(tag), wanted, "{tag:#x}");
    }
}

#[test]
fn json_records_and_collections_are_read() {
    let read = |text: &str| Cmw::from_json(text.as_bytes()).unwrap();
    assert_eq!(read(r#"["a/b","AQ"]"#), record(media("a/b"), &[1], None));
    let wanted = record(ContentType::Format(30_001), b"#G\xdaU", Some(31));
    assert_eq!(read(" [30001, \"I0faVQ\", 31]\n"), wanted);
    let text = r#"{"__cmwc_t":"tag:ietf.org,2024:x","b":["a/b",""],"a":{"c":["a/b","AA",4]}}"#;
    let Cmw::Collection(collection) = read(text) else {
        unreachable!("a collection was written");
    };
    assert_eq!(collection.kind.as_deref(), Some("tag:ietf.org,2024:x"));
    let cmw = Cmw::Collection(collection);
    let found: Vec<_> = cmw
        .records()
        .into_iter()
        .map(|(path, record)| (path, record.kinds()))
        .collect();
    assert_eq!(
        found,
        [
            ("a/c".to_owned(), vec!["evidence"]),
            ("b".to_owned(), vec![])
        ]
    );
}

fn nested(levels: usize) -> String {
    let (open, close) = ("{\"a\":".repeat(levels), "}".repeat(levels));
    format!("{open}[\"a/b\",\"\"]{close}")
}

#[test]
fn json_that_is_not_of_the_draft_is_refused_by_name() {
    assert!(Cmw::from_json(nested(MAX_DEPTH).as_bytes()).is_ok());
    let many: Vec<_> = (0..=MAX_ENTRIES)
        .map(|n| format!("\"{n}\":[\"a/b\",\"\"]"))
        .collect();
    let cases = [
        (nested(MAX_DEPTH + 1), "more than 4 collections"),
        (
            format!("{{{}}}", many.join(",")),
            "a collection of 65 entries",
        ),
        ("{}".into(), "a collection of 0 entries"),
        (
            r#"{"__cmwc_t":"1.2.3"}"#.into(),
            "a collection of 0 entries",
        ),
        (
            r#"{"a":["a/b",""],"a":["a/b",""]}"#.into(),
            "label `a` stands twice",
        ),
        (
            r#"{"__cmwc_t":"1.2","__cmwc_t":"1.2","a":["a/b",""]}"#.into(),
            "`__cmwc_t` stands twice",
        ),
        (
            r#"{"__cmwc_t":"word","a":["a/b",""]}"#.into(),
            "a URI or an object identifier",
        ),
        (r#"{"":["a/b",""]}"#.into(), "a label or type of 0 bytes"),
        (r#"[true,""]"#.into(), "expected a media type or a"),
        (
            format!("{{\"{}\":[\"a/b\",\"\"]}}", "x".repeat(MAX_NAME + 1)),
            "a label or type of 257 bytes",
        ),
        (r#"["a/b"]"#.into(), "a value in base64url"),
        ("[]".into(), "a media type or a content format"),
        (
            r#"["plain","AQ"]"#.into(),
            "a media type or a content format",
        ),
        (r#"["a/b","AQ=="]"#.into(), "base64url without padding"),
        (r#"["a/b","A+"]"#.into(), "base64url without padding"),
        (r#"["a/b","AR"]"#.into(), "base64url without padding"),
        (r#"["a/b","",0]"#.into(), "indicator 0"),
        (r#"["a/b","",32]"#.into(), "indicator 32"),
        (r#"["a/b","",4,5]"#.into(), "an array of 2 or 3 items"),
        (r#"[65536,""]"#.into(), "a content format below 65536"),
        (r#"["a/b",""] x"#.into(), "trailing characters"),
        (
            "7".into(),
            "a record `[type, value, indicator]` or a collection",
        ),
    ];
    for (text, wanted) in cases {
        let Err(CmwError::Json { reason }) = Cmw::from_json(text.as_bytes()) else {
            unreachable!("{text} was taken");
        };
        assert!(reason.contains(wanted), "{text}: {reason}, wanted {wanted}");
    }
}

#[test]
fn cbor_forms_are_read() {
    let read = |bytes: &[u8]| Cmw::from_cbor(bytes).unwrap();
    let plain = record(media("a/b"), &[1, 2], Some(4));
    assert_eq!(read(&[0x83, 0x63, b'a', b'/', b'b', 0x42, 1, 2, 4]), plain);
    let Cmw::Record(tagged) = read(&[0xda, 0x63, 0x74, 0x01, 0x02, 0x41, 9]) else {
        unreachable!("a tag was written");
    };
    assert!(tagged.tagged);
    assert_eq!(
        (tagged.content_type, tagged.value),
        (ContentType::Format(1), vec![9])
    );
    let map = [
        0xa2, 0x20, 0x82, 0x18, 60, 0x40, 0x61, b'x', 0xa1, 0x07, 0x82, 0x18, 60, 0x40,
    ];
    let cmw = read(&map);
    let paths: Vec<_> = cmw.records().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["-1", "x/7"]);
}

#[test]
fn cbor_that_is_not_of_the_draft_is_refused_by_name_and_place() {
    let nested = |levels: usize| {
        let mut bytes: Vec<u8> = [0xa1, 0x01].repeat(levels);
        bytes.extend([0x82, 0x18, 60, 0x40]);
        bytes
    };
    assert!(Cmw::from_cbor(&nested(MAX_DEPTH)).is_ok());
    let wanted = |wanted| Fault::Unexpected { wanted };
    let twice = |label: &str| Fault::Twice {
        label: label.to_owned(),
    };
    let cases: [(Vec<u8>, Fault, usize); 16] = [
        (nested(MAX_DEPTH + 1), Fault::Depth, 8),
        (vec![0xa0], Fault::Entries { found: 0 }, 1),
        (vec![], wanted("an array, a tag or a map"), 0),
        (vec![0x40], wanted("an array, a tag or a map"), 0),
        (vec![0xbf, 0xff], wanted("an array, a tag or a map"), 0),
        (vec![0x9f, 0xff], wanted("an array, a tag or a map"), 0),
        (vec![0x81, 0x01], wanted("an array of 2 or 3 items"), 1),
        (vec![0x82, 0x18, 60, 0x60], wanted("a byte string"), 3),
        (vec![0x82, 0x18, 60, 0x5f, 0xff], wanted("a byte string"), 3),
        (
            vec![0x82, 0x20, 0x40],
            wanted("a media type or a content format"),
            1,
        ),
        (
            vec![0x83, 0x18, 60, 0x40, 0],
            Fault::Indicator { found: 0 },
            5,
        ),
        (vec![0x82, 0x18, 60, 0x40, 0], Fault::Trailing, 4),
        (vec![0xc0, 0x40], Fault::Tag { found: 0 }, 1),
        (
            vec![0xa1, 0x40, 0x40],
            wanted("a label: text or a number"),
            1,
        ),
        (
            vec![0xa2, 1, 0x82, 0x18, 60, 0x40, 1, 0x82, 0x18, 60, 0x40],
            twice("1"),
            11,
        ),
        // The same label in a longer form.
        (
            vec![0xa2, 1, 0x82, 0x18, 60, 0x40, 0x18, 1, 0x82, 0x18, 60, 0x40],
            twice("1"),
            12,
        ),
    ];
    for (bytes, fault, offset) in cases {
        let found = Cmw::from_cbor(&bytes);
        assert_eq!(
            found,
            Err(CmwError::Cbor { fault, offset }),
            "{}",
            hex::encode(&bytes)
        );
    }
}

/// A length that no input of this size has takes no memory.
#[test]
fn cbor_lengths_beyond_the_input_are_refused() {
    for head in [&[0x82, 0x18, 60, 0x5b][..], &[0xbb], &[0x9b]] {
        let bytes = [head, &[0xff; 8]].concat();
        assert!(Cmw::from_cbor(&bytes).is_err());
    }
}

#[test]
fn extension_is_one_of_two_strings() {
    let json = [&[0x0c, 12][..], br#"["a/b","AQ"]"#].concat();
    let wanted = record(media("a/b"), &[1], None);
    assert_eq!(
        Cmw::from_extension(&json),
        Ok((wanted.clone(), Encoding::Json))
    );
    let cbor = [0x04, 7, 0x82, 0x63, b'a', b'/', b'b', 0x41, 1];
    assert_eq!(Cmw::from_extension(&cbor), Ok((wanted, Encoding::Cbor)));
    let trailing = [&cbor[..], &[0]].concat();
    let long_form = [&[0x04, 0x81][..], &cbor[1..]].concat();
    for wrong in [&trailing[..], &long_form, &cbor[2..], &[], &[0x05, 0]] {
        assert_eq!(Cmw::from_extension(wrong), Err(CmwError::Choice));
    }
    let large = vec![b' '; MAX_BYTES + 1];
    let refused = Err(CmwError::TooLarge {
        found: MAX_BYTES + 1,
    });
    assert_eq!(Cmw::from_json(&large), refused);
    assert_eq!(Cmw::from_cbor(&large), refused);
}

/// Whether `text` is taken as the type of a record, and as the type of a collection.
#[test]
fn types_are_told_by_their_form() {
    let wanted = "a media type or a content format";
    for (text, taken) in [
        ("a/b", true),
        ("a/b; c=\"d e\"", true),
        ("/b", false),
        ("a/", false),
        ("/", false),
        ("ab", false),
        ("a/b\n", false),
    ] {
        let named = match taken {
            true => Ok(media(text)),
            false => Err(Fault::Unexpected { wanted }),
        };
        assert_eq!(media_type(text), named, "{text:?}");
    }
    let wanted = "a URI or an object identifier as collection type";
    for (text, taken) in [
        ("1.2", true),
        ("2.16.840", true),
        ("1", false),
        ("123", false),
        ("1..2", false),
        (".1", false),
        ("1.a", false),
        ("a.b", false),
        ("tag:x", true),
        ("a+-.9:", true),
        (":x", false),
        ("1a:x", false),
        ("+:x", false),
        ("a_b:x", false),
        ("tag:x y", false),
        ("1.2 ", false),
    ] {
        let named = match taken {
            true => Ok(text.to_owned()),
            false => Err(Fault::Unexpected { wanted }),
        };
        assert_eq!(collection_type(text), named, "{text:?}");
    }
}

/// The type of a collection is none of its entries.
#[test]
fn cbor_collections_have_at_most_64_entries_beside_their_type() {
    let map = |entries: u8, kind: bool| {
        let mut bytes = vec![0xb8, entries + u8::from(kind)];
        for label in 0..entries {
            bytes.extend([0x18, label, 0x82, 0x18, 60, 0x40]);
        }
        if kind {
            bytes.extend([&[0x68][..], b"__cmwc_t", &[0x63], b"1.2"].concat());
        }
        bytes
    };
    for (entries, kind, wanted) in [
        (64, false, Ok(64)),
        (64, true, Ok(64)),
        (65, false, Err(65)),
        (65, true, Err(66)),
        (66, false, Err(66)),
        (67, false, Err(67)),
    ] {
        let found = match Cmw::from_cbor(&map(entries, kind)) {
            Ok(Cmw::Collection(collection)) => Ok(collection.entries.len()),
            Err(CmwError::Cbor {
                fault: Fault::Entries { found },
                ..
            }) => Err(found),
            other => unreachable!("{other:?}"),
        };
        assert_eq!(found, wanted, "{entries} entries, type: {kind}");
    }
}
