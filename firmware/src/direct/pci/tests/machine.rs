//! Tests of scan, allocation and writing together.

use std::cell::RefCell;

use vocabulary::AddressRange;

use super::super::*;
use super::registers::{Functions, Machine, Registers};

fn apertures() -> Apertures {
    crate::direct::chipset::apertures(0x8000_0000, AddressRange::new(0x70_0000_0000, 64 << 30))
}

fn laptop() -> Machine {
    let gpu = Registers::new(0x80, 1)
        .with(0x10, 0, 16 << 20)
        .with(0x14, 0xc, 8 << 30)
        .with(0x1c, 0xc, 32 << 20)
        .with(0x24, 1, 128)
        .with(0x30, 0, 512 << 10);
    let mut host_bridge = Registers::new(0, 0);
    host_bridge.bytes[0x0b] = 6;
    let functions: Functions = [
        ((None, (0, 0)), host_bridge),
        ((None, (1, 0)), Registers::port(true, 1)),
        ((None, (1, 1)), Registers::port(false, 2)),
        ((Some((1, 0)), (0, 0)), gpu),
        ((Some((1, 0)), (0, 1)), Registers::new(0, 2).with(0x10, 0, 16 << 10)),
        ((None, (3, 0)), Registers::new(0, 1).with(0x14, 0, 4096).with(0x20, 0xc, 16 << 10)),
        // Not to be found: its device has no function 0, and this one's says that it is alone.
        ((None, (4, 1)), Registers::new(0, 1)),
        ((None, (3, 2)), Registers::new(0, 1)),
        ((None, (0x1c, 0)), Registers::port(false, 1)),
        ((Some((0x1c, 0)), (0, 0)), Registers::new(0, 1).with(0x10, 4, 16 << 10).with(0x18, 1, 32)),
        ((None, (0x1f, 0)), Registers::new(0x80, 0)),
    ]
    .into();
    Machine { functions: RefCell::new(functions) }
}

#[test]
fn a_machine_is_left_as_by_firmware() {
    let machine = laptop();
    let resources = set_up(&machine, &apertures());
    assert_eq!(resources.missing, []);

    let gpu_port = machine.get(None, (1, 0));
    assert_eq!(gpu_port.bytes[0x18..0x1b], [0, 1, 1]);
    assert_eq!(machine.get(None, (1, 1)).bytes[0x18..0x1b], [0, 2, 2]);
    assert_eq!(machine.get(None, (0x1c, 0)).bytes[0x18..0x1b], [0, 3, 3]);
    assert_eq!(gpu_port.get(4, 2), 7);

    let gpu = machine.get(Some((1, 0)), (0, 0));
    assert_eq!(gpu.get(0x10, 4), 0x8000_0000);
    assert_eq!(gpu.get(0x14, 8), 0x70_0000_000c);
    assert_eq!(gpu.get(0x1c, 8), 0x72_0000_000c);
    assert_eq!(gpu.get(0x24, 4), 0x6001);
    assert_eq!(gpu.get(0x30, 4), 0x8100_0000, "the ROM is not decoded");
    assert_eq!(gpu.get(4, 2), 3, "it is no bus master yet");
    assert_eq!(gpu_port.get(0x1c, 2), 0x6060);
    assert_eq!(gpu_port.get(0x20, 4), 0x8100_8000);
    assert_eq!((gpu_port.get(0x24, 4), gpu_port.get(0x28, 8)), (0x01f1_0001, 0x72_0000_0070));

    // Nothing behind it, all closed: the bases are above the limits.
    assert_eq!(machine.get(None, (0, 0)).get(4, 2), 4, "the host bridge is a bus master");
    let empty = machine.get(None, (1, 1));
    assert_eq!((empty.get(0x1c, 2), empty.get(0x20, 4), empty.get(0x24, 4)), (0x00f0, 0xfff0, 0x1_fff1));
    assert_eq!((empty.get(0x28, 4), empty.get(0x2c, 4)), (0xffff_ffff, 0));

    // 01.0 INTA is PIRQF, 03.0 INTA PIRQH, 1c.0 INTA PIRQA; behind a port device 0 keeps its pin.
    for (above, own, line) in [
        (None, (1, 0), 10),
        (None, (1, 1), 11),
        (Some((1, 0)), (0, 0), 10),
        (Some((1, 0)), (0, 1), 11),
        (None, (3, 0), 11),
        (Some((0x1c, 0)), (0, 0), 10),
        (None, (0x1f, 0), 0xff),
    ] {
        assert_eq!(machine.get(above, own).bytes[0x3c], line, "{above:?} {own:?}");
    }
    for hidden in [(4, 1), (3, 2)] {
        assert_eq!(machine.get(None, hidden).get(4, 2), 0);
    }
    let mem64 = machine.get(Some((0x1c, 0)), (0, 0)).get(0x10, 8);
    assert!(mem64 & 0xf == 4 && mem64 < 1 << 32);
}

#[test]
fn it_comes_out_the_same_after_a_reset() {
    let machine = laptop();
    let before = machine.functions.borrow().clone();
    let first = set_up(&machine, &apertures());
    let programmed: Vec<_> = machine.functions.borrow().values().map(|registers| registers.bytes).collect();
    // Over what is there, and over the power-on state.
    assert_eq!(set_up(&machine, &apertures()), first);
    *machine.functions.borrow_mut() = before;
    assert_eq!(set_up(&machine, &apertures()), first);
    let again: Vec<_> = machine.functions.borrow().values().map(|registers| registers.bytes).collect();
    assert_eq!(again, programmed);
}

#[test]
fn a_function_without_room_decodes_nothing() {
    let functions: Functions = [
        ((None, (2, 0)), Registers::new(0, 1).with(0x10, 0, 1 << 31).with(0x14, 0, 4096)),
        ((None, (3, 0)), Registers::new(0, 1).with(0x10, 0, 4096)),
    ]
    .into();
    let machine = Machine { functions: RefCell::new(functions) };
    let resources = set_up(&machine, &apertures());
    assert_eq!(resources.missing.len(), 1);
    assert_eq!((machine.get(None, (2, 0)).get(4, 2), machine.get(None, (3, 0)).get(4, 2)), (0, 2));
}

#[test]
fn impossible_registers_are_none() {
    // Nothing sticks but the flags; a hole among the address bits; a ROM of no address bits.
    let mut odd = Registers::new(0, 1).with(0x10, 8, 1 << 20).with(0x30, 0, 2048);
    odd.bytes[0x14] = 4;
    odd.bytes[0x1c] = 1;
    let machine = Machine { functions: RefCell::new([((None, (2, 0)), odd)].into()) };
    let resources = set_up(&machine, &apertures());
    assert_eq!(resources.bars.len(), 2);
    assert_eq!(machine.get(None, (2, 0)).get(4, 2), 2);
}
