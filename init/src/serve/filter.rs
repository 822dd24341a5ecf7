//! The system call filter of `serve`: what it needs to move bytes, and nothing else.
//!
//! No file can be opened, no program started, no memory made executable, no address but a Unix socket dialled.
//! Opening is refused, everything else kills the process, and PID 1 then powers the guest off. Covered: x86-64, glibc and musl.

use super::upstream::Endpoint;
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// System calls allowed with any argument.
const ALLOWED: &[libc::c_long] = &[
    // sockets and readiness
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_wait,
    libc::SYS_getsockopt,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    libc::SYS_write,
    libc::SYS_writev,
    // memory, time, randomness
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    // the end
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
];

/// The filter could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot install the system call filter: {0}")]
pub struct FilterError(String);

fn failed(error: impl std::fmt::Display) -> FilterError {
    FilterError(error.to_string())
}

/// Installs the filter for the calling thread, for good.
pub(super) fn install(endpoint: &Endpoint) -> Result<(), FilterError> {
    seccompiler::apply_filter(&refused()?).map_err(failed)?;
    seccompiler::apply_filter(&program(endpoint)?).map_err(failed)
}

/// Opening a file fails and does not kill: libc's allocator looks below `/proc` now and then, and
/// copes with a refusal.
fn refused() -> Result<BpfProgram, FilterError> {
    let refuse = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    compile(
        BTreeMap::from([(libc::SYS_openat, Vec::new())]),
        SeccompAction::Allow,
        refuse,
    )
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    others: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, FilterError> {
    let filter = SeccompFilter::new(rules, others, matching, TargetArch::x86_64).map_err(failed)?;
    filter.try_into().map_err(failed)
}

fn program(endpoint: &Endpoint) -> Result<BpfProgram, FilterError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let domain = match endpoint {
        Endpoint::Unix(_) => libc::AF_UNIX,
        Endpoint::Tcp(_) => libc::AF_INET,
    };
    rules.insert(libc::SYS_socket, vec![only(0, SeccompCmpOp::Eq, domain)?]);
    if domain == libc::AF_INET {
        rules.insert(libc::SYS_setsockopt, Vec::new());
    }
    // Builds with debug assertions ask whether a descriptor is open before they close it.
    rules.insert(
        libc::SYS_fcntl,
        vec![only(1, SeccompCmpOp::Eq, libc::F_GETFD)?],
    );
    let no_code = SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs()));
    rules.insert(libc::SYS_mmap, vec![only(2, no_code.clone(), 0)?]);
    rules.insert(libc::SYS_mprotect, vec![only(2, no_code, 0)?]);
    // Allowed here because `refused` has answered already: of two filters the stricter one decides.
    rules.insert(libc::SYS_openat, Vec::new());
    compile(rules, SeccompAction::KillProcess, SeccompAction::Allow)
}

/// A rule that compares one 32-bit argument.
fn only(argument: u8, operator: SeccompCmpOp, value: i32) -> Result<SeccompRule, FilterError> {
    let value = u64::from(value.unsigned_abs());
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .map_err(failed)?;
    SeccompRule::new(vec![condition]).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    /// Runs one of the ignored tests below in a process of its own: whether it passed, or what killed it.
    fn outcome_of(test: &str) -> Result<bool, Option<i32>> {
        let this = std::env::current_exe().unwrap();
        let test = format!("serve::filter::tests::{test}");
        let arguments = ["--exact", &test, "--ignored", "--test-threads=1"];
        let status = Command::new(this).args(arguments).output().unwrap().status;
        status.code().map(|code| code == 0).ok_or(status.signal())
    }

    #[test]
    fn filter_kills_what_dials_the_network_or_starts_a_program() {
        assert_eq!(outcome_of("probe_dials_tcp"), Err(Some(libc::SIGSYS)));
        assert_eq!(outcome_of("probe_starts_program"), Err(Some(libc::SIGSYS)));
        assert_eq!(outcome_of("probe_opens_file_and_dials_unix"), Ok(true));
    }

    fn confine() {
        install(&Endpoint::Unix("/http.sock".into())).unwrap();
    }

    #[test]
    #[ignore = "dies: run by `filter_kills_what_dials_the_network_or_starts_a_program`"]
    fn probe_dials_tcp() {
        confine();
        let _never = std::net::TcpStream::connect("127.0.0.1:1");
    }

    #[test]
    #[ignore = "dies: run by `filter_kills_what_dials_the_network_or_starts_a_program`"]
    fn probe_starts_program() {
        confine();
        let _never = Command::new("/bin/true").status();
    }

    #[test]
    #[ignore = "run by `filter_kills_what_dials_the_network_or_starts_a_program`"]
    fn probe_opens_file_and_dials_unix() {
        confine();
        let refused = std::fs::File::open("/dev/null").map_err(|error| error.kind());
        assert_eq!(refused.map(drop), Err(std::io::ErrorKind::PermissionDenied));
        let _allowed = std::os::unix::net::UnixStream::connect("/nonexistent");
    }
}
