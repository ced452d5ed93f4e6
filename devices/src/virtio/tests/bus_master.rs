//! A device touches guest memory only while its driver has bus mastering enabled (PCIe 6.0, 7.5.1.1.3).

use super::*;
use crate::pci::config::{command, reg};

impl Driver {
    fn bus_master(&self, enabled: bool) {
        let master = if enabled { command::BUS_MASTER } else { 0 };
        self.config_write(reg::COMMAND, &(command::MEMORY | master).to_le_bytes());
    }
}

#[test]
fn requests_wait_for_bus_mastering() {
    let mut driver = Driver::new(VirtioRng::new());
    driver.bus_master(false);
    driver.start(ALL);
    driver.offer(&[(DATA, 64, WRITE)]);
    driver.ring();
    driver.bus_master(true);
    assert_eq!(driver.wait_used(), Some((0, 64)));
    driver.wait_vector(1);
}

#[test]
fn what_is_offered_without_bus_mastering_is_looked_at_with_it() {
    let mut driver = Driver::new(VirtioRng::new());
    driver.start(ALL);
    for round in 0..200u64 {
        driver.bus_master(false);
        let used = driver.used_index();
        driver.offer(&[(DATA, 16, WRITE)]);
        if round % 2 == 0 {
            driver.ring()
        } else {
            driver.ring_trapped()
        }
        // The driver thinks better of it: memory is its own until it gives bus mastering back.
        driver.ram.write_slice(&[0; 16], GuestAddress(DATA)).unwrap();
        driver.describe(DESC, round as u16 % 64, DATA + 0x1000, 16, WRITE, 0);
        assert_eq!(driver.used_index(), used);
        driver.bus_master(true);
        assert_eq!(driver.wait_used(), Some((round as u32 % 64, 16)));
        let mut first = [0; 16];
        driver.ram.read_slice(&mut first, GuestAddress(DATA)).unwrap();
        assert_eq!(first, [0; 16], "round {round}: a request was taken without bus mastering");
    }
}

#[test]
fn a_reset_of_the_function_ends_it() {
    let mut driver = Driver::new(VirtioRng::new());
    driver.start(ALL);
    driver.offer(&[(DATA, 16, WRITE)]);
    driver.ring();
    assert_eq!(driver.wait_used(), Some((0, 16)));
    driver.function.reset();
    assert_eq!(driver.config_u32(reg::COMMAND) as u16, 0);
    driver.enable_bars();
    driver.start(ALL);
    driver.offer(&[(DATA, 16, WRITE)]);
    driver.ring();
    assert_eq!(driver.wait_used(), Some((0, 16)));
}
