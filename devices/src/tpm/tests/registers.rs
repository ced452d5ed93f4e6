//! The interface: what drivers rely on.

use super::driver::*;
use super::fake::{Answer, CANCELED, SUCCESS, Told, device};
use crate::bus::BusDevice;
use crate::tpm::registers::*;

#[test]
fn drivers_find_the_interface() {
    let (tpm, _hands) = device();
    let interface = read32(&tpm, INTF_ID);
    // As firmware decides: type CRB, version 1, CRB is there; not TIS.
    assert_eq!(interface & 0xf, 1);
    assert_eq!(interface >> 4 & 0xf, 1);
    assert_eq!((interface >> 14 & 1, interface >> 13 & 1), (1, 0));
    assert_eq!(interface >> 17 & 0b11, 1, "CRB is selected");
    assert_eq!(interface >> 8 & 1, 0, "only locality 0");
    assert_eq!((read32(&tpm, CMD_SIZE), read32(&tpm, RSP_SIZE)), (0xf80, 0xf80));
    assert_eq!((read32(&tpm, CMD_LADDR), read32(&tpm, CMD_LADDR + 4)), (0xfed4_0080, 0));
    let mut address = [0; 8];
    tpm.read(RSP_ADDR, &mut address);
    assert_eq!(u64::from_le_bytes(address), 0xfed4_0080);
    // A TPM that is not there reads as ones.
    let mut byte = [0xff];
    tpm.read(LOC_STATE, &mut byte);
    assert_eq!(byte, [0x81]);
    // Firmware writes where it wants the buffer; it stays where it is.
    for at in
        [CMD_SIZE, CMD_LADDR, CMD_LADDR + 4, RSP_SIZE, RSP_ADDR, RSP_ADDR + 4, INTF_ID, LOC_STATE, CTRL_STS]
    {
        let before = read32(&tpm, at);
        write32(&tpm, at, !before);
        assert_eq!(read32(&tpm, at), before, "{at:#x}");
    }
}

#[test]
fn accesses_may_have_any_width() {
    let (tpm, hands) = device();
    let mut driver = Driver::new(tpm);
    for width in [1, 2, 4, 8] {
        driver.width = width;
        let command = bytes(GET_RANDOM);
        let response = [bytes("80010000001c00000000"), (0..18).collect()].concat();
        hands.answers.lock().unwrap().push(Answer::Response(response.clone()));
        assert_eq!(driver.send(&command), response, "{width}");
        assert_eq!(hands.told.recv().unwrap(), Told::Command(command), "{width}");
    }
    // One access that ends a cancellation and starts the command.
    driver.ready();
    driver.put(0x80, &bytes(GET_RANDOM));
    assert_eq!(driver.tpm.write(CTRL_CANCEL, &(1u64 << 32).to_le_bytes()), crate::bus::Action::None);
    assert_eq!(driver.response(), bytes(SUCCESS));
}

#[test]
fn a_command_needs_the_locality_and_readiness() {
    let (tpm, hands) = device();
    let driver = Driver::new(tpm);
    driver.put(0x80, &bytes(GET_RANDOM));
    let start = || {
        write32(&driver.tpm, CTRL_START, 1);
        driver.is_busy()
    };
    assert!(!start(), "nobody has the locality");
    write32(&driver.tpm, CTRL_REQ, 1);
    assert_eq!(read32(&driver.tpm, CTRL_STS), 2, "idle, as before");
    write32(&driver.tpm, LOC_CTRL, 1);
    assert!(!start(), "it is idle");
    write32(&driver.tpm, CTRL_REQ, 1);
    write32(&driver.tpm, CTRL_REQ, 2);
    assert_eq!(read32(&driver.tpm, CTRL_STS), 2);
    assert!(!start(), "it is idle again");
    write32(&driver.tpm, CTRL_REQ, 1);
    write32(&driver.tpm, LOC_CTRL, 2);
    assert_eq!((read32(&driver.tpm, LOC_STS), read32(&driver.tpm, LOC_STATE)), (0, 0x81));
    assert!(!start(), "it was given up");
    write32(&driver.tpm, LOC_CTRL, 4);
    assert_eq!(read32(&driver.tpm, LOC_STS), 0, "the lowest locality seizes nothing");
    assert!(hands.told.try_recv().is_err());
    assert_eq!(driver.send(&bytes(GET_RANDOM)), bytes(SUCCESS));
}

#[test]
fn headers_that_lie_do_not_reach_the_tpm() {
    let (tpm, hands) = device();
    let driver = Driver::new(tpm);
    for size in [0u32, 9, 0xf81, u32::MAX] {
        let command = [&[0x80, 1][..], &size.to_be_bytes(), &[0, 0, 1, 0x7b]].concat();
        assert_eq!(driver.send(&command), bytes("80010000000a00000142"), "{size}");
    }
    assert!(hands.told.try_recv().is_err());
    // The longest.
    let mut command = bytes(GET_RANDOM);
    command[2..6].copy_from_slice(&0xf80u32.to_be_bytes());
    command.resize(0xf80, 7);
    driver.send(&command);
    assert_eq!(hands.told.recv().unwrap(), Told::Command(command));
}

#[test]
fn while_a_command_is_executed_the_buffer_is_the_tpms() {
    let (tpm, hands) = device();
    let driver = Driver::new(tpm);
    let held = hands.gate.lock().unwrap();
    driver.start(&bytes(GET_RANDOM));
    driver.put(0x80, &[0; 12]);
    assert_eq!(driver.get(0x80, 12), bytes(GET_RANDOM));
    write32(&driver.tpm, CTRL_REQ, 2);
    write32(&driver.tpm, CTRL_START, 1);
    assert_eq!(read32(&driver.tpm, CTRL_STS), 0);
    assert!(driver.is_busy());
    drop(held);
    assert_eq!(driver.response(), bytes(SUCCESS));
    assert_eq!(hands.told.try_iter().count(), 1, "it was started once");
}

#[test]
fn a_command_can_be_cancelled() {
    let (tpm, hands) = device();
    let driver = Driver::new(tpm);
    // Between commands there is nothing to cancel, and the next is not.
    write32(&driver.tpm, CTRL_CANCEL, 1);
    assert_eq!(read32(&driver.tpm, CTRL_CANCEL), 1);
    write32(&driver.tpm, CTRL_CANCEL, 0);
    assert_eq!(driver.send(&bytes(GET_RANDOM)), bytes(SUCCESS));
    for give_up in [false, true] {
        hands.answers.lock().unwrap().push(Answer::UntilCancelled);
        driver.start(&bytes(GET_RANDOM));
        match give_up {
            false => write32(&driver.tpm, CTRL_CANCEL, 1),
            true => write32(&driver.tpm, LOC_CTRL, 2),
        }
        assert_eq!(driver.response(), bytes(CANCELED));
        write32(&driver.tpm, CTRL_CANCEL, 0);
        assert_eq!(driver.send(&bytes(GET_RANDOM)), bytes(SUCCESS));
    }
    assert_eq!(hands.told.try_iter().filter(|told| *told == Told::Cancel).count(), 2);
}

#[test]
fn a_reset_drops_the_command_under_way() {
    let (tpm, hands) = device();
    let driver = Driver::new(tpm);
    hands.answers.lock().unwrap().push(Answer::UntilCancelled);
    driver.start(&bytes(GET_RANDOM));
    assert!(matches!(hands.told.recv().unwrap(), Told::Command(_)));
    driver.tpm.reset();
    assert!(!driver.is_busy());
    assert_eq!((read32(&driver.tpm, LOC_STS), read32(&driver.tpm, CTRL_STS)), (0, 2));
    assert_eq!(driver.get(0x80, 12), [0; 12], "the buffer is empty");
    // One that comes before the TPM has been reset waits for that.
    driver.start(&bytes(STARTUP));
    assert_eq!(driver.response(), bytes(SUCCESS));
    let told: Vec<Told> = hands.told.try_iter().collect();
    assert_eq!(told, [Told::Cancel, Told::Reset, Told::Command(bytes(STARTUP))]);
}

#[test]
fn one_that_is_gone_is_an_error_until_the_reset() {
    let (tpm, hands) = device();
    let driver = Driver::new(tpm);
    hands.answers.lock().unwrap().push(Answer::Gone);
    driver.start(&bytes(GET_RANDOM));
    assert_eq!(driver.response(), bytes("80010000000a00000101"), "TPM_RC_FAILURE");
    assert_eq!(read32(&driver.tpm, CTRL_STS) & 1, 1, "a fatal error");
    write32(&driver.tpm, CTRL_START, 1);
    assert_eq!(driver.response(), bytes("80010000000a00000101"));
    assert_eq!(hands.told.try_iter().count(), 1, "nobody is asked any more");
    // It stays away.
    hands.answers.lock().unwrap().push(Answer::Gone);
    let held = hands.gate.lock().unwrap();
    driver.tpm.reset();
    driver.start(&bytes(STARTUP));
    drop(held);
    assert_eq!(driver.response(), bytes("80010000000a00000101"));
    // It comes back.
    driver.tpm.reset();
    assert_eq!(driver.send(&bytes(STARTUP)), bytes(SUCCESS));
}

#[test]
fn the_end_of_the_machine_waits_for_no_command() {
    let (tpm, hands) = device();
    let driver = Driver::new(tpm);
    hands.answers.lock().unwrap().push(Answer::UntilCancelled);
    driver.start(&bytes(GET_RANDOM));
    assert!(matches!(hands.told.recv().unwrap(), Told::Command(_)));
    drop(driver);
    // The thread is gone with the device, and the backend with it.
    assert!(hands.told.recv().is_err());
}
