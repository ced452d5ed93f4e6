//! Conditions of a running machine, as far as they are others.

use super::{Case, OLD, ids, live};
use crate::code43::Driver;
use crate::code43::condition::State;
use crate::code43::facts::RomBar;

pub(super) const RUNNING: &[Case] = {
    use Driver::Any;
    use State::{Fails, Ok, Unknown, Warning};
    &[
        ("gpu", |_| {}, Any, Ok, "10de:1c8d, 0000:01:00.0 of the host"),
        ("gpu", |facts| live(facts).ids.function = ids(0xffff, 0xffff), Any, Fails, "does not answer"),
        ("iommu-group", |_| {}, Any, Ok, "group 1 is the guest's"),
        ("power", |_| {}, Any, Ok, "in D0"),
        ("power", |facts| live(facts).power = None, Any, Ok, "it answers"),
        ("power", |facts| live(facts).power = Some(3), Any, Warning, "D3"),
        ("power", |facts| live(facts).ids.function = ids(0xffff, 0xffff), Any, Fails, "read all ones"),
        ("place", |_| {}, Any, Ok, "01:00.0 behind the root port 00:01.0 (8086:1901)"),
        (
            "place",
            |facts| live(facts).port.as_mut().unwrap().secondary = 4,
            OLD,
            Fails,
            "otherwise than planned (01)",
        ),
        ("place", |facts| live(facts).port.as_mut().unwrap().secondary = 0, Any, Fails, "no bus"),
        ("class", |facts| live(facts).ids.class = 0x0300, Any, Ok, "VGA"),
        (
            "device-id",
            |facts| live(facts).ids.function = ids(0x10de, 0x1c8c),
            Any,
            Warning,
            "10de:1c8c in place of",
        ),
        ("subsystem", |facts| live(facts).ids.subsystem = ids(0, 0), Any, Fails, "names no laptop"),
        (
            "bars",
            |_| {},
            Any,
            Ok,
            "BAR0 (16M) at 0xa0000000, BAR1 (256M) at 0x7000000000, BAR3 (32M) at 0x7010000000",
        ),
        ("bars", |facts| live(facts).bars[1].base = None, Any, Fails, "BAR1 (256M) has no address"),
        (
            "bars",
            |facts| live(facts).bars[2].base = Some(0x70_1f00_0000),
            Any,
            Fails,
            "BAR3 (32M) is at 0x701f000000, which the root port does not forward",
        ),
        ("bars", |facts| live(facts).command = 0, Any, Unknown, "memory decoding is off"),
        ("decoding", |_| {}, Any, Ok, "bus mastering too"),
        ("decoding", |facts| live(facts).command = 2, Any, Ok, "no driver has started the GPU yet"),
        ("decoding", |facts| live(facts).command = 0, Any, Warning, "memory decoding is off"),
        (
            "decoding",
            |facts| live(facts).port.as_mut().unwrap().command = 0,
            Any,
            Fails,
            "off in the root port",
        ),
        ("rom-bar", |facts| facts.rom_bar = RomBar::Host, Any, Ok, "no ROM of its own to show"),
        (
            "rom-bar",
            |facts| {
                facts.rom_bar = RomBar::File;
                live(facts).rom_bar = 0xa100_0000;
            },
            Any,
            Warning,
            "there is one",
        ),
    ]
};
