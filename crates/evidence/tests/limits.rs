//! Limits and mistakes of the CBOR sections, each with its error.

#[cfg(test)]
mod limits {
    use cloister_evidence::CborError;
    use cloister_evidence::bundle::{
        Bundle, BundleError, CpuKind, CpuSection, LeafExtension, MAX_BUNDLE, MAX_CPU,
    };
    use cloister_evidence::log::{
        Event, EventLog, LogError, MAX_EVENTS, MAX_FIRMWARE, MAX_LOG, boot_events, predict_pcr15,
    };

    fn event(name: &str) -> Event {
        Event::new(name, b"value").unwrap()
    }

    #[test]
    fn event_rejects_bad_names_and_long_values() {
        for name in ["", "Ready", "a b", "a\0", "é", &"a".repeat(65)] {
            assert_eq!(
                Event::new(name, b""),
                Err(LogError::Name { found: name.len() })
            );
        }
        assert!(Event::new(&"a".repeat(64), &[0; 1024]).is_ok());
        let refused = LogError::Value {
            name: "gpu".to_owned(),
            found: 1025,
        };
        assert_eq!(Event::new("gpu", &[0; 1025]), Err(refused));
        let word = "x".repeat(1025);
        let refused = LogError::Value {
            name: "model".to_owned(),
            found: 1025,
        };
        assert_eq!(boot_events(b"", "none", &word), Err(refused));
    }

    #[test]
    fn events_with_shifted_borders_have_other_digests() {
        let one = Event::new("ab", b"c").unwrap();
        let other = Event::new("a", b"bc").unwrap();
        assert_ne!(one.digest(), other.digest());
        assert_ne!(
            predict_pcr15(&[one.clone(), other.clone()]),
            predict_pcr15(&[other, one])
        );
        assert_eq!(predict_pcr15(&[]), [0; 32]);
    }

    #[test]
    fn log_keeps_to_its_limits() {
        let most = vec![event("e"); MAX_EVENTS];
        let log = EventLog::new(most.clone(), vec![0; MAX_FIRMWARE]).unwrap();
        assert_eq!(EventLog::decode(&log.encode()), Ok(log));
        let found = MAX_EVENTS + 1;
        let refused = EventLog::new([most, vec![event("e")]].concat(), vec![]);
        assert_eq!(refused, Err(LogError::Events { found }));
        let found = MAX_FIRMWARE + 1;
        assert_eq!(
            EventLog::new(vec![], vec![0; found]),
            Err(LogError::Firmware { found })
        );
        let (what, limit, found) = ("log section", MAX_LOG, MAX_LOG + 1);
        let refused = CborError::TooLarge { what, limit, found };
        assert_eq!(
            EventLog::decode(&vec![0; found]),
            Err(LogError::Cbor(refused))
        );
    }

    #[test]
    fn longest_log_fits_its_section() {
        let longest = Event::new(&"n".repeat(64), &[0; 1024]).unwrap();
        let log = EventLog::new(vec![longest; MAX_EVENTS], vec![0; MAX_FIRMWARE]).unwrap();
        assert!(log.encode().len() <= MAX_LOG);
        assert_eq!(EventLog::decode(&log.encode()), Ok(log));
    }

    #[test]
    fn log_rejects_unknown_and_missing_keys() {
        let unexpected = |wanted, offset, found| {
            let what = "log section";
            Err(LogError::Cbor(CborError::Unexpected {
                what,
                wanted,
                offset,
                found,
            }))
        };
        // {1: [], 2: h'', 3: 0}, {1: []}, {1: [], 3: h''}, {2: h'', 1: []}
        let size = "a map of the right size";
        assert_eq!(
            EventLog::decode(b"\xa3\x01\x80\x02\x40\x03\x00"),
            unexpected(size, 1, "another value")
        );
        assert_eq!(
            EventLog::decode(b"\xa1\x01\x80"),
            unexpected(size, 1, "another value")
        );
        let firmware = "key 2 (firmware log)";
        assert_eq!(
            EventLog::decode(b"\xa2\x01\x80\x03\x40"),
            unexpected(firmware, 4, "another value")
        );
        let events = "key 1 (events)";
        assert_eq!(
            EventLog::decode(b"\xa2\x02\x40\x01\x80"),
            unexpected(events, 2, "another value")
        );
        let number = unexpected("a byte string", 4, "an unsigned integer");
        assert_eq!(EventLog::decode(b"\xa2\x01\x80\x02\x00"), number);
        let trailing = CborError::Trailing {
            what: "log section",
            offset: 5,
            found: 6,
        };
        assert_eq!(
            EventLog::decode(b"\xa2\x01\x80\x02\x40\x00"),
            Err(LogError::Cbor(trailing))
        );
        let longer = CborError::NotDeterministic {
            what: "log section",
        };
        assert_eq!(
            EventLog::decode(b"\xa2\x01\x80\x02\x58\x00"),
            Err(LogError::Cbor(longer))
        );
    }

    #[test]
    fn bundle_rejects_what_is_too_large() {
        let (what, limit, found) = ("bundle", MAX_BUNDLE, MAX_BUNDLE + 1);
        let refused = BundleError::Cbor(CborError::TooLarge { what, limit, found });
        assert_eq!(Bundle::decode(&vec![0; found]), Err(refused));
        let cpu = CpuSection {
            kind: CpuKind::TpmQuote,
            value: vec![0; MAX_CPU + 1],
        };
        let bundle = Bundle {
            cpu,
            log: vec![],
            batch: None,
            devices: vec![],
        };
        let (limit, found) = (MAX_CPU, MAX_CPU + 1);
        let refused = BundleError::Cbor(CborError::TooLarge { what, limit, found });
        assert_eq!(Bundle::decode(&bundle.encode()), Err(refused));
    }

    #[test]
    fn extension_fits_every_length_of_its_contents() {
        for length in [0, 10, 255, 256, 65_000, MAX_CPU] {
            let cpu = CpuSection {
                kind: CpuKind::SnpReport,
                value: vec![7; length],
            };
            let extension = LeafExtension {
                cpu,
                bundle_sha256: [9; 32],
            };
            assert_eq!(LeafExtension::decode(&extension.encode()), Ok(extension));
        }
        assert_eq!(LeafExtension::decode(&[]), Err(BundleError::NotOctetString));
        assert_eq!(
            LeafExtension::decode(b"\x05\x00"),
            Err(BundleError::NotOctetString)
        );
    }

    #[test]
    fn bundle_rejects_an_unknown_media_type_by_name() {
        let cpu = CpuSection {
            kind: CpuKind::TpmQuote,
            value: vec![],
        };
        let mut bytes = Bundle {
            cpu,
            log: vec![],
            batch: None,
            devices: vec![],
        }
        .encode();
        let place = bytes.windows(3).position(|part| part == b"tpm").unwrap();
        bytes[place] = b'\n';
        let found = "application/vnd.cloister.\\npm-quote+cbor".to_owned();
        assert_eq!(
            Bundle::decode(&bytes),
            Err(BundleError::CpuMediaType { found })
        );
    }
}
