//! Overlay networks, and the parts of them on other nodes.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;
use serde::{Deserialize, Serialize};

use super::Name;

/// A VXLAN network identifier: 1 to 16,777,215 (RFC 7348 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct Vni(u32);

/// The number is not a VNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a VXLAN network identifier: it must be between 1 and {max}", max = Vni::MAX)]
pub struct VniError(u32);

impl Vni {
    /// Largest VNI.
    pub const MAX: u32 = 0x00ff_ffff;

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = VniError;

    fn try_from(number: u32) -> Result<Self, VniError> {
        if (1..=Self::MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(VniError(number))
        }
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How packets between nodes are encapsulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encap {
    /// VXLAN (RFC 7348).
    #[default]
    Vxlan,
}

/// Why a text is no encapsulation that netpath supports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncapError {
    /// A value that a later version may support.
    #[error("--encap none is not supported; use vxlan or auto")]
    Unsupported,
    /// Not a value of the option.
    #[error("'{0}' is not an encapsulation; use vxlan or auto")]
    Unknown(String),
}

impl FromStr for Encap {
    type Err = EncapError;

    /// From `vxlan` or `auto`, which selects VXLAN.
    fn from_str(text: &str) -> Result<Self, EncapError> {
        match text {
            "vxlan" | "auto" => Ok(Self::Vxlan),
            "none" => Err(EncapError::Unsupported),
            _ => Err(EncapError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for Encap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vxlan => f.write_str("vxlan"),
        }
    }
}

/// Properties that only overlay networks have. They are the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// VNI. No other overlay network has it.
    pub vni: Vni,
    /// Encapsulation between nodes.
    pub encap: Encap,
}

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: Name,
    /// Its addresses in the underlay. May be empty.
    pub addresses: Vec<IpAddr>,
}

/// Addresses of an overlay network that belong to another node: a block, or one address that an endpoint keeps there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemotePrefix {
    /// Name of the network.
    pub network: Name,
    /// The addresses, host bits zero.
    pub prefix: IpNet,
    /// Name of the node.
    pub peer: Name,
    /// MAC address of the endpoint with the address, if it does not follow from the address.
    pub mac: Option<MacAddr>,
}

/// MAC address of an endpoint of an overlay network: `02:42` and the IPv4 address, or `02:43` and the last four bytes of the
/// IPv6 address if it has no IPv4 address. So nodes answer ARP and ND for endpoints of other nodes without knowing them.
pub fn derived_mac(addresses: &[IpNet]) -> Option<MacAddr> {
    let v4 = addresses.iter().find_map(|net| match net.addr() {
        IpAddr::V4(ip) => Some((0x42, ip.octets())),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses.iter().find_map(|net| match net.addr() {
        IpAddr::V6(ip) => Some((0x43, ip.to_bits().to_be_bytes())),
        IpAddr::V4(_) => None,
    });
    let v6 = v6.map(|(kind, [.., a, b, c, d])| (kind, [a, b, c, d]));
    let (kind, [a, b, c, d]) = v4.or(v6)?;
    Some(MacAddr([0x02, kind, a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vni_has_24_bits_and_is_not_zero() {
        for number in [1, 4096, Vni::MAX] {
            assert_eq!(Vni::try_from(number).map(Vni::number), Ok(number));
        }
        for number in [0, Vni::MAX + 1, u32::MAX] {
            let error = Vni::try_from(number).unwrap_err().to_string();
            assert!(
                error.contains("between 1 and 16777215"),
                "{number}: {error}"
            );
        }
    }

    #[test]
    fn mac_address_follows_from_an_address() {
        let mac = |texts: &[&str]| {
            let nets: Vec<IpNet> = texts.iter().map(|text| text.parse().unwrap()).collect();
            derived_mac(&nets)
        };
        let v6 = "fd00::102:304/64";
        assert_eq!(
            mac(&[v6, "10.1.2.9/24"]),
            Some(MacAddr([2, 0x42, 10, 1, 2, 9]))
        );
        assert_eq!(mac(&[v6]), Some(MacAddr([2, 0x43, 1, 2, 3, 4])));
        assert_eq!(mac(&[]), None);
    }

    #[test]
    fn encapsulations_that_are_not_supported_are_refused() {
        assert_eq!("auto".parse(), Ok(Encap::Vxlan));
        assert_eq!(Encap::Vxlan.to_string().parse(), Ok(Encap::Vxlan));
        for (text, part) in [("none", "not supported"), ("gre", "'gre'")] {
            let error = text.parse::<Encap>().unwrap_err().to_string();
            assert!(
                error.contains(part) && error.contains("use vxlan"),
                "{error}"
            );
        }
    }
}
