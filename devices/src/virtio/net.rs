//! The virtio network device (virtio 1.2, 5.1): a card whose frames a [`Peer`](crate::net::Peer) of the host carries.
//!
//! One or several pairs of queues, with a thread for each, and a control queue, which the first pair's thread obeys. Frames of the guest's go
//! to the peer straight from where they are; what is checked, their headers, is copied before, so that the guest cannot change it. Frames
//! that the guest has no buffers for stay with the peer, which holds them up at their source; nothing is dropped for that.
//!
//! Where the peer lets the kernel move frames ([`KernelWorker`](crate::net::KernelWorker)), a pair's thread hands the rings over while
//! there is a link and bus mastering is enabled, and takes them back where not.

mod buffers;
mod control;
mod feature;
mod filter;
mod outbox;
#[cfg(test)]
mod tests;
mod traffic;

use std::sync::{Arc, RwLock};

use crate::net::cable::{Cable, LinkObserver};
use crate::net::{ETHERNET_HEADER, VLAN_TAG};

use super::worker::Worker;
use super::{ActivateError, Activation, Interrupt, VirtioDevice};
use control::Control;
use traffic::{Card, Queues};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Pairs of queues at most: each has a thread, and three interrupts of the 4,000 that a machine has.
pub const MOST_PAIRS: u16 = 32;
/// Entries of a queue for frames and of the one for commands.
const FRAMES: u16 = 256;
const COMMANDS: u16 = 64;

/// The queues of a pair (5.1.2).
fn queues_of(pair: u16) -> (u16, u16) {
    (2 * pair, 2 * pair + 1)
}

/// Bits of the configuration's status (5.1.4).
const LINK_UP: u16 = 1;
const ANNOUNCE: u16 = 2;

/// A virtio network card.
pub struct VirtioNet {
    cable: Arc<Cable>,
    mac: Mac,
    mtu: u16,
    features: u64,
    /// Pairs of queues.
    pairs: u16,
    queue_sizes: Vec<u16>,
    /// What the driver has accepted, once it works.
    accepted: u64,
    /// One for each pair that the driver has set up.
    workers: Vec<Worker>,
}

impl LinkObserver for Interrupt {
    fn link_changed(&self) {
        self.config_changed();
    }
}

impl VirtioNet {
    /// A card with the address `mac`, whose frames of at most `mtu` bytes behind their Ethernet header go over `cable`, which says how many
    /// pairs of queues it has. `offloads`: work on frames is left to those who can do it.
    pub fn new(cable: Arc<Cable>, mac: Mac, mtu: u16, offloads: bool) -> Self {
        let always = feature::MTU
            | feature::MAC
            | feature::MRG_RXBUF
            | feature::STATUS
            | feature::CTRL_VQ
            | feature::CTRL_RX
            | feature::CTRL_VLAN
            | feature::CTRL_RX_EXTRA
            | feature::GUEST_ANNOUNCE
            | feature::CTRL_MAC_ADDR;
        let peer = if offloads { feature::of_peer(cable.offloads()) } else { 0 };
        let pairs = u16::try_from(cable.pairs()).unwrap_or(MOST_PAIRS).clamp(1, MOST_PAIRS);
        let several = if pairs > 1 { feature::MQ } else { 0 };
        let mut queue_sizes = vec![FRAMES; 2 * usize::from(pairs)];
        queue_sizes.push(COMMANDS);
        let features = always | peer | several;
        Self { cable, mac, mtu, features, pairs, queue_sizes, accepted: 0, workers: Vec::new() }
    }

    /// The longest whole frame.
    fn longest(&self) -> usize {
        usize::from(self.mtu) + ETHERNET_HEADER + VLAN_TAG
    }

    /// `struct virtio_net_config` (5.1.4), as far as its fields are offered.
    fn configuration(&self) -> [u8; 12] {
        let announcing = self.accepted & feature::GUEST_ANNOUNCE != 0 && self.cable.announcing();
        let status = if self.cable.is_up() { LINK_UP } else { 0 } | if announcing { ANNOUNCE } else { 0 };
        let [a, b, c, d, e, f] = self.mac;
        let [s0, s1] = status.to_le_bytes();
        let [p0, p1] = self.pairs.to_le_bytes();
        let [m0, m1] = self.mtu.to_le_bytes();
        [a, b, c, d, e, f, s0, s1, p0, p1, m0, m1]
    }
}

impl VirtioDevice for VirtioNet {
    fn device_type(&self) -> u16 {
        1
    }

    fn class(&self) -> u32 {
        // Ethernet controller.
        0x02_0000
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let configuration = self.configuration();
        for (at, byte) in (offset..).zip(data) {
            *byte = usize::try_from(at).ok().and_then(|at| configuration.get(at)).copied().unwrap_or(0);
        }
    }

    /// The address is changed by the control queue (5.1.4.2).
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let features = activation.features;
        let several = features & feature::MQ != 0;
        // The queue for commands is the last one, and the third for a driver that knows of one pair only (5.1.2).
        let control = match features & feature::CTRL_VQ {
            0 => None,
            _ => Some(activation.take_queue(if several { 2 * self.pairs } else { 2 })?),
        };
        let (rx, tx) = queues_of(0);
        let mut pairs = vec![(activation.take_queue(rx)?, activation.take_queue(tx)?)];
        for (rx, tx) in (1..self.pairs).filter(|_| several).map(queues_of) {
            match (activation.take_queue(rx), activation.take_queue(tx)) {
                (Ok(rx), Ok(tx)) => pairs.push((rx, tx)),
                // A driver may set up fewer than there are, and then use no more than those.
                _ => break,
            }
        }
        let card = Arc::new(Card {
            cable: Arc::clone(&self.cable),
            dma: activation.dma,
            features,
            longest: self.longest(),
            settings: RwLock::new(Control::new(self.mac, features, pairs.len() as u16)),
        });
        self.workers.clear();
        self.cable.set_given_up(false);
        let mut control = control;
        for (pair, (rx, tx)) in pairs.into_iter().enumerate() {
            let queues = Queues { rx, tx, control: control.take() };
            let worker = traffic::start(Arc::clone(&card), pair, queues);
            let worker = worker.inspect_err(|_| self.workers.clear());
            self.workers.push(worker.map_err(ActivateError::Worker)?);
        }
        self.accepted = features;
        if features & feature::STATUS != 0 {
            self.cable.observe(Some(activation.interrupt));
        }
        Ok(())
    }

    fn reset(&mut self) {
        let Self { cable, mac: _, mtu: _, features: _, pairs: _, queue_sizes: _, accepted, workers } = self;
        cable.observe(None);
        // The peers are back in the cable afterwards.
        workers.clear();
        cable.announced();
        *accepted = 0;
    }
}
