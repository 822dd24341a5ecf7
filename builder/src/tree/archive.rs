//! The tree as a tar stream, for `mkfs.erofs --tar=f`.
//!
//! Spec: POSIX.1-2017 pax interchange format. One time for all entries, numeric owners, no names
//! of users or groups, sorted paths, the root directory first. A `path` or `linkpath` that does
//! not fit ustar's 100 bytes, and numbers that do not fit its octal fields, go into a pax header.
//! Files that share one content are written once and linked after that.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{Content, Entry, Node, Tree, TreePath};

const BLOCK: usize = 512;

/// Largest number in an 11-digit octal field (size, mtime).
const MAX_OCTAL_11: u64 = 0o77_777_777_777;
/// Largest number in a 7-digit octal field (uid, gid).
const MAX_OCTAL_7: u64 = 0o7_777_777;

impl Tree {
    /// Writes the tree with `epoch` (seconds since 1970) as the one modification time.
    pub(crate) fn tar(&self, mut out: impl Write, epoch: u64) -> io::Result<()> {
        let root = Header {
            path: b"./",
            kind: b'5',
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            link: b"",
        };
        root.write(&mut out, epoch)?;
        let mut written: BTreeMap<(usize, u32, u32, u32), &TreePath> = BTreeMap::new();
        for (path, entry) in self.iter() {
            if let Node::File(content) = &entry.node {
                let inode = (content.address(), entry.mode, entry.uid, entry.gid);
                if let Some(first) = written.get(&inode) {
                    Header::of(path.as_bytes(), entry, b'1', 0, first.as_bytes())
                        .write(&mut out, epoch)?;
                    continue;
                }
                written.insert(inode, path);
            }
            write_entry(&mut out, path, entry, epoch)?;
        }
        out.write_all(&[0; 2 * BLOCK])?;
        out.flush()
    }
}

fn write_entry(out: &mut impl Write, path: &TreePath, entry: &Entry, epoch: u64) -> io::Result<()> {
    match &entry.node {
        Node::Directory => {
            let mut name = path.as_bytes().to_vec();
            name.push(b'/');
            Header::of(&name, entry, b'5', 0, b"").write(out, epoch)
        }
        Node::Symlink(target) => {
            Header::of(path.as_bytes(), entry, b'2', 0, target).write(out, epoch)
        }
        Node::File(content) => {
            Header::of(path.as_bytes(), entry, b'0', content.len(), b"").write(out, epoch)?;
            content.copy(out)?;
            pad(out, content)
        }
    }
}

fn pad(out: &mut impl Write, content: &Content) -> io::Result<()> {
    let behind = content.len() % BLOCK as u64;
    let zeros = [0; BLOCK];
    let need = (BLOCK as u64 - behind) % BLOCK as u64;
    let need = usize::try_from(need).unwrap_or_default();
    out.write_all(zeros.get(..need).unwrap_or_default())
}

struct Header<'a> {
    path: &'a [u8],
    kind: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    link: &'a [u8],
}

impl<'a> Header<'a> {
    fn of(path: &'a [u8], entry: &Entry, kind: u8, size: u64, link: &'a [u8]) -> Header<'a> {
        Header {
            path,
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size,
            link,
        }
    }

    fn write(&self, out: &mut impl Write, epoch: u64) -> io::Result<()> {
        let records = self.pax(epoch);
        if !records.is_empty() {
            let size = u64::try_from(records.len()).unwrap_or(u64::MAX);
            let header = Header {
                path: b"./PaxHeaders/entry",
                kind: b'x',
                mode: 0o644,
                uid: 0,
                gid: 0,
                size,
                link: b"",
            };
            out.write_all(&header.ustar(0))?;
            out.write_all(&records)?;
            let zeros = [0; BLOCK];
            let need = records.len().next_multiple_of(BLOCK) - records.len();
            out.write_all(zeros.get(..need).unwrap_or_default())?;
        }
        out.write_all(&self.ustar(epoch))
    }

    /// Extended records for what ustar cannot hold; empty when it can hold everything.
    fn pax(&self, epoch: u64) -> Vec<u8> {
        let mut records = Vec::new();
        if self.path.len() > 100 {
            record(&mut records, "path", self.path);
        }
        if self.link.len() > 100 {
            record(&mut records, "linkpath", self.link);
        }
        let numbers = [
            ("size", self.size, MAX_OCTAL_11),
            ("mtime", epoch, MAX_OCTAL_11),
            ("uid", u64::from(self.uid), MAX_OCTAL_7),
            ("gid", u64::from(self.gid), MAX_OCTAL_7),
        ];
        for (name, value, limit) in numbers {
            if value > limit {
                record(&mut records, name, value.to_string().as_bytes());
            }
        }
        records
    }

    fn ustar(&self, epoch: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put(&mut block, 0, self.path.get(..100).unwrap_or(self.path));
        octal(&mut block, 100, 7, u64::from(self.mode));
        octal(&mut block, 108, 7, u64::from(self.uid));
        octal(&mut block, 116, 7, u64::from(self.gid));
        octal(&mut block, 124, 11, self.size);
        octal(&mut block, 136, 11, epoch);
        put(&mut block, 148, b"        ");
        put(&mut block, 156, &[self.kind]);
        put(&mut block, 157, self.link.get(..100).unwrap_or(self.link));
        put(&mut block, 257, b"ustar\x0000");
        octal(&mut block, 329, 7, 0);
        octal(&mut block, 337, 7, 0);
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        put(&mut block, 148, format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// One pax record: its own length in bytes, a blank, `name=value` and a newline.
fn record(records: &mut Vec<u8>, name: &str, value: &[u8]) {
    let body = 1 + name.len() + 1 + value.len() + 1;
    let mut length = body + 1;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {name}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    for (slot, byte) in block.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}

/// `digits` octal digits; a number that does not fit is 0 here and stands in the pax header.
fn octal(block: &mut [u8; BLOCK], at: usize, digits: usize, value: u64) {
    let text = format!("{value:0digits$o}");
    let text = if text.len() > digits {
        "0".repeat(digits)
    } else {
        text
    };
    put(block, at, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Origin, path};
    use std::io::Read;

    fn sample() -> Tree {
        let mut tree = Tree::new();
        let shared = Content::new(b"hello".to_vec());
        let long = format!("d/{}/{}", "x".repeat(90), "y".repeat(90));
        tree.insert(path("d"), Entry::directory(0o1777, Origin::Effect("test")));
        tree.insert(
            path(&format!("d/{}", "x".repeat(90))),
            Entry::directory(0o755, Origin::Effect("test")),
        );
        tree.insert(
            path(&long),
            Entry::file(0o4755, shared.clone(), Origin::Effect("test")),
        );
        tree.insert(
            path("e"),
            Entry::file(0o4755, shared, Origin::Effect("test")),
        );
        tree.insert(
            path("l"),
            Entry::symlink("t".repeat(150).as_bytes(), Origin::Effect("test")),
        );
        let owned = Entry {
            uid: 3_000_000,
            ..Entry::file(0o600, Content::new(vec![1; 512]), Origin::Effect("test"))
        };
        tree.insert(path("o"), owned);
        tree
    }

    #[test]
    fn tar_is_read_back_by_another_reader() {
        let mut bytes = Vec::new();
        sample().tar(&mut bytes, 1_763_000_000).unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().to_vec()).unwrap();
            let link = entry.link_name_bytes().map(|l| l.len());
            let mut body = Vec::new();
            entry.read_to_end(&mut body).unwrap();
            let header = entry.header();
            assert_eq!(header.mtime().unwrap(), 1_763_000_000);
            found.push((
                name.len(),
                header.entry_type(),
                header.mode().unwrap(),
                link,
                body.len(),
            ));
        }
        use tar::EntryType as Kind;
        assert_eq!(found[0], (2, Kind::Directory, 0o755, None, 0));
        assert_eq!(found[1], (2, Kind::Directory, 0o1777, None, 0));
        assert_eq!(found[3], (183, Kind::Regular, 0o4755, None, 5));
        assert_eq!(found[4], (1, Kind::Link, 0o4755, Some(183), 0));
        assert_eq!(found[5], (1, Kind::Symlink, 0o777, Some(150), 0));
        assert_eq!(found[6], (1, Kind::Regular, 0o600, None, 512));
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn pax_record_counts_its_own_length() {
        for length in [1, 90, 91, 92, 93, 980, 990, 991, 992] {
            let mut bytes = Vec::new();
            record(&mut bytes, "path", &vec![b'x'; length]);
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert_eq!(
                text.split(' ').next().unwrap().parse::<usize>().unwrap(),
                bytes.len()
            );
        }
    }
}
