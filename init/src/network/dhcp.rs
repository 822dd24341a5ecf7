//! DHCPv4 client: one lease at boot, kept for the life of the guest.
//!
//! Spec: RFC 2131 (states INIT to BOUND), options of RFC 2132 and MTU (26). Packets are written
//! and read with `smoltcp`'s wire types over a packet socket, since the device has no address yet.
//! Not covered: renewal (the clouds and QEMU bind an address to a machine for its life), name
//! servers, classless routes.
//! Units: MTU and lengths in bytes.

use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
    IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use crate::sys::packet;

/// Milliseconds that each attempt waits for an answer; the sum bounds the stage. The first are
/// short: a device that has just come up may lose what is sent at once.
const WAITS: [u64; 9] = [100, 200, 400, 800, 1600, 3200, 6400, 6400, 6400];

/// Options asked for: mask, router, MTU.
const WANTED: [u8; 3] = [1, 3, 26];

/// Longest answer accepted, as announced to the server.
const LONGEST: u16 = 1472;

const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// An address and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// Mask of its network.
    pub netmask: Ipv4Addr,
    /// Default router.
    pub gateway: Option<Ipv4Addr>,
    /// Longest packet.
    pub mtu: Option<u16>,
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DhcpError {
    /// No server answered in time.
    #[error("no DHCP lease after {0} attempts")]
    NoAnswer(usize),
    /// A socket call failed.
    #[error("DHCP {what}: {errno}")]
    Socket {
        /// The call.
        what: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// No randomness for the transaction number.
    #[error("DHCP: /dev/urandom: {0}")]
    Random(std::io::Error),
}

/// Gets a lease on interface `name` with hardware address `hardware`; gives up after half a minute.
///
/// # Errors
/// [`DhcpError`].
pub(super) fn lease(name: &str, hardware: [u8; 6]) -> Result<Lease, DhcpError> {
    let failed = |what| move |errno| DhcpError::Socket { what, errno };
    let index = nix::net::if_::if_nametoindex(name).map_err(failed("interface"))?;
    let socket = packet::open(index).map_err(failed("socket"))?;
    let mut random = [0; 4];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(DhcpError::Random)?;
    let exchange = Exchange {
        transaction: u32::from_ne_bytes(random),
        hardware,
    };
    for wait in WAITS {
        let deadline = Instant::now() + Duration::from_millis(wait);
        if let Some(lease) = attempt(&socket, index, &exchange, deadline)? {
            return Ok(lease);
        }
    }
    Err(DhcpError::NoAnswer(WAITS.len()))
}

/// DISCOVER to ACK, once.
fn attempt(
    socket: &OwnedFd,
    index: u32,
    exchange: &Exchange,
    deadline: Instant,
) -> Result<Option<Lease>, DhcpError> {
    let send = |bytes: Vec<u8>| {
        packet::send(socket, index, &bytes).map_err(|errno| DhcpError::Socket {
            what: "send",
            errno,
        })
    };
    send(exchange.discover())?;
    let mut asked = None;
    while let Some(bytes) = receive(socket, deadline)? {
        match (exchange.read(&bytes), asked) {
            (Some(Answer::Offer { lease, server }), None) => {
                send(exchange.request(lease.address, server))?;
                asked = Some(lease.address);
            }
            (Some(Answer::Ack(lease)), Some(address)) if lease.address == address => {
                return Ok(Some(lease));
            }
            (Some(Answer::Nak), Some(_)) => return Ok(None),
            _ => {}
        }
    }
    Ok(None)
}

/// The next packet, or none when `deadline` has passed.
fn receive(socket: &OwnedFd, deadline: Instant) -> Result<Option<Vec<u8>>, DhcpError> {
    let failed = |what| move |errno| DhcpError::Socket { what, errno };
    let mut buffer = vec![0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(
            &mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)],
            timeout,
        ) {
            Ok(0) if left.is_zero() => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        match nix::unistd::read(socket, &mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            // The link may still be on its way up.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => {}
            Err(errno) => return Err(failed("receive")(errno)),
        }
    }
}

/// What stays the same from DISCOVER to ACK.
struct Exchange {
    transaction: u32,
    hardware: [u8; 6],
}

/// A server's message for this exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Offer { lease: Lease, server: Ipv4Addr },
    Ack(Lease),
    Nak,
}

impl Exchange {
    /// The IPv4 packet of a DHCPDISCOVER.
    fn discover(&self) -> Vec<u8> {
        self.message(DhcpMessageType::Discover, None, None)
    }

    /// The IPv4 packet of a DHCPREQUEST for an offered address.
    fn request(&self, address: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
        self.message(DhcpMessageType::Request, Some(address), Some(server))
    }

    fn message(
        &self,
        kind: DhcpMessageType,
        address: Option<Ipv4Addr>,
        server: Option<Ipv4Addr>,
    ) -> Vec<u8> {
        let any = Ipv4Addr::UNSPECIFIED;
        let dhcp = DhcpRepr {
            message_type: kind,
            transaction_id: self.transaction,
            secs: 0,
            client_hardware_address: EthernetAddress(self.hardware),
            client_ip: any,
            your_ip: any,
            server_ip: any,
            router: None,
            subnet_mask: None,
            relay_agent_ip: any,
            broadcast: true,
            requested_ip: address,
            client_identifier: Some(EthernetAddress(self.hardware)),
            server_identifier: server,
            parameter_request_list: Some(&WANTED),
            dns_servers: None,
            max_size: Some(LONGEST),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        wrapped(&dhcp)
    }

    /// Reads an IPv4 packet; `None` for everything that is not a server's answer to this exchange.
    fn read(&self, packet: &[u8]) -> Option<Answer> {
        let ip = Ipv4Packet::new_checked(packet).ok()?;
        // Checksums are left alone: a virtual device may not have filled them in, and what a
        // packet says is not trusted anyway.
        let ignored = ChecksumCapabilities::ignored();
        let header = Ipv4Repr::parse(&ip, &ignored).ok()?;
        let udp = UdpPacket::new_checked(ip.payload())
            .ok()
            .filter(|_| header.next_header == IpProtocol::Udp)?;
        if (udp.src_port(), udp.dst_port()) != (DHCP_SERVER_PORT, DHCP_CLIENT_PORT) {
            return None;
        }
        let dhcp = DhcpPacket::new_checked(udp.payload()).ok()?;
        let message = DhcpRepr::parse(&dhcp).ok()?;
        let hardware = EthernetAddress(self.hardware);
        if message.transaction_id != self.transaction || message.client_hardware_address != hardware
        {
            return None;
        }
        match message.message_type {
            DhcpMessageType::Offer => Some(Answer::Offer {
                lease: read_lease(&dhcp)?,
                server: message.server_identifier?,
            }),
            DhcpMessageType::Ack => Some(Answer::Ack(read_lease(&dhcp)?)),
            DhcpMessageType::Nak => Some(Answer::Nak),
            _ => None,
        }
    }
}

/// Puts UDP and IPv4 headers before a message, from no address to everybody.
fn wrapped(dhcp: &DhcpRepr<'_>) -> Vec<u8> {
    let (from, to) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let checked = ChecksumCapabilities::default();
    let length = dhcp.buffer_len();
    let mut bytes = vec![0; IP_HEADER.saturating_add(UDP_HEADER).saturating_add(length)];
    let header = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Udp,
        payload_len: UDP_HEADER.saturating_add(length),
        hop_limit: 64,
    };
    let mut ip = Ipv4Packet::new_unchecked(&mut bytes);
    header.emit(&mut ip, &checked);
    let mut udp = UdpPacket::new_unchecked(ip.payload_mut());
    let ports = UdpRepr {
        src_port: DHCP_CLIENT_PORT,
        dst_port: DHCP_SERVER_PORT,
    };
    let payload = |buffer: &mut [u8]| {
        // The buffer has the length that the message asked for, which is its only way to fail.
        let _ = dhcp.emit(&mut DhcpPacket::new_unchecked(buffer));
    };
    ports.emit(
        &mut udp,
        &IpAddress::Ipv4(from),
        &IpAddress::Ipv4(to),
        length,
        payload,
        &checked,
    );
    bytes
}

/// The lease in an OFFER or ACK; `None` if the address or mask cannot be one.
fn read_lease(packet: &DhcpPacket<&[u8]>) -> Option<Lease> {
    // The first address or number of an option: a router option may list several.
    let first = |kind: u8| {
        packet
            .options()
            .find(|option| option.kind == kind)
            .map(|option| option.data)
    };
    let address = |kind| {
        first(kind)?
            .first_chunk::<4>()
            .map(|octets| Ipv4Addr::from_octets(*octets))
    };
    let lease = Lease {
        address: packet.your_ip(),
        netmask: address(1).unwrap_or(Ipv4Addr::BROADCAST),
        gateway: address(3).filter(|gateway| is_host(*gateway)),
        mtu: first(26)
            .and_then(|data| data.first_chunk::<2>())
            .map(|bytes| u16::from_be_bytes(*bytes)),
    };
    let mask = lease.netmask.to_bits();
    let contiguous = mask.leading_ones().checked_add(mask.trailing_zeros())? >= 32 && mask != 0;
    (contiguous && is_host(lease.address)).then_some(lease)
}

fn is_host(address: Ipv4Addr) -> bool {
    let odd = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast();
    !odd
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> Exchange {
        Exchange {
            transaction: 0x0102_0304,
            hardware: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
        }
    }

    /// A server's answer: BOOTP reply with options as raw bytes.
    fn answer(transaction: u32, options: &[u8]) -> Vec<u8> {
        let mut dhcp = vec![0; 240];
        dhcp[0..4].copy_from_slice(&[2, 1, 6, 0]);
        dhcp[4..8].copy_from_slice(&transaction.to_be_bytes());
        dhcp[16..20].copy_from_slice(&[10, 0, 2, 15]);
        dhcp[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        dhcp[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        dhcp.extend(options);
        let udp_length = u16::try_from(dhcp.len() + 8).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend((udp_length + 20).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 2, 255, 255, 255, 255]);
        packet.extend([0, 67, 0, 68]);
        packet.extend(udp_length.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(dhcp);
        packet
    }

    const OFFER: &[u8] = &[
        53, 1, 2, 54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 255, 0, 3, 8, 10, 0, 2, 2, 10, 0, 2, 3, 26,
        2, 5, 180, 255,
    ];

    #[test]
    fn discover_is_broadcast_and_asks_for_three_options() {
        let bytes = exchange().discover();
        let ip = Ipv4Packet::new_checked(bytes.as_slice()).unwrap();
        assert!(ip.verify_checksum());
        assert_eq!(
            (ip.src_addr(), ip.dst_addr()),
            (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)
        );
        let udp = UdpPacket::new_checked(ip.payload()).unwrap();
        assert_eq!((udp.src_port(), udp.dst_port()), (68, 67));
        let dhcp = DhcpPacket::new_checked(udp.payload()).unwrap();
        let options: Vec<_> = dhcp.options().map(|o| (o.kind, o.data.to_vec())).collect();
        assert!(options.contains(&(53, vec![1])));
        assert!(options.contains(&(55, vec![1, 3, 26])));
        assert_eq!(dhcp.transaction_id(), 0x0102_0304);
    }

    #[test]
    fn read_takes_mask_first_router_and_mtu() {
        let lease = Lease {
            address: Ipv4Addr::new(10, 0, 2, 15),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            mtu: Some(1460),
        };
        let server = Ipv4Addr::new(10, 0, 2, 2);
        let found = exchange().read(&answer(0x0102_0304, OFFER));
        assert_eq!(found, Some(Answer::Offer { lease, server }));
        let mut ack = OFFER.to_vec();
        ack[2] = 5;
        assert_eq!(
            exchange().read(&answer(0x0102_0304, &ack)),
            Some(Answer::Ack(lease))
        );
        ack[2] = 6;
        assert_eq!(
            exchange().read(&answer(0x0102_0304, &ack)),
            Some(Answer::Nak)
        );
    }

    #[test]
    fn read_ignores_foreign_and_impossible_answers() {
        assert_eq!(exchange().read(&answer(1, OFFER)), None);
        let holed = [53, 1, 5, 1, 4, 255, 0, 255, 0, 255];
        assert_eq!(exchange().read(&answer(0x0102_0304, &holed)), None);
        let mut loopback = answer(0x0102_0304, OFFER);
        loopback[28 + 16] = 127;
        assert_eq!(exchange().read(&loopback), None);
    }

    #[test]
    fn read_survives_every_truncation() {
        let whole = answer(0x0102_0304, OFFER);
        for cut in 0..whole.len() {
            let _ = exchange().read(&whole[..cut]);
        }
    }

    proptest::proptest! {
        #[test]
        fn read_survives_any_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let _ = exchange().read(&bytes);
        }
    }
}
