//! `[[net]]`: a virtio network card, and what carries its frames: passt(1), a TAP interface, or a port of a bridge; the last two with the
//! kernel's help (vhost-net).

mod bridge;
mod connect;
mod interface;
mod passt;
mod resolvers;
mod stations;
mod tap;
#[cfg(test)]
mod tests;
mod vhost;

use std::net::IpAddr;
use std::sync::Arc;

use devices::net::cable::Cable;
use devices::net::tap::is_interface_name;
use devices::virtio::net::VirtioNet;
use firmware::fw_cfg::bootorder::BootKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vocabulary::{MacAddress, PciAddress, PortForward};

use super::{Assembly, Boot, DeviceError, Opened, Opening, PciNeed, Spec};
use crate::finding::{Finding, Resolver, Section};
use crate::topology::Placed;

pub(crate) use bridge::PLACES as BRIDGE_HELPERS;
use connect::{Connection, Refusal};
pub(crate) use stations::check_all;

/// A virtio network card.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetSection {
    /// What carries its frames: `"user"`, the program passt, which needs no rights and works on any network that the host has;
    /// `"tap"`, the TAP interface named in `interface`; `"bridge"`, a new port of the bridge named there, by `qemu-bridge-helper` or by our own right;
    /// `"fd"`, the TAP interface that the descriptor in `fd` is attached to.
    #[serde(default)]
    pub backend: Backend,
    /// The TAP interface, or the bridge.
    #[schemars(extend("x-default" = "none; needed for `\"tap\"` and `\"bridge\"`"))]
    pub interface: Option<String>,
    /// The number of an open descriptor that this process inherits.
    #[schemars(range(min = 3, max = 1_048_576), extend("x-default" = "none; needed for `\"fd\"`"))]
    pub fd: Option<u32>,
    /// The card's Ethernet address.
    #[schemars(extend("x-default" = "one that is made from the machine's UUID and the card's number, always the same"))]
    pub mac: Option<MacAddress>,
    /// The longest packet in bytes, without its Ethernet header.
    #[serde(default = "usual_mtu")]
    #[schemars(range(min = 1280, max = 65521))]
    pub mtu: u16,
    /// Whether checksums and the cutting of long packets are left to who can do it, the host's kernel or a real card. passt can't.
    #[serde(default = "on")]
    pub offloads: bool,
    /// Pairs of queues, each with a thread of its own: the guest's processors can send and receive side by side. For `"tap"`, with an
    /// interface of several queues, and for `"bridge"` where this process may make a port itself.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 32))]
    pub queues: u16,
    /// Whether the kernel moves frames between the interface and the guest's memory by itself (vhost-net): `true`, `false`, or left out,
    /// where it can. For all backends but `"user"`.
    #[schemars(extend("x-default" = "where `/dev/vhost-net` can be used; the log says where it cannot"))]
    pub vhost: Option<bool>,
    /// Ports of the host that lead into the guest, such as `"tcp:2222->22"` or `"udp:0.0.0.0:5353->53"`: protocol, the host's address,
    /// by default `127.0.0.1`, its port, and the guest's port. For `"user"`.
    #[serde(default)]
    #[schemars(extend("x-default" = "none"))]
    pub forward: Vec<PortForward>,
    /// Whether the guest reaches what listens on the host's own `127.0.0.1`, at the address of its gateway. For `"user"`.
    #[serde(default)]
    pub host_loopback: bool,
    /// The name servers that the guest is told, IP addresses. For `"user"`.
    #[serde(default)]
    #[schemars(extend("x-default" = "the host's"))]
    pub dns: Vec<IpAddr>,
    /// Whether the cable is plugged in at the start: `"up"` or `"down"`. `optimus-vmm ctl net` changes it.
    #[serde(default)]
    pub link: Link,
    /// Place in the firmware's boot order, lowest first: the firmware starts what it finds in the network by PXE or HTTP.
    #[schemars(extend("x-default" = "none, which leaves the network out of the order"))]
    pub boot_index: Option<u32>,
    /// The PCI address in the guest, such as `"00:05.0"`.
    #[schemars(extend("x-default" = "the next free one"))]
    pub address: Option<PciAddress>,
}

/// Name servers that a C library uses, and passt takes (resolv.h, MAXNS).
const MOST_SERVERS: usize = 3;

fn usual_mtu() -> u16 {
    1500
}

fn one() -> u16 {
    1
}

fn on() -> bool {
    true
}

/// What carries a card's frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Backend {
    /// passt.
    #[default]
    User,
    /// A TAP interface by its name.
    Tap,
    /// A port of a bridge.
    Bridge,
    /// A TAP interface by a descriptor.
    Fd,
}

/// Whether the cable is plugged in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Link {
    /// It is.
    #[default]
    Up,
    /// It is not.
    Down,
}

/// Through what frames go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// passt.
    User {
        /// Ports of the host that lead into the guest.
        forward: Vec<PortForward>,
        /// The guest reaches the host's 127.0.0.1.
        host_loopback: bool,
        /// Name servers; none for the host's.
        dns: Vec<IpAddr>,
    },
    /// The TAP interface of this name.
    Tap(String),
    /// A port of the bridge of this name.
    Bridge(String),
    /// This descriptor.
    Fd(u32),
}

/// A virtio network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// Its number in the file, from 0.
    pub index: usize,
    /// What carries its frames.
    pub carrier: Carrier,
    /// Its address.
    pub mac: MacAddress,
    /// The longest packet in bytes.
    pub mtu: u16,
    /// Work is left to who can do it.
    pub offloads: bool,
    /// Pairs of queues, from 1.
    pub queues: u16,
    /// The kernel moves frames by itself; `None` for where it can.
    pub vhost: Option<bool>,
    /// The cable at the start.
    pub link: Link,
    /// Place in the firmware's boot order.
    pub boot_index: Option<u32>,
    /// Guest PCI address; `None` leaves it to the plan.
    pub address: Option<PciAddress>,
}

impl NetSection {
    /// The card of this number, of the machine with `uuid`.
    pub(crate) fn resolve(self, index: usize, uuid: Uuid, resolver: &mut Resolver) -> Net {
        let Self {
            backend,
            interface,
            fd,
            mac,
            mtu,
            offloads,
            queues,
            vhost,
            forward,
            host_loopback,
            dns,
            link,
            boot_index,
            address,
        } = self;
        let section = Section::Net(index);
        let named = matches!(backend, Backend::Tap | Backend::Bridge);
        let user = backend == Backend::User;
        for (key, written, fits, whose) in [
            ("interface", interface.is_some(), named, "`\"tap\"` and `\"bridge\"`"),
            ("fd", fd.is_some(), backend == Backend::Fd, "`\"fd\"`"),
            ("vhost", vhost.is_some(), !user, "`\"tap\"`, `\"bridge\"` and `\"fd\"`"),
            ("forward", !forward.is_empty(), user, "`\"user\"`"),
            ("host_loopback", host_loopback, user, "`\"user\"`"),
            ("dns", !dns.is_empty(), user, "`\"user\"`"),
        ] {
            if written && !fits {
                let message = format!("`{key}` is a key of other backends: {whose}");
                resolver.problem_with_help(section.key(key), message, "leave it out, or change `backend`");
            }
        }
        let why_one = match backend {
            Backend::User => Some("passt has one pair of queues"),
            Backend::Fd => Some("a descriptor is one pair of queues of its interface"),
            Backend::Tap | Backend::Bridge => None,
        };
        if let Some(why) = why_one.filter(|_| queues > 1) {
            let help = "leave `queues` out, or use `backend = \"tap\"` with an interface of several queues";
            resolver.problem_with_help(section.key("queues"), why, help);
        }
        if dns.len() > MOST_SERVERS {
            let message = format!("a guest is told at most {MOST_SERVERS} name servers");
            resolver.problem(section.key("dns"), message);
        }
        let mut needed = |key: &str, what: &str| {
            let message = format!("this network card does not say {what}");
            resolver.problem_with_help(section.key("backend"), message, format!("add `{key} = …`"));
        };
        let carrier = match (backend, interface, fd) {
            (Backend::User, ..) => Carrier::User { forward, host_loopback, dns },
            (Backend::Fd, _, Some(fd)) => Carrier::Fd(fd),
            (Backend::Fd, _, None) => {
                needed("fd", "which descriptor it uses");
                Carrier::Fd(0)
            }
            (Backend::Tap, Some(name), _) => Carrier::Tap(name),
            (Backend::Bridge, Some(name), _) => Carrier::Bridge(name),
            (Backend::Tap | Backend::Bridge, None, _) => {
                needed("interface", "which interface it uses");
                Carrier::Tap(String::new())
            }
        };
        if let Carrier::Tap(name) | Carrier::Bridge(name) = &carrier
            && !name.is_empty()
            && !is_interface_name(name)
        {
            let message = format!(
                "{name:?} is no name of an interface: those have 1 to 15 bytes, none a space, `/` or `:`"
            );
            resolver.problem(section.key("interface"), message);
        }
        let mac = mac.unwrap_or_else(|| {
            let seed = Uuid::new_v5(&uuid, format!("net[{index}]").as_bytes());
            MacAddress::of_seed(*seed.as_bytes())
        });
        Net { index, carrier, mac, mtu, offloads, queues, vhost, link, boot_index, address }
    }
}

impl Net {
    /// The longest frame that goes to passt, with a tag of a VLAN.
    fn longest_frame(&self) -> usize {
        usize::from(self.mtu) + devices::net::ETHERNET_HEADER + devices::net::VLAN_TAG
    }

    /// What carries its frames, in a few words.
    fn carried_by(&self) -> String {
        let carrier = match &self.carrier {
            Carrier::User { forward, .. } if forward.is_empty() => "passt".into(),
            Carrier::User { forward, .. } => {
                let forward: Vec<_> = forward.iter().map(PortForward::to_string).collect();
                format!("passt, {}", forward.join(", "))
            }
            Carrier::Tap(name) => format!("the TAP interface {name}"),
            Carrier::Bridge(name) => format!("the bridge {name}"),
            Carrier::Fd(fd) => format!("descriptor {fd}"),
        };
        match self.queues {
            0 | 1 => carrier,
            queues => format!("{carrier}, {queues} pairs of queues"),
        }
    }

    /// Who moves the frames, as far as the configuration says.
    fn moved_by(&self) -> &'static str {
        match self.vhost {
            None => "",
            Some(true) => ", by vhost-net",
            Some(false) => ", without vhost-net",
        }
    }

    /// A problem with what carries the frames.
    fn problem(&self, opening: &Opening<'_>, refusal: Refusal) -> Finding {
        let Refusal { key, why, help } = refusal;
        let key = key.unwrap_or(match self.carrier {
            Carrier::User { .. } => "backend",
            Carrier::Tap(_) | Carrier::Bridge(_) => "interface",
            Carrier::Fd(_) => "fd",
        });
        let message = format!("{}: {why}", self.section());
        let problem = opening.origin.problem(self.section().key(key), message).about_host();
        match help {
            Some(help) => problem.with_help(help),
            None => problem,
        }
    }
}

impl Spec for Net {
    fn section(&self) -> Section {
        Section::Net(self.index)
    }

    fn describe(&self) -> String {
        format!("virtio-net {} {} on {}{}", self.section(), self.mac, self.carried_by(), self.moved_by())
    }

    fn pci(&self) -> Option<PciNeed> {
        Some(PciNeed { address: self.address, pin: 1 })
    }

    fn boot(&self) -> Option<Boot> {
        // Firmware that tries the network unasked waits there for a minute.
        self.boot_index.map(|index| Boot { index: Some(index), kind: BootKind::Ethernet })
    }

    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        match self.connect(opening.purpose) {
            Ok(Some(connection)) => Some(Box::new(OpenNet { net: self.clone(), connection })),
            Ok(None) => None,
            Err(refusal) => {
                let problem = self.problem(opening, refusal);
                opening.problems.push(problem);
                None
            }
        }
    }
}

/// A card whose frames have a way.
struct OpenNet {
    net: Net,
    connection: Connection,
}

/// What others are told of a card.
#[derive(Debug)]
pub(crate) struct NetFacts {
    /// Its section.
    pub key: String,
    /// Its address.
    pub mac: MacAddress,
    /// What carries its frames.
    pub carrier: String,
    /// Its link and its counters.
    pub cable: Arc<Cable>,
}

impl Opened for OpenNet {
    fn build(
        self: Box<Self>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let Self { net, connection: Connection { peers, counters, passt } } = *self;
        let why = |error: std::io::Error| DeviceError::Function {
            at: net.section().to_string(),
            why: error.to_string(),
        };
        let cable = Cable::of_queues(peers, net.link == Link::Up, counters).map_err(why)?;
        let key = net.section().to_string();
        if let Some((passt, child)) = passt {
            let supervisor = passt.supervise(child, &key, Arc::clone(&cable)).map_err(why)?;
            machine.made.programs.push(Box::new(supervisor));
        }
        machine.made.nets.push(NetFacts {
            key,
            mac: net.mac,
            carrier: net.carried_by(),
            cable: Arc::clone(&cable),
        });
        let card = VirtioNet::new(cable, net.mac.bytes(), net.mtu, net.offloads);
        machine.add_virtio(placed, Box::new(card))
    }
}
