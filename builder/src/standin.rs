//! Refusal of the stand-in for NVIDIA's management library, which plays a GPU in tests: in an image it would vouch for one that is not there.
//!
//! It exports a symbol for this. Every ELF file of the root and every module of the initrd is looked at, whatever the recipe.
//! Not covered: files inside of archives, and a stand-in whose symbol was taken out.

use std::io::{self, Write};

use goblin::elf::Elf;
use goblin::elf::header::ELFMAG;
use memchr::memmem::Finder;
use rayon::prelude::*;
use thiserror::Error;

use crate::store::Store;
use crate::tree::{Content, Module, Tree};

/// The symbol that the stand-in exports.
const MARKER: &str = "standin_nvml_marker";
/// Rule by which the store keeps what was found; another way of looking needs another name.
const KIND: &str = "stand-in-1";
/// What was found in files at least so long is kept in the store.
const LARGE: u64 = 1 << 20;

/// Why an image cannot be said to be without the stand-in.
#[derive(Debug, Error)]
pub(crate) enum StandinError {
    /// A file that no image may have.
    #[error(
        "`{path}` ({origin}) exports `{MARKER}`: it is the stand-in for NVIDIA's management library"
    )]
    Found {
        /// Where it would be.
        path: String,
        /// What it came from.
        origin: String,
    },
    /// A file could not be looked at.
    #[error("`{path}` cannot be searched for the stand-in of NVIDIA's management library")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Refuses the first file, in order of paths, that exports the symbol; modules of the initrd come last. What was found in large
/// files is kept in `store`, and taken from there with `cache`.
pub(crate) fn refuse(
    tree: &Tree,
    modules: &[Module],
    store: &Store,
    cache: bool,
) -> Result<(), StandinError> {
    search(tree, modules, &|content| {
        if content.len() < LARGE {
            return has_export(content);
        }
        store.remembered(KIND, &content.sha256(), cache, || has_export(content))
    })
}

fn search(
    tree: &Tree,
    modules: &[Module],
    has_export: &(impl Fn(&Content) -> io::Result<bool> + Sync),
) -> Result<(), StandinError> {
    let files = tree.iter().filter_map(|(path, entry)| {
        let content = entry.content()?;
        Some((path.absolute(), content, &entry.origin))
    });
    let modules = modules
        .iter()
        .map(|module| (module.file_name.clone(), &module.content, &module.origin));
    let all: Vec<_> = files.chain(modules).collect();
    let refused = all
        .par_iter()
        .with_max_len(1)
        .map(|(path, content, origin)| match has_export(content) {
            Ok(false) => None,
            Ok(true) => Some(StandinError::Found {
                path: path.clone(),
                origin: origin.label(),
            }),
            Err(source) => Some(StandinError::Read {
                path: path.clone(),
                source,
            }),
        });
    refused
        .find_map_first(|refused| refused)
        .map_or(Ok(()), Err)
}

/// Whether `content` exports the symbol. Only what holds its name is ever whole in memory, and of what is no ELF file, such as
/// the weights of a model, nothing but the first bytes is read.
fn has_export(content: &Content) -> io::Result<bool> {
    if !content.begins_with(ELFMAG)? {
        return Ok(false);
    }
    let mut search = Search {
        finder: Finder::new(MARKER),
        window: Vec::new(),
        found: false,
    };
    content.copy(&mut search)?;
    Ok(search.found && exports(&content.read()?))
}

/// Looks for the symbol's name in what is written to it.
struct Search {
    finder: Finder<'static>,
    /// The last bytes of what came before, and the piece at hand.
    window: Vec<u8>,
    found: bool,
}

impl Write for Search {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.found {
            self.window.extend_from_slice(bytes);
            self.found = self.finder.find(&self.window).is_some();
            let done = self.window.len().saturating_sub(MARKER.len());
            self.window.drain(..done);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the ELF file in `bytes` defines the symbol for others. A name that is exported stands in the file as it is, so few files
/// need to be parsed; one that has it and cannot be parsed is taken for one that exports it.
fn exports(bytes: &[u8]) -> bool {
    let Ok(elf) = Elf::parse(bytes) else {
        return true;
    };
    elf.dynsyms
        .iter()
        .filter(|symbol| !symbol.is_import())
        .any(|symbol| elf.dynstrtab.get_at(symbol.st_name) == Some(MARKER))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::store::Digest;
    use crate::tree::{Content, Entry, Origin, path};

    /// What the host's compiler makes of C text.
    fn compiled(directory: &Path, text: &str, flags: &[&str]) -> Vec<u8> {
        let (source, out) = (directory.join("source.c"), directory.join("out"));
        std::fs::write(&source, text).unwrap();
        let mut cc = Command::new("cc");
        cc.args(flags).arg("-o").arg(&out).arg(&source);
        assert!(cc.status().unwrap().success());
        std::fs::read(out).unwrap()
    }

    fn origin() -> Origin {
        let source = "files/library".to_owned();
        Origin::RecipeFile { source }
    }

    fn tree(bytes: &[u8]) -> Tree {
        let mut tree = Tree::new();
        for name in ["usr/lib/a", "usr/lib/libnvidia-ml.so.1"] {
            let bytes = if name.ends_with('a') { b"a" } else { bytes };
            let entry = Entry::file(0o755, Content::new(bytes.to_vec()), origin());
            tree.insert(path(name), entry);
        }
        tree
    }

    /// Files, and whether they are refused.
    fn cases() -> [(&'static str, Vec<u8>, bool); 8] {
        let scratch = tempfile::tempdir().unwrap();
        let make = |text, flags: &[&str]| compiled(scratch.path(), text, flags);
        let shared = ["-shared", "-fPIC"];
        let exporting = make("int standin_nvml_marker(void) { return 1; }", &shared);
        let mut torn = exporting.clone();
        torn.truncate(0x30);
        torn.extend_from_slice(MARKER.as_bytes());
        [
            ("exported", exporting, true),
            (
                "exported data",
                make("int standin_nvml_marker = 1;", &shared),
                true,
            ),
            ("cut off behind the magic", torn, true),
            (
                "imported",
                make(
                    "int standin_nvml_marker(void); int f(void) { return standin_nvml_marker(); }",
                    &shared,
                ),
                false,
            ),
            (
                "hidden",
                make(
                    "static int standin_nvml_marker(void) { return 1; } int f(void) { return standin_nvml_marker(); }",
                    &shared,
                ),
                false,
            ),
            (
                "text",
                make(
                    "const char *f(void) { return \"standin_nvml_marker\"; }",
                    &shared,
                ),
                false,
            ),
            (
                "longer name",
                make("int standin_nvml_marker_2(void) { return 1; }", &shared),
                false,
            ),
            ("no ELF file", MARKER.as_bytes().to_vec(), false),
        ]
    }

    #[test]
    fn only_files_that_export_the_symbol_are_refused() {
        let exporting = cases()[0].1.clone();
        for (name, bytes, refused) in cases() {
            let wanted = if refused {
                Some("`/usr/lib/libnvidia-ml.so.1` (file files/library) exports `standin_nvml_marker`: it is the stand-in for NVIDIA's management library".to_owned())
            } else {
                None
            };
            let found = search(&tree(&bytes), &[], &has_export).err();
            assert_eq!(found.map(|error| error.to_string()), wanted, "{name}");
        }
        let module = Module {
            name: "x".to_owned(),
            file_name: "x.ko".to_owned(),
            content: Content::new(exporting),
            origin: origin(),
        };
        let error = search(&tree(b""), &[module], &has_export).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`x.ko` (file files/library) exports `standin_nvml_marker`: it is the stand-in for NVIDIA's management library"
        );
    }

    /// A large file, for which an answer is planted in the store.
    #[test]
    fn what_was_found_in_a_large_file_is_kept_and_only_taken_where_allowed() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(scratch.path()).unwrap();
        let mut bytes = cases()[0].1.clone();
        bytes.resize(bytes.len() + (1 << 20), 0);
        let tree = tree(&bytes);
        let refused = |cache| refuse(&tree, &[], &store, cache).is_err();
        assert!(refused(true));
        let key = Digest::of(&bytes);
        let kept = store.derived(KIND, &key).unwrap();
        assert_eq!(store.read(&kept).unwrap(), b"true");
        store
            .set_derived(KIND, &key, &store.put(b"false").unwrap())
            .unwrap();
        assert!(!refused(true), "the store was not asked");
        assert!(refused(false));
        store
            .set_derived(KIND, &key, &store.put(b"no record").unwrap())
            .unwrap();
        assert!(refused(true));
    }
}
