//! Configuration of an IPv4 network interface.
//!
//! Spec: netdevice(7); `SIOCADDRT` as in Linux `include/uapi/linux/route.h`.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

/// What to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Bring it up.
    Up,
    /// The address.
    Address(Ipv4Addr),
    /// The netmask; set it after the address.
    Netmask(Ipv4Addr),
    /// Longest packet in bytes.
    Mtu(u16),
}

/// An IPv4 route through an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Destination network.
    pub(crate) destination: Ipv4Addr,
    /// Its netmask.
    pub(crate) netmask: Ipv4Addr,
    /// The router, or none if the destination is on the link.
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// Applies `change` to interface `name`.
///
/// # Errors
/// `ENODEV` for a name that no interface can have, else the kernel's.
pub(crate) fn change(socket: &UdpSocket, name: &str, change: Change) -> nix::Result<()> {
    let mut request = request(name)?;
    let number = match change {
        Change::Up => {
            call(socket, libc::SIOCGIFFLAGS, &mut request)?;
            // SAFETY: SIOCGIFFLAGS has just filled in this member; any bits are a valid c_short.
            let flags = unsafe { request.ifr_ifru.ifru_flags };
            let up = libc::c_short::try_from(libc::IFF_UP).map_err(|_| Errno::EINVAL)?;
            request.ifr_ifru.ifru_flags = flags | up;
            libc::SIOCSIFFLAGS
        }
        Change::Address(address) => {
            request.ifr_ifru.ifru_addr = socket_address(address);
            libc::SIOCSIFADDR
        }
        Change::Netmask(mask) => {
            request.ifr_ifru.ifru_netmask = socket_address(mask);
            libc::SIOCSIFNETMASK
        }
        Change::Mtu(mtu) => {
            request.ifr_ifru.ifru_mtu = libc::c_int::from(mtu);
            libc::SIOCSIFMTU
        }
    };
    call(socket, number, &mut request)
}

/// Adds `route` through interface `name`.
///
/// # Errors
/// `ENODEV` for a name that no interface can have, else the kernel's.
pub(crate) fn add_route(socket: &UdpSocket, name: &str, route: Route) -> nix::Result<()> {
    let mut device = request(name)?.ifr_name;
    // SAFETY: `rtentry` is plain numbers and pointers, for which all zeros is a valid value.
    let mut entry: libc::rtentry = unsafe { std::mem::zeroed() };
    entry.rt_dst = socket_address(route.destination);
    entry.rt_genmask = socket_address(route.netmask);
    entry.rt_flags = libc::RTF_UP;
    if let Some(gateway) = route.gateway {
        entry.rt_gateway = socket_address(gateway);
        entry.rt_flags |= libc::RTF_GATEWAY;
    }
    entry.rt_dev = device.as_mut_ptr();
    // SAFETY: `entry` is a live `rtentry`, and its only pointer is to `device`, a NUL-terminated
    // name that lives until the call returns; the kernel only reads both.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT, &raw const entry) })
        .map(drop)
}

fn call(socket: &UdpSocket, number: libc::Ioctl, request: &mut libc::ifreq) -> nix::Result<()> {
    // SAFETY: every request number in this file takes a pointer to one live `ifreq`.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), number, &raw mut *request) }).map(drop)
}

/// An `ifreq` for interface `name`, otherwise zero.
fn request(name: &str) -> nix::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain numbers in a union, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays NUL.
    if name.is_empty() || name.len() >= request.ifr_name.len() || !name.is_ascii() {
        return Err(Errno::ENODEV);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

/// `sockaddr_in` inside a `sockaddr`: family, port 0, the address in network byte order.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let [a, b, c, d] = address
        .octets()
        .map(|octet| libc::c_char::from_ne_bytes([octet]));
    libc::sockaddr {
        sa_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sa_data: [0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}
