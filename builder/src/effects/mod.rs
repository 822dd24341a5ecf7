//! What maintainer scripts usually do, done here instead: short, deterministic, without programs.
//!
//! `before` runs on the full tree, `after` when the recipe's `drop` has been applied, so that the
//! loader's cache lists only what is there. Files that are already in the tree win over ours.

mod accounts;
mod alternatives;
mod certificates;
mod ldcache;
mod nvidia;

use std::borrow::Cow;
use std::io;

use crate::deb::scripts::Alternative;
use crate::recipe::User;
use crate::tree::{Content, Entry, Node, Origin, PathError, Resolved, Tree, TreePath};

pub(crate) use accounts::AccountError;

/// Why an effect cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EffectError {
    /// A path of a built-in effect or a package's text is not usable.
    #[error("an effect needs an unusable path")]
    Path(#[from] PathError),
    /// Users cannot be written.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A file of the tree could not be read.
    #[error("`/{path}` cannot be read")]
    Read {
        /// The file.
        path: TreePath,
        /// Why.
        source: io::Error,
    },
    /// A directory is needed where something else stands.
    #[error("effect `{effect}` needs a directory at `/{path}`, but something else stands there")]
    NotADirectory {
        /// The effect.
        effect: &'static str,
        /// Where.
        path: TreePath,
    },
}

/// Directories that every image has so that a file system can be mounted on them, and their modes.
const MOUNT_POINTS: [(&str, u32); 10] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("run/workload", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
];

/// Name resolution without a network: the loopback names.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

/// Effects on the full tree: mount points, accounts, certificates, alternatives.
pub(crate) fn before(
    tree: &mut Tree,
    users: &[User],
    alternatives: &[Alternative],
) -> Result<Vec<String>, EffectError> {
    for (name, mode) in MOUNT_POINTS {
        let path = TreePath::new(name.as_bytes())?;
        if tree.get(&path).is_none() {
            tree.insert(path, Entry::directory(mode, Origin::Effect("mount points")));
        }
    }
    accounts::write(tree, users)?;
    write_missing(tree, "hosts", "etc/hosts", HOSTS.as_bytes().to_vec())?;
    certificates::write(tree)?;
    alternatives::write(tree, alternatives)
}

/// Effects on what the recipe keeps: links to the GPU driver's libraries, and the loader's cache.
pub(crate) fn after(tree: &mut Tree) -> Result<Vec<String>, EffectError> {
    nvidia::write(tree)?;
    ldcache::write(tree)
}

/// Directories that the loader's cache has libraries of, in the order in which they are searched.
pub(crate) fn library_directories(tree: &Tree) -> Result<Vec<String>, EffectError> {
    ldcache::search_path(tree)
}

/// The bytes of a file of the tree.
fn read<'a>(path: &TreePath, content: &'a Content) -> Result<Cow<'a, [u8]>, EffectError> {
    content.read().map_err(|source| EffectError::Read {
        path: path.clone(),
        source,
    })
}

/// Writes a file with mode 0644 unless the tree has one.
fn write_missing(
    tree: &mut Tree,
    effect: &'static str,
    path: &str,
    bytes: Vec<u8>,
) -> Result<(), EffectError> {
    let path = TreePath::new(path.as_bytes())?;
    if tree.get(&path).is_none() {
        put(
            tree,
            effect,
            path,
            Entry::file(0o644, Content::new(bytes), Origin::Effect(effect)),
        )?;
    }
    Ok(())
}

/// Puts an entry where its path leads, with parents made as needed.
fn put(
    tree: &mut Tree,
    effect: &'static str,
    path: TreePath,
    entry: Entry,
) -> Result<(), EffectError> {
    let path = match tree.resolve(&path, false) {
        Resolved::Path(path) => path,
        Resolved::Root | Resolved::Loop => return Err(EffectError::NotADirectory { effect, path }),
    };
    let mut parent = path.parent();
    while let Some(directory) = parent {
        match tree.get(&directory).map(|entry| &entry.node) {
            Some(Node::Directory) => break,
            Some(_) => {
                return Err(EffectError::NotADirectory {
                    effect,
                    path: directory,
                });
            }
            None => {}
        }
        parent = directory.parent();
        tree.insert(directory, Entry::directory(0o755, Origin::Effect(effect)));
    }
    tree.insert(path, entry);
    Ok(())
}
