//! ID block against `tests/vectors/snp/id-block.json`, made by sev-snp-measure 0.0.13; policy against the `sev` crate, whose own
//! ID block types need OpenSSL and are no dependency here. `tests/it` has the signatures checked by others.

use super::own::directory;
use super::*;
use crate::digest::Digest;
use crate::vectors;

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

/// Decodes base64 by its definition (RFC 4648, section 4).
fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = text.trim_end_matches('=').bytes();
    let (mut bits, mut held, mut decoded) = (0_u32, 0, Vec::new());
    for letter in text {
        let value = alphabet.iter().position(|&a| a == letter).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            decoded.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    decoded
}

fn key(point: &str) -> IdKey {
    let point = bytes(point);
    assert_eq!((point.len(), point[0]), (97, 4));
    IdKey {
        x: point[1..49].try_into().unwrap(),
        y: point[49..].try_into().unwrap(),
    }
}

/// Takes a signature out of ID authentication information that another tool made.
fn signature(auth: &[u8], offset: usize) -> IdSignature {
    let part = |offset: usize| {
        let mut part: [u8; 48] = auth[offset..offset + 48].try_into().unwrap();
        part.reverse();
        part
    };
    IdSignature {
        r: part(offset),
        s: part(offset + 72),
    }
}

fn block(digest: &str) -> IdBlock {
    IdBlock {
        launch_digest: LaunchDigest(bytes(digest).try_into().unwrap()),
        family_id: [0; 16],
        image_id: [0; 16],
        guest_svn: 0,
        policy: GuestPolicy::QEMU_DEFAULT,
    }
}

#[test]
fn id_block_and_auth_equal_those_of_sev_snp_measure() {
    let file = vectors::json(&directory(), "id-block.json");
    let text = |name: &str| file[name].as_str().unwrap();
    assert_eq!(
        block(text("launch-digest")).to_bytes().to_vec(),
        base64(text("id-block"))
    );
    let wanted = base64(text("id-auth"));
    assert_eq!(wanted.len(), ID_AUTH_SIZE);
    let (id_key, author_key) = (key(text("id-key")), key(text("author-key")));
    let auth = IdAuth {
        block_signature: signature(&wanted, 0x40),
        id_key,
        author: Some((signature(&wanted, 0x680), author_key)),
    };
    assert!(auth.to_bytes()[..] == wanted[..]);
    for (key, digest) in [(id_key, "id-key-digest"), (author_key, "author-key-digest")] {
        assert_eq!(key.digest(), text(digest).parse::<Digest>().unwrap());
    }
    let alone = IdAuth {
        author: None,
        ..auth
    }
    .to_bytes();
    assert_eq!(alone[4..8], [0; 4]);
    assert!(alone[0x680..].iter().all(|byte| *byte == 0));
    assert_eq!(alone[0x40..0x680], wanted[0x40..0x680]);
}

/// Offsets typed from AMD 56860, table "ID block".
#[test]
fn id_block_has_its_fields_where_the_specification_says() {
    let block = IdBlock {
        family_id: [0xfa; 16],
        image_id: [0x1a; 16],
        guest_svn: 0x0102_0304,
        policy: "smt,debug,abi=1.55".parse().unwrap(),
        ..block(&"d1".repeat(48))
    };
    let wanted = "d1".repeat(48)
        + &"fa".repeat(16)
        + &"1a".repeat(16)
        + "01000000"
        + "04030201"
        + "37010b0000000000";
    assert_eq!(hex::encode(block.to_bytes()), wanted);
}

#[test]
fn policy_names_mean_the_bits_that_the_sev_crate_reads() {
    use sev::firmware::guest::GuestPolicy as Oracle;
    type Read = fn(&Oracle) -> bool;
    let table: [(&str, Read); 9] = [
        ("smt", Oracle::smt_allowed),
        ("migration", Oracle::migrate_ma_allowed),
        ("debug", Oracle::debug_allowed),
        ("single-socket", Oracle::single_socket_required),
        ("cxl", Oracle::cxl_allowed),
        ("aes-256-xts", Oracle::mem_aes_256_xts),
        ("rapl-off", Oracle::rapl_dis),
        ("ciphertext-hiding", Oracle::ciphertext_hiding),
        ("page-swap-off", Oracle::page_swap_disabled),
    ];
    for (name, read) in &table {
        let policy: GuestPolicy = name.parse().unwrap();
        assert_eq!(policy.names().collect::<Vec<_>>(), [*name]);
        for (other, read_other) in &table {
            assert_eq!(
                read_other(&policy.bits().into()),
                other == name,
                "{name} {other}"
            );
        }
        assert!(!read(&"none".parse::<GuestPolicy>().unwrap().bits().into()));
    }
    let abi: GuestPolicy = "abi=1.55".parse().unwrap();
    let oracle = Oracle::from(abi.bits());
    assert_eq!((oracle.abi_major(), oracle.abi_minor()), (1, 55));
    assert_eq!(abi.abi(), (1, 55));
}

#[test]
fn policy_refuses_what_hardware_refuses_and_unknown_words() {
    for (text, bits) in [
        ("0x30000", 0x30000),
        ("196608", 0x30000),
        ("none", 0x20000),
        ("smt", 0x30000),
        ("smt,debug", 0xb0000),
        ("0x3001f", 0x3001f),
    ] {
        assert_eq!(
            text.parse::<GuestPolicy>().map(GuestPolicy::bits),
            Ok(bits),
            "{text}"
        );
    }
    for bits in [0, 0x10000, 0x20000 | 1 << 26, u64::MAX] {
        assert_eq!(GuestPolicy::new(bits), Err(PolicyError::Reserved { bits }));
    }
    for text in [
        "",
        "smt,",
        "SMT",
        "smt,none",
        "abi=1",
        "abi=1.256",
        "0x",
        "12x",
        "+1",
        "debug smt",
    ] {
        let refused = text.parse::<GuestPolicy>();
        assert!(
            matches!(refused, Err(PolicyError::UnknownName { .. })),
            "{text}: {refused:?}"
        );
    }
}
