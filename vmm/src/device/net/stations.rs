//! What several network cards must not share.

use std::collections::HashMap;

use vocabulary::{MacAddress, PortForward};

use super::{Carrier, Net};
use crate::device::Spec as _;
use crate::finding::{Resolver, Section};

/// Two cards of one machine have different addresses, interfaces and ports of the host.
pub(crate) fn check_all(resolver: &mut Resolver, nets: &[Net]) {
    let mut macs: HashMap<MacAddress, Section> = HashMap::new();
    let mut interfaces: HashMap<&str, Section> = HashMap::new();
    let mut descriptors: HashMap<u32, Section> = HashMap::new();
    let mut ports: Vec<(PortForward, Section)> = Vec::new();
    for net in nets {
        let section = net.section();
        if let Some(first) = macs.insert(net.mac, section) {
            let line = resolver.line_of(first.key("mac"));
            let message = format!("another network card{line} has the same address {}", net.mac);
            resolver.problem(section.key("mac"), message);
        }
        match &net.carrier {
            Carrier::Tap(name) if !name.is_empty() => {
                if let Some(first) = interfaces.insert(name, section) {
                    let line = resolver.line_of(first.key("interface"));
                    let message = format!("another network card{line} has the interface {name}");
                    resolver.problem(section.key("interface"), message);
                }
            }
            Carrier::User { forward, .. } => {
                for one in forward {
                    // passt leads a port to one place, whatever the address.
                    let same = |(other, _): &&(PortForward, Section)| {
                        (other.protocol, other.port) == (one.protocol, one.port)
                    };
                    if let Some((_, first)) = ports.iter().find(same) {
                        let elsewhere = *first != section;
                        let line =
                            if elsewhere { resolver.line_of(first.key("forward")) } else { String::new() };
                        let (protocol, port) = (one.protocol, one.port);
                        let message =
                            format!("the port {protocol} {port} of the host is forwarded twice{line}");
                        resolver.problem(section.key("forward"), message);
                    }
                    ports.push((*one, section));
                }
            }
            Carrier::Fd(fd) => {
                if let Some(first) = descriptors.insert(*fd, section) {
                    let line = resolver.line_of(first.key("fd"));
                    let message = format!("another network card{line} has the descriptor {fd}");
                    resolver.problem(section.key("fd"), message);
                }
            }
            Carrier::Tap(_) | Carrier::Bridge(_) => {}
        }
    }
}
