//! The chipset behind its root complex, reached as a guest reaches it: through ports and the ECAM.

use std::io;
use std::sync::Arc;

use vocabulary::AddressRange;
use vocabulary::Devfn;

use super::lpc::Board;
use super::*;
use crate::bus::{Action, Bus, BusView, Priority};
use crate::interrupt::PirqRouter;
use crate::pci::{ConfigPorts, Doorbell, Ecam, IoEvents, RootComplex, Space};
use crate::test_support::{Line, TestAlarm, Windows};

struct Nowhere;

impl IoEvents for Nowhere {
    fn arm(&self, _: Space, _: u64, _: &Doorbell) -> io::Result<()> {
        Ok(())
    }
    fn disarm(&self, _: Space, _: u64, _: &Doorbell) -> io::Result<()> {
        Ok(())
    }
}

impl PirqRouter for Nowhere {
    fn route(&self, _: usize, _: Option<u8>) {}
}

struct Machine {
    root: Arc<RootComplex>,
    ports: BusView,
    memory: BusView,
}

fn machine() -> Machine {
    let (io, memory) = (Bus::new(), Bus::new());
    let root = RootComplex::new(io.clone(), memory.clone(), Arc::new(Nowhere), Arc::new(Windows::default()));
    let ecam = Ecam::new();
    ecam.connect(&root);
    let pm = PowerManagement::new(Arc::new(Line::default()), Arc::new(TestAlarm::default()));
    root.add(Devfn::new(0, 0).unwrap(), Mch::new(ecam)).unwrap();
    root.add(Devfn::new(31, 0).unwrap(), Lpc::new(pm, Arc::new(Nowhere), Board::Unnamed)).unwrap();
    root.seal();
    let config = ConfigPorts::new(root.clone(), Arc::new(ResetControl::default()));
    io.insert(AddressRange::new(0xcf8, 8).unwrap(), Priority::Platform, Arc::new(config));
    Machine { root, ports: io.view(), memory: memory.view() }
}

impl Machine {
    fn select(&mut self, device: u32, register: u32) {
        let address = 0x8000_0000 | device << 11 | register;
        assert_eq!(self.ports.write(0xcf8, &address.to_le_bytes()), Action::None);
    }

    fn config_write(&mut self, device: u32, register: u32, data: &[u8]) {
        self.select(device, register & !3);
        assert_eq!(self.ports.write(0xcfc + u64::from(register & 3), data), Action::None);
    }

    fn load(&mut self, address: u64) -> u32 {
        let mut data = [0; 4];
        self.memory.read(address, &mut data);
        u32::from_le_bytes(data)
    }

    fn port(&mut self, port: u64) -> u32 {
        let mut data = [0; 4];
        self.ports.read(port, &mut data);
        u32::from_le_bytes(data)
    }
}

/// As edk2's OvmfPkg starts: PM timer first, ECAM next, then the rest through the ECAM.
#[test]
fn firmware_finds_the_timer_and_moves_the_ecam() {
    let mut machine = machine();
    assert_eq!(machine.port(0x604), 0xffff_ffff);
    machine.config_write(31, 0x40, &0x601u32.to_le_bytes());
    machine.config_write(31, 0x44, &[0x80]);
    assert_eq!(machine.port(0x604), 1);
    assert!(machine.port(0x608) < 1 << 24);

    assert_eq!(machine.load(0xe000_0000), 0xffff_ffff);
    for (register, value) in [(0x60, 0), (0x64, 0), (0x60, 0xe000_0001_u32)] {
        machine.config_write(0, register, &value.to_le_bytes());
    }
    assert_eq!(machine.load(0xe000_0000), 0x29c0_8086);
    assert_eq!(machine.load(0xe00f_8000), 0x2918_8086);
    assert_eq!(machine.load(0xe000_8000), 0xffff_ffff, "no device 1");

    // Moving the ECAM through the ECAM.
    assert_eq!(machine.memory.write(0xe000_0060, &0xb000_0001u32.to_le_bytes()), Action::None);
    assert_eq!(machine.load(0xe000_0000), 0xffff_ffff);
    assert_eq!(machine.load(0xb000_0000), 0x29c0_8086);

    machine.root.reset();
    assert_eq!(machine.load(0xb000_0000), 0xffff_ffff);
    assert_eq!(machine.port(0x604), 0xffff_ffff);
}

#[test]
fn reset_and_power_off_reach_the_machine() {
    let mut machine = machine();
    assert_eq!(machine.ports.write(0xcf9, &[0x0f]), Action::Reset);
    machine.config_write(31, 0x40, &0x601u32.to_le_bytes());
    machine.config_write(31, 0x44, &[0x80]);
    assert_eq!(machine.ports.write(0x604, &[0x01, 0x20]), Action::PowerOff);
}
