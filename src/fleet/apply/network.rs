//! What a container's network has, read from `/proc` without a process in it, and what it should have.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::config::{Address, Network};
use crate::error::Result;

/// The IPv4 addresses of a network namespace, without those that every machine has for itself, and its default routes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Interfaces {
    addresses: BTreeSet<Ipv4Addr>,
    /// The routers of default routes with their interfaces.
    routers: BTreeSet<(String, Ipv4Addr)>,
}

impl Interfaces {
    /// Those that a process sees.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn of_process(process: u32) -> Result<Self> {
        let read = |name: &str| fs_err::read_to_string(format!("/proc/{process}/net/{name}"));
        Ok(Self { addresses: addresses_in(&read("fib_trie")?), routers: routers_in(&read("route")?) })
    }
}

/// What is missing of the network that a container should have, in words.
pub(crate) fn missing(wanted: &Network, found: &Interfaces) -> Option<String> {
    let name = &wanted.interface;
    match wanted.address {
        Address::Manual => return None,
        Address::Dhcp if found.addresses.is_empty() => return Some(format!("no address from DHCP on `{name}`")),
        Address::Static { ip, .. } if !found.addresses.contains(&ip) => {
            return Some(format!("no address {ip} on `{name}`"));
        }
        Address::Dhcp | Address::Static { .. } => {}
    }
    let gateway = wanted.gateway?;
    let has = found.routers.iter().any(|(interface, router)| interface == name && *router == gateway);
    (!has).then(|| format!("no route by {gateway} on `{name}`"))
}

/// Reads `/proc/net/fib_trie` (Linux 6.18): a line with an address comes before one that says what it is.
fn addresses_in(text: &str) -> BTreeSet<Ipv4Addr> {
    let mut address = None;
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("|-- ") {
            Some(of) => address = of.parse::<Ipv4Addr>().ok(),
            None if line == "/32 host LOCAL" => found.extend(address.filter(|address| !address.is_loopback())),
            None => {}
        }
    }
    found
}

/// Reads `/proc/net/route`: a line a route, numbers in hexadecimal and in the machine's order of bytes.
fn routers_in(text: &str) -> BTreeSet<(String, Ipv4Addr)> {
    let router = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| u32::from_str_radix(words.get(index)?, 16).ok();
        let (destination, router, mask) = (number(1)?, number(2)?, number(7)?);
        let is_default = destination == 0 && mask == 0;
        is_default.then(|| (words[0].to_owned(), Ipv4Addr::from(router.to_ne_bytes())))
    };
    text.lines().skip(1).filter_map(router).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Linux 6.18, shortened.
    const TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.99.0.0/24 2 0 2
        |-- 10.99.0.0
           /24 link UNICAST
        |-- 10.99.0.2
           /32 host LOCAL
        |-- 10.99.0.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
";
    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
lan0\t00000000\t0100630A\t0003\t0\t0\t0\t00000000\t0\t0\t0
lan0\t0000630A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";

    fn found() -> Interfaces {
        Interfaces { addresses: addresses_in(TRIE), routers: routers_in(ROUTES) }
    }

    fn wanted(address: Address, gateway: Option<&str>) -> Network {
        Network {
            interface: "lan0".to_owned(),
            bridge: "vmbr0".to_owned(),
            address,
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            nameservers: Vec::new(),
        }
    }

    fn fixed(ip: &str) -> Address {
        Address::Static { ip: ip.parse().unwrap(), prefix: 24 }
    }

    #[test]
    fn addresses_and_routers_are_read_as_the_kernel_prints_them() {
        let (address, router) = ("10.99.0.2".parse().unwrap(), "10.99.0.1".parse().unwrap());
        assert_eq!(found().addresses, BTreeSet::from([address]));
        assert_eq!(found().routers, BTreeSet::from([("lan0".to_owned(), router)]));
    }

    #[test]
    fn what_is_missing_is_the_address_or_the_route() {
        assert_eq!(missing(&wanted(fixed("10.99.0.2"), Some("10.99.0.1")), &found()), None);
        assert_eq!(missing(&wanted(Address::Dhcp, None), &found()), None);
        let said = |address, gateway, found: &Interfaces| missing(&wanted(address, gateway), found).unwrap();
        assert_eq!(said(fixed("10.99.0.3"), None, &found()), "no address 10.99.0.3 on `lan0`");
        assert_eq!(said(fixed("10.99.0.2"), Some("10.99.0.9"), &found()), "no route by 10.99.0.9 on `lan0`");
        assert_eq!(said(Address::Dhcp, None, &Interfaces::default()), "no address from DHCP on `lan0`");
        assert_eq!(missing(&wanted(Address::Manual, Some("10.99.0.1")), &Interfaces::default()), None);
    }
}
