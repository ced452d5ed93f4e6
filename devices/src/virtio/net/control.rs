//! The commands of the control queue (virtio 1.2, 5.1.6.5): a class, a command and its data, answered by one byte.

use crate::net::Offloads;

use super::filter::Filter;
use super::{Mac, feature};

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ack {
    /// It is done.
    Ok = 0,
    /// It is unknown, malformed or impossible.
    Err = 1,
}

/// Bytes of a command and its data at most: two tables of some thousand addresses.
pub(super) const LONGEST: usize = 64 << 10;

/// Classes and commands.
mod class {
    pub(super) const RX: u8 = 0;
    pub(super) const MAC: u8 = 1;
    pub(super) const VLAN: u8 = 2;
    pub(super) const ANNOUNCE: u8 = 3;
    pub(super) const MQ: u8 = 4;
    pub(super) const GUEST_OFFLOADS: u8 = 5;
}

/// What commands change.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) filter: Filter,
    /// What the driver takes undone now.
    pub(super) offloads: Offloads,
    /// The guest has told its neighbours where it is.
    pub(super) announced: bool,
    /// Pairs of queues that frames go through.
    pub(super) pairs: u16,
    /// Those that the driver has set up.
    set_up: u16,
    /// What was negotiated.
    features: u64,
}

/// The addresses of the table at the head of `data` (a count of 32 bits, then six bytes each), and what follows it.
fn table(data: &[u8]) -> Option<(&[Mac], &[u8])> {
    let (count, rest) = data.split_first_chunk::<4>()?;
    let bytes = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(6)?;
    let (addresses, rest) = rest.split_at_checked(bytes)?;
    Some((addresses.as_chunks().0, rest))
}

impl Control {
    /// What holds once the driver has accepted `features` and set up so many pairs of queues: it uses one until it asks for more.
    pub(super) fn new(mac: Mac, features: u64, set_up: u16) -> Self {
        Self {
            filter: Filter::new(mac, features & feature::CTRL_VLAN != 0),
            offloads: feature::guest_offloads(features),
            announced: false,
            pairs: 1,
            set_up,
            features,
        }
    }

    /// Performs a command.
    pub(super) fn perform(&mut self, command: &[u8]) -> Ack {
        let done = match command.split_first_chunk::<2>() {
            Some(([class, command], data)) => self.command(*class, *command, data),
            None => None,
        };
        if done.is_some() { Ack::Ok } else { Ack::Err }
    }

    fn has(&self, feature: u64) -> Option<()> {
        (self.features & feature != 0).then_some(())
    }

    fn command(&mut self, class: u8, command: u8, data: &[u8]) -> Option<()> {
        match (class, command) {
            (class::RX, 0..=5) => {
                let extra = command >= 2;
                self.has(if extra { feature::CTRL_RX_EXTRA } else { feature::CTRL_RX })?;
                let &[on] = data else { return None };
                let mode = match command {
                    0 => &mut self.filter.promiscuous,
                    1 => &mut self.filter.all_multicast,
                    2 => &mut self.filter.all_unicast,
                    3 => &mut self.filter.no_multicast,
                    4 => &mut self.filter.no_unicast,
                    _ => &mut self.filter.no_broadcast,
                };
                *mode = on != 0;
            }
            // The tables need CTRL_RX, the address CTRL_MAC_ADDR.
            (class::MAC, 0) => {
                self.has(feature::CTRL_RX)?;
                let (unicast, rest) = table(data)?;
                let (multicast, []) = table(rest)? else { return None };
                self.filter.set_addresses(unicast.iter().copied(), multicast.iter().copied());
            }
            (class::MAC, 1) => {
                self.has(feature::CTRL_MAC_ADDR)?;
                self.filter.mac = data.try_into().ok()?;
            }
            (class::VLAN, 0 | 1) => {
                self.has(feature::CTRL_VLAN)?;
                let number = u16::from_le_bytes(data.try_into().ok()?);
                self.filter.set_vlan(number, command == 0).then_some(())?;
            }
            (class::ANNOUNCE, 0) => {
                self.has(feature::GUEST_ANNOUNCE)?;
                self.announced = true;
            }
            (class::MQ, 0) => {
                self.has(feature::MQ)?;
                let pairs = u16::from_le_bytes(data.try_into().ok()?);
                (1..=self.set_up).contains(&pairs).then_some(())?;
                self.pairs = pairs;
            }
            (class::GUEST_OFFLOADS, 0) => {
                self.has(feature::CTRL_GUEST_OFFLOADS)?;
                let wanted = u64::from_le_bytes(data.try_into().ok()?);
                // Only what was negotiated can be switched on again (5.1.6.5.6.2).
                if wanted & !self.features & feature::GUEST_OFFLOADS != 0 {
                    return None;
                }
                self.offloads = feature::guest_offloads(wanted & self.features);
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: Mac = [0x52, 0x54, 0, 1, 2, 3];
    const ALL: u64 = u64::MAX;

    fn mac_tables(unicast: &[Mac], multicast: &[Mac]) -> Vec<u8> {
        let table =
            |macs: &[Mac]| [&u32::try_from(macs.len()).unwrap().to_le_bytes(), macs.as_flattened()].concat();
        [vec![1, 0], table(unicast), table(multicast)].concat()
    }

    #[test]
    fn commands_and_their_answers() {
        let tables = mac_tables(&[[2; 6]], &[[3; 6], [5; 6]]);
        let cut = tables[..tables.len() - 1].to_vec();
        let long = [tables.clone(), vec![0]].concat();
        for (command, features, answer) in [
            (vec![0, 0, 0], ALL, Ack::Ok),
            (vec![0, 5, 1], ALL, Ack::Ok),
            (vec![0, 6, 1], ALL, Ack::Err),
            (vec![0, 0], ALL, Ack::Err),
            (vec![0, 0, 1, 1], ALL, Ack::Err),
            (vec![0, 0, 0], !feature::CTRL_RX, Ack::Err),
            (vec![0, 2, 0], !feature::CTRL_RX_EXTRA, Ack::Err),
            (tables, ALL, Ack::Ok),
            (cut, ALL, Ack::Err),
            (long, ALL, Ack::Err),
            (vec![1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], ALL, Ack::Err),
            (vec![1, 1, 2, 0, 0, 0, 0, 9], ALL, Ack::Ok),
            (vec![1, 1, 2, 0, 0, 0, 0], ALL, Ack::Err),
            (vec![1, 1, 2, 0, 0, 0, 0, 9], !feature::CTRL_MAC_ADDR, Ack::Err),
            (vec![2, 0, 5, 0], ALL, Ack::Ok),
            (vec![2, 1, 5, 0], ALL, Ack::Ok),
            (vec![2, 0, 0, 0x10], ALL, Ack::Err),
            (vec![2, 0, 5], ALL, Ack::Err),
            (vec![2, 0, 5, 0], !feature::CTRL_VLAN, Ack::Err),
            (vec![3, 0], ALL, Ack::Ok),
            (vec![3, 1], ALL, Ack::Err),
            (vec![4, 0, 1, 0], ALL, Ack::Ok),
            (vec![4, 0, 3, 0], ALL, Ack::Ok),
            (vec![4, 0, 0, 0], ALL, Ack::Err),
            // More than the driver has set up.
            (vec![4, 0, 4, 0], ALL, Ack::Err),
            (vec![4, 0, 0, 1], ALL, Ack::Err),
            (vec![4, 0, 2], ALL, Ack::Err),
            (vec![4, 0, 2, 0], !feature::MQ, Ack::Err),
            // Steering by a hash (RSS) is not offered.
            (vec![4, 1, 2, 0], ALL, Ack::Err),
            (vec![5, 0, 2, 0, 0, 0, 0, 0, 0, 0], ALL, Ack::Ok),
            (vec![5, 0, 2, 0, 0, 0, 0, 0, 0, 0], ALL & !feature::GUEST_CSUM, Ack::Err),
            (vec![5, 0, 2], ALL, Ack::Err),
            (vec![9, 9, 9], ALL, Ack::Err),
            (vec![], ALL, Ack::Err),
        ] {
            let mut control = Control::new(MAC, features, 3);
            assert_eq!(control.perform(&command), answer, "{command:?} with {features:#x}");
        }
    }

    #[test]
    fn what_a_command_changes() {
        let mut control = Control::new(MAC, ALL, 3);
        assert!(control.filter.promiscuous && control.offloads.tso4);
        assert_eq!(control.perform(&[0, 0, 0]), Ack::Ok);
        assert!(!control.filter.promiscuous);
        assert_eq!(control.perform(&mac_tables(&[[2; 6]], &[])), Ack::Ok);
        assert!(control.filter.wants(&[2; 60]) && !control.filter.wants(&[4; 60]));
        assert_eq!(control.perform(&[1, 1, 4, 4, 4, 4, 4, 4]), Ack::Ok);
        assert!(control.filter.wants(&[4; 60]));
        assert_eq!(control.perform(&[5, 0, 2, 0, 0, 0, 0, 0, 0, 0]), Ack::Ok);
        assert_eq!(control.offloads, Offloads { checksum: true, ..Offloads::default() });
        assert_eq!(control.perform(&[3, 0]), Ack::Ok);
        assert!(control.announced);
        assert_eq!(control.pairs, 1);
        assert_eq!(control.perform(&[4, 0, 2, 0]), Ack::Ok);
        assert_eq!(control.perform(&[4, 0, 9, 0]), Ack::Err);
        assert_eq!(control.pairs, 2);
    }

    proptest! {
        /// Whatever a driver writes.
        #[test]
        fn every_command_is_answered(
            commands in prop::collection::vec((0u8..6, 0u8..6, prop::collection::vec(any::<u8>(), 0..64)), 1..8),
            features: u64,
            set_up in 1u16..32,
        ) {
            let mut control = Control::new(MAC, features, set_up);
            for (class, command, data) in commands {
                let _ = control.perform(&[&[class, command], data.as_slice()].concat());
                let _ = control.filter.wants(&data);
                // What comes of it can be done.
                prop_assert!((1..=set_up).contains(&control.pairs));
                prop_assert_eq!(control.offloads, control.offloads.and(feature::guest_offloads(features)));
            }
        }
    }
}
