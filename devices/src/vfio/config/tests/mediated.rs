//! Mediated devices see more of what the guest writes, in accesses that they take.

use super::images::header;
use super::*;
use crate::vfio::config::{Access, OPREGION_ADDRESS};

fn vgpu() -> Image {
    let mut image = header(0x1000, [0x8086, 0x5916], 0x03_0000, [0x17aa, 0x224b])
        .set(OPREGION_ADDRESS, &[0x18, 0x40, 0xf0, 0x8a]);
    image.bars[0] = Some(Bar { kind: BarKind::Memory64 { prefetchable: false }, size: 0x100_0000 });
    image.bars[2] = Some(Bar { kind: BarKind::Memory64 { prefetchable: true }, size: 0x1000_0000 });
    image
}

fn options_of(mediated: bool) -> Options {
    Options { mediated, ..options() }
}

#[test]
fn bars_are_the_guests_and_the_device_learns_of_them() {
    let image = vgpu();
    let mut guest = guest(&image, &options_of(true));
    guest.write32(0x10, 0xffff_ffff);
    assert_eq!(guest.u32(0x10), 0xff00_0004);
    for (register, len) in [(0x10, 4), (0x14, 4), (0x24, 4), (0x1a, 2)] {
        assert_eq!(guest.seen(register, len), (register..register + len as u16).collect::<Vec<_>>());
    }
    assert_eq!(guest.seen(0x30, 4), NOBODY, "the ROM is ours alone");
    let ordinary = super::guest(&image, &options_of(false));
    assert_eq!(ordinary.seen(0x10, 4), NOBODY);
}

#[test]
fn the_opregions_address_is_kept_and_forwarded() {
    let image = vgpu();
    let mut guest = guest(&image, &options_of(true));
    assert!(guest.config.table.has_opregion_address());
    assert_eq!(guest.u32(OPREGION_ADDRESS), 0, "not the host's");
    guest.write32(OPREGION_ADDRESS, 0x7fff_e000);
    assert_eq!(guest.u32(OPREGION_ADDRESS), 0x7fff_e000);
    assert_eq!(guest.seen(OPREGION_ADDRESS, 4), [0xfc, 0xfd, 0xfe, 0xff]);
    guest.config.table.reset();
    assert_eq!(guest.u32(OPREGION_ADDRESS), 0);
}

#[test]
fn others_have_no_such_register() {
    let other_vendor = vgpu().set(reg::VENDOR_ID, &[0x34, 0x12]);
    let other_class = vgpu().set(0x0b, &[0x02]);
    let mut small = vgpu();
    small.bytes.truncate(0xff);
    for (image, mediated) in [(&vgpu(), false), (&other_vendor, true), (&other_class, true), (&small, true)] {
        let guest = guest(image, &options_of(mediated));
        assert!(!guest.config.table.has_opregion_address());
    }
    assert_eq!(guest(&vgpu(), &options_of(false)).u32(OPREGION_ADDRESS), 0x8af0_4018);
    // The sample drivers' devices are mediated too.
    assert!(!guest(&mediated(), &options_of(true)).config.table.has_opregion_address());
}

#[test]
fn accesses_are_those_that_drivers_take() {
    let image = vgpu();
    let guest = guest(&image, &options_of(true));
    let data = [1, 2, 3, 4];
    let accesses = |register: u16, len: usize| {
        let accesses = guest.config.table.accesses(register, &data[..len]);
        accesses.iter().map(|access| (access.register, access.data.len(), access.widen)).collect::<Vec<_>>()
    };
    for (register, len, expected) in [
        (0x04, 4, vec![(0x04, 2, false), (0x06, 2, false)]),
        (0x04, 2, vec![(0x04, 2, false)]),
        (0x05, 1, vec![(0x05, 1, false)]),
        (0x05, 3, vec![(0x05, 1, false), (0x06, 2, false)]),
        (0x40, 4, vec![(0x40, 4, false)]),
        (0x41, 3, vec![(0x41, 1, false), (0x42, 2, false)]),
        (0x40, 3, vec![(0x40, 2, false), (0x42, 1, false)]),
        (0x10, 4, vec![(0x10, 4, false)]),
        (0x12, 2, vec![(0x12, 2, true)]),
        (0x27, 1, vec![(0x27, 1, true)]),
        (0xe8, 2, vec![(0xe8, 2, true)]),
        (0xfd, 1, vec![(0xfd, 1, true)]),
        (0xfc, 4, vec![(0xfc, 4, false)]),
    ] {
        assert_eq!(accesses(register, len), expected, "{register:#x}+{len}");
    }
    let ordinary = super::guest(&image, &options_of(false));
    let whole = ordinary.config.table.accesses(0x04, &data);
    assert_eq!(whole, [Access { register: 0x04, data: &data, widen: false }]);
}
