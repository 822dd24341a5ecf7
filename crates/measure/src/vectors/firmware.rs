//! `snp/firmware-metadata.json` and the tables of firmware beside it: what firmware tells of its launch.

use serde_json::{Value, json};

use super::debian_version;
use super::ledger::{Fate, Ledger, Place};
use crate::digest::{Bank, Digest};
use crate::ovmf_table::{find, footer_table, u32_at};
use crate::snp::{LaunchDigest, Ovmf, SectionKind};
use crate::tdx::{self, Tdvf};

const FILE: &str = "snp/firmware-metadata.json";
const HASH_TABLE: &str = "7255371f-3a3b-4b04-927b-1da6efa8d454";
const SECRETS: &str = "4c2eb361-7d9b-4cc3-8081-127c90d3d294";
const SEV_METADATA: &str = "dc886566-984a-4798-a75e-5585a7bf67cc";
const TDX_METADATA: &str = "e47a6535-984a-4798-865e-4685a7bf8ec2";
/// Size of every whole image of which the vectors have tables.
const WHOLE: usize = 4 << 20;

/// Origin: an own parser and sev-snp-measure 0.0.13 agree; digests of pages by the latter.
pub(super) fn check(ledger: &Ledger) {
    for (name, row) in ledger.json(FILE).members() {
        let tail = tail(ledger, name);
        let image = debian_image(&row);
        row.get("source").skip(Fate::Prose);
        pages(&row, image.as_deref(), &tail);
        table(&row, &tail);
        sev(&row, &tail);
        // The sections' contents are not in the vectors; what is asked here are places and sizes.
        let filled = [vec![0; WHOLE - tail.len()], tail].concat();
        tdx(&row, image.as_deref().unwrap_or(&filled));
    }
}

/// Firmware by its name in the vectors. Its whole image is used where it is at hand; else tables and the digest of its pages.
pub(super) fn load(ledger: &Ledger, name: &str) -> Ovmf {
    let row = ledger.json(FILE).get(name);
    let seed: Digest = row.get("ovmf_hash_seed").peek_text().parse().unwrap();
    let seed = LaunchDigest(seed.as_bytes().try_into().unwrap());
    let tables = Ovmf::from_tables(&tail(ledger, name), seed).unwrap();
    if let Some(image) = debian_image(&row) {
        assert_eq!(Ovmf::from_image(&image).as_ref(), Ok(&tables), "{name}");
    }
    tables
}

/// The whole image that a row of the vectors is about.
pub(super) fn debian_image(row: &Place<'_>) -> Option<Vec<u8>> {
    let source = row.get("source").peek_text();
    let (package, path) = source.strip_prefix("Debian package ")?.split_once(", ")?;
    let (package, _) = package.split_once(' ')?;
    let sha256 = row.get("full_image_sha256").peek_text();
    debian_version(package, path, sha256)
}

fn tail(ledger: &Ledger, name: &str) -> Vec<u8> {
    ledger.bytes(&format!("snp/{name}.tables4k.bin"))
}

/// What needs every byte of the image.
fn pages(row: &Place<'_>, image: Option<&[u8]>, tail: &[u8]) {
    let (size, sha256, seed) = (
        row.get("image_size"),
        row.get("full_image_sha256"),
        row.get("ovmf_hash_seed"),
    );
    row.get("gpa_base")
        .equals((1 << 32) - size.peek().as_u64().unwrap());
    if let Some(image) = image {
        size.equals(image.len());
        sha256.equals(Bank::Sha256.hash(&[image]));
        seed.equals(Ovmf::from_image(image).unwrap().seed().to_string());
        assert_eq!(footer_table(image), footer_table(tail));
    } else if row.get("source").peek_text().starts_with("Debian") {
        for place in [size, sha256, seed] {
            place.skip(Fate::Debian);
        }
    } else {
        // The fixture is the last page of an image, and its code is not in the vectors.
        size.equals(tail.len());
        sha256.skip(Fate::Upstream);
        seed.skip(Fate::Upstream);
    }
}

fn table(row: &Place<'_>, tail: &[u8]) {
    let table = footer_table(tail).unwrap();
    row.get("footer_table_size").equals(table.len() + 18);
    let mut size = 0;
    for (name, data) in row.get("guid_table").members() {
        let entry = find(table, name).unwrap().unwrap();
        data.equals(hex::encode(entry));
        size += entry.len() + 18;
    }
    assert_eq!(size, table.len(), "every entry is named");
    let both = |name| {
        let entry = find(table, name).unwrap().unwrap();
        [0, 4].map(|at| u32_at(entry, "entry", at).unwrap())
    };
    row.get("sev_hash_table_base").equals(both(HASH_TABLE));
    row.get("sev_secret_base").equals(both(SECRETS));
}

fn sev(row: &Place<'_>, tail: &[u8]) {
    let firmware = Ovmf::from_tables(tail, LaunchDigest([0; 48])).unwrap();
    let kind = |kind| match kind {
        SectionKind::SecMem => 1,
        SectionKind::Secrets => 2,
        SectionKind::Cpuid => 3,
        SectionKind::SvsmCaa => 4,
        SectionKind::KernelHashes => 0x10,
        SectionKind::Unknown(kind) => kind,
    };
    let sections = firmware.sections().iter();
    let sections: Vec<Value> = sections
        .map(|s| json!({"gpa": s.gpa, "size": s.size, "type": kind(s.kind)}))
        .collect();
    let header = header(tail, SEV_METADATA);
    row.get("sev_metadata").equals(with(header, sections));
    row.get("sev_es_reset_eip")
        .equals(firmware.ap_reset_address());
    let table = firmware.hash_table_address().unwrap_or_default();
    row.get("sev_hash_table_base").list()[0].equals(table);
}

fn tdx(row: &Place<'_>, image: &[u8]) {
    use tdx::SectionKind;
    let firmware = Tdvf::from_image(image).unwrap();
    let kind = |kind| match kind {
        SectionKind::BootFirmware => 0,
        SectionKind::ConfigurationFirmware => 1,
        SectionKind::TdHob => 2,
        SectionKind::TempMem => 3,
        SectionKind::PermMem => 4,
        SectionKind::Payload => 5,
        SectionKind::PayloadParam => 6,
        SectionKind::Unknown(kind) => kind,
    };
    let sections = firmware.sections().iter().map(|s| {
        let offset = match s.data {
            [] => 0,
            data => data.as_ptr() as usize - image.as_ptr() as usize,
        };
        json!({"data_offset": offset, "raw_size": s.data.len(), "mem_addr": s.gpa, "mem_size": s.size,
            "type": kind(s.kind), "attributes": s.attributes})
    });
    let header = header(image, TDX_METADATA);
    row.get("tdx_metadata")
        .equals(with(header, sections.collect()));
}

/// Distance of metadata from the end, its length and its version.
fn header(image: &[u8], name: &str) -> [u32; 3] {
    let entry = find(footer_table(image).unwrap(), name).unwrap().unwrap();
    let distance = u32_at(entry, "entry", 0).unwrap();
    let metadata = &image[image.len() - distance as usize..];
    let field = |at| u32_at(metadata, "metadata", at).unwrap();
    [distance, field(4), field(8)]
}

fn with(header: [u32; 3], sections: Vec<Value>) -> Value {
    let [distance, length, version] = header;
    json!({"offset_from_end": distance, "length": length, "version": version, "sections": sections})
}
