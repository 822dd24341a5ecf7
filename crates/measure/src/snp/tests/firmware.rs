//! Builds small firmware images with valid tables.

use crate::ovmf_table::guid;

fn entry(data: &[u8], name: &str) -> Vec<u8> {
    let length = u16::try_from(data.len() + 18).unwrap();
    [data, &length.to_le_bytes(), &guid(name)].concat()
}

/// Returns an image of `pages` pages with the given AP reset address, hash-table base and metadata sections
/// (address, size, type). Bytes elsewhere are a pattern.
pub(super) fn image(
    pages: usize,
    ap_reset: Option<u32>,
    hash_table: Option<u32>,
    sections: &[(u32, u32, u32)],
) -> Vec<u8> {
    let mut metadata = b"ASEV".to_vec();
    let count = u32::try_from(sections.len()).unwrap();
    for word in [16 + 12 * count, 1, count] {
        metadata.extend_from_slice(&word.to_le_bytes());
    }
    for (gpa, size, kind) in sections {
        [gpa, size, kind]
            .iter()
            .for_each(|word| metadata.extend_from_slice(&word.to_le_bytes()));
    }
    let offset = u32::try_from(32 + 512 + metadata.len()).unwrap();
    let mut table = entry(
        &offset.to_le_bytes(),
        "dc886566-984a-4798-a75e-5585a7bf67cc",
    );
    if let Some(base) = hash_table {
        let data = [base.to_le_bytes(), 0x400_u32.to_le_bytes()].concat();
        table.extend(entry(&data, "7255371f-3a3b-4b04-927b-1da6efa8d454"));
    }
    if let Some(address) = ap_reset {
        table.extend(entry(
            &address.to_le_bytes(),
            "00f771de-1a7e-4fcb-890e-68c77e2fb44e",
        ));
    }
    let length = u16::try_from(table.len() + 18).unwrap();
    table.extend_from_slice(&length.to_le_bytes());
    table.extend_from_slice(&guid("96b582de-1fb2-45f7-baea-a366c55a082d"));
    let mut image: Vec<u8> = (0..=250).cycle().take(pages * 4096).collect();
    let end = image.len() - 32;
    image[end - table.len()..end].copy_from_slice(&table);
    let start = image.len() - offset as usize;
    image[start..start + metadata.len()].copy_from_slice(&metadata);
    image
}
