use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::disk::{self, tests::Written};
use crate::gpt::{BACKUP_SECTORS, SECTOR, Table};
use crate::guid::Role;

/// A disk as `cloister build` lays it out, and the VHD of it.
fn written(dir: &Path) -> (PathBuf, PathBuf, Written, [u8; 32]) {
    let (_, raw, written) = disk::tests::write(dir);
    let path = dir.join("disk.vhd");
    let out = File::create_new(&path).unwrap();
    let id = Guid::derive("demo", Role::Vhd);
    let file = File::open(&raw).unwrap();
    let disk = Readable::whole(&file);
    let state = write(disk, written.size, &written.extents, id, &out).unwrap();
    let (hash, size) = digest(&state, written.size, id);
    assert_eq!(size, written.size + 512);
    (raw, path, written, hash)
}

/// Runs `qemu-img`; `None` where it is not installed.
fn qemu_img(arguments: &[&str], files: &[&Path]) -> Option<String> {
    let Ok(output) = Command::new("qemu-img")
        .args(arguments)
        .args(files)
        .output()
    else {
        println!("skipped: qemu-img is not installed");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}{error}");
    Some(text)
}

fn footer() -> [u8; FOOTER] {
    Footer::new(71 * MIB, Guid::derive("demo", Role::Vhd)).encode()
}

/// Offsets and values: Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer Format".
#[test]
fn footer_has_the_fields_of_the_specification() {
    let bytes = footer();
    let size = (71 * MIB).to_be_bytes();
    let id = Guid::derive("demo", Role::Vhd).to_string().replace('-', "");
    let wanted: [(usize, &[u8]); 14] = [
        (0, b"conectix"),
        (8, &[0, 0, 0, 2]),
        (12, &[0, 1, 0, 0]),
        (16, &[0xff; 8]),
        (24, &[0; 4]),
        (28, b"win "),
        (32, &[0, 10, 0, 0]),
        (36, b"Wi2k"),
        (40, &size),
        (48, &size),
        (60, &[0, 0, 0, 2]),
        (68, &hex::decode(id).unwrap()),
        (84, &[0]),
        (85, &[0; 427]),
    ];
    for (at, field) in wanted {
        assert_eq!(bytes[at..at + field.len()], *field, "offset {at}");
    }
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    let stored = u32::from_be_bytes(bytes[64..68].try_into().unwrap());
    let own: u32 = bytes[64..68].iter().map(|byte| u32::from(*byte)).sum();
    assert_eq!(stored, !(sum - own));
}

#[test]
fn file_is_the_disk_and_the_footer_and_is_sparse() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (raw, vhd, written, hash) = written(dir.path());
    let (raw, bytes) = (std::fs::read(raw).unwrap(), std::fs::read(&vhd).unwrap());
    let (disk, tail) = bytes.split_at(bytes.len() - FOOTER);
    assert!(disk == raw);
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&bytes)), hash);
    assert_eq!(disk.len() as u64 % ALIGNMENT, 0);
    let footer = Footer::parse(tail).unwrap();
    assert_eq!(footer, Footer::new(written.size, footer.id));
    let backup = &disk[disk.len() - usize::try_from(BACKUP_SECTORS).unwrap() * SECTOR..];
    let sectors = written.size / SECTOR as u64;
    let table = Table::parse_backup(backup, sectors).unwrap();
    assert_eq!(table, Table::parse(disk).unwrap());
    assert!(std::fs::metadata(&vhd).unwrap().blocks() * 512 < 8 << 20);
}

#[test]
fn qemu_reads_the_exact_size_and_the_same_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, vhd, written, _) = written(dir.path());
    let Some(info) = qemu_img(&["info", "--output=json", "-f", "vpc"], &[&vhd]) else {
        return;
    };
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["format"], "vpc");
    assert_eq!(info["virtual-size"], written.size);
    let formats = ["compare", "-f", "raw", "-F", "vpc"];
    let compared = qemu_img(&formats, &[&raw, &vhd]).unwrap();
    assert_eq!(compared.trim(), "Images are identical.");
    let probed = qemu_img(&["info", "--output=json"], &[&vhd]).unwrap();
    let probed: serde_json::Value = serde_json::from_str(&probed).unwrap();
    println!("without a hint qemu-img finds {}", probed["format"]);
}

/// Origin of the wanted values: the footers that `qemu-img create` writes for disks in every branch of the rule.
#[test]
fn geometry_is_that_of_qemu() {
    let dir = tempfile::tempdir().unwrap();
    for mib in [3, 71, 200, 300, 510, 700, 8192, 40_000, 128_000, 200_000] {
        let path = dir.path().join(format!("{mib}.vhd"));
        let size = format!("{mib}M");
        let arguments = ["create", "-q", "-f", "vpc", "-o", "subformat=fixed"];
        let output = Command::new("qemu-img")
            .args(arguments)
            .arg(&path)
            .arg(size)
            .output();
        let Ok(output) = output else {
            println!("skipped: qemu-img is not installed");
            return;
        };
        assert!(output.status.success());
        let file = File::open(&path).unwrap();
        let mut bytes = [0; FOOTER];
        let end = file.metadata().unwrap().len() - FOOTER as u64;
        file.read_exact_at(&mut bytes, end).unwrap();
        let theirs = Footer::parse(&bytes).unwrap();
        assert_eq!(theirs.geometry, Geometry::of(theirs.size), "{mib} MiB");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for bit in 0..FOOTER * 8 {
        let mut bytes = footer();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let refused = Footer::parse(&bytes).unwrap_err();
        let cookie = refused == FooterError::NoFooter && bit < 64;
        let sum = matches!(refused, FooterError::Checksum { .. }) && bit >= 64;
        assert!(cookie || sum, "bit {bit}: {refused}");
    }
}

#[test]
fn other_kinds_are_refused_though_their_checksum_is_right() {
    for (field, at, value) in [
        ("Features", 11, 0),
        ("File Format Version", 13, 2),
        ("Data Offset", 16, 0),
        ("Disk Type", 63, 3),
        ("Saved State", 84, 2),
        ("Reserved", 511, 1),
    ] {
        let mut bytes = footer();
        bytes[at] = value;
        let sum = checksum(&bytes).to_be_bytes();
        bytes[64..68].copy_from_slice(&sum);
        let refused = Footer::parse(&bytes).unwrap_err();
        assert!(matches!(refused, FooterError::Field { field: found, .. } if found == field));
    }
    assert_eq!(Footer::parse(&[]), Err(FooterError::NoFooter));
    assert_eq!(Footer::parse(&[0; 512]), Err(FooterError::NoFooter));
    assert_eq!(Footer::parse(&footer()[1..]), Err(FooterError::NoFooter));
}

#[test]
fn disk_that_became_shorter_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_, raw, written) = disk::tests::write(dir.path());
    let raw = File::options().read(true).write(true).open(raw).unwrap();
    raw.set_len(written.size - 1).unwrap();
    let out = File::create_new(dir.path().join("disk.vhd")).unwrap();
    let disk = Readable::whole(&raw);
    let extents = &written.extents;
    let VhdError::Io(error) = write(disk, written.size, extents, Guid::TYPE_ESP, &out).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
