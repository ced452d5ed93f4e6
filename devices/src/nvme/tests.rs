//! The controller through its BAR, as a driver uses it and as one does that means no good.

mod admin;
mod data;
mod failing;
mod host;
mod hostile;
mod prps;
mod queues;
mod resets;

use vm_memory::{Bytes, GuestAddress};

use crate::interrupt::MsiMessage;
use crate::pci::PciFunction;

use host::{ASQ, Format, Host, read, write};

/// Registers.
const CC: u64 = 0x14;
const CSTS: u64 = 0x1c;

#[test]
fn the_function_is_an_nvme_controller() {
    let host = Host::new(Format::Raw);
    assert_eq!(host.config(0), 0x0010_1b36);
    assert_eq!(host.config(8), 0x0108_0202);
    assert_eq!(host.config(0x10) & 0xf, 4, "64-bit memory");
    assert_eq!(host.config(0x3c) >> 8 & 0xff, 1, "INTA");
    let capabilities = host.u64(0);
    assert_eq!(capabilities & 0xffff, 1023, "entries");
    assert_eq!(capabilities >> 16 & 1, 1, "queues are contiguous");
    assert!(capabilities >> 24 & 0xff > 0);
    assert_eq!(capabilities >> 32 & 0xf, 0, "doorbells are side by side");
    assert_eq!(capabilities >> 37 & 1, 1, "the NVM command set");
    assert_eq!(capabilities >> 48, 0, "pages of 4 KiB");
    assert_eq!(host.u32(8), 0x0001_0400);
}

#[test]
fn it_is_ready_when_enabled_and_says_where_its_queues_are() {
    let host = Host::new(Format::Raw);
    assert_eq!(host.u32(CSTS), 0);
    host.enable();
    assert_eq!(host.u32(CSTS), 1);
    assert_eq!((host.u64(0x28), host.u32(0x24)), (ASQ, 0x001f_001f), "while it is enabled, too");
    // By bytes, as some firmware reads.
    let mut byte = [0];
    host.bar.read(CSTS, &mut byte);
    assert_eq!(byte, [1]);
    host.set(CC, 0);
    assert_eq!((host.u32(CSTS), host.u64(0x28)), (0, ASQ));
    host.function.reset();
    assert_eq!((host.u32(CSTS), host.u64(0x28), host.u32(0x24), host.u32(CC)), (0, 0, 0, 0));
}

#[test]
fn what_there_is_not_is_fatal_until_the_next_reset() {
    // Another command set, larger pages, another arbitration; queues of one entry, and outside of RAM.
    for (offset, value) in [
        (CC, 0x0046_0011),
        (CC, 0x0046_0081),
        (CC, 0x0046_0801),
        (0x24, 0x0000_001f),
        (0x24, 0x001f_0000),
        (0x28, 0x4000_0000),
        (0x34, 1),
    ] {
        let host = Host::new(Format::Raw);
        host.place_admin_queues();
        host.set(offset, value);
        host.set(CC, host.u32(CC) | 0x0046_0001);
        assert_eq!(host.u32(CSTS), 2, "{offset:#x} = {value:#x}");
        host.set(CC, 0);
        assert_eq!(host.u32(CSTS), 0);
        host.enable();
        assert_eq!(host.u32(CSTS), 1);
    }
}

#[test]
fn a_shutdown_is_complete_and_ends_with_a_reset() {
    let mut host = Host::with_queue(Format::Raw);
    assert_eq!(host.io(write(0, 1, 0x10_0000)), (0, 0));
    host.set(CC, host.u32(CC) | 1 << 14);
    assert_eq!(host.u32(CSTS), 1 | 2 << 2);
    host.set(CC, 0);
    assert_eq!(host.u32(CSTS), 0);
    host.enable();
    assert_eq!(host.u32(CSTS), 1);
}

#[test]
fn intx_follows_what_the_host_has_seen() {
    let mut host = Host::with_queue(Format::Raw);
    assert!(!host.line.is_high());
    host.submit(1, read(0, 1, 0x10_0000));
    host.await_news(1);
    host.await_line(true);
    host.set(0x0c, 1 << 1);
    assert!(!host.line.is_high(), "its vector is masked");
    assert_eq!(host.u32(0x10), 1 << 1);
    host.set(0x10, 1 << 1);
    assert!(host.line.is_high());
    assert!(host.take(1).is_some());
    assert!(!host.line.is_high());
    // The head of a queue without an entry is an error, and nothing else.
    host.submit(1, read(0, 1, 0x10_0000));
    host.await_news(1);
    host.set(CC, 0);
    assert!(!host.line.is_high());
}

#[test]
fn msix_has_a_vector_for_each_queue() {
    let mut host = Host::with_queue(Format::Raw);
    host.use_msix();
    let message = |vector: u32| MsiMessage { address: 0xfee0_0000, data: 0x40 + vector };
    assert_eq!(host.admin(0x0a, 0, [0x07, 0, 0, 0, 0, 0]), (0x0003_0003, (0, 0)));
    assert_eq!(host.vectors.delivered(), [message(0)]);
    assert_eq!(host.io(read(0, 1, 0x10_0000)), (0, 0));
    host.await_messages(&[message(1)]);
    assert!(!host.line.is_high());
    // Masked, it waits.
    host.mask_vector(1, true);
    assert_eq!(host.io(read(0, 1, 0x10_0000)), (0, 0));
    assert_eq!(host.vectors.delivered(), []);
    host.mask_vector(1, false);
    host.await_messages(&[message(1)]);
}

#[test]
fn without_bus_mastering_nothing_happens_until_it_is_back() {
    let mut host = Host::with_queue(Format::Raw);
    host.ram.write_slice(&[0x5a; 512], GuestAddress(0x10_0000)).unwrap();
    host.config_write(4, &[2, 0]);
    host.submit(1, write(3, 1, 0x10_0000));
    host.submit_admin(0x06, 0, [1, 0, 0, 0, 0, 0]);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!((host.peek(0), host.peek(1)), (None, None));
    host.config_write(4, &[6, 0]);
    host.await_news(0);
    host.await_news(1);
    assert_eq!(host.image(3 * 512, 512), [0x5a; 512]);
}
