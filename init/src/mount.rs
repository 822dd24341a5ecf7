//! The mounts: a table each for PID 1 and for the workload, and the one function that applies them.
//!
//! PID 1 stays on the initramfs. The workload's table is applied in its own mount namespace, below
//! the mounted verity root, before that becomes its root directory.

use std::borrow::Cow;
use std::path::Path;

use cloister_evidence::guest::Workload;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::unistd::mkdir;

/// Directory that `serve` and the workload share; holds the workload's socket.
pub const SHARED: &str = "/run/workload";

/// Where the verity root is mounted.
pub const ROOT: &str = "/root";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Device, directory or a word for the reader of `/proc/mounts`.
    pub source: &'static str,
    /// Existing directory, or one whose parent exists.
    pub target: &'static str,
    /// File system type; empty for a bind mount.
    pub kind: &'static str,
    /// Flags.
    pub flags: MsFlags,
    /// Options of the file system.
    pub options: Cow<'static, str>,
}

/// A mount that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {target}: {errno}")]
pub struct MountError {
    what: &'static str,
    target: String,
    errno: Errno,
}

impl MountError {
    pub(crate) fn new(what: &'static str, target: &str, errno: Errno) -> Self {
        Self {
            what,
            target: target.to_owned(),
            errno,
        }
    }
}

const SAFE: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);
const DEVICES: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);

/// PID 1's mounts before it has read its configuration, in order.
#[must_use]
pub fn boot_plan() -> Vec<Mount> {
    let kernel = |kind, target| Mount {
        source: kind,
        target,
        kind,
        flags: SAFE,
        options: Cow::Borrowed(""),
    };
    vec![
        Mount {
            source: "dev",
            target: "/dev",
            kind: "devtmpfs",
            flags: DEVICES,
            options: Cow::Borrowed("mode=0755"),
        },
        kernel("proc", "/proc"),
        kernel("sysfs", "/sys"),
        kernel("securityfs", "/sys/kernel/security"),
        kernel("cgroup2", "/sys/fs/cgroup"),
        Mount {
            source: "run",
            target: "/run",
            kind: "tmpfs",
            flags: SAFE,
            options: Cow::Borrowed("mode=0755,size=64k"),
        },
        // A socket and nothing else of size: `serve` is confined to this directory.
        Mount {
            source: "workload",
            target: SHARED,
            kind: "tmpfs",
            flags: SAFE,
            options: Cow::Borrowed("mode=0700,size=1m"),
        },
    ]
}

/// The mount of configfs, if its module was among those loaded: it makes the directory below `sys`.
#[must_use]
pub fn configfs_plan(sys: &Path) -> Vec<Mount> {
    let present = sys.join("kernel/config").is_dir();
    let configfs = Mount {
        source: "configfs",
        target: "/sys/kernel/config",
        kind: "configfs",
        flags: SAFE,
        options: Cow::Borrowed(""),
    };
    present.then_some(configfs).into_iter().collect()
}

/// The mount of the verity root, from `device`.
#[must_use]
pub fn root_plan(device: &'static str) -> Mount {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    Mount {
        source: device,
        target: ROOT,
        kind: "erofs",
        flags,
        options: Cow::Borrowed(""),
    }
}

/// The mounts of `workload` over the verity root, in order.
#[must_use]
pub fn workload_plan(workload: &Workload) -> Vec<Mount> {
    let bind = |source, target| Mount {
        source,
        target,
        kind: "",
        flags: MsFlags::MS_BIND,
        options: Cow::Borrowed(""),
    };
    let flags = SAFE | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    let tmpfs = |target, flags, options| Mount {
        source: "workload",
        target,
        kind: "tmpfs",
        flags,
        options: Cow::Borrowed(options),
    };
    let sized = |target, flags, size: u64| Mount {
        options: writable(size),
        ..tmpfs(target, flags, "")
    };
    vec![
        Mount {
            source: "proc",
            target: "/root/proc",
            kind: "proc",
            flags: SAFE,
            options: Cow::Borrowed(""),
        },
        // Programs ask it for processors, memory nodes and devices. Of the network it shows this namespace's.
        Mount {
            source: "sysfs",
            target: "/root/sys",
            kind: "sysfs",
            flags: SAFE.union(MsFlags::MS_RDONLY),
            options: Cow::Borrowed(""),
        },
        // The host wrote what is there: DMI, ACPI and EFI.
        tmpfs(
            "/root/sys/firmware",
            SAFE.union(MsFlags::MS_RDONLY),
            "mode=0555,size=4k",
        ),
        tmpfs("/root/dev", DEVICES, "mode=0755,size=64k"),
        sized("/root/dev/shm", SAFE, workload.shm_max),
        // Compilers put programs here, and run them.
        sized(
            "/root/tmp",
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            workload.tmp_max,
        ),
        tmpfs("/root/run", SAFE, "mode=0755,size=64k"),
        bind(SHARED, "/root/run/workload"),
        Mount {
            source: "",
            target: "/root/run/workload",
            kind: "",
            flags,
            options: Cow::Borrowed(""),
        },
    ]
}

/// Options of a directory that everybody may write to, of `size` bytes; of the kernel's choice, half of the memory, for 0.
fn writable(size: u64) -> Cow<'static, str> {
    match size {
        0 => Cow::Borrowed("mode=1777"),
        size => Cow::Owned(format!("mode=1777,size={size}")),
    }
}

/// The mounts of the GPU's helper over the verity root, in order: what NVIDIA's library looks at, and nothing shared.
#[must_use]
pub fn gpu_helper_plan() -> Vec<Mount> {
    let kernel = |kind, target, flags, options| Mount {
        source: kind,
        target,
        kind,
        flags,
        options: Cow::Borrowed(options),
    };
    vec![
        kernel("proc", "/root/proc", SAFE, ""),
        kernel("sysfs", "/root/sys", SAFE.union(MsFlags::MS_RDONLY), ""),
        kernel("tmpfs", "/root/dev", DEVICES, "mode=0755,size=64k"),
        kernel("tmpfs", "/root/tmp", SAFE, "mode=0700,size=1m"),
        kernel("tmpfs", "/root/run", SAFE, "mode=0755,size=64k"),
    ]
}

/// Applies one mount; a missing last component of the target is made.
///
/// # Errors
/// [`MountError`].
pub fn apply(entry: &Mount) -> Result<(), MountError> {
    let refused = |what| move |errno| MountError::new(what, entry.target, errno);
    match mkdir(entry.target, Mode::from_bits_truncate(0o755)) {
        // Read-only: the directory must be there, or the mount says so.
        Ok(()) | Err(Errno::EEXIST | Errno::EROFS | Errno::EPERM | Errno::ENOENT) => {}
        Err(errno) => return Err(refused("directory")(errno)),
    }
    let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
    mount(
        some(entry.source),
        entry.target,
        some(entry.kind),
        entry.flags,
        some(&entry.options),
    )
    .map_err(refused("mount"))
}

/// Applies a table from its first entry to its last.
///
/// # Errors
/// The first entry's [`MountError`] that has one.
pub fn apply_all(plan: &[Mount]) -> Result<(), MountError> {
    plan.iter().try_for_each(apply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(plan: &[Mount]) -> String {
        plan.iter()
            .map(|m| {
                format!(
                    "{} {} {} {:?} {}\n",
                    m.source, m.target, m.kind, m.flags, m.options
                )
            })
            .collect()
    }

    #[test]
    fn boot_plan_is_the_documented_table() {
        insta::assert_snapshot!(table(&boot_plan()));
    }

    #[test]
    fn workload_plan_is_the_documented_table() {
        insta::assert_snapshot!(table(&workload_plan(&workload(0, 0))));
    }

    #[test]
    fn writable_directories_have_the_sizes_of_the_configuration() {
        let plan = workload_plan(&workload(1 << 30, 4096));
        let options = |target| {
            let mut found = plan.iter().filter(|mount| mount.target == target);
            found.next().map(|mount| &*mount.options)
        };
        assert_eq!(options("/root/tmp"), Some("mode=1777,size=1073741824"));
        assert_eq!(options("/root/dev/shm"), Some("mode=1777,size=4096"));
    }

    fn workload(tmp_max: u64, shm_max: u64) -> Workload {
        let text = crate::test_configuration::TEXT.as_bytes();
        let guest = cloister_evidence::guest::GuestConfiguration::parse(text).unwrap();
        Workload {
            tmp_max,
            shm_max,
            ..guest.workload
        }
    }

    #[test]
    fn gpu_helper_plan_is_the_documented_table() {
        insta::assert_snapshot!(table(&gpu_helper_plan()));
    }

    #[test]
    fn apply_reports_target_and_cause() {
        let entry = Mount {
            source: "",
            target: "/proc/absent/x",
            kind: "tmpfs",
            flags: SAFE,
            options: Cow::Borrowed(""),
        };
        let error = apply(&entry).unwrap_err();
        assert_eq!(error.target, "/proc/absent/x");
    }
}
