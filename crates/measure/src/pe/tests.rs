use authenticode::authenticode_digest;
use object::read::pe::PeFile64;
use proptest::prelude::*;
use sha2::{Sha256, Sha384};

use super::*;

/// Builds a PE32+ image with one section per entry: name, bytes, size in memory.
pub(crate) fn image(version: (u16, u16), sections: &[(&str, &[u8], usize)]) -> Vec<u8> {
    let optional = 0x40 + 24;
    let table = optional + 240;
    let headers = (table + sections.len() * SECTION_HEADER).next_multiple_of(512);
    let mut data = vec![0; headers];
    let put = |data: &mut Vec<u8>, offset: usize, bytes: &[u8]| {
        data[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    let word = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
    put(&mut data, 0, b"MZ");
    put(&mut data, 0x3c, &word(0x40));
    put(&mut data, 0x40, b"PE\0\0\x64\x86");
    put(
        &mut data,
        0x46,
        &u16::try_from(sections.len()).unwrap().to_le_bytes(),
    );
    put(&mut data, 0x40 + 20, &240_u16.to_le_bytes());
    put(&mut data, optional, &MAGIC_PE32_PLUS.to_le_bytes());
    put(&mut data, optional + 32, &word(4096));
    put(&mut data, optional + 36, &word(512));
    put(
        &mut data,
        optional + IMAGE_VERSION,
        &version.0.to_le_bytes(),
    );
    put(
        &mut data,
        optional + IMAGE_VERSION + 2,
        &version.1.to_le_bytes(),
    );
    put(&mut data, optional + SIZE_OF_HEADERS, &word(headers));
    put(&mut data, optional + DIRECTORY_COUNT, &word(16));
    let mut address = 4096;
    for (index, (name, bytes, size)) in sections.iter().enumerate() {
        let header = table + index * SECTION_HEADER;
        let offset = data.len();
        data.extend_from_slice(bytes);
        data.resize(data.len().next_multiple_of(512), 0);
        let raw = data.len() - offset;
        put(&mut data, header, name.as_bytes());
        put(&mut data, header + 8, &word(*size));
        put(&mut data, header + 12, &word(address));
        put(&mut data, header + 16, &word(raw));
        put(&mut data, header + 20, &word(offset));
        address += size.next_multiple_of(4096);
    }
    data
}

/// The digest by the `authenticode` crate, an outside implementation.
fn oracle<H: sha2::Digest>(data: &[u8]) -> Option<Vec<u8>> {
    struct Update<H>(H);
    impl<H: sha2::Digest> sha2::digest::Update for Update<H> {
        fn update(&mut self, data: &[u8]) {
            sha2::Digest::update(&mut self.0, data);
        }
    }
    let pe = PeFile64::parse(data).ok()?;
    let mut hasher = Update(H::new());
    authenticode_digest(&pe, &mut hasher).ok()?;
    Some(hasher.0.finalize().to_vec())
}

fn our(pe: &Pe<'_>, bank: Bank) -> Vec<u8> {
    pe.authenticode(bank).as_bytes().to_vec()
}

#[test]
fn contents_are_cut_or_filled_to_the_size_in_memory() {
    let data = image(
        (1, 1),
        &[(".a", b"abc", 3), (".b", b"de", 600), (".c", b"", 1 << 30)],
    );
    let pe = Pe::parse(&data).unwrap();
    assert_eq!(
        pe.section(".a").unwrap().contents().unwrap().as_ref(),
        b"abc"
    );
    let filled = pe.section(".b").unwrap().contents().unwrap();
    assert_eq!((filled.len(), &filled[..4]), (600, &b"de\0\0"[..]));
    let error = pe.section(".c").unwrap().contents().unwrap_err();
    assert_eq!(
        error,
        PeError::ZeroFill {
            name: ".c".into(),
            found: 1 << 30
        }
    );
}

#[test]
fn parse_names_what_is_wrong() {
    let good = image((1, 1), &[(".a", b"abc", 3)]);
    let change = |offset: usize, bytes: &[u8]| {
        let mut data = good.clone();
        data[offset..offset + bytes.len()].copy_from_slice(bytes);
        Pe::parse(&data).unwrap_err()
    };
    assert_eq!(change(0, b"ZM"), PeError::Signature { wanted: "MZ" });
    assert_eq!(change(0x40, b"NE"), PeError::Signature { wanted: "PE" });
    assert_eq!(change(0x58, &[0x0b, 1]), PeError::Magic { found: 0x10b });
    assert_eq!(
        change(0x46, &[97, 0]),
        PeError::TooManySections { found: 97 }
    );
    assert_eq!(
        change(0x54, &[64, 0]),
        PeError::OptionalHeader {
            found: 64,
            wanted: 152
        }
    );
    assert_eq!(change(0x58 + SIZE_OF_HEADERS, &[8, 0]), PeError::Overlap);
    assert_eq!(
        change(0x58 + CERTIFICATE_DIRECTORY, &[0, 1, 0, 0, 8]),
        PeError::CertificatesNotLast {
            found: 264,
            wanted: good.len()
        }
    );
    assert!(matches!(
        Pe::parse(&good[..good.len() - 1]),
        Err(PeError::Truncated {
            what: "section",
            ..
        })
    ));
}

proptest! {
    #[test]
    fn authenticode_equals_the_authenticode_crate(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..6),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let sections: Vec<(&str, &[u8], usize)> =
            bodies.iter().map(|body| (".x", body.as_slice(), body.len())).collect();
        let mut data = image((1, 1), &sections);
        data.extend_from_slice(&tail);
        let pe = Pe::parse(&data).unwrap();
        prop_assert_eq!(oracle::<Sha256>(&data).unwrap(), our(&pe, Bank::Sha256));
        prop_assert_eq!(oracle::<Sha384>(&data).unwrap(), our(&pe, Bank::Sha384));
    }

    #[test]
    fn parse_never_panics_and_agrees_with_the_crate_on_damaged_images(
        damage in prop::collection::vec((0_usize..1024, any::<u8>()), 0..12),
        cut in 0_usize..1024,
    ) {
        let mut data = image((1, 1), &[(".a", b"abc", 3), (".b", &[7; 100], 90)]);
        for (offset, byte) in damage {
            let offset = offset % data.len();
            data[offset] = byte;
        }
        data.truncate(data.len() - cut.min(data.len()));
        if let (Ok(pe), Some(wanted)) = (Pe::parse(&data), oracle::<Sha256>(&data)) {
            prop_assert_eq!(wanted, our(&pe, Bank::Sha256));
        }
    }
}
