//! How the device's interrupts come: by MSI, by MSI-X or by its line, set up as an operating system would.

use std::time::Duration;

use vocabulary::interrupts::{Pin, Pirq};
use vocabulary::memory;

use super::Device;
use super::places::reg;
use crate::bench::guest::{Command, Guest, Silence};
use crate::bench::payload::layout::{Kind, VECTOR};
use crate::bench::probe::Setting;

/// Where messages go: the first processor, whose local APIC is 0 (Intel SDM volume 3, 12.11.1).
const MESSAGE_ADDRESS: u32 = memory::LOCAL_APICS.base() as u32;

/// Mask bit of a redirection entry.
const MASKED: u32 = 1 << 16;

impl Device<'_> {
    /// Has interrupts come as a probe needs it.
    pub(in crate::bench) fn set(&mut self, setting: Setting, guest: &mut Guest<'_>) -> Result<(), Silence> {
        if std::mem::replace(&mut self.setting, setting) == setting {
            return Ok(());
        }
        self.silence(guest)?;
        match setting {
            Setting::Plain => return Ok(()),
            Setting::Msi => self.start_msi(),
            Setting::MsiX => self.start_msi_x(),
            Setting::Line => self.start_line(guest)?,
        }
        let setup =
            self.description.interrupt.as_ref().map(|interrupt| interrupt.setup.clone()).unwrap_or_default();
        for write in setup {
            // A place that there is not has made the probe missing.
            if let Ok(address) = self.show(guest, write.bar, write.offset)? {
                poke(guest, address, write.value)?;
            }
        }
        Ok(())
    }

    /// No interrupt comes any more.
    fn silence(&self, guest: &mut Guest<'_>) -> Result<(), Silence> {
        let (at, inside) = (self.chosen.at, self.inside);
        if let Some(msi) = self.msi {
            inside.config_write(at, msi + 2, inside.config_read(at, msi + 2, 2) & !1, 2);
        }
        if let Some(msi_x) = self.msi_x {
            inside.config_write(at, msi_x + 2, inside.config_read(at, msi_x + 2, 2) & !0x8000, 2);
        }
        self.command(|command| command | reg::NO_INTX);
        match self.pin {
            Some(pin) => redirect(guest, self.gsi(pin), MASKED),
            None => Ok(()),
        }
    }

    fn gsi(&self, pin: Pin) -> u8 {
        Pirq::of_root_bus(self.chosen.slot, pin).gsi()
    }

    fn start_msi(&self) {
        let Some(msi) = self.msi else { return };
        let (at, inside) = (self.chosen.at, self.inside);
        let control = inside.config_read(at, msi + 2, 2);
        // Of 64 bits, there is the upper half between address and data.
        let data = if control & 0x80 != 0 { msi + 12 } else { msi + 8 };
        inside.config_write(at, msi + 4, MESSAGE_ADDRESS, 4);
        if data == msi + 12 {
            inside.config_write(at, msi + 8, 0, 4);
        }
        inside.config_write(at, data, VECTOR.into(), 2);
        // One message, and on.
        inside.config_write(at, msi + 2, control & !0x70 | 1, 2);
    }

    pub(super) fn msi_x_table(&self) -> Option<(u8, u64)> {
        let table = self.inside.config_read(self.chosen.at, self.msi_x? + 4, 4);
        Some(((table & 7) as u8, u64::from(table & !7)))
    }

    fn start_msi_x(&self) {
        /// More of a device's vectors than one that is described here uses.
        const VECTORS: u64 = 16;
        let Some((msi_x, (bar, offset))) = self.msi_x.zip(self.msi_x_table()) else { return };
        let (at, inside) = (self.chosen.at, self.inside);
        let control = inside.config_read(at, msi_x + 2, 2);
        let count = u64::from(control & 0x7ff) + 1;
        let mut bus = inside.devices_memory();
        for vector in 0..count.min(VECTORS) {
            let Ok(entry) = self.locate(bar, offset + vector * 16) else { continue };
            for (at, word) in [(0, MESSAGE_ADDRESS), (4, 0), (8, u32::from(VECTOR)), (12, 0)] {
                // The table resets nothing.
                let _ = bus.write(entry + at, &word.to_le_bytes());
            }
        }
        inside.config_write(at, msi_x + 2, control & !0x4000 | 0x8000, 2);
    }

    fn start_line(&self, guest: &mut Guest<'_>) -> Result<(), Silence> {
        /// By level, as PCI's are.
        const LEVEL: u32 = 1 << 15;
        let Some(pin) = self.pin else { return Ok(()) };
        redirect(guest, self.gsi(pin), u32::from(VECTOR) | LEVEL)?;
        self.command(|command| command & !reg::NO_INTX);
        Ok(())
    }
}

/// A write of the guest's.
fn poke(guest: &mut Guest<'_>, address: u64, value: u32) -> Result<(), Silence> {
    let command = Command { address, value: value.into(), ..Command::new(Kind::Write) };
    guest.run(&command, Duration::from_millis(10)).map(drop)
}

/// Writes the lower half of the I/O APIC's redirection entry for an input (ICH9 datasheet, 13.5.7); the upper half, the first processor,
/// is as at reset.
fn redirect(guest: &mut Guest<'_>, gsi: u8, entry: u32) -> Result<(), Silence> {
    let registers = memory::IO_APIC.base();
    poke(guest, registers, 0x10 + 2 * u32::from(gsi))?;
    poke(guest, registers + 0x10, entry)
}
