//! What is under way when the controller is reset.

use std::time::Duration;

use vm_memory::{Bytes, GuestAddress};

use super::host::{ENTRIES, Format, Host, SIZE, transfer};
use crate::pci::PciFunction;

/// Memory that a device must not touch any more.
fn everything(host: &Host) -> Vec<u8> {
    host.bytes(0x1_0000, 0x7f_0000)
}

fn reset_under_load(format: Format, how: impl Fn(&Host)) {
    for round in 0..10 {
        let mut host = Host::with_queue(format);
        host.create_pair(2, 2);
        for (index, page) in (0u64..).zip(0x50_0000u64 / 0x1000..0x60_0000 / 0x1000) {
            host.ram.write_obj(page * 0x1000, GuestAddress(0x32_0000 + index * 8)).unwrap();
        }
        for n in 0..ENTRIES - 1 {
            // 1 MiB each: reads into one place, writes from another.
            let opcode = 1 + n % 2;
            host.put(1 + (n % 2) as u16, transfer(opcode, n * 8, 2048, (0x40_0000, 0x32_0000)));
        }
        host.ring(1);
        host.ring(2);
        std::thread::sleep(Duration::from_micros(300 * round));
        how(&host);
        assert_eq!(host.u32(super::CSTS) & 1, 0);
        let memory = everything(&host);
        let image = (format == Format::Raw).then(|| host.image(0, SIZE as usize));
        std::thread::sleep(Duration::from_millis(10));
        assert!(memory == everything(&host), "guest memory has changed after the reset");
        assert!(image == (format == Format::Raw).then(|| host.image(0, SIZE as usize)), "the image has");
        host.forget();
        host.config_write(0x10, &0xc000_0000u32.to_le_bytes());
        host.config_write(4, &[6, 0]);
        host.enable();
        host.create_pair(1, 1);
        assert_eq!(host.io(super::read(0, 1, 0x10_0000)), (0, 0));
    }
}

#[test]
fn nothing_is_under_way_when_it_is_disabled() {
    reset_under_load(Format::Raw, |host| host.set(super::CC, 0));
}

#[test]
fn nor_in_a_qcow2_image() {
    reset_under_load(Format::Qcow2, |host| host.set(super::CC, 0));
}

#[test]
fn nor_when_the_function_is_reset() {
    reset_under_load(Format::Raw, |host| host.function.reset());
}
