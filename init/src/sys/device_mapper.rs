//! The device-mapper control device.
//!
//! Spec: Linux `include/uapi/linux/dm-ioctl.h`, interface version 4. What goes into the buffer is
//! written by `crate::verity`; here it only crosses into the kernel.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

/// Length of `struct dm_ioctl` in bytes.
pub(crate) const HEADER: usize = 312;

/// Place of `data_size` in the header.
const DATA_SIZE: std::ops::Range<usize> = 12..16;

/// Runs device-mapper command `number` (the `_CMD` constants) on `control`. `buffer` is a
/// `struct dm_ioctl` and its data; its `data_size` is set here to the length of the buffer.
///
/// # Errors
/// `EMSGSIZE` when the buffer cannot hold the header or is longer than 1 MiB, else the kernel's.
pub(crate) fn command(control: &File, number: u8, buffer: &mut [u8]) -> nix::Result<()> {
    let length = u32::try_from(buffer.len()).map_err(|_| Errno::EMSGSIZE)?;
    if buffer.len() < HEADER || length > 1 << 20 {
        return Err(Errno::EMSGSIZE);
    }
    let size = buffer.get_mut(DATA_SIZE).ok_or(Errno::EMSGSIZE)?;
    size.copy_from_slice(&length.to_ne_bytes());
    let request = nix::request_code_readwrite!(0xfd, number, HEADER);
    // SAFETY: `buffer` is writable memory of `length` bytes and says so in `data_size`, which is
    // the most the kernel reads and writes; every byte pattern is a valid `u8` afterwards.
    Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), request, buffer.as_mut_ptr()) })
        .map(drop)
}
