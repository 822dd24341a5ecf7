//! Builds small firmware images with tables.

use crate::ovmf_table::guid;

const METADATA: &str = "dc886566-984a-4798-a75e-5585a7bf67cc";
const HASH_TABLE: &str = "7255371f-3a3b-4b04-927b-1da6efa8d454";
pub(super) const RESET: &str = "00f771de-1a7e-4fcb-890e-68c77e2fb44e";

/// What the end of an image tells.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    /// Entries of the GUIDed table: name, data. The first lies farthest from the end of the image.
    pub(super) entries: Vec<(String, Vec<u8>)>,
    /// Metadata sections: address, size, type.
    pub(super) sections: Vec<(u32, u32, u32)>,
    /// Bytes between metadata and the end of the table.
    pub(super) gap: usize,
}

impl Tables {
    /// Tables with the given AP reset address, hash-table base and sections.
    pub(super) fn new(
        ap_reset: Option<u32>,
        hash_table: Option<u32>,
        sections: &[(u32, u32, u32)],
    ) -> Tables {
        let mut entries = Vec::new();
        if let Some(base) = hash_table {
            let data = [base.to_le_bytes(), 0x400_u32.to_le_bytes()].concat();
            entries.push((HASH_TABLE.to_owned(), data));
        }
        if let Some(address) = ap_reset {
            entries.push((RESET.to_owned(), address.to_le_bytes().to_vec()));
        }
        Tables {
            entries,
            sections: sections.to_vec(),
            gap: 512,
        }
    }

    /// Returns an image of `pages` pages that ends with these tables. Bytes elsewhere are a pattern.
    pub(super) fn image(&self, pages: usize) -> Vec<u8> {
        let mut metadata = b"ASEV".to_vec();
        let count = u32::try_from(self.sections.len()).unwrap();
        let sections = self.sections.iter();
        let words = sections.flat_map(|(gpa, size, kind)| [*gpa, *size, *kind]);
        for word in [16 + 12 * count, 1, count].into_iter().chain(words) {
            metadata.extend_from_slice(&word.to_le_bytes());
        }
        let offset = 32 + self.gap + metadata.len();
        let distance = u32::try_from(offset).unwrap().to_le_bytes();
        let mut table = entry(&distance, METADATA);
        for (name, data) in &self.entries {
            table.extend(entry(data, name));
        }
        let length = u16::try_from(table.len() + 18).unwrap();
        table.extend_from_slice(&length.to_le_bytes());
        table.extend_from_slice(&guid("96b582de-1fb2-45f7-baea-a366c55a082d"));
        assert!(
            table.len() <= self.gap,
            "metadata would overwrite the table"
        );
        let mut image: Vec<u8> = (0..=250).cycle().take(pages * 4096).collect();
        let end = image.len() - 32;
        image[end - table.len()..end].copy_from_slice(&table);
        let start = image.len() - offset;
        image[start..start + metadata.len()].copy_from_slice(&metadata);
        image
    }
}

fn entry(data: &[u8], name: &str) -> Vec<u8> {
    let length = u16::try_from(data.len() + 18).unwrap();
    [data, &length.to_le_bytes(), &guid(name)].concat()
}

/// Returns an image of `pages` pages with the given AP reset address, hash-table base and metadata sections
/// (address, size, type).
pub(super) fn image(
    pages: usize,
    ap_reset: Option<u32>,
    hash_table: Option<u32>,
    sections: &[(u32, u32, u32)],
) -> Vec<u8> {
    Tables::new(ap_reset, hash_table, sections).image(pages)
}
