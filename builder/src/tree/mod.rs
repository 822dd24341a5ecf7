//! The image's root as a tree in memory: paths, owners, modes and contents.
//!
//! Nothing of it is ever written to the host with an owner. There is one modification time for
//! everything (the lock's epoch), so entries carry none; extended attributes, device nodes,
//! sockets and pipes do not exist here. Hard links are entries that share one [`Content`].

mod archive;
mod assemble;
mod content;
mod distributions;
mod entry;
pub(crate) mod merge;
mod path;
pub(crate) mod pattern;
#[cfg(test)]
mod real;
mod recipe_files;
pub(crate) mod report;
mod resolve;
mod select;
pub(crate) mod unpack;

use std::collections::BTreeMap;

pub(crate) use assemble::{Built, Source};
pub(crate) use content::{Content, Packed};
pub(crate) use entry::{Entry, MODE_MASK, Node, Origin};
pub(crate) use path::{PathError, TreePath, show};
pub(crate) use resolve::Resolved;

/// One image root. The root directory itself (mode 0755, owner 0:0) is implied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    entries: BTreeMap<TreePath, Entry>,
}

impl Tree {
    /// An empty tree.
    pub(crate) fn new() -> Tree {
        Tree::default()
    }

    /// The entry at exactly `path`; symbolic links are not followed.
    pub(crate) fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Puts `entry` at exactly `path` and returns what was there. Parents are not made.
    pub(crate) fn insert(&mut self, path: TreePath, entry: Entry) -> Option<Entry> {
        self.entries.insert(path, entry)
    }

    /// Takes the entry at exactly `path` out; what lies below a directory stays.
    pub(crate) fn remove(&mut self, path: &TreePath) -> Option<Entry> {
        self.entries.remove(path)
    }

    /// Takes out everything below a directory; the directory itself stays.
    pub(crate) fn remove_below(&mut self, directory: &str) {
        let Ok(directory) = TreePath::new(directory.as_bytes()) else {
            return;
        };
        self.entries.retain(|path, _| !path.is_below(&directory));
    }

    /// All entries, sorted bytewise by path: a directory always precedes what it holds.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&TreePath, &Entry)> {
        self.entries.iter()
    }

    /// The entries below `directory`, sorted; its own entry is not among them.
    pub(crate) fn below<'a>(
        &'a self,
        directory: &'a TreePath,
    ) -> impl Iterator<Item = (&'a TreePath, &'a Entry)> {
        // `/` sorts after `-` and `.`, so other names may stand between a directory and its content.
        let after = (
            std::ops::Bound::Excluded(directory),
            std::ops::Bound::Unbounded,
        );
        let all = self.entries.range::<TreePath, _>(after);
        all.take_while(|(path, _)| path.as_bytes().starts_with(directory.as_bytes()))
            .filter(|(path, _)| path.is_below(directory))
    }

    /// Number of entries, the root directory not counted.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The kernel and its modules, taken out of the locked kernel packages.
#[derive(Debug, Clone)]
pub(crate) struct KernelFiles {
    /// Kernel release, the name of the module directory (`6.12.107+deb13-cloud-amd64`).
    pub(crate) release: String,
    /// The kernel image (bzImage with EFI stub) as packaged.
    pub(crate) vmlinuz: Content,
    /// What the kernel image came from.
    pub(crate) vmlinuz_origin: Origin,
    /// Modules in load order: everything a module needs stands before it.
    pub(crate) modules: Vec<Module>,
    /// Modules of the recipe that the kernel has built in.
    pub(crate) built_in: Vec<String>,
}

/// One kernel module, uncompressed.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// Name with `_` for `-`, as `/proc/modules` shows it.
    pub(crate) name: String,
    /// File name in the package without the ending of a compression, for example `virtio_blk.ko`.
    pub(crate) file_name: String,
    /// The ELF file.
    pub(crate) content: Content,
    /// What the module came from.
    pub(crate) origin: Origin,
}

/// A path that the caller knows to be valid, for tests.
#[cfg(test)]
pub(crate) fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).expect("a valid path")
}
