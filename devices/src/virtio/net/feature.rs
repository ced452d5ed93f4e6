//! Feature bits of network cards (virtio 1.2, 5.1.3), and what they say of work that is left to others.

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
pub(super) const MQ: u64 = 1 << 22;
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
