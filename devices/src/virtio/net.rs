//! The virtio network device (virtio 1.2, 5.1): a card whose frames a [`Peer`](crate::net::Peer) of the host carries.
//!
//! One pair of queues, a control queue, and one thread for all of them. A frame is copied once in each direction, so that the guest
//! cannot change what has been checked. Frames that the guest has no buffers for stay with the peer, which holds them up at their
//! source; nothing is dropped for that.

mod buffers;
mod control;
mod filter;
#[cfg(test)]
mod tests;
mod traffic;

use std::sync::Arc;

use crate::net::cable::{Cable, LinkObserver};
use crate::net::{ETHERNET_HEADER, VLAN_TAG};

use super::worker::Worker;
use super::{ActivateError, Activation, Interrupt, VirtioDevice};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Feature bits (5.1.3).
mod feature {
    use crate::net::Offloads;

    pub(super) const CSUM: u64 = 1 << 0;
    pub(super) const GUEST_CSUM: u64 = 1 << 1;
    pub(super) const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
    pub(super) const MTU: u64 = 1 << 3;
    pub(super) const MAC: u64 = 1 << 5;
    pub(super) const GUEST_TSO4: u64 = 1 << 7;
    pub(super) const GUEST_TSO6: u64 = 1 << 8;
    pub(super) const GUEST_ECN: u64 = 1 << 9;
    pub(super) const HOST_TSO4: u64 = 1 << 11;
    pub(super) const HOST_TSO6: u64 = 1 << 12;
    pub(super) const HOST_ECN: u64 = 1 << 13;
    pub(super) const MRG_RXBUF: u64 = 1 << 15;
    pub(super) const STATUS: u64 = 1 << 16;
    pub(super) const CTRL_VQ: u64 = 1 << 17;
    pub(super) const CTRL_RX: u64 = 1 << 18;
    pub(super) const CTRL_VLAN: u64 = 1 << 19;
    pub(super) const CTRL_RX_EXTRA: u64 = 1 << 20;
    pub(super) const GUEST_ANNOUNCE: u64 = 1 << 21;
    pub(super) const CTRL_MAC_ADDR: u64 = 1 << 23;
    pub(super) const GUEST_USO4: u64 = 1 << 54;
    pub(super) const GUEST_USO6: u64 = 1 << 55;
    pub(super) const HOST_USO: u64 = 1 << 56;

    /// What a driver can switch on and off for received frames.
    pub(super) const GUEST_OFFLOADS: u64 =
        GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_USO4 | GUEST_USO6;

    /// What a device whose peer can do this offers.
    pub(super) fn of_peer(peer: Offloads) -> u64 {
        let bits = |is: bool, bits: u64| if is { bits } else { 0 };
        bits(peer.checksum, CSUM | GUEST_CSUM | CTRL_GUEST_OFFLOADS)
            | bits(peer.tso4, HOST_TSO4 | GUEST_TSO4)
            | bits(peer.tso6, HOST_TSO6 | GUEST_TSO6)
            | bits(peer.ecn, HOST_ECN | GUEST_ECN)
            | bits(peer.uso, HOST_USO | GUEST_USO4 | GUEST_USO6)
    }

    /// What a driver with these features leaves to the device. Bits without those that they need (5.1.3.1) are without effect.
    pub(super) fn host_offloads(features: u64) -> Offloads {
        let has = |bit| features & bit != 0;
        let all = Offloads {
            checksum: has(CSUM),
            tso4: has(HOST_TSO4),
            tso6: has(HOST_TSO6),
            ecn: has(HOST_ECN),
            uso: has(HOST_USO),
        };
        all.and(all)
    }

    /// What it takes from the device undone. The kernel has one switch for UDP over both versions of IP.
    pub(super) fn guest_offloads(features: u64) -> Offloads {
        let has = |bit| features & bit != 0;
        let all = Offloads {
            checksum: has(GUEST_CSUM),
            tso4: has(GUEST_TSO4),
            tso6: has(GUEST_TSO6),
            ecn: has(GUEST_ECN),
            uso: has(GUEST_USO4) && has(GUEST_USO6),
        };
        all.and(all)
    }
}

/// The driver's queues. The last one is for commands.
const RX: u16 = 0;
const TX: u16 = 1;
const CONTROL: u16 = 2;
const QUEUE_SIZES: [u16; 3] = [256, 256, 64];

/// Bits of the configuration's status (5.1.4).
const LINK_UP: u16 = 1;
const ANNOUNCE: u16 = 2;

/// A virtio network card.
pub struct VirtioNet {
    cable: Arc<Cable>,
    mac: Mac,
    mtu: u16,
    features: u64,
    /// What the driver has accepted, once it works.
    accepted: u64,
    worker: Option<Worker>,
}

impl LinkObserver for Interrupt {
    fn link_changed(&self) {
        self.config_changed();
    }
}

impl VirtioNet {
    /// A card with the address `mac`, whose frames of at most `mtu` bytes behind their Ethernet header go over `cable`. `offloads`: work
    /// on frames is left to those who can do it.
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
        Self { cable, mac, mtu, features: always | peer, accepted: 0, worker: None }
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
        let [m0, m1] = self.mtu.to_le_bytes();
        [a, b, c, d, e, f, s0, s1, 1, 0, m0, m1]
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
        &QUEUE_SIZES
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
        let (rx, tx) = (activation.take_queue(RX)?, activation.take_queue(TX)?);
        let features = activation.features;
        let control = match features & feature::CTRL_VQ {
            0 => None,
            _ => Some(activation.take_queue(CONTROL)?),
        };
        let cable = Arc::clone(&self.cable);
        let doorbells: Vec<_> = [&rx, &tx]
            .into_iter()
            .chain(&control)
            .map(|queue| Arc::clone(queue.event()))
            .chain([Arc::clone(cable.wake())])
            .collect();
        let (mac, longest, dma) = (self.mac, self.longest(), activation.dma);
        let worker = Worker::start("virtio-net", doorbells, move |waiter, stop| {
            let card = traffic::Card { cable: &cable, dma: &dma, features, longest };
            card.work(rx, tx, control, mac, waiter, stop);
        });
        self.worker = Some(worker.map_err(ActivateError::Worker)?);
        self.accepted = features;
        if features & feature::STATUS != 0 {
            self.cable.observe(Some(activation.interrupt));
        }
        Ok(())
    }

    fn reset(&mut self) {
        let Self { cable, mac: _, mtu: _, features: _, accepted, worker } = self;
        cable.observe(None);
        // The peer is back in the cable afterwards.
        *worker = None;
        cable.announced();
        *accepted = 0;
    }
}
