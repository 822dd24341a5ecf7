//! Differences between two files of one kind, down to the entry, section or line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use cloister_measure::pe::Pe;
use cloister_measure::reference::ReferenceValues;
use sha2::{Digest as _, Sha256};

use super::account;
use super::change::{Change, changed, short};
use crate::digest::Digest;
use crate::fat;
use crate::gpt::{self, SECTOR, Table};
use crate::initrd;

/// Bytes of a decompressed initrd that are compared.
const INITRD_LIMIT: u64 = 1 << 30;

/// What differs between the files `a` and `b`; empty when they are equal.
pub(crate) fn compare(a: &Path, b: &Path) -> io::Result<Vec<Change>> {
    let (mut file_a, mut file_b) = (File::open(a)?, File::open(b)?);
    let ((hash_a, size_a), (hash_b, size_b)) = (
        Digest::of_reader(&mut file_a)?,
        Digest::of_reader(&mut file_b)?,
    );
    if hash_a == hash_b {
        return Ok(Vec::new());
    }
    if let Some(changes) = disks(&file_a, &file_b)? {
        return Ok(changes);
    }
    if size_a.max(size_b) > INITRD_LIMIT {
        return Ok(vec![first_byte(&file_a, &file_b, size_a.min(size_b))?]);
    }
    let (bytes_a, bytes_b) = (std::fs::read(a)?, std::fs::read(b)?);
    if let Some(changes) = account::compare(&bytes_a, &bytes_b) {
        return Ok(changes);
    }
    match contents(&bytes_a, &bytes_b) {
        Some(changes) if !changes.is_empty() => Ok(changes),
        _ => Ok(vec![first_byte(&file_a, &file_b, size_a.min(size_b))?]),
    }
}

/// What differs inside, for kinds whose inside is known.
pub(crate) fn contents(a: &[u8], b: &[u8]) -> Option<Vec<Change>> {
    reference(a, b)
        .or_else(|| sections(a, b))
        .or_else(|| entries(a, b))
        .or_else(|| lines(a, b))
}

/// Registers, launch digests and inputs of two reference-value files.
fn reference(a: &[u8], b: &[u8]) -> Option<Vec<Change>> {
    let (a, b) = (
        ReferenceValues::from_json(a).ok()?,
        ReferenceValues::from_json(b).ok()?,
    );
    Some(registers(&a, &b))
}

/// Registers and launch digests that differ, each with the measured files that differ.
pub(crate) fn registers(a: &ReferenceValues, b: &ReferenceValues) -> Vec<Change> {
    let inputs = changed(&a.inputs, &b.inputs, |digest| short(&digest.to_string()));
    let values = |register: &cloister_measure::reference::Register| {
        register
            .values
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" or ")
    };
    let digests = |of: &ReferenceValues| -> BTreeMap<String, String> {
        let entries = of.launch_digests.iter();
        entries
            .map(|e| {
                (
                    format!("launch digest {} x{}", e.vcpu_model, e.vcpus),
                    e.digest.to_string(),
                )
            })
            .collect()
    };
    let registers = changed(&a.registers, &b.registers, values).into_iter();
    let launches = launch_digests(changed(&digests(a), &digests(b), Clone::clone));
    registers
        .chain(launches)
        .map(|change| change.because(inputs.clone()))
        .collect()
}

/// Many launch digests differ for the same reasons: the first one stands for all.
fn launch_digests(changes: Vec<Change>) -> Option<Change> {
    let count = changes.len();
    let first = changes.into_iter().next()?;
    let others = if count > 1 {
        format!(" and {} more", count - 1)
    } else {
        String::new()
    };
    Some(Change {
        what: format!("{}{others}", first.what),
        ..first
    })
}

/// Sections of two PE files.
fn sections(a: &[u8], b: &[u8]) -> Option<Vec<Change>> {
    let (a, b) = (named_sections(a)?, named_sections(b)?);
    let mut changes = Vec::new();
    for change in changed(&a, &b, |content| {
        short(&hex::encode(Sha256::digest(content)))
    }) {
        let inner = match (a.get(&change.what), b.get(&change.what)) {
            (Some(a), Some(b)) => entries(a, b).or_else(|| lines(a, b)).unwrap_or_default(),
            _ => Vec::new(),
        };
        let what = format!("section {}", change.what);
        changes.push(Change { what, ..change }.because(inner));
    }
    Some(changes)
}

fn named_sections(bytes: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let pe = bytes.starts_with(b"MZ").then(|| Pe::parse(bytes).ok())??;
    let named = |section: &cloister_measure::pe::Section<'_>| {
        Some((
            section.name().into_owned(),
            section.contents().ok()?.into_owned(),
        ))
    };
    pe.sections().iter().map(named).collect()
}

/// Entries of two initrds.
fn entries(a: &[u8], b: &[u8]) -> Option<Vec<Change>> {
    let (a, b) = (unpacked(a)?, unpacked(b)?);
    let (a, b) = (named_entries(&a)?, named_entries(&b)?);
    let show = |(mode, bytes): &(u32, &[u8])| {
        format!("{mode:06o} {}", short(&hex::encode(Sha256::digest(bytes))))
    };
    let mut changes = Vec::new();
    for change in changed(&a, &b, show) {
        let inner = match (a.get(&change.what), b.get(&change.what)) {
            (Some((_, a)), Some((_, b))) => lines(a, b).unwrap_or_default(),
            _ => Vec::new(),
        };
        let what = format!("initrd entry {}", change.what);
        changes.push(Change { what, ..change }.because(inner));
    }
    Some(changes)
}

fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    if initrd::is_archive(bytes) {
        return Some(bytes.to_vec());
    }
    let mut plain = Vec::new();
    zstd::Decoder::new(bytes)
        .ok()?
        .take(INITRD_LIMIT)
        .read_to_end(&mut plain)
        .ok()?;
    initrd::is_archive(&plain).then_some(plain)
}

fn named_entries(archive: &[u8]) -> Option<BTreeMap<String, (u32, &[u8])>> {
    let listed = initrd::list(archive).ok()?;
    Some(
        listed
            .into_iter()
            .map(|entry| (entry.path, (entry.mode, entry.bytes)))
            .collect(),
    )
}

/// Lines, or words of a single line, of two short texts.
fn lines(a: &[u8], b: &[u8]) -> Option<Vec<Change>> {
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.len() < 64 << 10)?;
        Some(text.trim_end_matches(['\n', '\0']).to_owned())
    };
    let (a, b) = (text(a)?, text(b)?);
    let separator = if a.contains('\n') || b.contains('\n') {
        '\n'
    } else {
        ' '
    };
    let (a, b): (Vec<&str>, Vec<&str>) =
        (a.split(separator).collect(), b.split(separator).collect());
    let only = |these: &[&str], those: &[&str]| -> Vec<String> {
        these
            .iter()
            .filter(|line| !those.contains(line))
            .map(|line| (*line).to_owned())
            .collect()
    };
    let (only_a, only_b) = (only(&a, &b), only(&b, &a));
    let count = only_a.len().max(only_b.len()).min(50);
    let name = if separator == '\n' { "line" } else { "word" };
    Some(
        (0..count)
            .map(|at| Change::new(name, only_a.get(at).cloned(), only_b.get(at).cloned()))
            .collect(),
    )
}

/// Partitions of two disks; files of their EFI system partitions.
fn disks(a: &File, b: &File) -> io::Result<Option<Vec<Change>>> {
    let (Some(table_a), Some(table_b)) = (table(a)?, table(b)?) else {
        return Ok(None);
    };
    let (parts_a, parts_b) = (partitions(a, &table_a)?, partitions(b, &table_b)?);
    let mut changes = Vec::new();
    if table_a.disk != table_b.disk {
        changes.push(Change::new(
            "disk GUID",
            Some(table_a.disk.to_string()),
            Some(table_b.disk.to_string()),
        ));
    }
    for change in changed(&parts_a, &parts_b, |(description, hash, _)| {
        format!("{description} {}", short(hash))
    }) {
        let inner = match (parts_a.get(&change.what), parts_b.get(&change.what)) {
            (Some((_, _, Some(a))), Some((_, _, Some(b)))) => files(a, b),
            _ => Vec::new(),
        };
        let what = format!("partition {}", change.what);
        changes.push(Change { what, ..change }.because(inner));
    }
    Ok(Some(changes))
}

fn table(file: &File) -> io::Result<Option<Table>> {
    let mut head = vec![0; usize::try_from(gpt::PRIMARY_SECTORS).unwrap_or(34) * SECTOR];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => Ok(Table::parse(&head).ok()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Contents of files in a partition, by path.
type Files = BTreeMap<String, Vec<u8>>;

/// By name: place and identity, SHA-256 of the contents, files of a FAT volume.
type Partitions = BTreeMap<String, (String, String, Option<Files>)>;

fn partitions(file: &File, table: &Table) -> io::Result<Partitions> {
    let mut found = BTreeMap::new();
    let size = file.metadata()?.len();
    for partition in &table.partitions {
        let sectors = partition.last - partition.first + 1;
        // A table can claim anything; only what the file has is read.
        let length = sectors
            .checked_mul(SECTOR as u64)
            .filter(|length| *length <= size);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let mut bytes = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
        file.read_exact_at(&mut bytes, partition.first * SECTOR as u64)?;
        let description = format!("{} at {}+{sectors}", partition.guid, partition.first);
        let hash = hex::encode(Sha256::digest(&bytes));
        let files = (partition.type_guid == crate::guid::Guid::TYPE_ESP)
            .then(|| fat_files(&bytes))
            .flatten();
        found.insert(partition.name.clone(), (description, hash, files));
    }
    Ok(found)
}

fn fat_files(volume: &[u8]) -> Option<Files> {
    let reader = fat::Reader::open(volume).ok()?;
    let listed = reader.list().ok()?;
    let files = listed.iter().filter(|found| found.size.is_some());
    files
        .map(|found| Some((found.path.clone(), reader.read(found).ok()?)))
        .collect()
}

fn files(a: &Files, b: &Files) -> Vec<Change> {
    let mut changes = changed(a, b, |content| short(&hex::encode(Sha256::digest(content))));
    for change in &mut changes {
        if let (Some(a), Some(b)) = (a.get(&change.what), b.get(&change.what)) {
            change.because = contents(a, b).unwrap_or_default();
        }
    }
    changes
}

fn first_byte(a: &File, b: &File, common: u64) -> io::Result<Change> {
    let mut at = 0;
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    while at < common {
        let (read_a, read_b) = (a.read_at(&mut left, at)?, b.read_at(&mut right, at)?);
        let same = left
            .iter()
            .zip(&right)
            .take(read_a.min(read_b))
            .take_while(|(a, b)| a == b)
            .count();
        at += same as u64;
        if same < read_a.min(read_b) || same == 0 {
            break;
        }
    }
    Ok(Change::new(
        format!("first difference at byte {at}"),
        None,
        None,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initrd::Member;
    use crate::uki::{Sections, build, tests::small_stub};

    fn uki(cmdline: &[u8], init: &[u8]) -> Vec<u8> {
        let members = BTreeMap::from([
            (
                "init".to_owned(),
                Member::File {
                    mode: 0o755,
                    bytes: init,
                },
            ),
            (
                "same".to_owned(),
                Member::File {
                    mode: 0o644,
                    bytes: b"same",
                },
            ),
        ]);
        let initrd = initrd::compress(&initrd::archive(&members, 0).unwrap(), 3).unwrap();
        build(
            &small_stub(),
            &Sections {
                cmdline,
                initrd: &initrd,
                linux: b"kernel",
            },
        )
        .unwrap()
    }

    #[test]
    fn uki_difference_names_section_entry_and_word() {
        let changes = contents(&uki(b"quiet a=1", b"\xff1"), &uki(b"quiet a=2", b"\xff2")).unwrap();
        let names: Vec<_> = changes.iter().map(|change| change.what.as_str()).collect();
        assert_eq!(names, ["section .cmdline", "section .initrd"]);
        assert_eq!(
            changes[0].because,
            [Change::new(
                "word",
                Some("a=1".to_owned()),
                Some("a=2".to_owned())
            )]
        );
        assert_eq!(changes[1].because[0].what, "initrd entry init");
        assert_eq!(changes[1].because.len(), 1);
    }

    #[test]
    fn equal_files_have_no_difference_and_unknown_ones_a_first_byte() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, [0xff, 1, 2]).unwrap();
        std::fs::write(&b, [0xff, 1, 3]).unwrap();
        assert_eq!(compare(&a, &a).unwrap(), []);
        assert_eq!(
            compare(&a, &b).unwrap()[0].what,
            "first difference at byte 2"
        );
        std::fs::write(&b, [0xff, 1, 2, 4]).unwrap();
        assert_eq!(
            compare(&a, &b).unwrap()[0].what,
            "first difference at byte 3"
        );
    }
}
