use super::*;

/// Our own claims; a real one has the same keys.
const CLAIMS: &str = r#"{"keys":[{"kid":"HCLAkPub","key_ops":["sign"],"kty":"RSA","e":"AQAB","n":"AQ"}],
 "vm-configuration":{"console-enabled":false,"secure-boot":true,"tpm-enabled":true,"vmUniqueId":"x"},"user-data":"00ff"}"#;

/// A report made up by the test: a hardware report of zeros but for type, version and REPORT_DATA.
fn made_up(report_type: u32, hash_type: u32, request_version: u32, claims: &str) -> Vec<u8> {
    let extension: &[u8] = if request_version == 2 {
        &[1, 0, 0, 0]
    } else {
        &[]
    };
    let size = u32::try_from(REQUEST + extension.len() + claims.len()).unwrap();
    let mut bytes = [SIGNATURE, request_version, 1216 + size, 2, 0, 0, 0, 0]
        .map(u32::to_le_bytes)
        .concat();
    let bank = [Bank::Sha256, Bank::Sha384, Bank::Sha512][hash_type as usize - 1];
    let mut report = vec![0; REPORT];
    let (first, at) = if report_type == 2 {
        (3, 0x50)
    } else {
        (0x81, 128)
    };
    report[0] = first;
    report[at..at + bank.len()].copy_from_slice(bank.hash(&[claims.as_bytes()]).as_bytes());
    bytes.extend(report);
    let length = u32::try_from(claims.len()).unwrap();
    bytes.extend(
        [size, request_version, report_type, hash_type, length]
            .map(u32::to_le_bytes)
            .concat(),
    );
    bytes.extend(extension);
    bytes.extend(claims.as_bytes());
    bytes.extend([0; 40]);
    bytes
}

#[test]
fn both_platforms_versions_and_all_hashes_are_read() {
    for (report_type, hash_type, version) in [(2, 1, 1), (2, 2, 2), (4, 1, 2), (4, 3, 1)] {
        let report = HclReport::parse(&made_up(report_type, hash_type, version, CLAIMS)).unwrap();
        assert_eq!((report.version, report.request_version), (version, version));
        assert_eq!(matches!(report.report, TeeReport::Tdx(_)), report_type == 4);
        assert_eq!(report.claims.user_data, [0, 0xff]);
        assert_eq!(
            report.claims.vm_configuration.interactive_console_enabled,
            None
        );
    }
}

#[test]
fn fields_of_other_reports_are_refused() {
    let with = |at: usize, value: u32| {
        let mut bytes = made_up(2, 1, 1, CLAIMS);
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        match HclReport::parse(&bytes).unwrap_err() {
            HclError::Field { what, .. } | HclError::Length { what, .. } => what,
            other => panic!("{other}"),
        }
    };
    for (at, value, wanted) in [
        (0, 0, "signature"),
        (4, 3, "version"),
        (8, 1216, "report size"),
        (12, 1, "request type"),
        (16, 1, "status"),
        (32, 1, "SNP report version"),
        (1216, 0, "data size"),
        (1216, u32::MAX, "data size"),
        (1220, 3, "request version"),
        (1224, 1, "report type"),
        (1228, 4, "hash type"),
        (1232, 0, "length of claims"),
        (1232, u32::MAX, "length of claims"),
    ] {
        assert_eq!(with(at, value), wanted, "{at}");
    }
    // Claims behind an extension exist in version 2 only.
    let mut bytes = made_up(2, 1, 2, CLAIMS);
    bytes[1220] = 1;
    assert!(matches!(
        HclReport::parse(&bytes),
        Err(HclError::Length {
            what: "data size",
            ..
        })
    ));
}

#[test]
fn claims_that_the_hardware_does_not_commit_to_are_refused() {
    let bytes = made_up(2, 1, 1, CLAIMS);
    for at in (32 + 0x50..32 + 0x90).chain(1236..1236 + CLAIMS.len()) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert_eq!(
            HclReport::parse(&flipped),
            Err(HclError::NotBound { bank: Bank::Sha256 }),
            "{at}"
        );
    }
}

#[test]
fn truncated_reports_are_refused() {
    let bytes = made_up(4, 1, 2, CLAIMS);
    for length in 0..bytes.len() - 40 {
        let truncated = HclReport::parse(&bytes[..length]);
        assert!(
            matches!(truncated, Err(HclError::Truncated { .. })),
            "{length}"
        );
    }
    assert!(HclReport::parse(&bytes[..bytes.len() - 40]).is_ok());
}

#[test]
fn unused_bytes_must_be_zero() {
    for (report_type, places) in [
        (2, [20, 31, 1236 + CLAIMS.len(), 1236 + CLAIMS.len() + 39]),
        (4, [20, 31, 32 + 1024, 32 + 1183]),
    ] {
        for at in places {
            let mut bytes = made_up(report_type, 1, 1, CLAIMS);
            bytes[at] = 1;
            let refused = HclReport::parse(&bytes);
            assert!(
                matches!(refused, Err(HclError::NotZero { offset }) if offset <= at),
                "{report_type} {at}: {refused:?}"
            );
        }
    }
}

#[test]
fn hardware_report_is_given_as_it_stood() {
    for (report_type, length) in [(2, 1184), (4, 1024)] {
        let bytes = made_up(report_type, 1, 1, CLAIMS);
        let report = HclReport::parse(&bytes).unwrap();
        assert_eq!(report.hardware_report, bytes[32..32 + length]);
    }
}

#[test]
fn claims_need_one_attestation_key_and_hex() {
    let parse = |claims: &str| HclReport::parse(&made_up(2, 1, 1, claims)).unwrap_err();
    let without = CLAIMS.replace("HCLAkPub", "HCLEkPub");
    assert_eq!(
        parse(&without),
        HclError::Claims(ClaimsError::AttestationKey { found: 0 })
    );
    assert_eq!(
        parse(&CLAIMS.replace("00ff", "0")),
        HclError::Claims(ClaimsError::UserData)
    );
    assert!(matches!(
        parse("{}"),
        HclError::Claims(ClaimsError::Json { .. })
    ));
    assert!(matches!(
        parse(&"[".repeat(60_000)),
        HclError::Claims(ClaimsError::Json { .. })
    ));
}
