//! The way of a child into the verity root: its own mounts and device nodes there, and nothing of the initramfs left.

use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, chroot};

use crate::confine::{ConfineError, step};
use crate::mount::{Mount, MountError, ROOT, apply_all};

/// A character device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// File name.
    pub(crate) name: String,
    /// Major number.
    pub(crate) major: u64,
    /// Minor number.
    pub(crate) minor: u64,
}

/// Why a child is not in its root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A mount failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A step failed.
    #[error(transparent)]
    Step(#[from] ConfineError),
    /// A device node cannot be made.
    #[error("device node {name}: {errno}")]
    Node {
        /// Its name.
        name: String,
        /// Why.
        errno: Errno,
    },
}

/// The devices that every program may expect (major 1, "Memory devices" in Linux
/// `Documentation/admin-guide/devices.txt`).
pub(crate) fn memory_nodes() -> Vec<Node> {
    let nodes = [
        ("null", 3),
        ("zero", 5),
        ("full", 7),
        ("random", 8),
        ("urandom", 9),
    ];
    let node = |(name, minor): (&str, u64)| Node {
        name: name.to_owned(),
        major: 1,
        minor,
    };
    nodes.map(node).into()
}

/// Makes `nodes` in `directory` for everybody; one that is there already stays.
///
/// # Errors
/// [`RootError::Node`].
pub(crate) fn make_nodes(directory: &Path, nodes: &[Node]) -> Result<(), RootError> {
    for node in nodes {
        let path = directory.join(&node.name);
        let mode = Mode::from_bits_truncate(0o666);
        match mknod(&path, SFlag::S_IFCHR, mode, makedev(node.major, node.minor)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => {
                return Err(RootError::Node {
                    name: node.name.clone(),
                    errno,
                });
            }
        }
    }
    Ok(())
}

/// Makes the verity root with the mounts of `plan` the only tree of this mount namespace, which must be the caller's own;
/// `nodes` come into its `/dev`. The caller's umask must be empty.
///
/// # Errors
/// [`RootError`].
pub(crate) fn enter(plan: &[Mount], nodes: &[Node]) -> Result<(), RootError> {
    const NONE: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, private, NONE).map_err(step("private mounts"))?;
    apply_all(plan)?;
    make_nodes(&Path::new(ROOT).join("dev"), nodes)?;
    for old in ["/sys", "/proc", "/dev", "/run"] {
        umount2(old, MntFlags::MNT_DETACH).map_err(step("old mounts"))?;
    }
    chdir(ROOT).map_err(step("chdir"))?;
    // The initramfs cannot be left with pivot_root(2).
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE).map_err(step("move root"))?;
    chroot(".").map_err(step("chroot"))?;
    chdir("/").map_err(step("chdir"))?;
    Ok(())
}
