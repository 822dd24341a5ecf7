use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Write as _};
use std::process::Command;

use super::*;
use crate::le::put;

const MIB: u64 = 1 << 20;

fn volume(size: u64) -> Vec<u8> {
    let big = vec![7; 100_000];
    let files = BTreeMap::from([
        ("EFI/BOOT/BOOTX64.EFI", big.as_slice()),
        ("EFI/CLOISTER/A.TXT", b"a".as_slice()),
        ("EMPTY", b"".as_slice()),
    ]);
    let mut bytes = Vec::new();
    Volume::new(&files, size, 0x1234_5678)
        .unwrap()
        .write(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn fatfs_crate_reads_the_same_files() {
    let bytes = volume(64 * MIB);
    assert_eq!(bytes.len() as u64, 64 * MIB);
    let fs = fatfs::FileSystem::new(Cursor::new(bytes), fatfs::FsOptions::new()).unwrap();
    assert_eq!(
        (fs.fat_type(), fs.volume_id()),
        (fatfs::FatType::Fat32, 0x1234_5678)
    );
    let root = fs.root_dir();
    let mut content = Vec::new();
    root.open_file("EFI/BOOT/BOOTX64.EFI")
        .unwrap()
        .read_to_end(&mut content)
        .unwrap();
    assert!(content == vec![7; 100_000]);
    let names: Vec<_> = root
        .open_dir("EFI")
        .unwrap()
        .iter()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, [".", "..", "BOOT", "CLOISTER"]);
}

#[test]
fn own_reader_lists_what_own_writer_and_fatfs_write() {
    let bytes = volume(64 * MIB);
    let reader = Reader::open(&bytes).unwrap();
    let list = reader.list().unwrap();
    let paths: Vec<_> = list.iter().map(|found| found.path.as_str()).collect();
    let wanted = [
        "EFI",
        "EFI/BOOT",
        "EFI/BOOT/BOOTX64.EFI",
        "EFI/CLOISTER",
        "EFI/CLOISTER/A.TXT",
        "EMPTY",
    ];
    assert_eq!(paths, wanted);
    assert!(reader.read(&list[2]).unwrap() == vec![7; 100_000]);
    assert_eq!(
        (reader.label.as_str(), reader.serial),
        ("CLOISTER", 0x1234_5678)
    );

    for (mib, kind) in [(2, Kind::Fat12), (16, Kind::Fat16), (64, Kind::Fat32)] {
        let mut disk = Cursor::new(vec![0; mib << 20]);
        let sort = match kind {
            Kind::Fat12 => fatfs::FatType::Fat12,
            Kind::Fat16 => fatfs::FatType::Fat16,
            Kind::Fat32 => fatfs::FatType::Fat32,
        };
        fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new().fat_type(sort)).unwrap();
        {
            let fs = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
            let root = fs.root_dir();
            root.create_dir("a rather long directory name").unwrap();
            root.create_file("a rather long directory name/file.text")
                .unwrap()
                .write_all(&[9; 5000])
                .unwrap();
        }
        let bytes = disk.into_inner();
        let reader = Reader::open(&bytes).unwrap();
        let list = reader.list().unwrap();
        assert_eq!(list[1].path, "a rather long directory name/file.text");
        assert_eq!(reader.kind, kind);
        assert!(reader.read(&list[1]).unwrap() == vec![9; 5000]);
    }
}

#[test]
fn fsck_finds_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for mib in [34, 64, 300] {
        std::fs::write(file.path(), volume(mib * MIB)).unwrap();
        let Ok(output) = Command::new("fsck.vfat")
            .args(["-n", "-v"])
            .arg(file.path())
            .output()
        else {
            println!("skipped: fsck.vfat is not installed");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains("7 files"),
            "{mib} MiB: {text}"
        );
    }
}

#[test]
fn bad_names_small_volumes_and_too_many_bytes_are_refused() {
    let of = |path, size, bytes: &[u8]| {
        Volume::new(&BTreeMap::from([(path, bytes)]), size, 0).map(|_| ())
    };
    assert_eq!(
        of("efi/x", 64 * MIB, b""),
        Err(FatWriteError::Name("efi".to_owned()))
    );
    assert_eq!(
        of("LONGERTHAN8", 64 * MIB, b""),
        Err(FatWriteError::Name("LONGERTHAN8".to_owned()))
    );
    assert_eq!(of("A", 32 * MIB, b""), Err(FatWriteError::Size(32)));
    assert_eq!(of("A", 16 * MIB, b""), Err(FatWriteError::Size(16)));
    assert!(matches!(
        of("A", 34 * MIB, &vec![0; 34 << 20]),
        Err(FatWriteError::Full { .. })
    ));
}

#[test]
fn damaged_volumes_are_errors_and_never_panics() {
    let mut good = volume(34 * MIB);
    assert!(matches!(
        Reader::open(&good[..511]),
        Err(FatReadError::NotFat(_))
    ));
    for at in (0..512).chain(32 * 512..32 * 512 + 64) {
        good[at] = !good[at];
        if let Ok(reader) = Reader::open(&good) {
            let _ = reader.list().map(|list| {
                list.iter()
                    .map(|found| reader.read(found))
                    .collect::<Vec<_>>()
            });
        }
        good[at] = !good[at];
    }
    let mut looped = good;
    put(&mut looped, 32 * 512 + 2 * 4, &2_u32.to_le_bytes()).unwrap();
    assert_eq!(
        Reader::open(&looped).unwrap().list(),
        Err(FatReadError::TooMany)
    );
}
