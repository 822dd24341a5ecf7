//! The initrd as the systemd stub hands it to the kernel: sections joined with archives that it makes of other sections.
//!
//! Source: systemd 257 `src/boot/stub.c` (order, names, modes), `src/boot/cpio.c` (the archive), `src/boot/initrd.c`
//! (`combine_initrds`: each part is padded with zeros to a multiple of four bytes). PCR 9 of a guest booted with all four archives was
//! equal (`tests/vectors/README.md`); with `.ucode` none was booted.
//! Not covered: credentials, extensions and addons beside the UKI on the ESP; they appear in PCR 12 and 13.

use std::borrow::Cow;

use super::{Parts, UkiError};
use crate::digest::{Bank, Digest};

/// Sections that become a file of `/.extra`, in the order of their archives.
const EXTRA: [(&str, &str); 4] = [
    (".pcrsig", "tpm2-pcr-signature.json"),
    (".pcrpkey", "tpm2-pcr-public-key.pem"),
    (".osrel", "os-release"),
    (".profile", "profile"),
];
/// Where they lie.
const DIRECTORY: &str = ".extra";
/// Modes of directory and files.
const MODES: (u32, u32) = (0o040_555, 0o100_444);
/// End of an archive; the stub writes the length of the name in upper case.
const TRAILER: &[u8; 124] = b"070701\
    00000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000B00000000\
    TRAILER!!!\0\0\0\0";

/// The digest of the initrd that the kernel measures; `None` without any.
pub(super) fn initrd(parts: &Parts<'_, '_>, bank: Bank) -> Result<Option<Digest>, UkiError> {
    let mut pieces: Vec<Cow<'_, [u8]>> = Vec::new();
    pieces.extend(parts.contents(".ucode")?);
    pieces.extend(parts.contents(".initrd")?);
    for (section, file) in EXTRA {
        if let Some(bytes) = parts.contents(section)? {
            pieces.push(Cow::Owned(archive(file, &bytes)));
        }
    }
    if let [only] = pieces.as_slice() {
        return Ok(Some(bank.hash(&[only])));
    }
    let mut hasher = bank.hasher();
    for piece in &pieces {
        hasher.update(piece);
        hasher.update(padding(piece.len()));
    }
    Ok((!pieces.is_empty()).then(|| hasher.finish()))
}

/// An archive with one file in `/.extra`.
fn archive(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, 1, MODES.0, DIRECTORY, &[]);
    entry(
        &mut archive,
        2,
        MODES.1,
        &format!("{DIRECTORY}/{name}"),
        bytes,
    );
    archive.extend(TRAILER);
    archive
}

/// Appends one entry in the `newc` format (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).
fn entry(archive: &mut Vec<u8>, inode: u32, mode: u32, name: &str, bytes: &[u8]) {
    let fields = [
        u64::from(inode),
        u64::from(mode),
        0,
        0,
        1,
        0,
        bytes.len() as u64,
        0,
        0,
        0,
        0,
        name.len() as u64 + 1,
        0,
    ];
    archive.extend(b"070701");
    for field in fields {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(name.bytes().chain([0]));
    archive.extend(padding(archive.len()));
    archive.extend(bytes);
    archive.extend(padding(archive.len()));
}

/// Zeros up to the next multiple of four.
fn padding(length: usize) -> &'static [u8] {
    let zeros: &[u8] = &[0; 3];
    let wanted = length.next_multiple_of(4).saturating_sub(length);
    zeros.get(..wanted).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cpio` of the system, where there is one, unpacks what the stub would make.
    #[test]
    fn archive_is_read_by_cpio() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive");
        std::fs::write(&path, archive("os-release", b"ID=x\n")).unwrap();
        let Ok(output) = std::process::Command::new("cpio")
            .args(["-itv", "--quiet", "-F"])
            .arg(&path)
            .output()
        else {
            println!("skipped: no cpio on this machine");
            return;
        };
        assert!(output.status.success(), "{output:?}");
        let listed = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines.len(), 2, "{listed}");
        assert!(lines[0].starts_with("dr-xr-xr-x") && lines[0].ends_with(" .extra"));
        assert!(lines[1].starts_with("-r--r--r--") && lines[1].ends_with(" .extra/os-release"));
        assert!(lines[1].contains(" 5 "), "{listed}");
    }

    #[test]
    fn archive_is_made_of_four_byte_words() {
        for length in 0..9 {
            let made = archive("profile", &vec![b'x'; length]);
            assert_eq!(made.len() % 4, 0);
            assert!(made.ends_with(TRAILER));
        }
        assert_eq!(padding(5), [0; 3]);
        assert_eq!(padding(8), [0; 0]);
    }
}
