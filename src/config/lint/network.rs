//! Addresses and names that two containers share, and routers that cannot be reached.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::super::finding::{Finding, Severity};
use super::super::json_value::Node;
use super::super::network::{Address, MacAddress};
use super::{Subject, Subjects};
use crate::container_id::ContainerId;

/// Everything doubtful about the containers' networks.
pub(super) fn doubts(subjects: &Subjects<'_, '_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut hardware: BTreeMap<MacAddress, ContainerId> = BTreeMap::new();
    let mut addresses: BTreeMap<Ipv4Addr, ContainerId> = BTreeMap::new();
    let mut names: BTreeMap<String, ContainerId> = BTreeMap::new();
    for (id, subject) in subjects {
        let container = subject.container;
        if let Some(mac) = container.mac_address
            && let Some(first) = hardware.insert(mac, *id)
        {
            let message = format!("the hardware address {mac} is container {first}'s, too");
            findings.push(subject.place("mac_address").finding(Severity::Warning, message));
        }
        if let Some(first) = names.insert(container.name.to_ascii_lowercase(), *id)
            && !container.name.is_empty()
        {
            let message = format!("the name `{}` is container {first}'s, too", container.name);
            findings.push(subject.place("name").finding(Severity::Warning, message));
        }
        if let Some(Address::Static { ip, .. }) = container.network.as_ref().map(|network| network.address)
            && let Some(first) = addresses.insert(ip, *id)
        {
            let message = format!("the address {ip} is container {first}'s, too");
            findings.extend(of_network(subject, "ip", message));
        }
        findings.extend(gateway(subject));
    }
    findings
}

fn gateway(subject: &Subject<'_, '_>) -> Option<Finding> {
    let network = subject.container.network.as_ref()?;
    let gateway = network.gateway?;
    match network.address {
        Address::Static { ip, .. } if ip == gateway => {
            of_network(subject, "gw", format!("the gateway {gateway} is the container's own address"))
        }
        address if address.network_contains(gateway) == Some(false) => {
            of_network(subject, "gw", format!("the gateway {gateway} is not in the network of {address}"))
        }
        Address::Dhcp => of_network(subject, "gw", "a gateway is set, but the address comes from DHCP".into()),
        _ => None,
    }
}

fn of_network(subject: &Subject<'_, '_>, key: &str, message: String) -> Option<Finding> {
    let member = subject.lookup.container.member("network_config")?.member(key).filter(Node::is_set)?;
    Some(member.finding(Severity::Warning, message))
}
