//! `/etc/ld.so.cache`, written here instead of by ldconfig(8).
//!
//! Spec: glibc `sysdeps/generic/dl-cache.h`, format `glibc-ld.so.cache1.1` alone (no old part):
//! a header of 48 bytes, entries of 24 bytes sorted descending by `_dl_cache_libcmp`, strings.
//! Integers are little-endian, string offsets count from the start of the file. Not covered:
//! `glibc-hwcaps` subdirectories (the loader then takes the plain library; reported).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use goblin::elf::Elf;

use super::{EffectError, put, read};
use crate::tree::pattern::Pattern;
use crate::tree::{Content, Entry, Node, Origin, Resolved, Tree, TreePath};

const EFFECT: &str = "ld.so.cache";
const MAGIC: &[u8; 20] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// Header flag: the numbers are little-endian.
const LITTLE_ENDIAN: u8 = 2;
/// Entry flags: `FLAG_ELF_LIBC6 | FLAG_X8664_LIB64`.
const X86_64: u32 = 0x0303;
/// Directories that the loader of Debian searches without being told.
const SYSTEM: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib",
    "/usr/lib",
    "/lib64",
    "/usr/lib64",
];
/// Configuration files that include each other deeper than this are not followed.
const MAX_INCLUDES: u32 = 8;

/// Writes the cache and missing links named after a library's `DT_SONAME`.
pub(super) fn write(tree: &mut Tree) -> Result<Vec<String>, EffectError> {
    let mut warnings = Vec::new();
    let mut libraries: BTreeMap<Vec<u8>, TreePath> = BTreeMap::new();
    let mut links = Vec::new();
    let mut seen = Vec::new();
    for directory in search_path(tree)? {
        let Ok(directory) = TreePath::from_absolute(&directory) else {
            continue;
        };
        let Resolved::Path(directory) = tree.resolve(&directory, true) else {
            continue;
        };
        if seen.contains(&directory) {
            continue;
        }
        if tree.get(&directory.join(b"glibc-hwcaps")?).is_some() {
            warnings.push(format!(
                "`/{directory}/glibc-hwcaps` is not in ld.so.cache: plain libraries are used"
            ));
        }
        for (soname, file) in sonames(tree, &directory)? {
            let at = directory.join(&soname)?;
            if tree.get(&at).is_none() {
                links.push((at.clone(), file));
            }
            libraries.entry(soname).or_insert(at);
        }
        seen.push(directory);
    }
    for (at, file) in links {
        warnings.push(format!(
            "link `/{at}` -> `{}` made, as ldconfig would",
            crate::tree::show(&file)
        ));
        put(
            tree,
            EFFECT,
            at,
            Entry::symlink(&file, Origin::Effect(EFFECT)),
        )?;
    }
    if !libraries.is_empty() {
        let entry = Entry::file(
            0o644,
            Content::new(encode(libraries)),
            Origin::Effect(EFFECT),
        );
        put(tree, EFFECT, TreePath::new(b"etc/ld.so.cache")?, entry)?;
    }
    Ok(warnings)
}

/// Directories in search order: those configured, then the system's.
pub(super) fn search_path(tree: &Tree) -> Result<Vec<String>, EffectError> {
    let mut directories = Vec::new();
    match TreePath::new(b"etc/ld.so.conf") {
        Ok(main) if tree.follow(&main).is_some() => configured(tree, &main, 0, &mut directories)?,
        // Debian's main file belongs to libc-bin and says just this.
        _ => include(tree, "/etc/ld.so.conf.d/*.conf", 0, &mut directories)?,
    }
    directories.extend(SYSTEM.map(str::to_owned));
    Ok(directories)
}

fn configured(
    tree: &Tree,
    file: &TreePath,
    depth: u32,
    directories: &mut Vec<String>,
) -> Result<(), EffectError> {
    let content = tree.follow(file).and_then(|(_, entry)| entry.content());
    let Some(content) = content.filter(|_| depth < MAX_INCLUDES) else {
        return Ok(());
    };
    for line in String::from_utf8_lossy(&read(file, content)?).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line.strip_prefix("include") {
            Some(pattern) if pattern.starts_with([' ', '\t']) => {
                let pattern = pattern.trim();
                let pattern = if pattern.starts_with('/') {
                    pattern.to_owned()
                } else {
                    format!("/etc/{pattern}")
                };
                include(tree, &pattern, depth + 1, directories)?;
            }
            _ if line.starts_with('/') => directories.push(line.trim_end_matches('/').to_owned()),
            _ => {}
        }
    }
    Ok(())
}

fn include(
    tree: &Tree,
    pattern: &str,
    depth: u32,
    directories: &mut Vec<String>,
) -> Result<(), EffectError> {
    let Ok(pattern) = Pattern::new(pattern) else {
        return Ok(());
    };
    let files: Vec<TreePath> = tree
        .iter()
        .map(|(path, _)| path)
        .filter(|p| pattern.covers(p))
        .cloned()
        .collect();
    for file in files {
        configured(tree, &file, depth, directories)?;
    }
    Ok(())
}

/// Name that programs ask for, and the file's name.
type Library = (Vec<u8>, Vec<u8>);

/// The libraries directly in `directory`, and links there to libraries elsewhere: `DT_SONAME` (or the file's name) and the
/// file's name. A link to a library beside it adds nothing to that library.
fn sonames(tree: &Tree, directory: &TreePath) -> Result<Vec<Library>, EffectError> {
    let mut found = Vec::new();
    for (path, entry) in tree.below(directory) {
        let name = path.file_name();
        let library =
            (name.starts_with(b"lib") || name.starts_with(b"ld-")) && contains(name, b".so");
        if path.parent().as_ref() != Some(directory) || !library {
            continue;
        }
        let led = match entry.node {
            Node::Symlink(_) => tree.follow(path),
            _ => Some((path.clone(), entry)),
        };
        let Some((at, content)) = led.and_then(|(at, entry)| Some((at, entry.content()?))) else {
            continue;
        };
        if at != *path && at.parent().as_ref() == Some(directory) {
            continue;
        }
        if let Some(soname) = soname(&read(&at, content)?) {
            let soname = if soname.is_empty() {
                name.to_vec()
            } else {
                soname
            };
            found.push((soname, name.to_vec()));
        }
    }
    Ok(found)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// `DT_SONAME` of an x86-64 shared library, empty when it has none; `None` for anything else.
fn soname(bytes: &[u8]) -> Option<Vec<u8>> {
    let elf = Elf::parse(bytes).ok()?;
    let x86_64 = elf.is_64 && elf.header.e_machine == goblin::elf::header::EM_X86_64;
    let shared = elf.header.e_type == goblin::elf::header::ET_DYN && elf.dynamic.is_some();
    let soname = elf.soname.unwrap_or_default().as_bytes().to_vec();
    (x86_64 && shared && !soname.contains(&b'/')).then_some(soname)
}

/// The file's bytes.
fn encode(libraries: BTreeMap<Vec<u8>, TreePath>) -> Vec<u8> {
    let mut libraries: Vec<(Vec<u8>, TreePath)> = libraries.into_iter().collect();
    libraries.sort_by(|a, b| compare(&b.0, &a.0));
    let start = HEADER + ENTRY * libraries.len();
    let (mut entries, mut strings) = (Vec::new(), Vec::new());
    for (soname, path) in &libraries {
        let key = offset(start + strings.len());
        strings.extend_from_slice(soname);
        strings.push(0);
        let value = offset(start + strings.len());
        strings.push(b'/');
        strings.extend_from_slice(path.as_bytes());
        strings.push(0);
        for word in [X86_64, key, value, 0, 0, 0] {
            entries.extend_from_slice(&word.to_le_bytes()); // flags, key, value, osversion, hwcap (two words)
        }
    }
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&offset(libraries.len()).to_le_bytes());
    file.extend_from_slice(&offset(strings.len()).to_le_bytes());
    file.push(LITTLE_ENDIAN);
    file.resize(HEADER, 0);
    file.extend_from_slice(&entries);
    file.extend_from_slice(&strings);
    file
}

/// A cache is far smaller than 4 GiB: names of libraries of one image.
fn offset(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// `_dl_cache_libcmp`: bytewise, but runs of digits compare as numbers and after other bytes.
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        match (left.split_first(), right.split_first()) {
            (Some((a, _)), Some((b, _))) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let ((a, after_a), (b, after_b)) = (number(left), number(right));
                match a.len().cmp(&b.len()).then(a.cmp(b)) {
                    Ordering::Equal => (left, right) = (after_a, after_b),
                    other => return other,
                }
            }
            (Some((a, _)), _) if a.is_ascii_digit() => return Ordering::Greater,
            (_, Some((b, _))) if b.is_ascii_digit() => return Ordering::Less,
            (Some((a, after_a)), Some((b, after_b))) => match a.cmp(b) {
                Ordering::Equal => (left, right) = (after_a, after_b),
                other => return other,
            },
            (a, b) => return a.is_some().cmp(&b.is_some()),
        }
    }
}

/// Splits leading digits off, without leading zeros.
fn number(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    let zeros = digits.iter().take_while(|&&b| b == b'0').count();
    (digits.get(zeros..).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::path;

    #[test]
    fn compare_agrees_with_glibc() {
        for (less, more) in [
            ("libc.so.6", "libc.so.10"),
            ("liba.so", "libb.so"),
            ("libx.so", "lib1.so"), // a digit stands after every other byte
            ("libz", "libz.so"),
            ("lib.so.02", "lib.so.3"),
        ] {
            assert_eq!(
                compare(less.as_bytes(), more.as_bytes()),
                Ordering::Less,
                "{less} {more}"
            );
            assert_eq!(
                compare(more.as_bytes(), less.as_bytes()),
                Ordering::Greater,
                "{more} {less}"
            );
        }
        assert_eq!(compare(b"libc.so.6", b"libc.so.06"), Ordering::Equal);
    }

    #[test]
    fn encode_sorts_descending_and_points_at_strings() {
        let libraries = [
            ("liba.so.1", "usr/lib/liba.so.1"),
            ("liba.so.12", "opt/liba.so.12"),
        ];
        let bytes = encode(
            libraries
                .iter()
                .map(|(s, p)| (s.as_bytes().to_vec(), path(p)))
                .collect(),
        );
        assert_eq!(&bytes[..20], MAGIC);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let text = |at: usize| bytes[at..].split(|&b| b == 0).next().unwrap();
        assert_eq!((word(20), bytes[28]), (2, LITTLE_ENDIAN));
        assert_eq!(word(24), bytes.len() - HEADER - 2 * ENTRY);
        assert_eq!(word(HEADER), 0x0303);
        assert_eq!(text(word(HEADER + 4)), b"liba.so.12");
        assert_eq!(text(word(HEADER + 8)), b"/opt/liba.so.12");
        assert_eq!(text(word(HEADER + ENTRY + 4)), b"liba.so.1");
    }

    #[test]
    fn link_to_a_library_elsewhere_is_in_the_cache() {
        let scratch = tempfile::tempdir().unwrap();
        let (source, out) = (scratch.path().join("x.c"), scratch.path().join("x"));
        std::fs::write(&source, "int x;").unwrap();
        let mut cc = std::process::Command::new("cc");
        cc.args([
            "-shared",
            "-fPIC",
            "-nostdlib",
            "-Wl,-soname,libx.so.1",
            "-o",
        ]);
        assert!(cc.arg(&out).arg(&source).status().unwrap().success());
        let library = Content::new(std::fs::read(out).unwrap());
        let mut tree = Tree::new();
        let file = Entry::file(0o644, library, Origin::Effect("test"));
        tree.insert(path("usr/lib/other/current/libx.so.1.5"), file);
        let link = Entry::symlink(b"other/current/libx.so.1.5", Origin::Effect("test"));
        tree.insert(path("usr/lib/libx.so.1"), link.clone());
        tree.insert(path("usr/lib/libx.so"), link);
        let found = sonames(&tree, &path("usr/lib")).unwrap();
        let pair = |name: &str| (b"libx.so.1".to_vec(), name.as_bytes().to_vec());
        assert_eq!(found, [pair("libx.so"), pair("libx.so.1")]);
        assert!(write(&mut tree).unwrap().is_empty());
        let cache = tree.get(&path("etc/ld.so.cache")).unwrap();
        let bytes = cache.content().unwrap().read().unwrap().into_owned();
        assert!(contains(&bytes, b"libx.so.1\0/usr/lib/libx.so.1\0"));
    }

    #[test]
    fn search_path_follows_includes_in_order() {
        let mut tree = Tree::new();
        let mut file = |at: &str, text: &str| {
            tree.insert(
                path(at),
                Entry::file(0o644, Content::new(text.into()), Origin::Effect("test")),
            );
        };
        file("etc/ld.so.conf.d/b.conf", "/opt/b # comment\n");
        file("etc/ld.so.conf.d/a.conf", "# x\n/opt/a/\n");
        file("etc/ld.so.conf.d/a.txt", "/opt/no\n");
        assert_eq!(search_path(&tree).unwrap()[..2], ["/opt/a", "/opt/b"]);
        let mut file = |at: &str, text: &str| {
            tree.insert(
                path(at),
                Entry::file(0o644, Content::new(text.into()), Origin::Effect("test")),
            );
        };
        file(
            "etc/ld.so.conf",
            "/first\ninclude ld.so.conf.d/b*\ninclude /etc/ld.so.conf\n",
        );
        assert_eq!(search_path(&tree).unwrap()[..2], ["/first", "/opt/b"]);
    }
}
