//! What a module says about itself: the `.modinfo` section of its ELF file.
//!
//! Spec: `include/linux/module.h` of Linux (`MODULE_INFO`): NUL-terminated `key=value`.

use std::io::Read;

use goblin::elf::Elf;

use super::normalised;
use crate::deb::Compression;
use crate::tree::Content;

/// Fields that decide load order. All names are normalised but the aliases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// Needed modules.
    pub(super) depends: Vec<String>,
    /// Soft dependencies to load before.
    pub(super) before: Vec<String>,
    /// Soft dependencies to load after.
    pub(super) after: Vec<String>,
    /// Aliases as written.
    pub(super) aliases: Vec<String>,
    /// Its version, where it names one.
    pub(crate) version: Option<String>,
    /// Release and settings of the kernel that it is for.
    pub(crate) vermagic: Option<String>,
}

/// Why a module cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InfoError {
    /// The name leads to no file.
    #[error("it is not a file")]
    NoFile,
    /// The file cannot be read.
    #[error("its bytes cannot be read")]
    Read(#[source] std::io::Error),
    /// Decompression failed.
    #[error("it cannot be decompressed")]
    Decompress(#[source] std::io::Error),
    /// Not an ELF file.
    #[error("it is not an ELF file")]
    Elf(#[source] goblin::error::Error),
    /// No `.modinfo` section.
    #[error("it has no `.modinfo` section")]
    NoSection,
}

/// A module's ELF file; the ending of `file`, its name, tells how `bytes` are compressed.
pub(super) fn plain(file: &[u8], bytes: &[u8]) -> Result<Vec<u8>, InfoError> {
    let ending = file.rsplit(|&b| b == b'.').next().unwrap_or_default();
    let compression = match ending {
        b"xz" => Compression::Xz,
        b"zst" => Compression::Zstd,
        b"gz" => Compression::Gzip,
        _ => Compression::None,
    };
    let mut plain = Vec::new();
    let mut reader = compression.reader(bytes).map_err(InfoError::Decompress)?;
    reader
        .read_to_end(&mut plain)
        .map_err(InfoError::Decompress)?;
    Ok(plain)
}

/// The version that a module names; `file` as for `plain`.
pub(crate) fn version(file: &[u8], content: &Content) -> Result<Option<String>, InfoError> {
    let bytes = content.read().map_err(InfoError::Read)?;
    Ok(Info::read(&plain(file, &bytes)?)?.version)
}

impl Info {
    /// Looks into a module's ELF file.
    pub(crate) fn read(elf: &[u8]) -> Result<Info, InfoError> {
        Ok(Info::parse(section(elf)?))
    }

    fn parse(section: &[u8]) -> Info {
        let mut info = Info::default();
        for field in section.split(|&b| b == 0) {
            let field = String::from_utf8_lossy(field);
            match field.split_once('=') {
                Some(("depends", names)) => {
                    info.depends
                        .extend(names.split(',').filter(|n| !n.is_empty()).map(normalised));
                }
                Some(("softdep", text)) => info.soft(text),
                Some(("version", version)) => info.version = Some(version.to_owned()),
                Some(("vermagic", vermagic)) => info.vermagic = Some(vermagic.to_owned()),
                Some(("alias", alias)) => info.aliases.push(alias.to_owned()),
                _ => {}
            }
        }
        info
    }

    /// `pre: a b post: c`; NVIDIA puts commas between the names, which modprobe takes for parts of one.
    fn soft(&mut self, text: &str) {
        let mut list = None;
        for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
            match (word, &mut list) {
                ("pre:", list) => *list = Some(true),
                ("post:", list) => *list = Some(false),
                (name, Some(true)) => self.before.push(normalised(name)),
                (name, Some(false)) => self.after.push(normalised(name)),
                (_, None) => {}
            }
        }
    }
}

fn section(elf: &[u8]) -> Result<&[u8], InfoError> {
    let parsed = Elf::parse(elf).map_err(InfoError::Elf)?;
    let header = parsed
        .section_headers
        .iter()
        .find(|header| parsed.shdr_strtab.get_at(header.sh_name) == Some(".modinfo"));
    header
        .and_then(goblin::elf::SectionHeader::file_range)
        .and_then(|range| elf.get(range))
        .ok_or(InfoError::NoSection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reads_dependencies_and_aliases() {
        let info = Info::parse(b"alias=fs-erofs\0depends=dm-mod,x\0softdep=pre: crc32c,a-b post: z\0vermagic=6.1 SMP \0name=q\0depends=\0");
        assert_eq!(info.depends, ["dm_mod", "x"]);
        assert_eq!(info.before, ["crc32c", "a_b"]);
        assert_eq!(info.after, ["z"]);
        assert_eq!(info.aliases, ["fs-erofs"]);
        assert_eq!(info.vermagic.as_deref(), Some("6.1 SMP "));
    }

    #[test]
    fn read_refuses_damage() {
        assert!(matches!(Info::read(b"x"), Err(InfoError::Elf(_))));
        assert_eq!(plain(b"a.ko", b"x").unwrap(), b"x");
        assert!(matches!(
            plain(b"a.ko.xz", b"x"),
            Err(InfoError::Decompress(_))
        ));
    }
}
