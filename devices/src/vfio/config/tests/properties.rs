use proptest::prelude::*;

use super::*;

fn bars() -> impl Strategy<Value = [Option<Bar>; 6]> {
    let kind = prop_oneof![
        Just(BarKind::Io),
        Just(BarKind::Memory32 { prefetchable: false }),
        any::<bool>().prop_map(|prefetchable| BarKind::Memory64 { prefetchable }),
    ];
    let size = prop_oneof![(0u32..64).prop_map(|shift| 1 << shift), any::<u64>()];
    prop::array::uniform6(prop::option::of((kind, size).prop_map(|(kind, size)| Bar { kind, size })))
}

/// A space full of arbitrary bytes, which proptest would take long to make one by one (xorshift64).
fn noise(seed: u64) -> Vec<u8> {
    let next =
        |state: &u64| {
            Some([13, -7, 17].iter().fold(*state, |state, shift| {
                state ^ if *shift > 0 { state << shift } else { state >> -shift }
            }))
        };
    let words = std::iter::successors(Some(seed | 1), next);
    words.map(|word| (word >> 24) as u8).take(0x1100).collect()
}

/// Bytes with the header of an endpoint and lists that lead somewhere, and sometimes back.
fn images() -> impl Strategy<Value = Image> {
    let length = prop_oneof![Just(0x100usize), Just(0x1000), 0x40usize..0x1100];
    let standard = prop::collection::vec((0x10u8..0x40, 0u8..0x16, any::<[u8; 12]>()), 0..12);
    let extended = prop::collection::vec((0x40u16..0x400, 0u16..0x32, any::<[u8; 20]>()), 0..12);
    (length, standard, extended, any::<u64>(), bars(), any::<u32>()).prop_map(
        |(length, standard, extended, seed, bars, rom)| {
            let mut image = Image { bytes: noise(seed), bars, rom_size: u64::from(rom).next_power_of_two() };
            image = image.set(0, &[0x34, 0x12]).set(reg::HEADER_TYPE, &[0]);
            let standard: Vec<(u16, u8, &[u8])> =
                standard.iter().map(|(at, id, body)| (u16::from(*at) * 4, *id, body.as_slice())).collect();
            let extended: Vec<(u16, u16, &[u8])> =
                extended.iter().map(|(at, id, body)| (at * 4, *id, body.as_slice())).collect();
            image = image.list(&standard).list_extended(&extended);
            image.bytes.truncate(length);
            image
        },
    )
}

fn all_options() -> impl Strategy<Value = Options> {
    let identity = (any::<Option<u16>>(), any::<Option<u16>>(), any::<Option<(u16, u16)>>());
    let rom = prop_oneof![Just(Rom::Off), Just(Rom::Image([].into()))];
    (identity, any::<bool>(), any::<bool>(), rom, any::<bool>()).prop_map(
        |((vendor, device, subsystem), multifunction, root_bus, rom, mediated)| Options {
            identity: Identity { vendor, device, subsystem },
            multifunction,
            placement: if root_bus { Placement::RootComplexIntegrated } else { Placement::Endpoint },
            rom,
            mediated,
        },
    )
}

/// What a guest does: naturally aligned or not, within the space or not.
fn writes() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let register = prop_oneof![0u16..0x110, 0u16..0x1010, any::<u16>()];
    prop::collection::vec((register, prop::collection::vec(any::<u8>(), 1..9)), 0..200)
}

fn space(guest: &Guest<'_>) -> Vec<u8> {
    (0..0x1008).step_by(4).flat_map(|register| guest.read::<4>(register)).collect()
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..0x1100), bars in bars(), rom_size: u64) {
        let image = Image { bytes, bars, rom_size };
        if virtualize(&image.raw(), &options()).is_ok() {
            let guest = guest(&image, &options());
            guest.standard();
            guest.extended();
        }
    }

    #[test]
    fn lists_end_and_hold_nothing_hidden(image in images(), options in all_options()) {
        // Both walks assert that the list ends, within the space.
        let guest = guest(&image, &options);
        let standard: Vec<u16> = guest.standard().iter().map(|(_, at)| *at).collect();
        let extended: Vec<u16> = guest.extended().iter().map(|(_, _, at)| *at).collect();
        for warning in &guest.config.warnings {
            prop_assert!(!warning.to_string().is_empty());
            if let Warning::Capability { offset, .. } = warning {
                prop_assert!(!standard.contains(offset));
                prop_assert!(!extended.contains(offset) || *offset == 0x100);
            }
        }
    }

    #[test]
    fn guests_cannot_reach_what_is_hidden(image in images(), options in all_options(), writes in writes()) {
        let mut guest = guest(&image, &options);
        for (register, data) in &writes {
            guest.config.table.write(*register, data);
        }
        for warning in guest.config.warnings.clone() {
            let Warning::Capability { id, offset, .. } = warning else { continue };
            // At least the header is the capability's own.
            let len = if matches!(id, CapabilityId::Standard(_)) { 2 } else { 4 };
            prop_assert_eq!(guest.seen(offset, len), NOBODY);
            for at in offset..offset + len as u16 {
                // The pointer of the null capability at 0x100 leads to what is visible.
                if !(0x100..0x104).contains(&at) {
                    prop_assert_eq!(guest.u8(at), 0, "{} at {:#x}", id, at);
                }
            }
        }
    }

    #[test]
    fn identity_is_as_asked_whatever_is_written(image in images(), options in all_options(), writes in writes()) {
        let mut guest = guest(&image, &options);
        for (register, data) in &writes {
            guest.config.table.write(*register, data);
        }
        let real = |register: u16| image.raw().u16(register);
        let identity = options.identity;
        prop_assert_eq!(guest.u16(reg::VENDOR_ID), identity.vendor.unwrap_or(real(reg::VENDOR_ID)));
        prop_assert_eq!(guest.u16(reg::DEVICE_ID), identity.device.unwrap_or(real(reg::DEVICE_ID)));
        let subsystem = (real(reg::SUBSYSTEM_VENDOR_ID), real(reg::SUBSYSTEM_ID));
        let seen = (guest.u16(reg::SUBSYSTEM_VENDOR_ID), guest.u16(reg::SUBSYSTEM_ID));
        prop_assert_eq!(seen, identity.subsystem.unwrap_or(subsystem));
        prop_assert_eq!(guest.u8(reg::HEADER_TYPE), u8::from(options.multifunction) << 7);
    }

    #[test]
    fn bars_hold_addresses_of_their_size_only(image in images(), options in all_options(), writes in writes()) {
        let mut guest = guest(&image, &options);
        for (register, data) in &writes {
            guest.config.table.write(*register, data);
        }
        for index in 0..6 {
            let left_out = |warning: &Warning| matches!(warning, Warning::Bar { index: at, .. } if *at == index);
            let dropped = guest.config.warnings.iter().any(left_out);
            let shown = image.bars[index].filter(|_| !dropped);
            let Some(range) = guest.config.table.bar_range(index) else { continue };
            let bar = shown.expect("only a BAR that is shown has a range");
            prop_assert_eq!((range.base() % bar.size, range.len()), (0, bar.size));
            let decoded = guest.config.table.decoded_bar(index);
            prop_assert!(decoded.is_none_or(|(_, decoded)| decoded == range));
        }
        let seen = if options.mediated { (0x10..0x28).collect() } else { Vec::new() };
        prop_assert_eq!(guest.seen(reg::BAR0, 24), seen);
        prop_assert_eq!(guest.seen(0x30, 4), NOBODY);
    }

    #[test]
    fn writing_what_was_read_changes_nothing(image in images(), options in all_options(), writes in writes()) {
        let mut guest = guest(&image, &options);
        for (register, data) in &writes {
            guest.config.table.write(*register, data);
        }
        let before = space(&guest);
        for (at, byte) in before.iter().enumerate() {
            // What is only remembered follows the device's bits, which have not followed the writes here.
            if guest.config.capabilities.power.is_none_or(|power| usize::from(power) + 4 != at) {
                guest.config.table.write(u16::try_from(at).unwrap(), &[*byte]);
            }
        }
        prop_assert_eq!(&before, &space(&guest));
        // Completing a read twice is the same as once.
        let mut twice = before.clone();
        guest.config.table.overlay(0, &mut twice);
        prop_assert_eq!(before, twice);
    }

    #[test]
    fn writes_reach_the_device_once_and_in_order(
        image in images(),
        register in 0u16..0x1010,
        data in prop::collection::vec(any::<u8>(), 0..16),
    ) {
        let guest = guest(&image, &options());
        let mut last = None;
        for (at, part) in guest.config.table.forwarded(register, &data) {
            // Parts are not empty, do not touch, and hold what was written there.
            prop_assert!(!part.is_empty() && last.is_none_or(|last| at > last));
            let start = usize::from(at - register);
            prop_assert_eq!(part, &data[start..start + part.len()]);
            last = Some(at + part.len() as u16);
            prop_assert!(usize::from(at) + part.len() <= image.bytes.len());
        }
    }

    #[test]
    fn a_reset_forgets_all_writes(image in images(), options in all_options(), writes in writes()) {
        let mut guest = guest(&image, &options);
        let before = space(&guest);
        for (register, data) in &writes {
            guest.config.table.write(*register, data);
        }
        guest.config.table.reset();
        prop_assert_eq!(before, space(&guest));
        prop_assert!(guest.config.table.in_d0());
        prop_assert_eq!(guest.config.table.command(), 0);
        prop_assert!((0..6).all(|index| guest.config.table.bar_range(index).is_none()));
        prop_assert_eq!(guest.config.table.decoded_rom(), None);
    }
}
