//! GPT, FAT, `newc`, PE section writing: the builder's readers of images that come from outside.
#![no_main]
// The builder is a program, so its modules are included; what a target does not call is unused here.
#![expect(
    dead_code,
    unused_imports,
    reason = "only the readers of the included modules are called"
)]

use libfuzzer_sys::fuzz_target;

// One folder for all, so that modules with files of their own are found too.
#[path = "../../../builder/src"]
mod builder {
    pub(crate) mod fat;
    pub(crate) mod gpt;
    pub(crate) mod guid;
    pub(crate) mod initrd;
    pub(crate) mod le;
    pub(crate) mod superblock;
    pub(crate) mod uki;
}
// Where the included modules look for each other.
use builder::{fat, gpt, guid, initrd, le, superblock, uki};

/// Gives a table right checksums and constants, so that the reader looks at its ranges.
fn with_checksums(input: &[u8]) -> Option<Vec<u8>> {
    let mut disk = input.to_vec();
    let mut set = |at: usize, bytes: &[u8]| le::put(&mut disk, at, bytes);
    set(512, b"EFI PART")?;
    for (at, word) in [(12, 92_u32), (80, 128), (84, 128)] {
        set(512 + at, &word.to_le_bytes())?;
    }
    set(512 + 72, &2_u64.to_le_bytes())?;
    set(512 + 16, &[0; 4])?;
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let entries = crc(disk.get(1024..1024 + 128 * 128)?);
    le::put(&mut disk, 512 + 88, &entries)?;
    let header = crc(disk.get(512..512 + 92)?);
    le::put(&mut disk, 512 + 16, &header)?;
    Some(disk)
}

/// A table with two partitions, as the first sectors of a disk.
fn genuine_table() -> Vec<u8> {
    let partition = |first, last| gpt::Partition {
        type_guid: guid::Guid::TYPE_ROOT,
        guid: guid::Guid::derive("fuzz", guid::Role::RootPartition),
        first,
        last,
        attributes: 0,
        name: "root".to_owned(),
    };
    let partitions = vec![partition(34, 40), partition(41, 50)];
    let table = gpt::Table {
        disk: guid::Guid::default(),
        sectors: 100,
        partitions,
    };
    table.primary().expect("ranges are valid")
}

/// A FAT12 volume of 16 sectors: one FAT, a root directory with a file and a directory.
fn genuine_volume() -> Vec<u8> {
    let mut volume = vec![0; 16 * 512];
    let entry = |name: &[u8; 11], attributes: u8, cluster: u8, size: u16| {
        let mut entry = name.to_vec();
        entry.resize(32, 0);
        for (at, byte) in [
            (11, attributes),
            (26, cluster),
            (28, size.to_le_bytes()[0]),
            (29, size.to_le_bytes()[1]),
        ] {
            entry[at] = byte;
        }
        entry
    };
    let mut set =
        |at: usize, bytes: &[u8]| le::put(&mut volume, at, bytes).expect("inside of the volume");
    set(11, &[0, 2, 1, 1, 0, 1, 16, 0, 16, 0, 0xf8, 1, 0]);
    set(510, &[0x55, 0xaa]);
    set(512, &[0xf8, 0xff, 0xff, 0x03, 0xf0, 0xff, 0xff, 0x0f, 0]);
    set(1024, &entry(b"FILE    TXT", 0, 2, 700));
    set(1056, &entry(b"DIR        ", 0x10, 4, 0));
    set(1024 + 512 + 2 * 512, &entry(b"INNER      ", 0, 3, 10));
    volume
}

/// Overwrites single bytes of `genuine`: each three bytes of input are an offset and a value.
fn edited(mut genuine: Vec<u8>, input: &[u8]) -> Vec<u8> {
    for edit in input.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % genuine.len();
        genuine[at] = edit[2];
    }
    genuine
}

fn read_volume(bytes: &[u8]) {
    if let Ok(volume) = fat::Reader::open(bytes)
        && let Ok(listed) = volume.list()
    {
        for found in listed.iter().take(16) {
            let _ = volume.read(found);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let disk = with_checksums(&edited(genuine_table(), input)).expect("a table is long enough");
    if let Ok(table) = gpt::Table::parse(&disk) {
        // What is read can be written, and is read the same again.
        let written = table.primary().expect("a parsed table has valid ranges");
        assert_eq!(
            gpt::Table::parse(&written)
                .expect("a written table parses")
                .partitions,
            table.partitions
        );
    }
    let _ = gpt::Table::parse(input);
    let _ = gpt::Table::parse_backup(input, u64::try_from(input.len() / gpt::SECTOR).unwrap_or(0));
    read_volume(input);
    read_volume(&edited(genuine_volume(), input));
    let members = [
        ("d", initrd::Member::Directory { mode: 0o755 }),
        (
            "d/f",
            initrd::Member::File {
                mode: 0o644,
                bytes: b"x",
            },
        ),
    ];
    let members = members
        .map(|(path, member)| (path.to_owned(), member))
        .into();
    let archive = initrd::archive(&members, 0).expect("a small archive");
    let _ = initrd::list(&edited(archive, input));
    let _ = initrd::list(input);
    let _ = superblock::Superblock::parse(input);
    let _ = uki::build(
        input,
        &uki::Sections {
            cmdline: b"c",
            initrd: b"i",
            linux: b"l",
        },
    );
});
