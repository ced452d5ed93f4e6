//! Which received frames a driver wants (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3): by destination address and by VLAN.

use crate::net::ETHERNET_HEADER;

use super::Mac;

/// Addresses of each kind that are compared one by one; with more, all frames of the kind are let through.
const TABLE: usize = 64;
/// EtherType of a frame with an 802.1Q tag.
const TAGGED: [u8; 2] = [0x81, 0x00];
/// Numbers of VLANs.
const VLANS: usize = 4096;

/// Addresses of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    addresses: Vec<Mac>,
    overflow: bool,
}

impl Table {
    fn has(&self, address: &Mac) -> bool {
        self.overflow || self.addresses.contains(address)
    }

    fn set(&mut self, addresses: impl Iterator<Item = Mac>) {
        let mut addresses: Vec<Mac> = addresses.take(TABLE + 1).collect();
        self.overflow = addresses.len() > TABLE;
        if self.overflow {
            addresses.clear();
        }
        self.addresses = addresses;
    }
}

/// What a driver has asked for.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    /// The card's address.
    pub(super) mac: Mac,
    /// Everything. A driver that cannot say so gets it.
    pub(super) promiscuous: bool,
    pub(super) all_multicast: bool,
    pub(super) all_unicast: bool,
    pub(super) no_multicast: bool,
    pub(super) no_unicast: bool,
    pub(super) no_broadcast: bool,
    unicast: Table,
    multicast: Table,
    /// A bit for each VLAN, if the driver filters them.
    vlans: Option<Box<[u64; VLANS / 64]>>,
}

impl Filter {
    /// What holds after a reset. `vlans`: the driver filters them, and wants none so far.
    pub(super) fn new(mac: Mac, vlans: bool) -> Self {
        Self {
            mac,
            promiscuous: true,
            all_multicast: false,
            all_unicast: false,
            no_multicast: false,
            no_unicast: false,
            no_broadcast: false,
            unicast: Table::default(),
            multicast: Table::default(),
            vlans: vlans.then(|| Box::new([0; VLANS / 64])),
        }
    }

    /// Replaces the tables of addresses.
    pub(super) fn set_addresses(
        &mut self,
        unicast: impl Iterator<Item = Mac>,
        multicast: impl Iterator<Item = Mac>,
    ) {
        self.unicast.set(unicast);
        self.multicast.set(multicast);
    }

    /// Lets a VLAN's frames through or not; `false` if there is no such VLAN, or the driver does not filter them.
    pub(super) fn set_vlan(&mut self, number: u16, wanted: bool) -> bool {
        let word = self.vlans.as_mut().and_then(|vlans| vlans.get_mut(usize::from(number / 64)));
        let Some(word) = word else { return false };
        let bit = 1 << (number % 64);
        *word = if wanted { *word | bit } else { *word & !bit };
        true
    }

    fn wants_vlan(&self, frame: &[u8]) -> bool {
        let Some(vlans) = &self.vlans else { return true };
        match frame.get(ETHERNET_HEADER - 2..ETHERNET_HEADER + 2) {
            Some([a, b, high, low]) if [*a, *b] == TAGGED => {
                let number = u16::from_be_bytes([high & 0x0f, *low]);
                vlans.get(usize::from(number / 64)).is_some_and(|word| word & 1 << (number % 64) != 0)
            }
            _ => true,
        }
    }

    /// Whether the driver wants this frame.
    pub(super) fn wants(&self, frame: &[u8]) -> bool {
        if self.promiscuous {
            return true;
        }
        let Some(to) = frame.first_chunk::<6>() else { return false };
        if !self.wants_vlan(frame) {
            return false;
        }
        match to {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => !self.no_broadcast,
            [first, ..] if first & 1 != 0 => {
                !self.no_multicast && (self.all_multicast || self.multicast.has(to))
            }
            _ => !self.no_unicast && (self.all_unicast || *to == self.mac || self.unicast.has(to)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = [0x52, 0x54, 0, 1, 2, 3];
    const OTHER: Mac = [0x52, 0x54, 0, 9, 9, 9];
    const MANY: Mac = [0x33, 0x33, 0, 0, 0, 1];
    const ALL: Mac = [0xff; 6];

    fn frame(to: Mac) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&to);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame
    }

    fn tagged(to: Mac, vlan: u16) -> Vec<u8> {
        let mut frame = frame(to);
        frame[12..14].copy_from_slice(&TAGGED);
        // With a priority in the upper bits.
        frame[14..16].copy_from_slice(&(vlan | 0xe000).to_be_bytes());
        frame
    }

    #[test]
    fn frames_by_their_destination() {
        type Change = fn(&mut Filter);
        let table: [(Change, [bool; 4]); 11] = [
            (|_| {}, [true, false, false, true]),
            (|filter| filter.promiscuous = true, [true; 4]),
            (|filter| filter.all_multicast = true, [true, false, true, true]),
            (|filter| filter.all_unicast = true, [true, true, false, true]),
            (|filter| filter.no_unicast = true, [false, false, false, true]),
            (|filter| filter.no_broadcast = true, [true, false, false, false]),
            (|filter| filter.set_addresses([OTHER].into_iter(), [MANY].into_iter()), [true; 4]),
            (
                |filter| {
                    filter.set_addresses([OTHER].into_iter(), [MANY].into_iter());
                    filter.no_multicast = true;
                },
                [true, true, false, true],
            ),
            (
                |filter| filter.set_addresses([[1; 6]; 65].into_iter(), [].into_iter()),
                [true, true, false, true],
            ),
            (
                |filter| filter.set_addresses([].into_iter(), [[1; 6]; 65].into_iter()),
                [true, false, true, true],
            ),
            (|filter| filter.mac = OTHER, [false, true, false, true]),
        ];
        for (number, (change, wanted)) in table.into_iter().enumerate() {
            let mut filter = Filter { promiscuous: false, ..Filter::new(OWN, false) };
            change(&mut filter);
            let got = [OWN, OTHER, MANY, ALL].map(|to| filter.wants(&frame(to)));
            assert_eq!(got, wanted, "row {number}");
        }
    }

    #[test]
    fn frames_by_their_vlan() {
        let mut filter = Filter { promiscuous: false, ..Filter::new(OWN, true) };
        assert!(filter.wants(&frame(OWN)), "frames without a tag are no VLAN's");
        assert!(!filter.wants(&tagged(OWN, 100)));
        assert!(filter.set_vlan(100, true));
        assert!(filter.wants(&tagged(OWN, 100)) && !filter.wants(&tagged(OWN, 101)));
        assert!(filter.set_vlan(100, false));
        assert!(!filter.wants(&tagged(OWN, 100)));
        assert!(filter.set_vlan(4095, true) && !filter.set_vlan(4096, true));
        let mut without = Filter { promiscuous: false, ..Filter::new(OWN, false) };
        assert!(without.wants(&tagged(OWN, 100)) && !without.set_vlan(1, true));
    }
}
