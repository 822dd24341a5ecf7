//! The image's root as a tree in memory: paths, owners, modes and contents.
//!
//! Nothing of it is ever written to the host with an owner. There is one modification time for
//! everything (the lock's epoch), so entries carry none; extended attributes, device nodes,
//! sockets and pipes do not exist here. Hard links are entries that share one [`Content`].

mod archive;
mod assemble;
mod content;
pub(crate) mod merge;
mod path;
pub(crate) mod pattern;
#[cfg(test)]
mod real;
pub(crate) mod report;
mod resolve;
mod select;
pub(crate) mod unpack;

use std::collections::BTreeMap;

use crate::store::Digest;

pub(crate) use assemble::{Built, Source, TreeError};
pub(crate) use content::Content;
pub(crate) use path::{PathError, TreePath, show};
pub(crate) use resolve::Resolved;

/// Permission bits an entry may have: `rwx` for three classes, set-uid, set-gid and sticky.
pub(crate) const MODE_MASK: u32 = 0o7777;

/// One image root. The root directory itself (mode 0755, owner 0:0) is implied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    entries: BTreeMap<TreePath, Entry>,
}

/// A directory, file or symbolic link with its owner and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Permission bits including set-uid, set-gid and sticky; 0o777 for symbolic links.
    pub(crate) mode: u32,
    /// Numeric owner.
    pub(crate) uid: u32,
    /// Numeric group.
    pub(crate) gid: u32,
    /// What the entry is.
    pub(crate) node: Node,
    /// What put it there.
    pub(crate) origin: Origin,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target's bytes, not interpreted.
    Symlink(Vec<u8>),
}

/// What put an entry into the tree; the provenance index is made of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// A Debian binary package.
    Package {
        /// Package name.
        name: String,
        /// Debian version.
        version: String,
        /// SHA-256 of the `.deb`.
        sha256: Digest,
    },
    /// A Python wheel.
    Wheel {
        /// Distribution name as in the lock.
        name: String,
        /// Version.
        version: String,
        /// SHA-256 of the `.whl`.
        sha256: Digest,
    },
    /// A `[[file]]` of the recipe.
    RecipeFile {
        /// `source` as the recipe has it, relative to the recipe's directory.
        source: String,
    },
    /// An `[[input]]` of the recipe, locked by SHA-256.
    Input {
        /// SHA-256 of the fetched file.
        sha256: Digest,
    },
    /// A built-in effect, by its name (`ld.so.cache`, `accounts`, ...).
    Effect(&'static str),
    /// Bytecode compiled from a source file of the tree.
    Bytecode {
        /// What the source file came from.
        source: Box<Origin>,
    },
    /// The guest itself (`cloister-init` and its configuration).
    Guest,
}

impl Entry {
    /// A directory owned by root.
    pub(crate) fn directory(mode: u32, origin: Origin) -> Entry {
        Entry {
            mode: mode & MODE_MASK,
            uid: 0,
            gid: 0,
            node: Node::Directory,
            origin,
        }
    }

    /// A regular file owned by root.
    pub(crate) fn file(mode: u32, content: Content, origin: Origin) -> Entry {
        Entry {
            mode: mode & MODE_MASK,
            uid: 0,
            gid: 0,
            node: Node::File(content),
            origin,
        }
    }

    /// A symbolic link owned by root.
    pub(crate) fn symlink(target: &[u8], origin: Origin) -> Entry {
        Entry {
            mode: 0o777,
            uid: 0,
            gid: 0,
            node: Node::Symlink(target.to_vec()),
            origin,
        }
    }

    /// The content when this is a regular file.
    pub(crate) fn content(&self) -> Option<&Content> {
        match &self.node {
            Node::File(content) => Some(content),
            Node::Directory | Node::Symlink(_) => None,
        }
    }

    /// Whether this is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.node == Node::Directory
    }
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
}

/// One kernel module as packaged, compressed or not.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// Name with `_` for `-`, as `/proc/modules` shows it.
    pub(crate) name: String,
    /// File name in the package, for example `virtio_blk.ko.xz`.
    pub(crate) file_name: String,
    /// The bytes as packaged.
    pub(crate) content: Content,
    /// What the module came from.
    pub(crate) origin: Origin,
}

/// A path that the caller knows to be valid, for tests.
#[cfg(test)]
pub(crate) fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).expect("a valid path")
}
