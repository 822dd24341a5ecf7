//! Entries of a tree and where they came from.

use super::Content;
use crate::store::Digest;

/// Permission bits an entry may have: `rwx` for three classes, set-uid, set-gid and sticky.
pub(crate) const MODE_MASK: u32 = 0o7777;

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
    /// A file of a model.
    Model {
        /// The model's name.
        name: String,
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

impl Origin {
    /// The origin for people and as a key: kind and name, without version or hash.
    pub(crate) fn label(&self) -> String {
        match self {
            Origin::Package { name, .. } => format!("package {name}"),
            Origin::Wheel { name, .. } => format!("wheel {name}"),
            Origin::RecipeFile { source } => format!("file {source}"),
            Origin::Model { name } => format!("model {name}"),
            Origin::Input { sha256 } => format!("input {sha256}"),
            Origin::Effect(name) => format!("effect {name}"),
            Origin::Bytecode { source } => format!("bytecode of {}", source.label()),
        }
    }
}
