//! The device that is measured: where its registers are for the payload, and how its interrupts come.

mod choose;
mod description;
mod interrupts;
mod places;

use std::collections::BTreeMap;

use statistics::{Missing, Owner};
use vocabulary::interrupts::Pin;

pub use choose::NotThere;
pub(super) use choose::{Chosen, choose};
pub use description::DescriptionError;
pub(super) use description::{Description, read};
use description::{Register, Write};
use places::{MSI, MSI_X, find_capability, locate, reg};

use super::guest::{Command, Guest, Silence, Step};
use super::payload::layout::{BUFFER, Kind};
use super::probe::{Probe, Setting};
use crate::machine::Inside;

/// The device.
pub(super) struct Device<'a> {
    inside: &'a Inside,
    chosen: Chosen,
    description: Description,
    msi: Option<u16>,
    msi_x: Option<u16>,
    pin: Option<Pin>,
    /// Pages that the payload sees, and where in its window.
    shown: BTreeMap<u64, u64>,
    setting: Setting,
}

/// A probe, or why there is none.
type Found = Result<Probe, Missing>;

impl<'a> Device<'a> {
    /// Finds out what the function has. `given`: a description of the user's.
    ///
    /// # Errors
    /// Nothing answers there.
    pub(super) fn open(
        inside: &'a Inside,
        chosen: Chosen,
        given: Option<Description>,
    ) -> Result<Self, String> {
        let at = chosen.at;
        let id = inside.config_read(at, reg::ID, 4);
        if id == u32::MAX {
            return Err(format!("nothing answers at {at} of the guest: the device is gone, or asleep"));
        }
        let class = inside.config_read(at, reg::CLASS, 4) >> 8;
        let name = format!("{:04x}:{:04x}", id & 0xffff, id >> 16);
        if let Some(described) = given.as_ref().and_then(|given| given.of_another(&name)) {
            return Err(format!(
                "--describe is about {described}, and the device that is measured is {name}, at {at} of the guest: name the device by \
                 --device"
            ));
        }
        let capability =
            |wanted| find_capability(&|register, bytes| inside.config_read(at, register, bytes), wanted);
        let device = Self {
            inside,
            chosen,
            description: given.or_else(|| Description::known(&name, class)).unwrap_or_default(),
            msi: capability(MSI),
            msi_x: capability(MSI_X),
            pin: Pin::from_register(inside.config_read(at, reg::PIN, 1) as u8),
            shown: BTreeMap::new(),
            setting: Setting::Plain,
        };
        // This waits until guest memory is open to the device.
        device.command(|command| command | reg::MEMORY | reg::BUS_MASTER | reg::NO_INTX);
        Ok(device)
    }

    /// What it is called in the report.
    pub(super) fn name(&self) -> String {
        let id = self.inside.config_read(self.chosen.at, reg::ID, 4);
        let ids = format!("{:04x}:{:04x}", id & 0xffff, id >> 16);
        match self.chosen.host {
            Some(host) => format!("{host} {ids}"),
            None => format!("{} of the guest {ids}", self.chosen.at),
        }
    }

    fn command(&self, change: impl Fn(u32) -> u32) {
        let command = self.inside.config_read(self.chosen.at, reg::COMMAND, 2);
        self.inside.config_write(self.chosen.at, reg::COMMAND, change(command), 2);
    }

    /// Where a register is in guest-physical memory.
    fn locate(&self, bar: u8, offset: u64) -> Result<u64, String> {
        locate(
            &|register, bytes| self.inside.config_read(self.chosen.at, register, bytes),
            &self.inside.decoded_memory(),
            bar,
            offset,
        )
    }

    /// Where the payload finds a register.
    fn show(&mut self, guest: &Guest<'_>, bar: u8, offset: u64) -> Result<Result<u64, String>, Silence> {
        let address = match self.locate(bar, offset) {
            Ok(address) => address,
            Err(why) => return Ok(Err(why)),
        };
        let next = self.shown.len() as u64;
        let index = *self.shown.entry(address >> 12).or_insert(next);
        guest.show(index, address).map(Ok)
    }

    /// All that can be measured of it.
    pub(super) fn probes(&mut self, guest: &mut Guest<'_>) -> Result<Vec<Found>, Silence> {
        let mut found = vec![self.reading(guest)?, self.writing(guest)?, self.trapped(guest)?];
        for (id, title, setting) in [
            ("msi.latency", "MSI, from a register to the handler", Setting::Msi),
            ("msix.latency", "MSI-X, from a register to the handler", Setting::MsiX),
            ("intx.latency", "INTx, from a register to the handler", Setting::Line),
        ] {
            found.push(self.interrupt(guest, id, title, setting)?);
        }
        found.push(self.dma(guest)?);
        Ok(found)
    }

    fn reading(&mut self, guest: &mut Guest<'_>) -> Result<Found, Silence> {
        let (id, title) = ("bar.read", "read of the device's memory");
        let Some(Register { bar, offset }) = self.description.read else {
            return Ok(missing(id, title, UNKNOWN_READ));
        };
        Ok(self.show(guest, bar, offset)?.map_or_else(
            |why| missing(id, title, &why),
            |address| Ok(of_device(id, title, Command { address, ..Command::new(Kind::Read) })),
        ))
    }

    fn writing(&mut self, guest: &mut Guest<'_>) -> Result<Found, Silence> {
        let (id, title) = ("bar.write", "write to the device's memory");
        let Some(Write { bar, offset, value }) = self.description.write else {
            return Ok(missing(id, title, "no register is known that may be written without consequences"));
        };
        Ok(self.show(guest, bar, offset)?.map_or_else(
            |why| missing(id, title, &why),
            |address| {
                Ok(of_device(
                    id,
                    title,
                    Command { address, value: value.into(), ..Command::new(Kind::Write) },
                ))
            },
        ))
    }

    /// The MSI-X table, which always traps and can always be read.
    fn trapped(&mut self, guest: &mut Guest<'_>) -> Result<Found, Silence> {
        let (id, title) = ("bar.trapped", "trapped read of the device's memory");
        let Some((bar, offset)) = self.msi_x_table() else {
            return Ok(missing(id, title, "the device has no MSI-X table, which is what always traps"));
        };
        Ok(self.show(guest, bar, offset)?.map_or_else(
            |why| missing(id, title, &why),
            |address| {
                let probe = of_device(id, title, Command { address, ..Command::new(Kind::Read) });
                Ok(Probe { owner: Owner::Monitor, ..probe })
            },
        ))
    }

    fn interrupt(
        &mut self,
        guest: &mut Guest<'_>,
        id: &'static str,
        title: &'static str,
        setting: Setting,
    ) -> Result<Found, Silence> {
        let lacks = match setting {
            Setting::Msi if self.msi.is_none() => Some("the device has no MSI"),
            Setting::MsiX if self.msi_x.is_none() => Some("the device has no MSI-X"),
            Setting::Line if self.pin.is_none() => Some("the device has no interrupt pin"),
            _ => None,
        };
        if let Some(lacks) = lacks {
            return Ok(missing(id, title, lacks));
        }
        let Some(interrupt) = self.description.interrupt.clone() else {
            return Ok(missing(id, title, UNKNOWN_INTERRUPT));
        };
        let raise = match self.show(guest, interrupt.raise.bar, interrupt.raise.offset)? {
            Ok(address) => address,
            Err(why) => return Ok(missing(id, title, &why)),
        };
        for write in &interrupt.setup {
            if let Err(why) = self.show(guest, write.bar, write.offset)? {
                return Ok(missing(id, title, &format!("a write of `interrupt.setup` is impossible: {why}")));
            }
        }
        let acknowledge = match interrupt.acknowledge {
            Some(write) => match self.show(guest, write.bar, write.offset)? {
                Ok(address) => Some((address, write.value)),
                Err(why) => return Ok(missing(id, title, &why)),
            },
            None => None,
        };
        let command = Command {
            address: raise,
            value: interrupt.raise.value.into(),
            acknowledge,
            ..Command::new(Kind::Raise)
        };
        let probe = of_device(id, title, command);
        Ok(Ok(Probe { setting, less_clock: false, owner: Owner::Kernel, weight: 2, ..probe }))
    }

    fn dma(&mut self, guest: &mut Guest<'_>) -> Result<Found, Silence> {
        let (id, title) = ("dma.round_trip", "DMA, from the doorbell until it is done");
        let Some(dma) = self.description.dma.clone() else {
            return Ok(missing(id, title, "it is not known how this device is asked for DMA"));
        };
        let mut steps = Vec::new();
        for step in &dma.steps {
            match self.show(guest, step.bar, step.offset)? {
                Ok(address) => steps.push(Step {
                    address,
                    value: step.value.unwrap_or_else(|| BUFFER + step.buffer.unwrap_or_default()),
                    bytes: step.bytes,
                }),
                Err(why) => return Ok(missing(id, title, &why)),
            }
        }
        Ok(self.show(guest, dma.done.bar, dma.done.offset)?.map_or_else(
            |why| missing(id, title, &why),
            |address| {
                let (value, expected) = (dma.done.mask.into(), dma.done.value);
                Ok(of_device(
                    id,
                    title,
                    Command { address, value, expected, steps, ..Command::new(Kind::Script) },
                ))
            },
        ))
    }
}

const UNKNOWN_READ: &str =
    "no register is known that reads without consequences: describe one in a file for --describe";
const UNKNOWN_INTERRUPT: &str = "no register is known by which this device can be asked for an interrupt: describe one in a file for --describe";

fn missing(id: &str, title: &str, why: &str) -> Found {
    Err(Missing { id: id.into(), title: title.into(), why: why.into() })
}

fn of_device(id: &'static str, title: &'static str, command: Command) -> Probe {
    Probe { tell_exits: true, ..Probe::new(id, title, Owner::Hardware, command) }
}
