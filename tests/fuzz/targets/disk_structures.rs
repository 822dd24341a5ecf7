//! GPT, FAT, `newc`, PE section writing: the builder's readers of images that come from outside.
#![no_main]
// The builder is a program, so its modules are included; what a target does not call is unused here.
#![expect(dead_code, reason = "only the readers of the included modules are called")]

use libfuzzer_sys::fuzz_target;

#[path = "../../../builder/src/fat.rs"]
mod fat;
#[path = "../../../builder/src/gpt.rs"]
mod gpt;
#[path = "../../../builder/src/guid.rs"]
mod guid;
#[path = "../../../builder/src/initrd.rs"]
mod initrd;
#[path = "../../../builder/src/le.rs"]
mod le;
#[path = "../../../builder/src/superblock.rs"]
mod superblock;
#[path = "../../../builder/src/uki.rs"]
mod uki;

fuzz_target!(|input: &[u8]| {
    if let Ok(table) = gpt::Table::parse(input) {
        // What is read can be written, and is read the same again.
        let written = table.primary().expect("a parsed table has valid ranges");
        assert_eq!(gpt::Table::parse(&written).expect("a written table parses").partitions, table.partitions);
    }
    let _ = gpt::Table::parse_backup(input, u64::try_from(input.len() / gpt::SECTOR).unwrap_or(0));
    if let Ok(volume) = fat::Reader::open(input)
        && let Ok(listed) = volume.list()
    {
        for found in listed.iter().take(16) {
            let _ = volume.read(found);
        }
    }
    let _ = initrd::list(input);
    let _ = superblock::Superblock::parse(input);
    let _ = uki::build(input, &uki::Sections { cmdline: b"c", initrd: b"i", linux: b"l" });
});
