//! A packet socket that sends and receives whole IPv4 packets on one interface, for DHCP.
//!
//! Spec: packet(7), `SOCK_DGRAM`: the kernel adds and removes the Ethernet header.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// `ETH_P_IP` in network byte order.
const PROTOCOL: u16 = 0x0800_u16.to_be();

/// Opens a packet socket for IPv4 on interface number `index`.
///
/// # Errors
/// The kernel's.
pub(crate) fn open(index: u32) -> nix::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes numbers only.
    let number =
        Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, libc::c_int::from(PROTOCOL)) })?;
    // SAFETY: the kernel has just given this descriptor to us, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let address = broadcast(index)?;
    // SAFETY: `address` is a live `sockaddr_ll` and the length is its own.
    Errno::result(unsafe { libc::bind(number, (&raw const address).cast(), LENGTH) })?;
    Ok(socket)
}

/// Sends one IPv4 packet to everybody on the link.
///
/// # Errors
/// The kernel's.
pub(crate) fn send(socket: &OwnedFd, index: u32, packet: &[u8]) -> nix::Result<()> {
    let address = broadcast(index)?;
    // SAFETY: `packet` is live memory of the length given, `address` a live `sockaddr_ll` with its
    // own length; the kernel only reads both.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const address).cast(),
            LENGTH,
        )
    };
    Errno::result(sent).map(drop)
}

/// `sizeof(struct sockaddr_ll)`.
const LENGTH: libc::socklen_t = 20;
const _: () = assert!(size_of::<libc::sockaddr_ll>() == 20);

fn broadcast(index: u32) -> nix::Result<libc::sockaddr_ll> {
    Ok(libc::sockaddr_ll {
        sll_family: libc::c_ushort::try_from(libc::AF_PACKET).map_err(|_| Errno::EINVAL)?,
        sll_protocol: PROTOCOL,
        sll_ifindex: libc::c_int::try_from(index).map_err(|_| Errno::EINVAL)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    })
}
