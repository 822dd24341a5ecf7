//! TPM structures: made-up ones with every kind of mistake, and real quotes of Azure's vTPM.

#[cfg(test)]
mod tpm {
    use std::path::{Path, PathBuf};

    use cloister_evidence::tpm::{
        AK_ATTRIBUTES, AttestationKey, ClockInfo, EcdsaSignature, PcrSelection, Quote, TpmError,
        ak_template, rsa_signature,
    };

    /// A quote over PCRs 0 to 15, as the specification lays it out.
    const QUOTE: &str = "ff544347 8018 0004 000bcafe 0003 616263 \
        0000000000003039 00000007 00000002 01 2019102300163636 \
        00000001 000b 03 ffff00 0004 01020304";
    const SIGNATURE: &str = "0018 000b 0001 05 0002 0102";
    const PUBLIC: &str = "0023 000b 00050472 0000 0010 0018 000b 0003 0010 0001 05 0001 06";

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    /// The structure with the bytes `from` replaced by `to`.
    fn with(text: &str, from: &str, to: &str) -> Vec<u8> {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        bytes(&text.replace(from, to))
    }

    fn value(what: &'static str, field: &'static str, wanted: u32, found: u32) -> TpmError {
        TpmError::Value {
            what,
            field,
            wanted,
            found,
        }
    }

    fn length(what: &'static str, field: &'static str, limit: usize, found: usize) -> TpmError {
        TpmError::Length {
            what,
            field,
            limit,
            found,
        }
    }

    #[test]
    fn quote_gives_every_field() {
        let quote = Quote::parse(&bytes(QUOTE)).unwrap();
        assert_eq!(quote.qualified_signer, [0x00, 0x0b, 0xca, 0xfe]);
        assert_eq!(quote.extra_data, b"abc");
        let clock_info = ClockInfo {
            clock: 12345,
            reset_count: 7,
            restart_count: 2,
            safe: true,
        };
        assert_eq!(quote.clock_info, clock_info);
        assert_eq!(quote.firmware_version, 0x2019_1023_0016_3636);
        let bank = PcrSelection {
            hash: 0x000b,
            select: vec![0xff, 0xff, 0],
        };
        assert_eq!(quote.pcr_select, [bank]);
        assert_eq!(quote.pcr_digest, [1, 2, 3, 4]);
    }

    #[test]
    fn quote_rejects_each_mistake_by_name() {
        let refused = |from, to| Quote::parse(&with(QUOTE, from, to)).unwrap_err();
        let what = "TPMS_ATTEST";
        let magic = value(what, "magic", 0xff54_4347, 0xff54_4348);
        assert_eq!(refused("ff544347", "ff544348"), magic);
        assert_eq!(refused("8018", "8017"), value(what, "type", 0x8018, 0x8017));
        assert_eq!(refused("01 2019", "02 2019"), value(what, "safe", 1, 2));
        let banks = length(what, "pcrSelect.count", 16, 17);
        assert_eq!(refused("00000001", "00000011"), banks);
        let bitmap = length(what, "pcrSelect.sizeofSelect", 4, 5);
        assert_eq!(refused("03 ffff00", "05 ffff000000"), bitmap);
        let signer = length(what, "qualifiedSigner", 66, 67);
        assert_eq!(refused("0004 000bcafe", "0043 000bcafe"), signer);
        assert_eq!(
            refused("0003 616263", "0043 616263"),
            length(what, "extraData", 66, 67)
        );
        let digest = length(what, "pcrDigest", 64, 65);
        assert_eq!(refused("0004 01020304", "0041 01020304"), digest);
        let trailing = TpmError::Trailing { what, found: 1 };
        assert_eq!(refused("01020304", "0102030405"), trailing);
    }

    #[test]
    fn structures_reject_every_shorter_length() {
        for (text, parse) in [
            (
                QUOTE,
                (|b| Quote::parse(b).map(drop)) as fn(&[u8]) -> Result<(), TpmError>,
            ),
            (SIGNATURE, |b| EcdsaSignature::parse(b).map(drop)),
            (PUBLIC, |b| AttestationKey::parse(b).map(drop)),
        ] {
            let whole = bytes(text);
            assert_eq!(parse(&whole), Ok(()));
            for length in 0..whole.len() {
                let refused = parse(&whole[..length]);
                assert!(
                    matches!(refused, Err(TpmError::Truncated { .. })),
                    "{length}"
                );
            }
            assert!(matches!(parse(&[0; 1025]), Err(TpmError::Length { .. })));
        }
    }

    #[test]
    fn signature_is_filled_from_the_left() {
        let signature = EcdsaSignature::parse(&bytes(SIGNATURE)).unwrap();
        assert_eq!(signature.r[30..], [0, 5]);
        assert_eq!(signature.s[29..], [0, 1, 2]);
    }

    #[test]
    fn signature_rejects_each_mistake_by_name() {
        let refused = |from, to| EcdsaSignature::parse(&with(SIGNATURE, from, to)).unwrap_err();
        let what = "TPMT_SIGNATURE";
        let rsa = value(what, "sigAlg", 0x0018, 0x0014);
        assert_eq!(refused("0018", "0014"), rsa);
        assert_eq!(refused("000b", "000c"), value(what, "hash", 0x000b, 0x000c));
        assert_eq!(
            refused("0001 05", "0021 05"),
            length(what, "signatureR", 32, 33)
        );
        assert_eq!(
            refused("0002 0102", "0021 01"),
            length(what, "signatureS", 32, 33)
        );
        let trailing = TpmError::Trailing { what, found: 2 };
        assert_eq!(refused("0102", "01020304"), trailing);
    }

    #[test]
    fn rsa_signature_is_taken_as_it_is_and_out_of_its_structure() {
        for length in [256_u16, 384, 512] {
            let raw = vec![7; usize::from(length)];
            assert_eq!(rsa_signature(&raw), Ok(raw.as_slice()));
            let structure = [&[0, 0x14, 0, 0x0b], &length.to_be_bytes()[..], &raw].concat();
            assert_eq!(rsa_signature(&structure), Ok(raw.as_slice()));
        }
    }

    #[test]
    fn rsa_signature_rejects_each_mistake_by_name() {
        let with = |start: &[u8], length: usize| {
            let bytes = [start, &vec![7; length]].concat();
            rsa_signature(&bytes).unwrap_err()
        };
        let what = "TPMT_SIGNATURE";
        let ecdsa = value(what, "sigAlg", 0x0014, 0x0018);
        assert_eq!(with(&[0, 0x18, 0, 0x0b, 1, 0], 256), ecdsa);
        let sha384 = value(what, "hash", 0x000b, 0x000c);
        assert_eq!(with(&[0, 0x14, 0, 0x0c, 1, 0], 256), sha384);
        let (field, found) = ("sig", 255);
        let short = TpmError::Modulus { what, field, found };
        assert_eq!(with(&[0, 0x14, 0, 0x0b, 0, 255], 255), short);
        let long = length(what, field, 512, 513);
        assert_eq!(with(&[0, 0x14, 0, 0x0b, 2, 1], 513), long);
        let trailing = TpmError::Trailing { what, found: 1 };
        assert_eq!(with(&[0, 0x14, 0, 0x0b, 1, 0], 257), trailing);
        for length in (0..262).filter(|length| *length != 256) {
            let bytes = [&[0, 0x14, 0, 0x0b, 1, 0][..], &[7; 256]].concat();
            let refused = rsa_signature(&bytes[..length]);
            let truncated = matches!(refused, Err(TpmError::Truncated { .. }));
            assert!(truncated, "{length}");
        }
    }

    #[test]
    fn public_area_rejects_each_mistake_by_name() {
        let refused = |from, to| AttestationKey::parse(&with(PUBLIC, from, to)).unwrap_err();
        let what = "TPMT_PUBLIC";
        assert_eq!(refused("0023", "0001"), value(what, "type", 0x23, 0x01));
        let name = value(what, "nameAlg", 0x0b, 0x0c);
        assert_eq!(refused("000b 00050472", "000c 00050472"), name);
        let symmetric = value(what, "parameters.symmetric.algorithm", 0x10, 0x06);
        assert_eq!(refused("0010 0018", "0006 0018"), symmetric);
        let scheme = value(what, "parameters.scheme.scheme", 0x18, 0x1a);
        assert_eq!(refused("0018", "001a"), scheme);
        let hash = value(what, "parameters.scheme.details.hashAlg", 0x0b, 0x04);
        assert_eq!(refused("000b 0003", "0004 0003"), hash);
        let curve = value(what, "parameters.curveID", 0x03, 0x04);
        assert_eq!(refused("0003", "0004"), curve);
        let kdf = value(what, "parameters.kdf.scheme", 0x10, 0x20);
        assert_eq!(refused("0010 0001 05", "0020 0001 05"), kdf);
        assert_eq!(
            refused("0001 05", "0021 05"),
            length(what, "unique.x", 32, 33)
        );
        assert_eq!(
            refused("0001 06", "0021 06"),
            length(what, "unique.y", 32, 33)
        );
    }

    #[test]
    fn template_is_the_public_area_without_a_point() {
        let key = AttestationKey::parse(&ak_template()).unwrap();
        assert_eq!(key.attributes, AK_ATTRIBUTES);
        assert_eq!((key.x, key.y), ([0; 32], [0; 32]));
        assert!(key.auth_policy.is_empty());
        assert_eq!(
            ak_template(),
            bytes(&PUBLIC.replace("0001 05 0001 06", "0000 0000"))
        );
    }

    /// The directory `attestation/azure` of the shared vectors, which lie outside the repository.
    fn azure() -> Option<PathBuf> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let named = std::env::var_os("CLOISTER_VECTORS").map(PathBuf::from);
        let beside = ["../shared/vectors", "../../shared/vectors"].map(|path| workspace.join(path));
        let mut directories = named.into_iter().chain(beside);
        let found = directories.find(|path| path.is_dir());
        if found.is_none() {
            assert!(
                std::env::var_os("CI").is_none(),
                "no vectors, and CI is set"
            );
            println!("skipped: no attestation vectors; set CLOISTER_VECTORS");
        }
        found.map(|path| path.join("attestation/azure"))
    }

    #[test]
    fn real_quotes_of_azure_parse() {
        let Some(azure) = azure() else { return };
        let message = std::fs::read(azure.join("tpm-quote-9pcr.msg")).unwrap();
        let quote = Quote::parse(&message).unwrap();
        assert_eq!(quote.extra_data, b"challenge");
        // PCRs 0 to 7 and 14.
        assert_eq!(quote.pcr_select.len(), 1);
        assert_eq!(quote.pcr_select[0].select, [0xff, 0x40, 0x00]);
        let message = std::fs::read(azure.join("trusted-launch-vtpm/quote.msg")).unwrap();
        assert!(Quote::parse(&message).is_ok());
        for place in 0..message.len() {
            let refused = Quote::parse(&message[..place]);
            assert!(matches!(refused, Err(TpmError::Truncated { .. })));
        }
    }
}
