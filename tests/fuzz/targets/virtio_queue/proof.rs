//! That a proper request is executed while the device may access memory, and then only: if none ever were, the target would
//! find nothing.

use devices::GuestRam;

use crate::driver::{BUS_MASTER, Driver};
use crate::input::Input;
use crate::{DEVICES, contents, fill};

/// One queue of 16 descriptors at 0, with its rings at 0x100 and 0x200.
const SETUP: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0x80, 0, 0x80, 0];
/// Where the request's header, its status and its data lie, and what the status is before.
const HEADER: usize = 0x300;
const STATUS: usize = 0x3f0;
const DATA: usize = 0x400;
const UNTOUCHED: u8 = 0xee;

/// # Panics
/// It is not so.
pub(crate) fn prove(ram: &GuestRam) {
    let mut input = SETUP.to_vec();
    input.resize(SETUP.len() + 0x800, 0);
    let mut put = |at: usize, bytes: &[u8]| {
        let at = SETUP.len() + at;
        input[at..at + bytes.len()].copy_from_slice(bytes);
    };
    // A read of sector 0, whose header is all zeros: descriptors with NEXT (1) and WRITE (2).
    for (index, (at, len, flags)) in [(HEADER, 16, 1), (DATA, 512, 3), (STATUS, 1, 2)].into_iter().enumerate()
    {
        put(16 * index, &(at as u64).to_le_bytes());
        put(16 * index + 8, &[len as u8, (len >> 8) as u8, 0, 0, flags, 0, index as u8 + 1, 0]);
    }
    put(0x102, &[1]);
    put(STATUS, &[UNTOUCHED]);
    for (bus_master, status, data, used) in [(0, UNTOUCHED, 0, 0), (BUS_MASTER, 0, 0x5a, 1)] {
        let Some((input, memory)) = Input::parse(&input) else { panic!("the request is no input") };
        fill(ram, memory);
        let driver = Driver::new(DEVICES[0](), ram, bus_master);
        driver.start(&input);
        driver.run();
        let after = contents(ram);
        assert_eq!((after[STATUS], after[0x202]), (status, used));
        assert!(after[DATA..DATA + 512].iter().all(|byte| *byte == data));
    }
}
