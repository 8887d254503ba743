//! A container's network: `network_config` and `mac_address`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::finding::{Finding, Severity};
use super::json_value::Node;

/// The one network interface of a container.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Network {
    /// The interface's name in the container, at most 15 characters: `eth0`.
    pub interface: String,
    /// The host's bridge that it is connected to.
    pub bridge: String,
    /// Its address.
    pub address: Address,
    /// The router.
    pub gateway: Option<Ipv4Addr>,
    /// The name servers, in the order of the file.
    pub nameservers: Vec<IpAddr>,
}

/// How an interface gets its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// From a DHCP server.
    Dhcp,
    /// Not at all: the container sets it by itself.
    Manual,
    /// This one.
    Static {
        /// The address.
        ip: Ipv4Addr,
        /// The number of bits that name the network, 0 to 32.
        prefix: u8,
    },
}

impl Address {
    /// Whether `other` lies in the network of this address; unknown without a static one.
    pub fn network_contains(&self, other: Ipv4Addr) -> Option<bool> {
        let Self::Static { ip, prefix } = self else { return None };
        let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
        Some(u32::from(*ip) & mask == u32::from(other) & mask)
    }
}

/// Why a text is not what a network key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not what is expected here")]
pub struct NotThat;

impl FromStr for Address {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Self, NotThat> {
        match text {
            "dhcp" => return Ok(Self::Dhcp),
            "manual" => return Ok(Self::Manual),
            _ => {}
        }
        let (ip, prefix) = text.split_once('/').ok_or(NotThat)?;
        let ip = ip.parse().map_err(|_| NotThat)?;
        let digits = (1..=2).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| digits && *prefix <= 32).ok_or(NotThat)?;
        Ok(Self::Static { ip, prefix })
    }
}

/// As it stands in the file and as `pct` takes it: `10.0.0.201/24`, `dhcp`, `manual`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dhcp => f.write_str("dhcp"),
            Self::Manual => f.write_str("manual"),
            Self::Static { ip, prefix } => write!(f, "{ip}/{prefix}"),
        }
    }
}

impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The hardware address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// Whether it names a group of interfaces, which no single one may have.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl FromStr for MacAddress {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Self, NotThat> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let digits = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(digits.ok_or(NotThat)?, 16).map_err(|_| NotThat)?;
        }
        if parts.next().is_some() { Err(NotThat) } else { Ok(Self(bytes)) }
    }
}

/// In capitals, as Proxmox VE writes it: `52:54:00:AA:BB:CD`.
impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

impl serde::Serialize for MacAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const ADDRESS: &str = "an IPv4 address with its prefix length, such as `10.0.0.201/24`, or `dhcp`, or `manual`";
const GATEWAY: &str = "an IPv4 address, such as `10.0.0.1`";
const NAMESERVERS: &str = "addresses separated by blanks or commas, such as `10.0.0.153 8.8.8.8`";
const INTERFACE: &str = "a name of an interface, 1 to 15 letters, digits, `_`, `.` or `-`, such as `eth0`";
const BRIDGE: &str = "the name of a bridge of the host, such as `vmbr0`";
const MAC: &str = "six pairs of hexadecimal digits, such as `52:54:00:AA:BB:CD`";

impl Network {
    /// Reads `network_config`.
    pub(super) fn read(node: &Node<'_>, findings: &mut Vec<Finding>) -> Option<Self> {
        if !node.is_object() {
            findings.push(node.wrong_type("an object with `name`, `bridge`, `ip` and `gw`"));
            return None;
        }
        let interface = required(node, "name", INTERFACE, is_device_name, findings);
        let bridge = required(node, "bridge", BRIDGE, is_device_name, findings);
        let address = match node.member("ip").filter(Node::is_set) {
            Some(ip) => ip.parsed(ADDRESS, findings),
            None => {
                findings.push(missing(node, "ip", ADDRESS));
                None
            }
        };
        let gateway = node.member("gw").filter(Node::is_set).and_then(|gateway| gateway.parsed(GATEWAY, findings));
        let nameservers =
            node.member("nameservers").map(|nameservers| addresses(&nameservers, findings)).unwrap_or_default();
        Some(Self { interface: interface?, bridge: bridge?, address: address?, gateway, nameservers })
    }
}

impl MacAddress {
    /// Reads `mac_address`.
    pub(super) fn read(node: &Node<'_>, findings: &mut Vec<Finding>) -> Option<Self> {
        let address: Self = node.parsed(MAC, findings)?;
        if address.is_multicast() {
            let message = format!("`{address}` is a group address, which no interface can have");
            findings.push(node.finding(Severity::Error, message).expected("an even number in the first pair"));
            return None;
        }
        Some(address)
    }
}

fn required(
    node: &Node<'_>,
    key: &str,
    expected: &str,
    accepts: fn(&str) -> bool,
    findings: &mut Vec<Finding>,
) -> Option<String> {
    let Some(member) = node.member(key).filter(Node::is_set) else {
        findings.push(missing(node, key, expected));
        return None;
    };
    let text = member.text(expected, findings)?;
    if !accepts(text) {
        findings.push(member.wrong_value(expected));
        return None;
    }
    Some(text.to_owned())
}

fn missing(node: &Node<'_>, key: &str, expected: &str) -> Finding {
    node.finding_at_key(Severity::Error, format!("`{}` lacks `{key}`", node.key()))
        .expected(format!("`{key}`: {expected}"))
}

/// What both the kernel and the option lists of `pct` take: no blank, comma, equals sign or slash.
fn is_device_name(text: &str) -> bool {
    let characters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    (1..=15).contains(&text.len()) && characters && text != "." && text != ".."
}

/// One text with several addresses, or a list of texts.
fn addresses(node: &Node<'_>, findings: &mut Vec<Finding>) -> Vec<IpAddr> {
    let texts = if node.is_list() {
        node.texts(NAMESERVERS, findings)
    } else if node.is_set() {
        node.text(NAMESERVERS, findings).map(|text| (node.clone(), text)).into_iter().collect()
    } else {
        Vec::new()
    };
    let mut addresses = Vec::new();
    for (place, text) in texts {
        for part in text.split([' ', ',']).filter(|part| !part.is_empty()) {
            match part.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => {
                    findings.push(place.wrong_value(NAMESERVERS));
                    break;
                }
            }
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::source::Source;

    fn network(value: &str) -> (Option<Network>, Vec<Finding>) {
        let text = format!(r#"{{ "network_config": {value} }}"#);
        let document = Document::parse(Source::new("x", text)).map_err(|finding| finding.render()).unwrap();
        let mut findings = Vec::new();
        let network = Network::read(&document.root().member("network_config").unwrap(), &mut findings);
        (network, findings)
    }

    #[test]
    fn a_static_address_with_two_name_servers_is_read() {
        let (network, findings) = network(
            r#"{ "name": "eth0", "bridge": "vmbr0", "ip": "10.0.0.201/24", "gw": "10.0.0.1", "nameservers": "10.0.0.13, 2001:db8::1" }"#,
        );
        let network = network.unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(network.address.to_string(), "10.0.0.201/24");
        assert_eq!(network.nameservers.len(), 2);
        assert_eq!(network.address.network_contains([10, 0, 0, 1].into()), Some(true));
        assert_eq!(network.address.network_contains([10, 0, 1, 1].into()), Some(false));
    }

    #[test]
    fn dhcp_needs_no_gateway() {
        let (network, findings) = network(r#"{ "name": "eth0", "bridge": "lxcbr0", "ip": "dhcp" }"#);
        assert_eq!(network.unwrap().address, Address::Dhcp);
        assert!(findings.is_empty(), "{findings:?}");
    }

    #[test]
    fn every_wrong_key_is_reported_at_once() {
        let (network, findings) = network(r#"{ "name": "a,b=c", "ip": "10.0.0.1", "gw": "router", "nameservers": 8 }"#);
        assert!(network.is_none());
        assert_eq!(findings.len(), 5, "{findings:?}");
    }

    #[test]
    fn a_prefix_is_0_to_32() {
        for wrong in ["10.0.0.1/33", "10.0.0.1/", "10.0.0.1/+4", "10.0.0/24", "10.0.0.1/024"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        assert_eq!("0.0.0.0/0".parse::<Address>().unwrap().network_contains([9, 9, 9, 9].into()), Some(true));
    }

    #[test]
    fn a_hardware_address_is_printed_in_one_form() {
        assert_eq!("52:54:00:aa:BB:cd".parse::<MacAddress>().unwrap().to_string(), "52:54:00:AA:BB:CD");
        for wrong in
            ["", "52:54:00:aa:bb", "52:54:00:aa:bb:cd:ef", "52-54-00-aa-bb-cd", "5:54:00:aa:bb:cd", "+1:54:00:aa:bb:cd"]
        {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
    }
}
