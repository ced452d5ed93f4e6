//! A driver that means no good: it gets errors, and the controller works after a reset.

use std::sync::Arc;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::driver::*;
use crate::input::{AbsoluteEvent, Buttons, Key, PointerEvent};
use crate::pci::PciFunction;
use crate::usb::hid::Tablet;

#[derive(Debug, Clone)]
enum Step {
    Register { offset: u64, value: u64, width: usize },
    Doorbell { slot: u64, target: u32 },
    Command { kind: u32, slot: u32, rest: u32, parameter: u64 },
    Trb { ring: u64, dwords: [u32; 4] },
    Memory { address: u64, words: Vec<u32> },
    BusMaster(bool),
    Type(u16, bool),
    Point(u16, u16, bool),
    Take,
    Unplug(usize),
    Plug,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![
        0..64u64,
        any::<u64>(),
        Just(u64::MAX),
        (0..0x400u64).prop_map(|page| page << 8),
        (0..32u32).prop_map(|bit| 1 << bit),
    ];
    let register = prop_oneof![
        3 => 0x40..0x80u64,
        2 => 0x440..0x500u64,
        2 => 0x1020..0x1040u64,
        1 => 0..0x4000u64,
    ];
    let trb = (0..12u32, any::<u32>(), value.clone(), 0..0x200u32).prop_map(|(kind, flags, at, length)| {
        [at as u32 & 0xf_ffff, 0, length, kind << 10 | flags & 0x1_03ff]
    });
    let step = prop_oneof![
        2 => (register, value.clone(), 0..4u32)
            .prop_map(|(offset, value, width)| Step::Register { offset, value, width: 1 << width }),
        4 => (0..5u64, 0..5u32).prop_map(|(slot, target)| Step::Doorbell { slot, target }),
        4 => (9..25u32, 0..4u32, any::<u32>(), value)
            .prop_map(|(kind, slot, rest, parameter)| Step::Command { kind, slot, rest, parameter }),
        4 => (0..8u64, trb).prop_map(|(ring, dwords)| Step::Trb { ring, dwords }),
        1 => (0..0x400u64, proptest::collection::vec(any::<u32>(), 1..16))
            .prop_map(|(at, words)| Step::Memory { address: at * 0x100, words }),
        1 => any::<bool>().prop_map(Step::BusMaster),
        2 => (0..256u16, any::<bool>()).prop_map(|(key, pressed)| Step::Type(key, pressed)),
        2 => (any::<u16>(), any::<u16>(), any::<bool>()).prop_map(|(x, y, left)| Step::Point(x, y, left)),
        2 => Just(Step::Take),
        1 => (0..15usize).prop_map(Step::Unplug),
        1 => Just(Step::Plug),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn it_survives_any_driver(steps in steps()) {
        let mut driver = Driver::new();
        driver.start(true);
        driver.all();
        let (slot, mut control) = driver.address(KEYBOARD_PORT);
        driver.configure(slot, &mut control);
        let (slot, mut control) = driver.address(TABLET_PORT);
        driver.configure(slot, &mut control);
        for step in steps {
            match step {
                Step::Register { offset, value, width } => {
                    let _ = driver.bar.write(offset, &value.to_le_bytes()[..width]);
                }
                Step::Doorbell { slot, target } => driver.set(0x2000 + slot * 4, target),
                Step::Command { kind, slot, rest, parameter } => {
                    driver.put(if parameter & 1 == 0 { INPUT } else { parameter }, kind, rest & 0x1f_0200 | slot << 24);
                    driver.set(0x2000, 0);
                }
                Step::Trb { ring, dwords } => {
                    driver.ram.write_obj(dwords, GuestAddress(0x1_2000 + ring * 0x110)).unwrap();
                }
                Step::Memory { address, words } => {
                    for (index, word) in (0u64..).zip(words) {
                        driver.ram.write_obj(word, GuestAddress(address + index * 4)).unwrap();
                    }
                }
                Step::BusMaster(on) => {
                    let _ = driver.function.config_write(4, &[if on { 6 } else { 2 }, 0]);
                }
                Step::Type(key, true) => {
                    let _ = driver.keyboard.press(Key(key));
                }
                Step::Type(key, false) => driver.keyboard.release(Key(key)),
                Step::Point(x, y, left) => {
                    let buttons = Buttons { left, ..Buttons::default() };
                    let _ = driver.tablet.put(AbsoluteEvent { x, y, wheel: 1, buttons });
                    let _ = driver.mouse.pointer(PointerEvent { dx: x.into(), dy: y.into(), wheel: 1, buttons });
                }
                Step::Unplug(port) => driver.function.device().unplug(port),
                Step::Plug => {
                    let _ = driver.function.device().plug(Arc::<Tablet>::default());
                }
                Step::Take => {
                    while driver.take().is_some() {}
                    driver.told(true);
                }
            }
            let mut data = [0; 8];
            driver.bar.read(USBSTS, &mut data);
        }
        let _ = driver.function.config_write(4, &[6, 0]);
        driver.function.device().unplug(KEYBOARD_PORT as usize);
        let keyboard = Arc::clone(&driver.keyboard);
        prop_assert_eq!(driver.function.device().plug(keyboard).unwrap(), KEYBOARD_PORT as usize);
        driver.start(true);
        driver.all();
        let (slot, mut control) = driver.address(KEYBOARD_PORT);
        let mut reports = driver.configure(slot, &mut control);
        driver.ask(slot, &mut reports);
        driver.press(Key::A);
        prop_assert_eq!(driver.one().code, 1);
        prop_assert_eq!(driver.report(), [0, 0, 4, 0, 0, 0, 0, 0]);
    }
}
