//! The configuration space of emulated functions, byte by byte: guests keep drivers and settings by it.
//!
//! Each file has the registers out of reset, and after every one of them was written with ones, which shows what a guest
//! can change. Rows of zeroes are left out.

use std::fmt::Write;

use super::*;
use crate::GuestRam;
use crate::pci::msix::testing::FakeAllocator;
use crate::test_support::Line;
use crate::virtio::pci::VirtioPci;
use crate::virtio::rng::VirtioRng;

fn dump(function: &dyn PciFunction) -> String {
    let mut text = String::new();
    for (row, register) in (0u16..0x1000).step_by(16).enumerate() {
        let mut bytes = [0; 16];
        for (offset, dword) in bytes.chunks_mut(4).enumerate() {
            function.config_read(register + 4 * offset as u16, dword);
        }
        if bytes != [0; 16] {
            let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:03x}: {}", row * 16, hex.join(" ")).unwrap();
        }
    }
    text
}

/// Out of reset, and with ones written to every register.
fn registers(function: &dyn PciFunction) -> String {
    let reset = dump(function);
    for register in (0u16..0x1000).step_by(4) {
        let _ = function.config_write(register, &[0xff; 4]);
    }
    let written = dump(function);
    function.reset();
    assert_eq!(dump(function), reset, "a reset brings everything back");
    format!("out of reset\n{reset}\nones written\n{written}")
}

fn virtio(placement: Placement) -> String {
    let ram = GuestRam::from_ranges(&[(vm_memory::GuestAddress(0), 0x1000)]).unwrap();
    let (device, vectors, line) =
        (Box::new(VirtioRng::new()), FakeAllocator::default(), Arc::<Line>::default());
    registers(VirtioPci::endpoint(device, ram, placement, &vectors, line).unwrap().as_ref())
}

fn port(occupied: bool) -> String {
    let link = Link { width: 16, speed: 3 };
    registers(&RootPort::new(RootPortOptions {
        multifunction: occupied,
        slot: 5,
        occupied,
        link,
        interrupt_pin: 2,
    }))
}

#[test]
fn guests_see_the_registers_that_they_have_always_seen() {
    for (name, registers, golden) in [
        ("virtio on bus 0", virtio(Placement::RootComplexIntegrated), include_str!("golden/virtio-bus0.txt")),
        ("virtio behind a port", virtio(Placement::Endpoint), include_str!("golden/virtio-port.txt")),
        ("an occupied root port", port(true), include_str!("golden/port-occupied.txt")),
        ("an empty root port", port(false), include_str!("golden/port-empty.txt")),
    ] {
        assert!(registers == golden, "{name} has changed:\n{registers}");
    }
}
