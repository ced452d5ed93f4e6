//! Registers after power-on, and what writes do to them.

use super::super::registers::port as p;
use super::*;
use crate::pci::capability;

#[test]
fn the_function_is_that_of_an_ich9() {
    let bench = bench();
    let mut config = [0; 64];
    for register in (0..64u16).step_by(4) {
        bench.function.config_read(register, &mut config[register as usize..][..4]);
    }
    assert_eq!(config[..4], [0x86, 0x80, 0x22, 0x29]);
    assert_eq!(config[8..12], [2, 1, 6, 1]);
    assert_eq!(config[0x10..0x24], [0; 20], "BARs of IDE mode");
    assert_eq!(config[0x24..0x28], ABAR_AT.to_le_bytes());
    let mut message = [0; 4];
    bench.function.config_read(config[0x34].into(), &mut message);
    assert_eq!((message[0], message[1], message[2] & 1), (capability::MSI, 0, 0));
    bench.function.config_read(0x90, &mut message);
    assert_eq!(message[0], 0x40);
}

#[test]
fn the_controller_has_what_it_says() {
    let bench = bench();
    let (cap, ports) = (bench.read(0), bench.read(0xc));
    assert_eq!(ports, 0b11_0000);
    assert!(ports.count_ones() <= (cap & 0x1f) + 1);
    assert_eq!(cap & 0x1f00, 31 << 8);
    for absent in [27, 24, 17, 26, 16, 7, 6, 5] {
        assert_eq!(cap >> absent & 1, 0, "bit {absent}");
    }
    assert_eq!(cap >> 30 & 1, 1, "native command queuing");
    assert_eq!(bench.read(4), 0x8000_0000, "AHCI only");
    assert_eq!(bench.read(0x10), 0x1_0000);
    for reserved in (0x14..0x100).step_by(4) {
        bench.write(reserved, u32::MAX);
        assert_eq!(bench.read(reserved), 0, "{reserved:#x}");
    }
    for port in 0..32 {
        let there = ports >> port & 1 != 0;
        let values: Vec<u32> = (0..0x80).step_by(4).map(|register| bench.port(port, register)).collect();
        if there {
            assert_eq!(values[6], 6, "PxCMD");
            assert_eq!(values[8], 0x7f, "PxTFD before the first frame");
            assert_eq!((values[9], values[10]), (u32::MAX, 0x113));
        } else {
            assert!(values.iter().all(|value| *value == 0), "port {port}");
        }
    }
}

#[test]
fn bytes_are_read_wherever_they_are_and_dwords_written() {
    let bench = bench();
    let mut all = [0; 16];
    bench.bytes(0, &mut all[..8]);
    bench.bytes(8, &mut all[8..]);
    for at in 0..15 {
        let mut some = [0; 2];
        bench.bytes(at as u64, &mut some);
        assert_eq!(some, all[at..at + 2]);
    }
    let region = bench.function.regions().remove(0);
    let _ = region.device.write(4, &[2, 0]);
    let _ = region.device.write(6, &2u32.to_le_bytes());
    assert_eq!(bench.read(4), 0x8000_0000, "neither a word nor across dwords");
    let _ = region.device.write(0x280, &0x1234_5678_9abc_deffu64.to_le_bytes());
    let _ = region.device.write(0x380, &0x1234_5678_9abc_deffu64.to_le_bytes());
    assert_eq!(bench.port(4, p::CLB), 0, "a port that is not there");
    assert_eq!((bench.port(5, p::CLB), bench.port(5, p::CLBU)), (0x9abc_dc00, 0x1234_5678));
}

#[test]
fn the_signature_comes_with_the_first_frame() {
    let bench = bench();
    bench.put(FRAMES, &[0x80; 256]);
    bench.set_port(DRIVE, p::FB, FRAMES as u32);
    bench.set_port(DRIVE, p::CMD, 1 << 4);
    assert_eq!(bench.port(DRIVE, p::CMD) & 1 << 14, 1 << 14);
    assert_eq!((bench.port(DRIVE, p::TFD), bench.port(DRIVE, p::SIG)), (0x150, 0xeb14_0101));
    let mut expected = vec![0x34, 0, 0x50, 1, 1, 0x14, 0xeb, 0, 0, 0, 0, 0, 1, 0];
    expected.resize(20, 0);
    assert_eq!(bench.get(FRAMES + 0x40, 20), expected);
    assert_eq!(bench.get(FRAMES, 0x40), [0x80; 0x40], "nothing else");
    assert_eq!(bench.port(DRIVE, p::IS), 0);
}

#[test]
fn resets_take_back_what_is_set_up() {
    let bench = bench();
    bench.start(DRIVE);
    bench.settle();
    // Of the link.
    bench.set_port(DRIVE, p::CMD, 1 << 4);
    bench.set_port(DRIVE, p::SCTL, 0x301);
    assert_eq!((bench.port(DRIVE, p::TFD), bench.port(DRIVE, p::SSTS) & 0xf), (0x7f, 0));
    bench.set_port(DRIVE, p::SCTL, 0x300);
    assert_eq!((bench.port(DRIVE, p::TFD), bench.port(DRIVE, p::SSTS)), (0x150, 0x113));
    bench.set_port(DRIVE, p::SCTL, 0x304);
    assert_eq!(bench.port(DRIVE, p::SSTS), 4, "switched off");
    bench.set_port(DRIVE, p::SCTL, 0x300);
    bench.set_port(DRIVE, p::CMD, 1 << 4 | 1);
    // Of the device: a frame that begins it, and one that ends it.
    let control = |bits: u8| {
        let mut frame = [0; 16];
        (frame[0], frame[15]) = (0x27, bits);
        frame
    };
    bench.prepare(0, &control(4), &[], &[]);
    bench.issue(DRIVE, 0);
    bench.wait(DRIVE, 0);
    bench.put(FRAMES, &[0x80; 256]);
    bench.prepare(1, &control(0), &[], &[]);
    bench.issue(DRIVE, 1);
    bench.wait(DRIVE, 1);
    assert_eq!(bench.get(FRAMES + 0x40, 4), [0x34, 0, 0x50, 1]);
    // Of the controller, with anything in the other bits.
    bench.write(4, u32::MAX);
    assert_eq!(bench.read(4), 0x8000_0000);
    assert_eq!(
        (bench.port(DRIVE, p::CMD), bench.port(DRIVE, p::IE), bench.port(DRIVE, p::TFD)),
        (6, 0, 0x7f)
    );
    assert_eq!(bench.port(DRIVE, p::CLB), LIST as u32, "addresses are kept");
    // Of the machine.
    bench.start(DRIVE);
    PciFunction::reset(&*bench.function);
    let _ = bench.function.config_write(reg::BAR0 + 4 * 5, &ABAR_AT.to_le_bytes());
    let _ = bench.function.config_write(reg::COMMAND, &[6, 0]);
    assert_eq!((bench.port(DRIVE, p::CLB), bench.port(DRIVE, p::CMD)), (0, 6));
    assert_eq!(bench.read(4), 0x8000_0000);
}

#[test]
fn interrupts_follow_their_causes() {
    let bench = bench();
    bench.start(DRIVE);
    bench.settle();
    bench.perform(DRIVE, &frame(0xe5), &[], &[]);
    assert_eq!(bench.port(DRIVE, p::IS), 1);
    assert_eq!(bench.read(8), 1 << DRIVE);
    until(|| bench.line.is_high());
    // What is still pending is set again.
    bench.write(8, u32::MAX);
    assert_eq!(bench.read(8), 1 << DRIVE);
    assert!(bench.line.is_high());
    bench.set_port(DRIVE, p::IE, 0);
    assert_eq!((bench.read(8), bench.line.is_high()), (0, false));
    bench.set_port(DRIVE, p::IE, 1);
    assert!(bench.line.is_high());
    bench.write(4, 0);
    assert!(!bench.line.is_high());
    bench.write(4, 2);
    bench.set_port(DRIVE, p::IS, 1);
    assert_eq!((bench.read(8), bench.line.is_high()), (0, false));
}

#[test]
fn a_message_is_sent_again_while_a_cause_is_left() {
    let bench = bench();
    for (register, value) in [(0x44, MESSAGE.address as u32), (0x4c, MESSAGE.data)] {
        let _ = bench.function.config_write(register, &value.to_le_bytes());
    }
    let _ = bench.function.config_write(0x42, &[1, 0]);
    bench.start(DRIVE);
    bench.settle();
    bench.vectors.delivered();
    bench.perform(DRIVE, &frame(0xe5), &[], &[]);
    assert_eq!(bench.vectors.delivered(), [MESSAGE]);
    // A driver that handles one port of two, or writes anything else, is told again.
    bench.set_port(DRIVE, p::SERR, u32::MAX);
    assert_eq!(bench.vectors.delivered(), [MESSAGE]);
    bench.set_port(DRIVE, p::IS, 1);
    bench.vectors.delivered();
    bench.write(8, 1 << DRIVE);
    assert_eq!(bench.vectors.delivered(), []);
    assert!(!bench.line.is_high());
}
