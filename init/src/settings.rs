//! Kernel settings: one table of files under `/proc/sys` and what is written to them.
//!
//! Every entry must exist in the image's kernel: a kernel that lacks one is another kernel than
//! the recipe was tested with, and the boot stops.

use std::path::Path;

/// A file and its new content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Absolute path.
    pub path: &'static str,
    /// What is written.
    pub value: &'static str,
}

/// A setting that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct SettingError {
    path: &'static str,
    source: std::io::Error,
}

const fn set(path: &'static str, value: &'static str) -> Setting {
    Setting { path, value }
}

/// Before anything else: the kernel runs no helper program, keeps no core dump, talks IPv4 only,
/// ignores keys sent over the console, and tells the workload and the console nothing.
pub const EARLY: &[Setting] = &[
    set("/proc/sys/kernel/modprobe", "\n"),
    set("/proc/sys/kernel/core_pattern", "\n"),
    set("/proc/sys/kernel/core_uses_pid", "0"),
    set("/proc/sys/fs/suid_dumpable", "0"),
    set("/proc/sys/kernel/sysrq", "0"),
    set("/proc/sys/kernel/dmesg_restrict", "1"),
    set("/proc/sys/kernel/kptr_restrict", "2"),
    set("/proc/sys/kernel/unprivileged_bpf_disabled", "1"),
    set("/proc/sys/kernel/io_uring_disabled", "2"),
    set("/proc/sys/kernel/yama/ptrace_scope", "2"),
    set("/proc/sys/kernel/kexec_load_disabled", "1"),
    set("/proc/sys/user/max_user_namespaces", "0"),
    set("/proc/sys/debug/exception-trace", "0"),
    set("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"),
    set("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
    set("/proc/sys/net/ipv4/conf/all/accept_redirects", "0"),
    set("/proc/sys/net/ipv4/conf/default/accept_redirects", "0"),
];

/// After the last module: no more code enters the kernel, not even by root's hand.
pub const LATE: &[Setting] = &[
    set("/proc/sys/kernel/modules_disabled", "1"),
    set("/sys/kernel/security/lockdown", "confidentiality"),
];

/// Control groups: the controllers the workload's group needs.
pub const CGROUPS: &[Setting] = &[set(
    "/sys/fs/cgroup/cgroup.subtree_control",
    "+memory +pids",
)];

/// Writes the settings in order; paths are taken below `root`, which is `/` in a guest.
///
/// # Errors
/// The first [`SettingError`].
pub fn apply(root: &Path, settings: &[Setting]) -> Result<(), SettingError> {
    for Setting { path, value } in settings {
        let file = root.join(path.trim_start_matches('/'));
        // Not `fs::write`: these files exist or the kernel lacks the setting.
        std::fs::File::options()
            .write(true)
            .open(file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()))
            .map_err(|source| SettingError { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apply_writes_in_order_and_refuses_a_missing_file() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a"), "").unwrap();
        let error = apply(root.path(), &[set("/a", "1"), set("/b", "2")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/b: No such file or directory (os error 2)"
        );
        assert_eq!(std::fs::read_to_string(root.path().join("a")).unwrap(), "1");
        assert!(!root.path().join("b").exists());
    }
}
