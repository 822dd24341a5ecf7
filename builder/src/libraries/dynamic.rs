//! The dynamic section of an ELF file, read without holding the file: it may be a gigabyte and packed.
//!
//! Spec: System V ABI, chapter 5 ("Program Loading and Dynamic Linking"). Only 64-bit little-endian files for x86-64 are read;
//! of all others, and of files without a dynamic section, nothing is asked.

use std::io::{self, Write};
use std::ops::Range;

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB};
use goblin::elf::header::{EI_CLASS, EI_DATA, ELFCLASS64, ELFDATA2LSB, EM_X86_64};
use goblin::elf::program_header::{PT_DYNAMIC, PT_LOAD, ProgramHeader};
use serde::{Deserialize, Serialize};

use crate::tree::Content;

/// Length of the header.
const HEADER: u64 = 64;
/// Longest string that is read.
const STRING: u64 = 4096;
/// Most bytes of a dynamic section that are read: 4096 entries.
const DYNAMIC: u64 = 65_536;

/// What a file asks of the dynamic loader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Dynamic {
    /// `DT_SONAME`.
    pub(super) soname: Option<String>,
    /// `DT_NEEDED`, in order.
    pub(super) needed: Vec<String>,
    /// `DT_RUNPATH`, or `DT_RPATH` where there is none.
    pub(super) run_path: Option<String>,
}

/// Reads the dynamic section; `None` of what has none, or is no file for x86-64.
///
/// # Errors
/// The content cannot be read.
pub(super) fn read(content: &Content) -> io::Result<Option<Dynamic>> {
    let first = part(content, 0..HEADER)?;
    let Some(programs) = programs(content, &first)? else {
        return Ok(None);
    };
    let Some(section) = programs.iter().find(|p| p.p_type == PT_DYNAMIC) else {
        return Ok(None);
    };
    let at = section.p_offset;
    let bytes = part(
        content,
        at..at.saturating_add(section.p_filesz.min(DYNAMIC)),
    )?;
    let entries = entries(&bytes);
    strings(content, &programs, &entries).map(Some)
}

/// The program headers.
fn programs(content: &Content, first: &[u8]) -> io::Result<Option<Vec<ProgramHeader>>> {
    let Some(header) = Elf::parse_header(first).ok() else {
        return Ok(None);
    };
    let kind = header.e_ident.get(EI_CLASS..=EI_DATA);
    if header.e_machine != EM_X86_64 || kind != Some(&[ELFCLASS64, ELFDATA2LSB]) {
        return Ok(None);
    }
    let length = u64::from(header.e_phentsize).saturating_mul(u64::from(header.e_phnum));
    let range = header.e_phoff..header.e_phoff.saturating_add(length);
    let table = part(content, range)?;
    let context = Ctx::new(Container::Big, Endian::Little);
    let count = usize::from(header.e_phnum);
    Ok(ProgramHeader::parse(&table, 0, count, context).ok())
}

/// Tags and values up to the one that ends the section.
fn entries(bytes: &[u8]) -> Vec<(u64, u64)> {
    let (pairs, _) = bytes.as_chunks::<16>();
    let pair = |pair: &[u8; 16]| {
        let value = u128::from_le_bytes(*pair);
        // The low half is the tag; neither conversion loses a bit.
        let low = u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
        (low, u64::try_from(value >> 64).unwrap_or_default())
    };
    pairs
        .iter()
        .map(pair)
        .take_while(|(tag, _)| *tag != 0)
        .collect()
}

/// The strings that the entries name.
fn strings(
    content: &Content,
    programs: &[ProgramHeader],
    entries: &[(u64, u64)],
) -> io::Result<Dynamic> {
    let value = |wanted| {
        entries
            .iter()
            .find(|(tag, _)| *tag == wanted)
            .map(|(_, value)| *value)
    };
    let table = value(DT_STRTAB).and_then(|address| offset(programs, address));
    let (Some(table), Some(size)) = (table, value(DT_STRSZ)) else {
        return Ok(Dynamic::default());
    };
    let tags = [DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH];
    let named: Vec<_> = entries
        .iter()
        .filter(|(tag, at)| tags.contains(tag) && *at < size)
        .collect();
    let range = |(_, at): &&(u64, u64)| {
        let start = table.saturating_add(*at);
        start..start.saturating_add(size.saturating_sub(*at).min(STRING))
    };
    let ranges: Vec<Range<u64>> = named.iter().map(range).collect();
    let texts = parts(content, &ranges)?;
    let mut dynamic = Dynamic::default();
    let mut old = None;
    for ((tag, _), bytes) in named.into_iter().zip(texts) {
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(text).into_owned();
        match *tag {
            DT_NEEDED => dynamic.needed.push(text),
            DT_SONAME => dynamic.soname = Some(text),
            DT_RUNPATH => dynamic.run_path = Some(text),
            _ => old = Some(text),
        }
    }
    dynamic.run_path = dynamic.run_path.or(old);
    Ok(dynamic)
}

/// Where in the file a virtual address is.
fn offset(programs: &[ProgramHeader], address: u64) -> Option<u64> {
    let mut loaded = programs.iter().filter(|p| p.p_type == PT_LOAD);
    let segment = loaded.find(|p| {
        address
            .checked_sub(p.p_vaddr)
            .is_some_and(|at| at < p.p_filesz)
    })?;
    address
        .checked_sub(segment.p_vaddr)?
        .checked_add(segment.p_offset)
}

/// What `content` has of one range.
fn part(content: &Content, range: Range<u64>) -> io::Result<Vec<u8>> {
    Ok(parts(content, std::slice::from_ref(&range))?.concat())
}

/// Parts of a content, in the order of `ranges`; one that leads out of it is cut off. Nothing behind the last part is read: of
/// a packed file the digest is then not compared again.
fn parts(content: &Content, ranges: &[Range<u64>]) -> io::Result<Vec<Vec<u8>>> {
    let mut collect = Collect {
        at: 0,
        end: ranges.iter().map(|range| range.end).max().unwrap_or(0),
        parts: ranges
            .iter()
            .map(|range| (range.clone(), Vec::new()))
            .collect(),
    };
    match content.copy(&mut collect) {
        Err(error) if collect.at < collect.end => return Err(error),
        _ => {}
    }
    Ok(collect.parts.into_iter().map(|(_, bytes)| bytes).collect())
}

/// Keeps the parts of what is written to it, and takes nothing more when it has them.
struct Collect {
    at: u64,
    end: u64,
    parts: Vec<(Range<u64>, Vec<u8>)>,
}

impl Write for Collect {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.at >= self.end {
            return Err(io::Error::other("everything that was asked for is there"));
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let here = self.at..self.at.saturating_add(length);
        for (range, part) in &mut self.parts {
            let start = range.start.max(here.start).saturating_sub(here.start);
            let end = range.end.min(here.end).saturating_sub(here.start);
            let bounds = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let piece = bounds.and_then(|(start, end)| bytes.get(start..end));
            part.extend_from_slice(piece.unwrap_or_default());
        }
        self.at = here.end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libraries::tests::compiled;

    #[test]
    fn parts_are_cut_out_of_whatever_pieces_are_written() {
        let bytes: Vec<u8> = (0..=255).collect();
        let ranges = [3..7, 0..1, 250..400, 5..5];
        for piece in [1, 7, 64, 256] {
            let mut collect = Collect {
                at: 0,
                end: 400,
                parts: ranges
                    .iter()
                    .map(|range| (range.clone(), Vec::new()))
                    .collect(),
            };
            bytes
                .chunks(piece)
                .for_each(|piece| collect.write_all(piece).unwrap());
            let parts: Vec<_> = collect.parts.into_iter().map(|(_, part)| part).collect();
            let wanted = [bytes[3..7].to_vec(), vec![0], bytes[250..].to_vec(), vec![]];
            assert_eq!(parts, wanted, "{piece}");
        }
        assert_eq!(part(&Content::new(bytes), 0..4).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn dynamic_section_is_read_as_another_reader_reads_it() {
        let flags = [
            "-shared",
            "-Wl,-soname,liba.so.1",
            "-Wl,--enable-new-dtags",
            "-Wl,-rpath,$ORIGIN/../b",
        ];
        let old = ["-shared", "-Wl,--disable-new-dtags", "-Wl,-rpath,/opt/b"];
        for flags in [&flags[..], &old[..], &["-shared", "-nostdlib"]] {
            let bytes = compiled("int x;", flags);
            let elf = goblin::elf::Elf::parse(&bytes).unwrap();
            let paths = elf.runpaths.first().or(elf.rpaths.first());
            let wanted = Dynamic {
                soname: elf.soname.map(str::to_owned),
                needed: elf
                    .libraries
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect(),
                run_path: paths.map(|path| (*path).to_owned()),
            };
            assert_eq!(read(&Content::new(bytes.clone())).unwrap(), Some(wanted));
        }
    }

    #[test]
    fn other_files_ask_nothing() {
        let object = compiled("int x;", &["-c"]);
        let mut arm = compiled("int x;", &["-shared"]);
        arm[18] = 183; // EM_AARCH64
        for bytes in [
            object,
            arm,
            b"\x7fELF".to_vec(),
            b"#!/bin/sh\n".to_vec(),
            vec![],
        ] {
            assert_eq!(read(&Content::new(bytes)).unwrap(), None);
        }
    }

    #[test]
    fn torn_files_are_no_panic() {
        let bytes = compiled("int x;", &["-shared", "-Wl,-soname,liba.so.1"]);
        for length in (0..bytes.len()).step_by(97) {
            let _ = read(&Content::new(bytes[..length].to_vec())).unwrap();
        }
    }
}
