//! Compares two output directories byte by byte.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::checkout::sorted_names;

/// Bytes read at once.
const BLOCK: usize = 1 << 20;

/// How two outputs of the same name compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Same bytes.
    Equal {
        /// Size in bytes.
        size: u64,
    },
    /// Different bytes.
    Differs {
        /// Offset of the first byte that differs, or the shorter size.
        offset: u64,
    },
    /// Only one of the two exists.
    OnlyIn(&'static str),
}

/// Every output of the two directories, by relative path; hidden files are no outputs.
pub(crate) fn directories(first: &Path, second: &Path) -> io::Result<Vec<(PathBuf, Comparison)>> {
    let mut names = BTreeSet::new();
    for folder in [first, second] {
        collect(folder, Path::new(""), &mut names)?;
    }
    names
        .into_iter()
        .filter(|name| !name.to_string_lossy().starts_with('.'))
        .map(|name| {
            let comparison = files(&first.join(&name), &second.join(&name))?;
            Ok((name, comparison))
        })
        .collect()
}

/// Compares two files.
pub(crate) fn files(first: &Path, second: &Path) -> io::Result<Comparison> {
    match (first.is_file(), second.is_file()) {
        (true, false) => return Ok(Comparison::OnlyIn("first")),
        (false, true) => return Ok(Comparison::OnlyIn("second")),
        _ => {}
    }
    let (mut a, mut b) = (File::open(first)?, File::open(second)?);
    let mut offset: u64 = 0;
    loop {
        let (left, right) = (block(&mut a)?, block(&mut b)?);
        let equal = left.iter().zip(&right).take_while(|(l, r)| l == r).count();
        offset += equal as u64;
        if equal < left.len().max(right.len()) {
            return Ok(Comparison::Differs { offset });
        }
        if left.is_empty() {
            return Ok(Comparison::Equal { size: offset });
        }
    }
}

fn block(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(BLOCK);
    file.take(BLOCK as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn collect(root: &Path, below: &Path, names: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for name in sorted_names(&root.join(below))? {
        let path = below.join(name);
        if fs::symlink_metadata(root.join(&path))?.is_dir() {
            collect(root, &path, names)?;
        } else {
            names.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_gives_the_first_offset_that_differs() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let long = vec![7; BLOCK + 5];
        let mut other = long.clone();
        other[BLOCK + 2] = 8;
        let (a, b) = (put("a", &long), put("b", &other));
        let offset = BLOCK as u64 + 2;
        assert_eq!(files(&a, &b).unwrap(), Comparison::Differs { offset });
        let size = long.len() as u64;
        assert_eq!(files(&a, &a).unwrap(), Comparison::Equal { size });
        let short = put("c", &long[..3]);
        assert_eq!(
            files(&a, &short).unwrap(),
            Comparison::Differs { offset: 3 }
        );
        let none = dir.path().join("none");
        assert_eq!(files(&a, &none).unwrap(), Comparison::OnlyIn("first"));
    }

    #[test]
    fn directories_names_every_output_but_hidden_files() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["1/m/x.json", "2/m/x.json", "1/.build-state.json", "2/only"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let found = directories(&dir.path().join("1"), &dir.path().join("2"));
        let wanted = vec![
            ("m/x.json".into(), Comparison::Equal { size: 1 }),
            ("only".into(), Comparison::OnlyIn("second")),
        ];
        assert_eq!(found.unwrap(), wanted);
    }
}
