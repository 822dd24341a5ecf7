//! Locked programs, run from the store and never from the host.
//!
//! A tool is the closure of packages that the lock names for it. It is unpacked once into
//! `tools/<key>/` of the store, where the key is the hash of the packages, and started through
//! its own dynamic loader with its own libraries: `ld-linux --library-path ...`. Before use every
//! file is compared with the list that was kept when it was unpacked. The environment is empty but
//! for what the caller gives; no namespace is made yet (docs/adr/0020-tools-from-the-store.md).

mod run;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::cmd::Hinted;
use crate::lock::LockedPackage;
use crate::store::{Digest, Store, StoreError};
use crate::tree::merge::{MergeError, overlay};
use crate::tree::unpack::{UnpackError, layer};
use crate::tree::{Node, Resolved, Tree, TreePath};

/// The loader of x86-64 Debian, below the tool's directory.
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
/// Where its libraries are.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib"];
/// What a program never needs to run: documents and the like are not unpacked.
const UNNEEDED: [&str; 4] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
];

/// An unpacked closure of packages.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    directory: PathBuf,
}

/// Why a locked program could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A package of the tool.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The packages of the tool contradict each other.
    #[error("packages of a tool cannot lie over each other")]
    Merge(#[from] MergeError),
    /// Unpacking to disk failed.
    #[error("tool file `{path}` cannot be written or read")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store's path breaks the loader's list of directories.
    #[error("path of the store `{0}` has a `:` or `;`, which the dynamic loader cannot take")]
    StorePath(PathBuf),
    /// The program is not in the packages.
    #[error("locked packages have no program `{0}`")]
    NoProgram(String),
    /// The program could not be started.
    #[error("locked program `{program}` could not be started")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The program failed.
    #[error("locked program `{program}` failed ({status}): {stderr}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// The program stopped working without ending: it used no processor time any more.
    #[error("locked program `{program}` hung: {seconds} s without using the processor")]
    Hung {
        /// The program.
        program: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Talking to the program failed though it ended well.
    #[error("locked program `{program}` did not read its input")]
    Input {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
}

impl Hinted for ToolError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Unpack(error) => error.hint(),
            Self::StorePath(_) => Some("name another store with `--store DIR`".to_owned()),
            Self::NoProgram(_) => {
                Some("name the package that holds it in the recipe's `[tools]`".to_owned())
            }
            Self::Hung { .. } => Some(
                "see whether the disks of the store and of the output are full: some programs wait for ever then"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl Tool {
    /// Unpacks `packages` unless the store already has them unpacked and whole.
    pub(crate) fn open(store: &Store, packages: &[&LockedPackage]) -> Result<Tool, ToolError> {
        let key = key(packages);
        let directory = store.tools_dir().join(key.to_string());
        if directory.to_string_lossy().contains([':', ';']) {
            return Err(ToolError::StorePath(directory));
        }
        let tool = Tool { directory };
        if let Some(list) = store.derived("tool", &key)
            && tool.is_whole(&store.read(&list)?)
        {
            return Ok(tool);
        }
        let layers: Result<Vec<_>, UnpackError> = packages
            .par_iter()
            .map(|package| layer(store, package).map(|(layer, _)| layer))
            .collect();
        let (mut tree, _) = overlay(layers?)?;
        for unneeded in UNNEEDED {
            tree.remove_below(unneeded);
        }
        tool.unpack(store, &tree)?;
        let list = store.put(list(&tree).as_bytes())?;
        store.set_derived("tool", &key, &list)?;
        Ok(tool)
    }

    /// Where `path` of the packages is on this machine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// A command that starts `program` (a path such as `usr/bin/mkfs.erofs`) with an empty
    /// environment. The caller sets arguments, working directory and streams.
    pub(crate) fn command(&self, program: &str) -> Result<Command, ToolError> {
        let path = self.directory.join(program);
        let loader = self.directory.join(LOADER);
        for (name, path) in [(program, &path), (LOADER, &loader)] {
            if !path.is_file() {
                return Err(ToolError::NoProgram(name.to_owned()));
            }
        }
        let libraries: Vec<String> = LIBRARIES
            .iter()
            .map(|l| self.directory.join(l).to_string_lossy().into_owned())
            .collect();
        let mut command = Command::new(loader);
        command
            .arg("--inhibit-cache")
            .arg("--library-path")
            .arg(libraries.join(":"))
            .arg(path);
        command
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC0");
        Ok(command)
    }

    /// Writes `tree` to a scratch directory and gives it its name when it is whole.
    fn unpack(&self, store: &Store, tree: &Tree) -> Result<(), ToolError> {
        let scratch = store.scratch()?;
        let root = scratch.path().join("root");
        let io = |path: &Path, source| ToolError::Io {
            path: path.to_owned(),
            source,
        };
        fs::create_dir(&root).map_err(|e| io(&root, e))?;
        for (path, entry) in tree.iter() {
            let at = root.join(os_path(path));
            match &entry.node {
                Node::Directory => fs::create_dir(&at),
                Node::Symlink(_) => match inside(tree, path) {
                    Some(target) => symlink(target, &at),
                    None => continue,
                },
                Node::File(content) => {
                    let mode = if entry.mode & 0o111 == 0 {
                        0o644
                    } else {
                        0o755
                    };
                    File::create(&at)
                        .and_then(|mut file| content.copy(&mut file))
                        .and_then(|()| fs::set_permissions(&at, Permissions::from_mode(mode)))
                }
            }
            .map_err(|e| io(&at, e))?;
        }
        if self.directory.exists() {
            // A damaged copy; another process may be replacing it too, so it is moved away first.
            fs::rename(&self.directory, scratch.path().join("damaged"))
                .map_err(|e| io(&self.directory, e))?;
        }
        match fs::rename(&root, &self.directory) {
            Err(_) if self.directory.exists() => Ok(()), // another process was faster with the same bytes
            result => result.map_err(|e| io(&self.directory, e)),
        }
    }

    /// Whether every file has the size and hash that the list says.
    fn is_whole(&self, list: &[u8]) -> bool {
        let lines: Vec<&str> = std::str::from_utf8(list)
            .unwrap_or_default()
            .lines()
            .collect();
        !lines.is_empty()
            && lines.par_iter().all(|line| match line.split_once(' ') {
                Some((sha256, path)) => fs::read(self.directory.join(path))
                    .is_ok_and(|bytes| Digest::of(&bytes).to_string() == sha256),
                None => false,
            })
    }
}

/// The hash of all packages of a tool, whatever their order.
pub(crate) fn key(packages: &[&LockedPackage]) -> Digest {
    let mut digests: Vec<Digest> = packages.iter().map(|package| package.sha256).collect();
    digests.sort();
    let mut hash = Sha256::new_with_prefix(b"cloister tool 1\n");
    for digest in digests {
        hash.update(digest.0);
    }
    Digest(hash.finalize().into())
}

/// One line per file: hash and path. Names that are not UTF-8 are left out of the check.
fn list(tree: &Tree) -> String {
    let files = tree
        .iter()
        .filter_map(|(path, entry)| Some((path, entry.content()?)));
    files
        .filter_map(|(path, content)| Some((std::str::from_utf8(path.as_bytes()).ok()?, content)))
        .map(|(path, content)| format!("{} {path}\n", content.sha256()))
        .collect()
}

fn os_path(path: &TreePath) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

/// Where a link leads as a relative path that stays in the tool's directory; `None` when it leads
/// to nothing.
fn inside(tree: &Tree, link: &TreePath) -> Option<PathBuf> {
    let target = match tree.resolve(link, true) {
        Resolved::Path(target) if tree.get(&target).is_some() => target,
        _ => return None,
    };
    let up = link.components().count().saturating_sub(1);
    let mut relative: PathBuf = std::iter::repeat_n("..", up).collect();
    relative.push(os_path(&target));
    Some(relative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Entry, Origin, path};

    fn sample() -> Tree {
        let mut tree = Tree::new();
        tree.insert(path("usr"), Entry::directory(0o700, Origin::Effect("test")));
        tree.insert(
            path("usr/f"),
            Entry::file(0o4755, Content::new(b"x".to_vec()), Origin::Effect("test")),
        );
        tree.insert(
            path("usr/abs"),
            Entry::symlink(b"/usr/f", Origin::Effect("test")),
        );
        tree.insert(
            path("usr/out"),
            Entry::symlink(b"/etc/passwd", Origin::Effect("test")),
        );
        tree.insert(
            path("l"),
            Entry::symlink(b"../../usr", Origin::Effect("test")),
        );
        tree
    }

    #[test]
    fn unpack_keeps_links_inside_and_notices_damage() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let tool = Tool {
            directory: store.tools_dir().join("t"),
        };
        let tree = sample();
        tool.unpack(&store, &tree).unwrap();
        assert_eq!(fs::read(tool.directory.join("l/abs")).unwrap(), b"x");
        assert_eq!(
            fs::read_link(tool.directory.join("usr/abs")).unwrap(),
            Path::new("../usr/f")
        );
        assert!(
            fs::symlink_metadata(tool.directory.join("usr/out")).is_err(),
            "a link to nothing is left out"
        );
        let mode = fs::metadata(tool.directory.join("usr/f"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755, "no set-uid bit reaches the disk");
        let list = list(&tree);
        assert!(tool.is_whole(list.as_bytes()));
        fs::write(tool.directory.join("usr/f"), "y").unwrap();
        assert!(!tool.is_whole(list.as_bytes()));
        tool.unpack(&store, &tree).unwrap();
        assert!(tool.is_whole(list.as_bytes()), "a damaged copy is replaced");
        assert!(!tool.is_whole(b""));
    }

    #[test]
    fn command_refuses_programs_that_are_not_there() {
        let tool = Tool {
            directory: PathBuf::from("/nonexistent"),
        };
        assert!(
            matches!(tool.command("usr/bin/x"), Err(ToolError::NoProgram(p)) if p == "usr/bin/x")
        );
    }
}
