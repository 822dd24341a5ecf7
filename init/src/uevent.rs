//! Kernel uevents, for one thing: dm-verity's report that it has read a corrupt block.
//!
//! Spec: netlink(7) `NETLINK_KOBJECT_UEVENT`, group 1: `ACTION@PATH`, then `KEY=VALUE` strings,
//! each ended by NUL. dm-verity sends `DM_VERITY_ERR_BLOCK_NR=TYPE,BLOCK` (Linux
//! `drivers/md/dm-verity-target.c`), type 0 for data and 1 for hash blocks of 4096 bytes.
//! A message reaches the socket before the read that found the corruption returns its error.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// A corrupt block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("verity error in {kind} block {block} of the root")]
pub struct Corruption {
    kind: &'static str,
    block: u64,
}

/// Opens the socket; do so before the verity device exists.
///
/// # Errors
/// The kernel's.
pub fn open() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkKObjectUEvent;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
    Ok(socket)
}

/// Reads what is there; `Some` for the first corruption.
///
/// # Errors
/// The kernel's, also `ENOBUFS`: messages were lost, and a corruption may be among them.
pub fn corruption(socket: &OwnedFd) -> nix::Result<Option<Corruption>> {
    let mut buffer = [0; 8192];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => {
                if let Some(found) = buffer.get(..length).and_then(parse) {
                    return Ok(Some(found));
                }
            }
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn parse(message: &[u8]) -> Option<Corruption> {
    let value = message
        .split(|b| *b == 0)
        .find_map(|field| field.strip_prefix(b"DM_VERITY_ERR_BLOCK_NR="))?;
    let value = std::str::from_utf8(value).unwrap_or_default();
    let (kind, block) = value.split_once(',').unwrap_or_default();
    let kind = match kind {
        "0" => "data",
        "1" => "hash",
        _ => "unknown",
    };
    Some(Corruption {
        kind,
        block: block.parse().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_finds_only_verity_errors() {
        let message = b"change@/devices/virtual/block/dm-0\0ACTION=change\0DM_VERITY_ERR_BLOCK_NR=0,42\0SEQNUM=9\0";
        let error = parse(message).unwrap();
        assert_eq!(
            error.to_string(),
            "verity error in data block 42 of the root"
        );
        assert_eq!(parse(b"add@/devices/x\0ACTION=add\0"), None);
        assert_eq!(parse(b""), None);
        // Malformed is still a corruption.
        assert!(parse(b"x\0DM_VERITY_ERR_BLOCK_NR=\0").is_some());
    }
}
