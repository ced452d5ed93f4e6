//! Bus numbers as firmware gives them, worked out from the functions alone.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use devices::pci::Forwarding;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use vocabulary::{Devfn, PciAddress};

use super::config;
use super::passthrough::{facts, function};
use crate::host::HostFacts;
use crate::plan::{plan, verify};
use crate::topology::{PlannedFunction, Role};

/// What the firmware finds where, after the manner of edk2's `PciScanBus`: devices and functions in order, further
/// functions only where the header of function 0 says that there are some, a bridge's bus at once.
fn enumerate(
    functions: &[PlannedFunction],
    bus: u8,
    next: &mut u8,
    found: &mut BTreeMap<(u8, u8, u8), Role>,
) {
    for device in 0..32 {
        for number in 0..8 {
            let here = functions.iter().find(|function| function.at == Devfn::new(device, number).unwrap());
            let Some(here) = here else {
                if number == 0 {
                    break;
                }
                continue;
            };
            found.insert((bus, device, number), here.role);
            if let Role::RootPort { .. } = here.role {
                *next += 1;
                enumerate(&here.children, *next, next, found);
            }
            let several = match here.role {
                Role::HostBridge => false,
                Role::Lpc => true,
                _ => here.multifunction,
            };
            if number == 0 && !several {
                break;
            }
        }
    }
}

fn address() -> impl Strategy<Value = String> {
    let device = prop::sample::select(vec![0_u8, 1, 3, 0x1c, 0x1e, 0x1f]);
    let on_root_bus = (device, 0_u8..3).prop_map(|(device, number)| format!("00:{device:02x}.{number}"));
    let behind = (1_u8..5, prop::bool::weighted(0.05), 0_u8..2)
        .prop_map(|(bus, odd, number)| format!("{bus:02x}:{:02x}.{number}", u8::from(odd)));
    prop_oneof![1 => on_root_bus, 3 => behind]
}

fn maybe_address(key: &'static str) -> impl Strategy<Value = String> {
    prop::option::of(address()).prop_map(move |address| match address {
        Some(address) => format!("{key} = \"{address}\"\n"),
        None => String::new(),
    })
}

/// A configuration of random sections, and the functions of the GPU's slot that the host has.
fn machine() -> impl Strategy<Value = (String, HostFacts)> {
    let port =
        prop::sample::select(vec!["01.0", "01.1", "02.0", "06.0", "1c.0", "1c.1", "1d.0", "1e.7", "1f.1"]);
    let ports = prop::collection::btree_set(port, 0..4);
    let disks = prop::collection::vec(maybe_address("address"), 0..3);
    let dgpu = prop::option::of((maybe_address("guest"), prop::bool::ANY, 0_u8..2));
    let vfio = prop::collection::vec((maybe_address("guest"), prop::bool::ANY), 0..4);
    let slot = prop::collection::btree_set(0_u8..4, 1..4);
    (ports, disks, maybe_address("address"), dgpu, vfio, slot).prop_map(
        |(ports, disks, rng, dgpu, vfio, slot)| {
            let mut text = format!("[rng]\n{rng}");
            for port in ports {
                write!(text, "[[root_port]]\naddress = \"00:{port}\"\n").unwrap();
            }
            for (index, address) in disks.iter().enumerate() {
                write!(text, "[[disk]]\npath = \"{index}.raw\"\n{address}").unwrap();
            }
            if let Some((guest, all, number)) = dgpu {
                let which = if all { "all" } else { "gpu" };
                write!(text, "[dgpu]\nhost = \"01:00.{number}\"\nfunctions = \"{which}\"\n{guest}").unwrap();
            }
            for (index, (guest, port)) in vfio.iter().enumerate() {
                let port = if guest.is_empty() { format!("root_port = {port}\n") } else { String::new() };
                write!(text, "[[vfio]]\nhost = \"03:00.{index}\"\n{guest}{port}").unwrap();
            }
            let at = |number| function(&format!("01:00.{number}"), (1, 2), (3, 4), 0x03_00_00);
            (text, facts(slot.into_iter().map(at)))
        },
    )
}

#[test]
fn every_address_holds_under_the_firmwares_numbering_or_is_refused() {
    let planned = Cell::new(0_u32);
    let with_ports = Cell::new(0_u32);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(600));
    runner
        .run(&machine(), |(text, host)| {
            let config = config(&text);
            let Ok(plan) = plan(config.clone(), &host) else { return Ok(()) };
            planned.set(planned.get() + 1);
            let (mut found, mut next) = (BTreeMap::new(), 0);
            enumerate(&plan.pci.functions, 0, &mut next, &mut found);
            if usize::from(next) > config.root_ports.len() {
                with_ports.set(with_ports.get() + 1);
            }

            // Whatever is planned is found where the plan says.
            for function in plan.pci.iter() {
                let place = (function.bus, function.at.device(), function.at.function());
                prop_assert_eq!(found.get(&place), Some(&function.role), "{}", function);
            }
            prop_assert_eq!(found.len(), plan.pci.iter().count());
            // Whatever the user has placed is where the user wants it.
            let at = |address: PciAddress| {
                found.get(&(address.bus(), address.device(), address.function())).copied()
            };
            for (index, device) in config.devices.iter().enumerate() {
                if let Some(address) = device.pci().and_then(|need| need.address) {
                    prop_assert_eq!(at(address), Some(Role::Device(index)));
                }
            }
            for section in &config.passthrough {
                let index = plan.passthrough.iter().position(|planned| planned.host == section.host);
                let role = index.map(Role::Passthrough);
                prop_assert!(role.is_some() && found.values().any(|found| Some(*found) == role));
                if let Some(guest) = section.guest {
                    prop_assert_eq!(at(guest), role);
                    if section.is_dgpu() && guest.bus() == 1 {
                        let port = PciAddress::new(0, 1, 0).and_then(at);
                        prop_assert_eq!(port, Some(Role::RootPort { number: 1 }));
                    }
                }
            }
            // No port that the plan adds comes before one of the user's, but the GPU's.
            let mut ports: Vec<PciAddress> = config.root_ports.iter().map(|port| port.address).collect();
            let gpu = config.passthrough.iter().find(|section| section.is_dgpu()).and_then(|gpu| gpu.guest);
            ports.extend(gpu.filter(|guest| guest.bus() == 1).and(PciAddress::new(0, 1, 0)));
            ports.sort_unstable();
            ports.dedup();
            for (number, port) in (1..).zip(ports) {
                prop_assert_eq!(at(port), Some(Role::RootPort { number }));
            }
            Ok(())
        })
        .unwrap();
    // The machines are neither all refused nor all trivial; the bounds are far from what chance gives.
    assert!(planned.get() > 30 && with_ports.get() > 10, "{} and {}", planned.get(), with_ports.get());
}

#[test]
fn a_firmware_that_numbers_otherwise_is_noticed() {
    let config = config(
        "[dgpu]\nhost = \"01:00.0\"\n[[root_port]]\naddress = \"00:1c.0\"\n[[vfio]]\nhost = \"03:00.0\"\n",
    );
    let plan = plan(config.clone(), &HostFacts::default()).unwrap();
    let bridges = |buses: [u8; 3]| -> Vec<(Devfn, Forwarding)> {
        let ports =
            [(1, 0), (0x1c, 0), (0x1c, 1)].map(|(device, number)| Devfn::new(device, number).unwrap());
        let forwarding = |secondary| Forwarding { secondary, ..Forwarding::default() };
        ports.into_iter().zip(buses.map(forwarding)).collect()
    };
    assert_eq!(verify::bus_numbers(&plan, &bridges([1, 2, 3])), Vec::<String>::new());
    assert_eq!(
        verify::bus_numbers(&plan, &bridges([1, 3, 0])),
        [
            "the firmware gave the root port 00:1c.0 bus 03 where bus 02 was planned",
            "the firmware gave the root port 00:1c.1 no bus where bus 03 was planned, so that nothing is found at 03:00.0",
        ]
    );
    assert_eq!(verify::bus_numbers(&plan, &[]).len(), 3);
}
