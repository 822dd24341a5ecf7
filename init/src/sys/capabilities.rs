//! Giving up Linux capabilities for good.
//!
//! Spec: capabilities(7), prctl(2), capset(2) (`_LINUX_CAPABILITY_VERSION_3`).

use nix::errno::Errno;
use nix::libc;

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`; version 3 takes two of them.
#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// `CAP_SYS_ADMIN`, "perform a range of system administration operations".
const SYS_ADMIN: u32 = 21;

/// Empties the bounding and the ambient set of this thread; needs `CAP_SETPCAP`.
///
/// # Errors
/// The kernel's, if a capability that exists cannot be dropped.
pub(crate) fn empty_bounding_set() -> nix::Result<()> {
    bound_to(None)
}

/// Leaves `CAP_SYS_ADMIN` alone in the bounding set of this thread, and empties the ambient set; needs `CAP_SETPCAP`.
///
/// # Errors
/// The kernel's, if a capability that exists cannot be dropped.
pub(crate) fn bound_to_administration() -> nix::Result<()> {
    bound_to(Some(SYS_ADMIN))
}

fn bound_to(kept: Option<u32>) -> nix::Result<()> {
    let zero: libc::c_ulong = 0;
    for capability in (0..64).filter(|capability| Some(*capability) != kept) {
        let capability = libc::c_ulong::from(capability);
        // SAFETY: PR_CAPBSET_DROP takes a number and reads no memory.
        match Errno::result(unsafe {
            libc::prctl(libc::PR_CAPBSET_DROP, capability, zero, zero, zero)
        }) {
            Ok(_) => {}
            // The first number beyond the last capability of this kernel.
            Err(Errno::EINVAL) if capability > 0 => break,
            Err(error) => return Err(error),
        }
    }
    let clear = libc::c_ulong::from(libc::PR_CAP_AMBIENT_CLEAR_ALL.unsigned_abs());
    // SAFETY: PR_CAP_AMBIENT takes numbers and reads no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, zero, zero, zero) }).map(drop)
}

/// Empties the effective, permitted and inheritable set of this thread.
///
/// # Errors
/// The kernel's.
pub(crate) fn empty_own_sets() -> nix::Result<()> {
    set_own_sets(0)
}

/// Leaves `CAP_SYS_ADMIN` alone in the effective and permitted set of this thread, and empties the inheritable set.
///
/// # Errors
/// The kernel's.
pub(crate) fn keep_administration() -> nix::Result<()> {
    set_own_sets(1 << SYS_ADMIN)
}

/// `kept` are the capabilities below 32 that stay; none above does.
fn set_own_sets(kept: u32) -> nix::Result<()> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let data = [kept, 0].map(|kept| Data {
        effective: kept,
        permitted: kept,
        inheritable: 0,
    });
    // SAFETY: both pointers are to live values of the layout that version 3 demands: one header
    // and two data structures; the kernel only reads them.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    Errno::result(result).map(drop)
}
