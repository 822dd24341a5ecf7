//! The network: loopback, and one Ethernet device with an IPv4 address.
//!
//! `plan` turns an address into steps and is tested on its own; `bring_up` is thin. The host
//! decides what DHCP says, so nothing here is trusted with more than reachability: no name server,
//! no host name, no route but the default one is taken from it. IPv6 is off (`crate::settings`).

mod dhcp;

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use cloister_evidence::guest::Network;
use nix::errno::Errno;

use crate::directory;
use crate::sys::interface::{Change, Route, add_route, change};

pub use dhcp::{DhcpError, Lease};

/// Time given to the driver to make its device.
const PATIENCE: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(10);

/// Smallest packet size that IPv4 allows (RFC 791), in bytes.
const SMALLEST_MTU: u16 = 576;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// No Ethernet device.
    #[error("no Ethernet device, waited {} s", PATIENCE.as_secs())]
    NoDevice,
    /// The device's address is not six bytes in hex.
    #[error("{0}: hardware address `{1}` is not of Ethernet")]
    HardwareAddress(String, String),
    /// sysfs cannot be read, or no socket be made.
    #[error("network: {0}")]
    System(#[from] std::io::Error),
    /// A step of the plan failed.
    #[error("{name}: {step}: {errno}")]
    Step {
        /// Interface.
        name: String,
        /// The step.
        step: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// No lease.
    #[error("{name}: {source}")]
    Dhcp {
        /// Interface.
        name: String,
        /// Why.
        source: DhcpError,
    },
}

/// One change to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Change(Change),
    Route(Route),
}

/// The steps that give a device that is up its address.
fn plan(lease: &Lease) -> Vec<Step> {
    let Lease {
        address,
        netmask,
        gateway,
        mtu,
    } = *lease;
    let mut steps = vec![
        Step::Change(Change::Address(address)),
        Step::Change(Change::Netmask(netmask)),
    ];
    steps.extend(
        mtu.filter(|mtu| *mtu >= SMALLEST_MTU)
            .map(|mtu| Step::Change(Change::Mtu(mtu))),
    );
    let Some(gateway) = gateway else { return steps };
    let on_link = gateway.to_bits() & netmask.to_bits() == address.to_bits() & netmask.to_bits();
    if !on_link {
        // As on GCP, where the mask has 32 bits.
        let route = Route {
            destination: gateway,
            netmask: Ipv4Addr::BROADCAST,
            gateway: None,
        };
        steps.push(Step::Route(route));
    }
    let any = Ipv4Addr::UNSPECIFIED;
    steps.push(Step::Route(Route {
        destination: any,
        netmask: any,
        gateway: Some(gateway),
    }));
    steps
}

/// Brings up loopback and the first Ethernet device; returns what to tell: name and address.
///
/// # Errors
/// [`NetworkError`].
pub fn bring_up(network: Network) -> Result<String, NetworkError> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    apply(&socket, "lo", Step::Change(Change::Up))?;
    let name = wait_for_device(Path::new("/sys"), PATIENCE)?;
    apply(&socket, &name, Step::Change(Change::Up))?;
    let lease = match network {
        Network::Dhcp => {
            let hardware = hardware_address(Path::new("/sys"), &name)?;
            dhcp::lease(&name, hardware).map_err(|source| NetworkError::Dhcp {
                name: name.clone(),
                source,
            })?
        }
        Network::Static {
            address,
            prefix,
            gateway,
        } => Lease {
            address,
            netmask: netmask(prefix),
            gateway: Some(gateway),
            mtu: None,
        },
    };
    for step in plan(&lease) {
        apply(&socket, &name, step)?;
    }
    Ok(format!(
        "{name} {}/{}",
        lease.address,
        lease.netmask.to_bits().count_ones()
    ))
}

/// Brings up loopback alone, for the workload's network namespace.
///
/// # Errors
/// [`NetworkError`].
pub fn bring_up_loopback() -> Result<(), NetworkError> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    apply(&socket, "lo", Step::Change(Change::Up))
}

fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(
        u32::MAX
            .checked_shl(32_u32.saturating_sub(prefix.into()))
            .unwrap_or(0),
    )
}

fn apply(socket: &UdpSocket, name: &str, step: Step) -> Result<(), NetworkError> {
    let result = match step {
        Step::Change(wanted) => change(socket, name, wanted),
        Step::Route(route) => add_route(socket, name, route),
    };
    result.map_err(|errno| NetworkError::Step {
        name: name.to_owned(),
        step: format!("{step:?}"),
        errno,
    })
}

/// Waits for the first device, in the order of names, that is Ethernet (`ARPHRD_ETHER`, 1) and
/// has hardware behind it.
fn wait_for_device(sys: &Path, patience: Duration) -> Result<String, NetworkError> {
    let start = Instant::now();
    let class = sys.join("class/net");
    loop {
        for name in directory::names(&class)? {
            let kind = std::fs::read_to_string(class.join(&name).join("type")).unwrap_or_default();
            if kind.trim_end() == "1" && class.join(&name).join("device").exists() {
                return Ok(name);
            }
        }
        if start.elapsed() >= patience {
            return Err(NetworkError::NoDevice);
        }
        std::thread::sleep(PAUSE);
    }
}

fn hardware_address(sys: &Path, name: &str) -> Result<[u8; 6], NetworkError> {
    let text = std::fs::read_to_string(sys.join("class/net").join(name).join("address"))?;
    let mut address = [0; 6];
    hex::decode_to_slice(text.trim_end().replace(':', ""), &mut address)
        .map_err(|_| NetworkError::HardwareAddress(name.to_owned(), text.trim_end().to_owned()))?;
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_sets_address_mask_and_default_route() {
        let lease = Lease {
            address: Ipv4Addr::new(10, 0, 2, 15),
            netmask: netmask(24),
            gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
            mtu: None,
        };
        insta::assert_debug_snapshot!(plan(&lease));
    }

    #[test]
    fn plan_reaches_a_gateway_outside_the_subnet() {
        let lease = Lease {
            address: Ipv4Addr::new(10, 128, 0, 7),
            netmask: netmask(32),
            gateway: Some(Ipv4Addr::new(10, 128, 0, 1)),
            mtu: Some(1460),
        };
        insta::assert_debug_snapshot!(plan(&lease));
    }

    #[test]
    fn plan_ignores_an_impossible_mtu() {
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let lease = Lease {
            address,
            netmask: netmask(8),
            gateway: None,
            mtu: Some(68),
        };
        assert_eq!(plan(&lease).len(), 2);
    }

    #[test]
    fn netmask_covers_every_prefix() {
        assert_eq!(netmask(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(netmask(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(netmask(32), Ipv4Addr::BROADCAST);
    }

    #[test]
    fn wait_for_device_takes_hardware_only() {
        let sys = tempfile::tempdir().unwrap();
        let device = |name: &str, kind: &str, real: bool| {
            let path = sys.path().join("class/net").join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("type"), kind).unwrap();
            std::fs::write(path.join("address"), "52:54:00:12:34:56\n").unwrap();
            if real {
                std::fs::create_dir(path.join("device")).unwrap();
            }
        };
        device("bond0", "1\n", false);
        device("lo", "772\n", false);
        let error = wait_for_device(sys.path(), Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), "no Ethernet device, waited 20 s");
        device("eth1", "1\n", true);
        device("eth0", "1\n", true);
        assert_eq!(wait_for_device(sys.path(), Duration::ZERO).unwrap(), "eth0");
        let address = hardware_address(sys.path(), "eth0").unwrap();
        assert_eq!(address, [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    }
}
