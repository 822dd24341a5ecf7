//! GPT, FAT, `newc`, PE section writing: the builder's readers of images that come from outside.
#![no_main]
// The builder is a program, so its modules are included; what a target does not call is unused here.
#![expect(dead_code, reason = "only the readers of the included modules are called")]

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
