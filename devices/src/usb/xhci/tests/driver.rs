//! A driver.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use crate::GuestRam;
use crate::bus::BusDevice;
use crate::input::{Buttons, Key};
use crate::interrupt::MsiMessage;
use crate::pci::endpoint::Endpoint;
use crate::pci::msix::testing::FakeAllocator;
use crate::pci::{PciFunction, Placement};
use crate::test_support::{Line, Memory, memory_at, read_u32};
use crate::usb::device::UsbDevice;
use crate::usb::hid::{Keyboard, Mouse, Tablet};
use crate::usb::xhci::Xhci;

pub(super) const BAR: u64 = 0xc000_0000;
/// Memory of the driver's.
pub(super) const CONTEXTS: u64 = 0x1000;
pub(super) const COMMANDS: u64 = 0x2000;
pub(super) const TABLE: u64 = 0x3000;
pub(super) const EVENTS: u64 = 0x4000;
pub(super) const INPUT: u64 = 0x5000;
pub(super) const BUFFER: u64 = 0x3_0000;
/// Entries of the rings: the last TRB of a driver's ring is a link.
pub(super) const ENTRIES: u64 = 16;
pub(super) const EVENT_ENTRIES: u64 = 32;

/// Registers.
pub(super) const USBCMD: u64 = 0x40;
pub(super) const USBSTS: u64 = 0x44;
pub(super) const IMAN: u64 = 0x1020;
pub(super) const ERDP: u64 = 0x1038;

/// TRB types and flags.
pub(super) const IOC: u32 = 1 << 5;
pub(super) const ISP: u32 = 1 << 2;
pub(super) const IDT: u32 = 1 << 6;

pub(super) const LEFT: Buttons =
    Buttons { left: true, middle: false, right: false, side: false, extra: false };

/// A ring that the driver fills.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    pub(super) base: u64,
    index: u64,
    cycle: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: u32,
    pub(super) parameter: u64,
    pub(super) code: u32,
    pub(super) length: u32,
    pub(super) slot: u32,
    pub(super) endpoint: u32,
    pub(super) event_data: bool,
}

pub(super) struct Driver {
    pub(super) function: Arc<Endpoint<Xhci>>,
    pub(super) bar: Arc<dyn BusDevice>,
    msix: Arc<dyn BusDevice>,
    pub(super) ram: GuestRam,
    pub(super) vectors: FakeAllocator,
    pub(super) line: Arc<Line>,
    pub(super) keyboard: Arc<Keyboard>,
    pub(super) mouse: Arc<Mouse>,
    pub(super) tablet: Arc<Tablet>,
    pub(super) commands: Queue,
    event: u64,
    event_cycle: bool,
}

/// The port of each device, from 1.
pub(super) const KEYBOARD_PORT: u64 = 5;
pub(super) const MOUSE_PORT: u64 = 6;
pub(super) const TABLET_PORT: u64 = 7;

impl Driver {
    /// A controller with bus mastering, as out of reset.
    pub(super) fn new() -> Self {
        let ram =
            GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20), (GuestAddress(1 << 20), 1 << 20)]).unwrap();
        let (vectors, line) = (FakeAllocator::default(), Arc::<Line>::default());
        let (keyboard, mouse, tablet) =
            (Arc::<Keyboard>::default(), Arc::<Mouse>::default(), Arc::<Tablet>::default());
        let devices: Vec<Arc<dyn UsbDevice>> =
            vec![Arc::clone(&keyboard) as _, Arc::clone(&mouse) as _, Arc::clone(&tablet) as _];
        let place = (Placement::RootComplexIntegrated, &vectors as _, Arc::clone(&line) as _);
        let function = Xhci::endpoint(devices, ram.clone(), place).unwrap();
        let _ = function.config_write(0x10, &(BAR as u32).to_le_bytes());
        let _ = function.config_write(0x20, &(BAR as u32 + 0x10_0000).to_le_bytes());
        let _ = function.config_write(4, &[6, 0]);
        let [bar, msix] = [BAR, BAR + 0x10_0000].map(|base| memory_at(function.as_ref(), base));
        Self {
            function,
            bar,
            msix,
            ram,
            vectors,
            line,
            keyboard,
            mouse,
            tablet,
            commands: Queue::at(COMMANDS),
            event: 0,
            event_cycle: true,
        }
    }

    pub(super) fn u32(&self, offset: u64) -> u32 {
        read_u32(self.bar.as_ref(), offset)
    }

    pub(super) fn set(&self, offset: u64, value: u32) {
        let _ = self.bar.write(offset, &value.to_le_bytes());
    }

    /// As Linux does, the lower half first.
    pub(super) fn set64(&self, offset: u64, value: u64) {
        self.set(offset, value as u32);
        self.set(offset + 4, (value >> 32) as u32);
    }

    pub(super) fn port(&self, port: u64) -> u32 {
        self.u32(0x440 + (port - 1) * 0x10)
    }

    pub(super) fn set_port(&self, port: u64, value: u32) {
        self.set(0x440 + (port - 1) * 0x10, value);
    }

    pub(super) fn config(&self, register: u16) -> u32 {
        let mut data = [0; 4];
        self.function.config_read(register, &mut data);
        u32::from_le_bytes(data)
    }

    /// Enables MSI-X: message 0x40.
    pub(super) fn use_msix(&self) {
        for (at, value) in [(0, 0xfee0_0000), (4, 0), (8, 0x40), (12, 0)] {
            let _ = self.msix.write(at, &u32::to_le_bytes(value));
        }
        let mut at = self.config(0x34) as u8;
        while self.config(at.into()) as u8 != 0x11 {
            at = (self.config(at.into()) >> 8) as u8;
            assert_ne!(at, 0);
        }
        let _ = self.function.config_write(u16::from(at) + 2, &[0, 0x80]);
    }

    pub(super) fn interrupts(&self) -> Vec<MsiMessage> {
        self.vectors.delivered()
    }

    /// Resets, sets the rings up and runs; `interrupts` is USBCMD.INTE.
    pub(super) fn start(&mut self, interrupts: bool) {
        self.set(USBCMD, 2);
        assert_eq!(self.u32(USBCMD) & 2, 0);
        assert_eq!(self.u32(USBSTS) & 0x801, 1, "halted, and ready");
        self.ram.write_slice(&[0; 0x2_f000], GuestAddress(0x1000)).unwrap();
        self.commands = Queue::at(COMMANDS);
        self.commands.link(&self.ram);
        (self.event, self.event_cycle) = (0, true);
        self.set(0x78, 32);
        self.set64(0x70, CONTEXTS);
        self.set64(0x58, COMMANDS | 1);
        self.ram.write_obj(EVENTS, GuestAddress(TABLE)).unwrap();
        self.ram.write_obj(EVENT_ENTRIES, GuestAddress(TABLE + 8)).unwrap();
        self.set(0x1028, 1);
        self.set64(ERDP, EVENTS);
        self.set64(0x1030, TABLE);
        self.set(0x1024, 160);
        self.set(IMAN, 2);
        self.set(USBCMD, if interrupts { 5 } else { 1 });
        assert_eq!(self.u32(USBSTS) & 1, 0, "it runs");
    }

    /// The next event, which stays where it is for the controller.
    pub(super) fn take(&mut self) -> Option<Event> {
        let at = EVENTS + self.event * 16;
        let [p0, p1, status, control]: [u32; 4] = self.ram.read_obj(GuestAddress(at)).unwrap();
        if (control & 1 != 0) != self.event_cycle {
            return None;
        }
        self.event += 1;
        if self.event == EVENT_ENTRIES {
            (self.event, self.event_cycle) = (0, !self.event_cycle);
        }
        Some(Event {
            kind: control >> 10 & 0x3f,
            parameter: u64::from(p0) | u64::from(p1) << 32,
            code: status >> 24,
            length: status & 0xff_ffff,
            slot: control >> 24,
            endpoint: control >> 16 & 0x1f,
            event_data: control & 4 != 0,
        })
    }

    /// Tells the controller how far events were taken; `busy` clears Event Handler Busy.
    pub(super) fn told(&self, busy: bool) {
        self.set64(ERDP, (EVENTS + self.event * 16) | u64::from(busy) << 3);
    }

    /// All events that there are.
    pub(super) fn all(&mut self) -> Vec<Event> {
        let events = std::iter::from_fn(|| self.take()).collect();
        self.told(true);
        events
    }

    /// The only event that there is.
    pub(super) fn one(&mut self) -> Event {
        let events = self.all();
        assert_eq!(events.len(), 1, "{events:x?}");
        events[0]
    }

    /// Puts a command on the ring, without the doorbell.
    pub(super) fn put(&mut self, parameter: u64, kind: u32, rest: u32) -> u64 {
        self.commands.put(&self.ram, parameter, 0, kind << 10 | rest)
    }

    /// Performs a command: its completion code and slot.
    pub(super) fn command(&mut self, parameter: u64, kind: u32, rest: u32) -> (u32, u32) {
        let at = self.put(parameter, kind, rest);
        self.set(0x2000, 0);
        let event = self.one();
        assert_eq!((event.kind, event.parameter), (33, at), "{event:x?}");
        (event.code, event.slot)
    }

    /// Resets a port and acknowledges it.
    pub(super) fn reset_port(&mut self, port: u64) {
        self.set_port(port, 0x210);
        assert_eq!(self.port(port) & 0x20_1fff, 0x20_0603, "{:#x}", self.port(port));
        self.set_port(port, 0x20_0200 | 0x2_0000);
        self.all();
    }

    pub(super) fn output(&self, slot: u32, context: u64) -> [u32; 8] {
        self.ram.read_obj(GuestAddress(0x6000 + u64::from(slot) * 0x400 + context * 32)).unwrap()
    }

    pub(super) fn input(&self, context: u64, dwords: [u32; 8]) {
        self.ram.write_obj(dwords, GuestAddress(INPUT + context * 32)).unwrap();
    }

    pub(super) fn ring(slot: u32, endpoint: u64) -> u64 {
        0x1_0000 + u64::from(slot) * 0x2000 + endpoint * 0x100
    }

    /// Gives the device at a port a slot and an address: the slot and the ring of its control endpoint.
    pub(super) fn address(&mut self, port: u64) -> (u32, Queue) {
        self.reset_port(port);
        let (code, slot) = self.command(0, 9, 0);
        assert_eq!(code, 1);
        let control = self.prepare_address(slot, port);
        assert_eq!(self.command(INPUT, 11, slot << 24), (1, slot));
        assert_eq!(self.output(slot, 0)[3], 2 << 27 | slot);
        assert_eq!(self.output(slot, 1)[0] & 7, 1);
        (slot, control)
    }

    pub(super) fn prepare_address(&self, slot: u32, port: u64) -> Queue {
        let at = 0x6000 + u64::from(slot) * 0x400;
        self.ram.write_obj(at, GuestAddress(CONTEXTS + u64::from(slot) * 8)).unwrap();
        let control = Queue::at(Self::ring(slot, 1));
        control.link(&self.ram);
        self.input(0, [0, 3, 0, 0, 0, 0, 0, 0]);
        self.input(1, [1 << 27 | 1 << 20, (port as u32) << 16, 0, 0, 0, 0, 0, 0]);
        self.input(2, [0, 4 << 3 | 3 << 1 | 64 << 16, control.base as u32 | 1, 0, 8, 0, 0, 0]);
        control
    }

    /// A control transfer to the host with an event at its end, as Linux does: the data, or the code of its failure.
    pub(super) fn read(&mut self, slot: u32, control: &mut Queue, setup: [u8; 8]) -> Result<Vec<u8>, u32> {
        let length = u32::from(u16::from_le_bytes([setup[6], setup[7]]));
        control.put(&self.ram, u64::from_le_bytes(setup), 8, 2 << 10 | IDT | 3 << 16);
        control.put(&self.ram, BUFFER, length, 3 << 10 | ISP | 1 << 16);
        let status = control.put(&self.ram, 0, 0, 4 << 10 | IOC);
        self.set(0x2000 + u64::from(slot) * 4, 1);
        let events = self.all();
        let last = events.last().unwrap();
        if last.code != 1 {
            return Err(last.code);
        }
        assert_eq!(last.parameter, status);
        let left = match events.as_slice() {
            [short, _] => {
                assert_eq!(short.code, 13);
                short.length
            }
            _ => 0,
        };
        Ok(self.ram.get(BUFFER, (length - left) as usize))
    }

    /// A control transfer without data: the completion code.
    pub(super) fn write(&mut self, slot: u32, control: &mut Queue, setup: [u8; 8]) -> u32 {
        control.put(&self.ram, u64::from_le_bytes(setup), 8, 2 << 10 | IDT);
        control.put(&self.ram, 0, 0, 4 << 10 | IOC | 1 << 16);
        self.set(0x2000 + u64::from(slot) * 4, 1);
        self.one().code
    }

    /// Configures the device in a slot with its interrupt endpoint: that one's ring.
    pub(super) fn configure(&mut self, slot: u32, control: &mut Queue) -> Queue {
        let reports = Queue::at(Self::ring(slot, 3));
        reports.link(&self.ram);
        self.input(0, [0, 1 | 1 << 3, 0, 0, 0, 0, 0, 0]);
        self.input(1, self.output(slot, 0));
        self.input(4, [3 << 16, 7 << 3 | 3 << 1 | 8 << 16, reports.base as u32 | 1, 0, 8, 0, 0, 0]);
        assert_eq!(self.command(INPUT, 12, slot << 24), (1, slot));
        assert_eq!(self.output(slot, 0)[3], 3 << 27 | slot);
        assert_eq!(self.output(slot, 3)[0] & 7, 1);
        assert_eq!(self.write(slot, control, [0, 9, 1, 0, 0, 0, 0, 0]), 1);
        reports
    }

    /// Asks for a report of at most 8 bytes: the TRB's address.
    pub(super) fn ask(&self, slot: u32, reports: &mut Queue) -> u64 {
        let at = reports.put(&self.ram, BUFFER + 0x100, 8, 1 << 10 | IOC | ISP);
        self.set(0x2000 + u64::from(slot) * 4, 3);
        at
    }

    /// The last report.
    pub(super) fn report(&self) -> [u8; 8] {
        self.ram.read_obj(GuestAddress(BUFFER + 0x100)).unwrap()
    }

    pub(super) fn press(&self, key: Key) {
        assert_eq!(self.keyboard.press(key), crate::input::Taken::Yes);
    }
}

impl Queue {
    pub(super) fn at(base: u64) -> Self {
        Self { base, index: 0, cycle: true }
    }

    /// Where the next TRB goes.
    pub(super) fn next(&self) -> u64 {
        self.base + self.index * 16
    }

    /// Writes the link at the end.
    pub(super) fn link(&self, ram: &GuestRam) {
        let at = self.base + (ENTRIES - 1) * 16;
        ram.write_obj([self.base as u32, 0, 0, 6 << 10 | 2], GuestAddress(at)).unwrap();
    }

    /// Appends a TRB: its address.
    pub(super) fn put(&mut self, ram: &GuestRam, parameter: u64, status: u32, control: u32) -> u64 {
        let at = self.next();
        let dwords = [parameter as u32, (parameter >> 32) as u32, status, control | u32::from(self.cycle)];
        ram.write_obj(dwords, GuestAddress(at)).unwrap();
        self.index += 1;
        if self.index == ENTRIES - 1 {
            // The link is the controller's now, too.
            let link = self.base + (ENTRIES - 1) * 16 + 12;
            ram.write_obj(6u32 << 10 | 2 | u32::from(self.cycle), GuestAddress(link)).unwrap();
            (self.index, self.cycle) = (0, !self.cycle);
        }
        at
    }
}
