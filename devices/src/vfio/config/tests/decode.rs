use vocabulary::AddressRange;

use super::*;
use crate::pci::Space;

const ON: u16 = command::IO | command::MEMORY;

/// Writes the address of a BAR and returns where it is decoded.
fn decoded(index: usize, address: u64) -> Option<(Space, AddressRange)> {
    let image = nvidia();
    let mut guest = guest(&image, &options());
    guest.write16(reg::COMMAND, ON);
    let register = reg::BAR0 + 4 * index as u16;
    guest.write32(register, address as u32);
    if index == 1 || index == 3 {
        guest.write32(register + 4, (address >> 32) as u32);
    }
    assert_eq!(
        guest.config.table.bar_range(index),
        guest.config.table.decoded_bar(index).map(|(_, range)| range)
    );
    guest.config.table.decoded_bar(index)
}

#[test]
fn addresses_are_decoded_where_they_are_possible() {
    let at = |space, base, len| Some((space, AddressRange::new(base, len).unwrap()));
    let cases = [
        (0, 0xd800_0000, at(Space::Memory, 0xd800_0000, 0x100_0000)),
        (0, 0, None),
        // All ones, to size it; and a range to the last byte below 4 GiB, which cannot be told from that.
        (0, 0xffff_ffff, None),
        (0, 0xff00_0000, None),
        (0, 0xfe00_0000, at(Space::Memory, 0xfe00_0000, 0x100_0000)),
        (1, 0x40_0000_0000, at(Space::Memory, 0x40_0000_0000, 0x1000_0000)),
        (1, 0xf000_0000, at(Space::Memory, 0xf000_0000, 0x1000_0000)),
        (1, 0, None),
        (1, u64::MAX, None),
        (1, 0xffff_ffff_8000_0000, None),
        // x86 has 52 address bits.
        (1, 1 << 52, None),
        (1, (1 << 52) - 0x1000_0000, at(Space::Memory, (1 << 52) - 0x1000_0000, 0x1000_0000)),
        // The upper half of a 64-bit one.
        (2, 0xd800_0000, None),
        (4, 0xd800_0000, None),
        (5, 0x3000, at(Space::Io, 0x3000, 0x80)),
        (5, 0xff80, at(Space::Io, 0xff80, 0x80)),
        (5, 0xffff_ffff, None),
        (5, 0x1_3000, None),
        (6, 0x3000, None),
    ];
    for (index, address, expected) in cases {
        if index < 6 {
            assert_eq!(decoded(index, address), expected, "BAR {index} at {address:#x}");
        } else {
            let image = nvidia();
            assert_eq!(guest(&image, &options()).config.table.decoded_bar(index), expected);
        }
    }
}

#[test]
fn command_and_power_turn_decoding_off() {
    let image = nvidia();
    let mut guest = guest(&image, &options());
    guest.write32(reg::BAR0, 0xd800_0000);
    guest.write32(0x24, 0x3000);
    guest.write32(0x30, 0xd900_0001);
    let state = |guest: &Guest<'_>| {
        let table = &guest.config.table;
        (table.decoded_bar(0).is_some(), table.decoded_bar(5).is_some(), table.decoded_rom().is_some())
    };
    assert_eq!(state(&guest), (false, false, false));
    guest.write16(reg::COMMAND, command::MEMORY);
    assert_eq!(state(&guest), (true, false, true));
    guest.write16(reg::COMMAND, command::IO);
    assert_eq!(state(&guest), (false, true, false));
    guest.write16(reg::COMMAND, ON);
    assert_eq!(state(&guest), (true, true, true));
    // D3hot and back; D1 and D2 do not exist and are discarded.
    for (written, on) in [(3, false), (1, false), (0, true), (2, true), (3, false), (0, true)] {
        guest.write16(0x64, written);
        assert_eq!(guest.config.table.in_d0(), on, "after {written}");
        assert_eq!(state(&guest), (on, on, on), "after {written}");
    }
    // What the guest reads of it is the device's.
    assert_eq!((guest.u16(0x64), guest.seen(0x64, 2)), (8, vec![0x64, 0x65]));
    guest.write32(0x30, 0xd900_0000);
    assert_eq!(state(&guest), (true, true, false));
    assert!(guest.config.table.bar_range(0).is_some());
    guest.write16(0x64, 3);
    guest.config.table.reset();
    assert!(guest.config.table.in_d0());
    assert_eq!((guest.config.table.command(), guest.config.table.bar_range(0)), (0, None));
}

#[test]
fn optional_power_states_count_where_they_exist() {
    let image = conventional().list(&[(0x60, 0x01, &[0x03, 0x06, 0x08, 0x00, 0x00, 0x00])]);
    let mut guest = guest(&image, &options());
    for written in [1, 2, 3] {
        guest.write16(0x64, 0);
        assert!(guest.config.table.in_d0());
        guest.write16(0x64, written);
        assert!(!guest.config.table.in_d0(), "in D{written}");
    }
}

#[test]
fn the_rom_is_decoded_where_it_is_possible() {
    let image = nvidia();
    let mut guest = guest(&image, &options());
    guest.write16(reg::COMMAND, command::MEMORY);
    for (written, base) in
        [(0xd900_0001u32, Some(0xd900_0000)), (0xffff_ffff, None), (1, None), (0xd900_0000, None)]
    {
        guest.write32(0x30, written);
        let range = base.and_then(|base| AddressRange::new(base, 0x8_0000));
        assert_eq!(guest.config.table.decoded_rom(), range, "{written:#x}");
    }
}

#[test]
fn writes_that_can_change_decoding_are_known() {
    let image = nvidia();
    let guest = guest(&image, &options());
    for (register, len, touches) in [
        (0x00, 4, false),
        (0x02, 4, true),
        (0x04, 1, true),
        (0x05, 1, true),
        (0x06, 2, false),
        (0x0c, 4, false),
        (0x10, 1, true),
        (0x27, 1, true),
        (0x28, 4, false),
        (0x2c, 4, false),
        (0x33, 1, true),
        (0x34, 4, false),
        (0x60, 4, false),
        (0x64, 1, true),
        (0x62, 4, true),
        (0x65, 1, false),
        (0x68, 4, false),
        (0xffff, 4, false),
    ] {
        assert_eq!(guest.config.table.touches_decode(register, len), touches, "{len} bytes at {register:#x}");
    }
}
