//! A made-up virtio device through its PCI transport (virtio 1.2, 4.1).

mod bus_master;
mod queues;

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::rng::VirtioRng;
use super::testing::{AVAIL, DATA, DESC, Driver, INDIRECT, NEXT, USED, WRITE};
use super::*;
use crate::interrupt::MsiVector;
use crate::log_limit::{BURST, left_out};
use crate::pci::{PciFunction, Placement};

const ALL: u64 = feature::VERSION_1 | feature::EVENT_IDX | feature::INDIRECT_DESC;

#[test]
fn the_function_describes_itself() {
    let driver = Driver::new(VirtioRng::new());
    assert_eq!(driver.config_u32(0), 0x1044_1af4);
    assert_eq!(driver.config_u32(8), 0x00ff_0001);
    assert_eq!(driver.config_u32(0x2c) as u16, 0x1af4);
    assert_eq!(driver.config_u32(0x3c) >> 8 & 0xff, 1, "INTA");
    let mut covered = HashSet::new();
    for cfg_type in 1..=4 {
        let structure = driver.structure(cfg_type);
        assert_eq!(structure.bar, 0);
        assert!(structure.offset + structure.len <= 0x4000);
        for at in structure.offset..structure.offset + structure.len {
            assert!(covered.insert(at), "structures overlap at {at:#x}");
        }
    }
    assert_eq!(driver.structure(5).len, 0);
    let express = driver.capabilities(0x10)[0];
    assert_eq!(driver.config_u32(express) >> 16 & 0xff, 0x02, "an endpoint, capability version 2");
    assert_ne!(driver.config_u32(express + 0xc), 0, "which has a link");
    assert_eq!(driver.capabilities(0x11).len(), 1);
    assert_eq!(driver.common_u16(0x12), 1);
}

#[test]
fn on_bus_0_it_is_integrated_into_the_root_complex() {
    let driver = Driver::placed(VirtioRng::new(), Placement::RootComplexIntegrated);
    let express = driver.capabilities(0x10)[0];
    assert_eq!(driver.config_u32(express) >> 16 & 0xff, 0x92);
    assert_eq!(driver.config_u32(express + 0xc), 0, "without a link");
    assert_eq!(driver.config_u32(express + 0x10), 0);
    driver.config_write(express + 8, &[0xff; 2]);
    assert_eq!(driver.config_u32(express + 8), 0x78ff);
}

#[test]
fn its_header_says_when_it_has_neighbours() {
    let driver = Driver::new(VirtioRng::new());
    assert_eq!(driver.config_u32(0x0c) >> 16 & 0xff, 0x00);
    driver.function.set_multifunction();
    assert_eq!(driver.config_u32(0x0c) >> 16 & 0xff, 0x80);
    driver.function.reset();
    assert_eq!(driver.config_u32(0x0c) >> 16 & 0xff, 0x80, "a reset takes no neighbour away");
}

#[test]
fn features_are_offered_and_checked() {
    let driver = Driver::new(VirtioRng::new());
    assert_eq!(driver.device_features(), ALL);
    assert!(!driver.negotiate(feature::EVENT_IDX), "without VERSION_1");
    assert!(!driver.negotiate(ALL | 1 << 33), "ACCESS_PLATFORM is not offered");
    assert!(!driver.negotiate(ALL | 1));
    assert!(driver.negotiate(ALL));
    driver.write(1, 12, &0u32.to_le_bytes());
    driver.write(1, 8, &0u32.to_le_bytes());
    let mut low = [0; 4];
    driver.read(1, 12, &mut low);
    assert_eq!(u32::from_le_bytes(low), ALL as u32, "features are fixed once they are accepted");
}

#[test]
fn queue_registers_keep_only_what_is_valid() {
    let mut driver = Driver::new(VirtioRng::new());
    assert!(driver.negotiate(ALL));
    assert_eq!(driver.common_u16(0x18), 64);
    for bad in [0u16, 3, 65, 128, 0xffff] {
        driver.write(1, 0x18, &bad.to_le_bytes());
        assert_eq!(driver.common_u16(0x18), 64);
    }
    driver.write(1, 0x1a, &1u16.to_le_bytes());
    assert_eq!(driver.common_u16(0x1a), 1);
    driver.write(1, 0x1a, &2u16.to_le_bytes());
    assert_eq!(driver.common_u16(0x1a), 0xffff, "no such vector");
    driver.write(1, 0x20, &0x1_2345_6780u64.to_le_bytes()[..4]);
    driver.write(1, 0x24, &1u32.to_le_bytes());
    let mut desc = [0; 8];
    driver.read(1, 0x20, &mut desc);
    assert_eq!(u64::from_le_bytes(desc), 0x1_2345_6780);
    driver.set_up_queue(32);
    driver.write(1, 0x18, &16u16.to_le_bytes());
    assert_eq!(driver.common_u16(0x18), 32, "an enabled queue does not change");
    driver.write(1, 0x16, &1u16.to_le_bytes());
    assert_eq!(driver.common_u16(0x18), 0, "there is no queue 1");
    driver.set_status(0);
    assert_eq!((driver.common_u16(0x16), driver.common_u16(0x18), driver.common_u16(0x1c)), (0, 64, 0));
}

/// A driver that means harm tells the device again and again of rings that it cannot use.
#[test]
fn resets_with_a_misaligned_ring_do_not_fill_the_log() {
    let driver = Driver::new(VirtioRng::new());
    let (rounds, before) = (1000, left_out());
    let text = crate::test_support::logged(|| {
        for _ in 0..rounds {
            assert!(driver.negotiate(ALL));
            driver.write(1, 0x16, &0u16.to_le_bytes());
            driver.write(1, 0x20, &(DESC + 1).to_le_bytes());
            driver.write(1, 0x28, &AVAIL.to_le_bytes());
            driver.write(1, 0x30, &USED.to_le_bytes());
            driver.write(1, 0x1c, &1u16.to_le_bytes());
            driver.set_status(15);
        }
    });
    let lines = text.lines().count();
    let told = usize::try_from(BURST).unwrap() + 5; // Should the machine be so busy that this takes a minute.
    assert!(lines <= told && left_out() - before >= 900, "{lines} lines:\n{text}");
}

#[test]
fn every_register_answers_every_size() {
    let mut driver = Driver::new(VirtioRng::new());
    driver.start(ALL);
    for bar in 0..2 {
        let region = driver.region(bar);
        for size in [1, 2, 4, 8] {
            for offset in 0..region.range.len() - size + 1 {
                let mut data = [0xa5; 8];
                region.device.read(offset, &mut data[..size as usize]);
            }
        }
    }
    for size in [1, 2, 4] {
        for register in (0..0x1000u16).step_by(size) {
            let mut data = [0xa5; 4];
            driver.function.config_read(register, &mut data[..size]);
        }
    }
    // The same register gives the same bytes whatever the width.
    let mut image = [0; 8];
    for at in 0..0x38 {
        driver.read(1, at, &mut image);
        for (within, &byte) in image.iter().enumerate() {
            assert_eq!(driver.common_u8(at + within as u64), byte);
        }
    }
    let mut beyond = [0; 4];
    driver.read(1, 0x40, &mut beyond);
    assert_eq!(beyond, [0xff; 4]);
}

#[test]
fn entropy_arrives_by_msix() {
    let mut driver = Driver::new(VirtioRng::new());
    driver.start(ALL);
    driver.offer(&[(DATA, 64, WRITE), (DATA + 0x1000, 32, WRITE)]);
    driver.ring();
    assert_eq!(driver.wait_used(), Some((0, 96)));
    driver.wait_vector(1);
    let mut bytes = [0; 64];
    driver.ram.read_slice(&mut bytes, GuestAddress(DATA)).unwrap();
    assert!(bytes.iter().collect::<HashSet<_>>().len() > 20, "64 random bytes have more than 20 values");
    driver.offer(&[(1 << 20, 1 << 19, WRITE)]);
    driver.ring_trapped();
    assert_eq!(driver.wait_used().unwrap().1, 64 << 10, "a request is bounded");
}

#[test]
fn intx_follows_the_isr_status() {
    let mut driver = Driver::new(VirtioRng::new());
    assert!(driver.negotiate(ALL));
    driver.set_up_queue(64);
    driver.set_status(15);
    driver.offer(&[(DATA, 8, WRITE)]);
    driver.ring();
    driver.wait_used().unwrap();
    let high = || driver.line.high.load(Ordering::SeqCst);
    let deadline = std::time::Instant::now() + testing::PATIENCE;
    while !high() {
        assert!(std::time::Instant::now() < deadline);
    }
    assert_ne!(driver.config_u32(4) & 1 << 19, 0, "interrupt status");
    driver.config_write(4, &0x406u16.to_le_bytes());
    assert!(!high(), "INTx is disabled");
    assert_ne!(driver.config_u32(4) & 1 << 19, 0, "but still pending");
    driver.config_write(4, &0x006u16.to_le_bytes());
    assert!(high());
    let mut isr = [0];
    driver.read(3, 0, &mut isr);
    assert_eq!(isr, [1]);
    assert!(!high());
    driver.read(3, 0, &mut isr);
    assert_eq!(isr, [0], "reading cleared it");
    assert_eq!(driver.config_u32(4) & 1 << 19, 0);
}

#[test]
fn the_configuration_access_capability_reaches_the_bars() {
    let driver = Driver::new(VirtioRng::new());
    let at = driver.structure(5).capability;
    let aim = |bar: u8, offset: u32, len: u32| {
        driver.config_write(at + 4, &[bar]);
        driver.config_write(at + 8, &offset.to_le_bytes());
        driver.config_write(at + 12, &len.to_le_bytes());
    };
    aim(0, 0x12, 2);
    assert_eq!(driver.config_u32(at + 16) as u16, 1, "num_queues");
    aim(0, 0x14, 1);
    driver.config_write(at + 16, &[1]);
    assert_eq!(driver.status(), 1);
    aim(1, 12, 4);
    assert_eq!(driver.config_u32(at + 16), 1, "vector 0 is masked");
    for (bar, offset, len) in [(0, 0x3ffe, 4), (0, 2, 4), (0, 0, 3), (0, u32::MAX, 1), (2, 0, 4), (0, 0, 0)] {
        aim(bar, offset, len);
        driver.config_u32(at + 16);
        driver.config_write(at + 16, &[0xff; 4]);
    }
    assert_eq!(driver.status(), 1);
}

#[test]
fn doorbells_are_within_the_registers() {
    let driver = Driver::new(VirtioRng::new());
    driver.enable_bars();
    let registers = driver.region(driver.structure(2).bar).range;
    let mut doorbells = 0;
    for region in driver.function.regions() {
        for doorbell in region.doorbells.iter() {
            doorbells += 1;
            // Anywhere else it would swallow what the guest writes to a neighbour.
            assert_eq!(region.range, registers);
            assert!(doorbell.offset + u64::from(doorbell.len) <= region.range.len());
        }
    }
    assert_eq!(doorbells, 1);
}

#[test]
fn reset_returns_everything_to_power_on() {
    let mut driver = Driver::new(VirtioRng::new());
    let snapshot = |driver: &Driver| (0..0x400).map(|dword| driver.config_u32(4 * dword)).collect::<Vec<_>>();
    driver.function.reset();
    let fresh = snapshot(&driver);
    driver.enable_bars();
    driver.start(ALL);
    driver.offer(&[(DATA, 8, WRITE)]);
    driver.ring();
    driver.wait_used();
    driver.function.reset();
    assert_eq!(snapshot(&driver), fresh);
    assert!(driver.function.regions().is_empty());
    assert!(driver.vectors.iter().all(|vector| vector.route.lock().unwrap().is_none()));
    driver.enable_bars();
    assert_eq!(driver.status(), 0);
    driver.start(ALL);
    driver.offer(&[(DATA, 8, WRITE)]);
    driver.ring();
    assert_eq!(driver.wait_used(), Some((0, 8)));
}

/// Each breaks the ring in its own way, after DRIVER_OK.
#[test]
fn malformed_rings_ask_for_a_reset() {
    type Break = fn(&mut Driver);
    let cases: [(&str, Break); 10] = [
        ("loop", |d| {
            d.describe(DESC, 0, DATA, 8, WRITE | NEXT, 0);
            d.publish(0);
        }),
        ("next beyond the table", |d| {
            d.describe(DESC, 0, DATA, 8, WRITE | NEXT, 500);
            d.publish(0);
        }),
        ("head beyond the table", |d| d.publish(500)),
        ("address outside of RAM", |d| d.offer(&[(3 << 20, 8, WRITE)])),
        ("range past the end of RAM", |d| d.offer(&[((5 << 20) - 4, 8, WRITE)])),
        ("range past the end of the address space", |d| d.offer(&[(u64::MAX - 3, 8, WRITE)])),
        ("readable buffer", |d| d.offer(&[(DATA, 8, 0)])),
        ("available index far ahead", |d| {
            d.ram.write_obj(1000u16, GuestAddress(AVAIL + 2)).unwrap();
        }),
        ("indirect table of odd length", |d| d.offer(&[(DATA, 17, INDIRECT)])),
        ("indirect table in an indirect table", |d| {
            d.describe(DATA, 0, DATA, 16, INDIRECT, 0);
            d.offer(&[(DATA, 16, INDIRECT)]);
        }),
    ];
    for (name, break_ring) in cases {
        let mut driver = Driver::new(VirtioRng::new());
        driver.start(ALL);
        let generation = driver.common_u8(0x15);
        break_ring(&mut driver);
        driver.ring();
        driver.wait_needs_reset();
        driver.wait_vector(0);
        assert_ne!(driver.common_u8(0x15), generation, "{name}");
        driver.start(ALL);
        driver.offer(&[(DATA, 8, WRITE)]);
        driver.ring();
        assert_eq!(driver.wait_used(), Some((0, 8)), "{name}: works again after the reset");
    }
}

#[test]
fn queues_outside_of_ram_ask_for_a_reset() {
    for (register, address) in
        [(0x20, 3 << 20), (0x28, u64::MAX - 1), (0x30, (5 << 20) - 4), (0x20, DESC + 1)]
    {
        let mut driver = Driver::new(VirtioRng::new());
        assert!(driver.negotiate(ALL));
        driver.write(1, register, &address.to_le_bytes());
        for (other, usual) in [(0x20, DESC), (0x28, AVAIL), (0x30, USED)] {
            if other != register {
                driver.write(1, other, &usual.to_le_bytes());
            }
        }
        driver.write(1, 0x1c, &1u16.to_le_bytes());
        driver.set_status(15);
        assert_eq!(driver.status() & 64, 64, "{address:#x}");
        driver.start(ALL);
    }
    let mut driver = Driver::new(VirtioRng::new());
    assert!(driver.negotiate(ALL));
    driver.set_status(15);
    assert_eq!(driver.status() & 64, 64, "no queue at all");
    driver.start(ALL);
}

#[test]
fn notifications_follow_event_index_and_flag() {
    let mut driver = Driver::new(VirtioRng::new());
    driver.start(feature::VERSION_1);
    driver.ram.write_obj(1u16, GuestAddress(AVAIL)).unwrap();
    driver.offer(&[(DATA, 8, WRITE)]);
    driver.ring();
    driver.wait_used();
    driver.ram.write_obj(0u16, GuestAddress(AVAIL)).unwrap();
    driver.offer(&[(DATA, 8, WRITE)]);
    driver.ring();
    driver.wait_used();
    driver.wait_vector(1);

    driver.start(ALL);
    // used_event asks for an interrupt after the third.
    driver.ram.write_obj(2u16, GuestAddress(AVAIL + 4 + 2 * 64)).unwrap();
    let early = driver.vectors[1].event().read().is_ok();
    assert!(!early);
    for _ in 0..2 {
        driver.offer(&[(DATA, 8, WRITE)]);
        driver.ring();
        driver.wait_used();
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(driver.vectors[1].event().read().is_err(), "not before the third");
    driver.offer(&[(DATA, 8, WRITE)]);
    driver.ring();
    driver.wait_used();
    driver.wait_vector(1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Arbitrary accesses of arbitrary registers, then a reset: the device works.
    #[test]
    fn nonsense_in_any_register_is_survived(
        accesses in proptest::collection::vec((0u8..3, any::<u16>(), any::<u64>(), 0usize..4), 0..80),
    ) {
        let mut driver = Driver::new(VirtioRng::new());
        driver.start(ALL);
        let regions = [driver.region(0), driver.region(1)];
        for (space, offset, value, size) in accesses {
            let len = 1 << size;
            match regions.get(usize::from(space)) {
                Some(region) => {
                    let offset = u64::from(offset) % (region.range.len() - len as u64 + 1);
                    // Mostly the common configuration.
                    let offset = if value & 3 == 0 || space == 1 { offset } else { offset % 0x38 };
                    let _ = region.device.write(offset, &value.to_le_bytes()[..len]);
                    region.device.read(offset, &mut [0; 8][..len]);
                }
                None => {
                    let len = len.min(4);
                    let register = (offset % 0x1000) & !(len as u16 - 1);
                    driver.config_write(register, &value.to_le_bytes()[..len]);
                }
            }
        }
        driver.function.reset();
        driver.enable_bars();
        driver.start(ALL);
        driver.offer(&[(DATA, 8, WRITE)]);
        driver.ring();
        prop_assert_eq!(driver.wait_used(), Some((0, 8)));
    }

    /// Arbitrary descriptors and rings: the device answers or asks for a reset, and works after it.
    #[test]
    fn hostile_rings_are_survived(
        descriptors in proptest::collection::vec(
            (prop_oneof![Just(DATA), Just(DESC), Just(USED), Just((1u64 << 20) - 7), any::<u64>()],
             prop_oneof![0u32..64, any::<u32>()], 0u16..8, 0u16..70), 64),
        heads in proptest::collection::vec(prop_oneof![0u16..64, any::<u16>()], 1..40),
        index in prop_oneof![0u16..80, any::<u16>()],
    ) {
        let mut driver = Driver::new(VirtioRng::new());
        driver.start(ALL);
        for (at, &(addr, len, flags, next)) in descriptors.iter().enumerate() {
            driver.describe(DESC, at as u16, addr, len, flags, next);
        }
        for head in heads {
            driver.publish(head);
        }
        driver.ram.write_obj(index, GuestAddress(AVAIL + 2)).unwrap();
        driver.ring();
        std::thread::yield_now();
        driver.start(ALL);
        driver.offer(&[(DATA, 8, WRITE)]);
        driver.ring();
        prop_assert_eq!(driver.wait_used(), Some((0, 8)));
    }
}
