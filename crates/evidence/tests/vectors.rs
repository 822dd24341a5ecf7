//! The golden values of `tests/vectors/cloister-ra-1.txt`, made by an independent implementation.

#[cfg(test)]
mod vectors {
    use std::collections::BTreeMap;

    use cloister_evidence::batch::{Batch, BatchError, BatchProof, MAX_LEAVES};
    use cloister_evidence::binding::{Binding, Mode, binding, gpu_nonce};
    use cloister_evidence::bundle::{self, Bundle, CpuKind, CpuSection, LeafExtension};
    use cloister_evidence::devices::{Devices, GpuEvidence};
    use cloister_evidence::log::{EventLog, boot_events, predict_pcr15};
    use cloister_evidence::tpm::{PcrBank, TpmEvidence};

    const SPKI: [u8; 32] = {
        let mut spki = [0; 32];
        let mut n = 0_u8;
        while n < 32 {
            spki[n as usize] = n;
            n += 1;
        }
        spki
    };

    fn golden() -> BTreeMap<&'static str, Vec<u8>> {
        include_str!("../../../tests/vectors/cloister-ra-1.txt")
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(name, value)| (name, hex::decode(value).unwrap()))
            .collect()
    }

    fn log() -> EventLog {
        let events = boot_events(b"cloister-guest 1\n", "none", "root").unwrap();
        EventLog::new(events, b"firmware log".to_vec()).unwrap()
    }

    fn session(n: u8) -> Binding {
        let mode = Mode::Session {
            nonce: [n; 32],
            exporter: [0x80 + n; 32],
        };
        binding(&mode, &SPKI, &Devices::None.encode(), &log().encode())
    }

    fn sessions(count: u8) -> Vec<Binding> {
        (0..count).map(session).collect()
    }

    fn leaf_bundle() -> Bundle {
        let mut pcrs = PcrBank([[0; 32]; 16]);
        (0..)
            .zip(&mut pcrs.0)
            .for_each(|(n, value)| *value = [n; 32]);
        let cpu = TpmEvidence {
            attest: b"attest".to_vec(),
            signature: b"signature".to_vec(),
            ak_public: b"public".to_vec(),
            pcrs,
        };
        let cpu = CpuSection {
            kind: CpuKind::TpmQuote,
            value: cpu.encode(),
        };
        let (log, devices) = (log().encode(), Devices::None.encode());
        Bundle {
            cpu,
            log,
            batch: None,
            devices,
        }
    }

    fn session_bundle() -> Bundle {
        let batch = Batch::new(&sessions(2)).unwrap().proof(0).unwrap();
        Bundle {
            batch: Some(batch),
            ..leaf_bundle()
        }
    }

    #[test]
    fn binding_equals_the_golden_values() {
        let golden = golden();
        let mode = Mode::Leaf {
            not_before: 1_800_000_000,
            not_after: 1_800_086_400,
        };
        let leaf = binding(&mode, &SPKI, &golden["devices"], &golden["log"]);
        assert_eq!(leaf.as_bytes()[..], golden["leaf-binding"]);
        assert_eq!(leaf.report_data().as_bytes(), leaf.as_bytes());
        let qualifying = leaf.report_data().qualifying_data();
        assert_eq!(qualifying[..], golden["leaf-qualifying-data"]);
        assert_eq!(session(0).as_bytes()[..], golden["session-binding-0"]);
    }

    #[test]
    fn gpu_nonce_and_evidence_equal_the_golden_values() {
        let golden = golden();
        let leaf = |spki, not_before, not_after| {
            let mode = Mode::Leaf {
                not_before,
                not_after,
            };
            gpu_nonce(&mode, spki)
        };
        let session = |spki, nonce, exporter| {
            let nonce = [nonce; 32];
            let exporter = [exporter; 32];
            gpu_nonce(&Mode::Session { nonce, exporter }, spki)
        };
        let nonce = leaf(&SPKI, 1_800_000_000, 1_800_086_400);
        assert_eq!(nonce[..], golden["gpu-nonce"]);
        let of_session = session(&SPKI, 7, 0xdd);
        assert_eq!(of_session[..], golden["gpu-nonce-session"]);
        assert_eq!(of_session, session(&SPKI, 7, 0xde));
        let evidence = GpuEvidence {
            report: b"report".to_vec(),
            chain: b"chain".to_vec(),
        };
        assert_eq!(Devices::H100(evidence).encode(), golden["devices-h100"]);
        let others = [
            leaf(&[9; 32], 1_800_000_000, 1_800_086_400),
            leaf(&SPKI, 1_800_000_001, 1_800_086_400),
            leaf(&SPKI, 1_800_000_000, 1_800_086_401),
            session(&[9; 32], 7, 0xdd),
            session(&SPKI, 8, 0xdd),
        ];
        assert!(!others.contains(&nonce) && !others.contains(&of_session));
    }

    #[test]
    fn binding_changes_with_every_field() {
        let leaf = |not_before, not_after| Mode::Leaf {
            not_before,
            not_after,
        };
        let session = |nonce, exporter| Mode::Session {
            nonce: [nonce; 32],
            exporter: [exporter; 32],
        };
        let all = [
            binding(&leaf(1, 2), &SPKI, b"d", b"l"),
            binding(&leaf(2, 2), &SPKI, b"d", b"l"),
            binding(&leaf(1, 3), &SPKI, b"d", b"l"),
            binding(&leaf(1, 2), &[9; 32], b"d", b"l"),
            binding(&leaf(1, 2), &SPKI, b"e", b"l"),
            binding(&leaf(1, 2), &SPKI, b"d", b"m"),
            binding(&leaf(1, 2), &SPKI, b"dl", b""),
            binding(&session(1, 2), &SPKI, b"d", b"l"),
            binding(&session(2, 2), &SPKI, b"d", b"l"),
            binding(&session(1, 1), &SPKI, b"d", b"l"),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(!all[n + 1..].contains(one), "binding {n} stands twice");
        }
    }

    #[test]
    fn debug_of_a_session_hides_the_exporter() {
        let mode = Mode::Session {
            nonce: [0x11; 32],
            exporter: [0x77; 32],
        };
        let shown = format!("{mode:?}");
        assert!(shown.contains("1111"));
        assert!(!shown.contains("77") && !shown.contains("119"), "{shown}");
    }

    #[test]
    fn log_equals_the_golden_values() {
        let golden = golden();
        let log = log();
        for event in log.events() {
            let name = format!("event-{}", event.name());
            assert_eq!(event.digest()[..], golden[name.as_str()], "{name}");
        }
        assert_eq!(predict_pcr15(log.events())[..], golden["pcr15"]);
        assert_eq!(log.encode(), golden["log"]);
        assert_eq!(EventLog::decode(&golden["log"]), Ok(log));
    }

    #[test]
    fn bundles_equal_the_golden_values() {
        let golden = golden();
        for (name, bundle) in [
            ("leaf-bundle", leaf_bundle()),
            ("session-bundle", session_bundle()),
        ] {
            assert_eq!(hex::encode(bundle.encode()), hex::encode(&golden[name]));
            assert_eq!(Bundle::decode(&golden[name]), Ok(bundle));
        }
        let extension = LeafExtension {
            cpu: leaf_bundle().cpu,
            bundle_sha256: bundle::digest(&golden["leaf-bundle"]),
        };
        assert_eq!(extension.encode(), golden["leaf-extension"]);
        let decoded = LeafExtension::decode(&golden["leaf-extension"]);
        assert_eq!(decoded, Ok(extension));
        let cpu = TpmEvidence::decode(&golden["cpu"]).unwrap();
        assert_eq!(cpu.encode(), golden["cpu"]);
    }

    #[test]
    fn decoders_reject_or_reproduce_every_changed_byte() {
        let golden = golden();
        for name in ["leaf-bundle", "session-bundle"] {
            let bytes = &golden[name];
            for place in 0..bytes.len() {
                assert!(Bundle::decode(&bytes[..place]).is_err());
                let mut changed = bytes.clone();
                changed[place] ^= 1;
                if let Ok(bundle) = Bundle::decode(&changed) {
                    assert_eq!(bundle.encode(), changed);
                }
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(Bundle::decode(&longer).is_err());
        }
        let bytes = &golden["leaf-extension"];
        for place in 0..bytes.len() {
            assert!(LeafExtension::decode(&bytes[..place]).is_err());
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            if let Ok(extension) = LeafExtension::decode(&changed) {
                assert_eq!(extension.encode(), changed);
            }
        }
    }

    #[test]
    fn extension_rejects_longer_forms_of_its_length() {
        let bytes = &golden()["leaf-extension"];
        let mut padded = vec![0x04, 0x83, 0x00];
        padded.extend(&bytes[2..]);
        let refused = LeafExtension::decode(&padded);
        assert_eq!(refused, Err(bundle::BundleError::NotOctetString));
    }

    #[test]
    fn batch_equals_the_golden_values() {
        for count in [1_u8, 2, 3, 5, 11] {
            let bindings = sessions(count);
            let batch = Batch::new(&bindings).unwrap();
            let wanted = &golden()[format!("batch-{count}").as_str()];
            assert_eq!(batch.report_data().as_bytes()[..], wanted[..]);
        }
    }

    #[test]
    fn every_proof_of_every_size_verifies_in_its_place_only() {
        for count in 1..=17_u8 {
            let bindings = sessions(count);
            let batch = Batch::new(&bindings).unwrap();
            for (index, own) in (0..).zip(&bindings) {
                let proof = batch.proof(index).unwrap();
                assert_eq!(BatchProof::decode(&proof.encode()), Ok(proof.clone()));
                assert_eq!(proof.report_data(own), Ok(batch.report_data()));
                let other = session(count);
                assert_ne!(proof.report_data(&other), Ok(batch.report_data()));
                for (changed_index, changed_count) in
                    (0..20).flat_map(|i| (0..20).map(move |c| (i, c)))
                {
                    let changed = BatchProof {
                        index: changed_index,
                        count: changed_count,
                        siblings: proof.siblings.clone(),
                    };
                    let same = changed == proof;
                    assert_eq!(changed.report_data(own) == Ok(batch.report_data()), same);
                }
            }
            let refused = batch.proof(count.into()).err();
            let (index, count) = (count.into(), count.into());
            assert_eq!(refused, Some(BatchError::Index { index, count }));
        }
    }

    #[test]
    fn batch_refuses_sizes_outside_the_limits() {
        assert_eq!(Batch::new(&[]).err(), Some(BatchError::Size { found: 0 }));
        let most = usize::try_from(MAX_LEAVES).unwrap();
        let many = vec![session(0); most + 1];
        assert!(Batch::new(&many[..most]).is_ok());
        let refused = Batch::new(&many).err();
        assert_eq!(refused, Some(BatchError::Size { found: most + 1 }));
        let proof = Batch::new(&many[..most]).unwrap().proof(5).unwrap();
        assert_eq!(proof.siblings.len(), 10);
        assert_eq!(BatchProof::decode(&proof.encode()), Ok(proof));
    }

    #[test]
    fn proof_rejects_a_path_of_another_length() {
        let bindings = sessions(3);
        let mut proof = Batch::new(&bindings).unwrap().proof(0).unwrap();
        proof.siblings.pop();
        let refused = BatchError::Siblings {
            index: 0,
            count: 3,
            wanted: 2,
            found: 1,
        };
        assert_eq!(proof.report_data(&bindings[0]), Err(refused));
    }
}
