//! A passed-through function on the guest's PCI bus.
//!
//! Configuration space is the device's own under a table of what the guest is to see otherwise ([`super::config`]). BARs are
//! the guest's to place; the host's stay where they are.

use std::io;
use std::sync::Arc;

use vocabulary::AddressRange;

use crate::interrupt::{MsiAllocator, ResampledLine};
use crate::pci::{BarState, MappedPart, PciFunction, Region, Space, Written};

use super::access::BarAccess;
use super::bars;
use super::config::{self, Raw, Virtualized};
use super::host::{HostDevice, region};
use super::interrupt::{Interrupts, IntxError};
use super::overlay::{self, Overlay};
use super::rom::RomWindow;
use super::shared::Shared;
use super::{Options, Rom};

/// Why a device cannot be passed through.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// Its configuration space cannot be read.
    #[error("cannot read the configuration space of {device}: {source}")]
    Read {
        /// Its name.
        device: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its configuration space is not one that can be shown.
    #[error("cannot pass {device} through: {source}")]
    Config {
        /// Its name.
        device: String,
        /// Why.
        source: config::Error,
    },
    /// Its ROM is too large.
    #[error("cannot give {device} an expansion ROM: {source}")]
    Rom {
        /// Its name.
        device: String,
        /// Why.
        source: io::Error,
    },
    /// It cannot have a line.
    #[error("cannot give {device} an interrupt line of the guest: {source}")]
    Line {
        /// Its name.
        device: String,
        /// Why.
        source: io::Error,
    },
    /// Its interrupts cannot be had.
    #[error(transparent)]
    Intx(#[from] IntxError),
}

/// A BAR that the guest can place.
struct BarWindow {
    index: usize,
    device: Arc<BarAccess>,
    mapped: Arc<[MappedPart]>,
}

/// A passed-through function.
pub struct VfioPci {
    shared: Arc<Shared>,
    bars: Vec<BarWindow>,
    rom: Option<(Arc<RomWindow>, Arc<[MappedPart]>)>,
}

/// What a function needs of the machine for its interrupts.
pub struct InterruptSources<'a> {
    /// Its line, for INTx pin 1 (INTA) to 4.
    pub line: &'a dyn Fn(u8) -> io::Result<Arc<dyn ResampledLine>>,
    /// Message-signalled vectors.
    pub messages: Arc<dyn MsiAllocator>,
}

impl VfioPci {
    /// Passes `host` through as `options` say.
    pub fn new(
        host: Arc<dyn HostDevice>,
        options: &Options,
        sources: &InterruptSources<'_>,
    ) -> Result<Arc<Self>, FunctionError> {
        let device = || host.name().to_owned();
        let raw =
            read_config(host.as_ref()).map_err(|source| FunctionError::Read { device: device(), source })?;
        let sizes = std::array::from_fn(|index| host.region(index as u32).map_or(0, |region| region.size));
        let bars = bars::find(&raw, sizes);
        let rom = match &options.rom {
            Rom::Off => None,
            Rom::Image(image) => Some(
                RomWindow::new(image).map_err(|source| FunctionError::Rom { device: device(), source })?,
            ),
        };
        let found = raw.get(4..6).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes);
        let rom_size = rom.as_ref().map_or(0, |rom| rom.size());
        let raw = Raw { bytes: &raw, bars: &bars, rom_size };
        let Virtualized { mut table, capabilities, warnings } = config::virtualize(&raw, options)
            .map_err(|source| FunctionError::Config { device: device(), source })?;
        for warning in warnings {
            if warning.is_fault() {
                tracing::warn!(device = host.name(), "{warning}");
            } else {
                tracing::debug!(device = host.name(), "{warning}");
            }
        }
        let line = match capabilities.interrupt_pin {
            0 => None,
            pin => {
                Some((sources.line)(pin).map_err(|source| FunctionError::Line { device: device(), source })?)
            }
        };
        let mut interrupts = Interrupts::new(Arc::clone(&host), line, Arc::clone(&sources.messages));
        interrupts.start()?;
        if !interrupts.has_intx() {
            table.hide_interrupt_pin();
        }
        let overlays = overlay::find(&raw, &capabilities);
        let shared = Shared::new(host, found, capabilities, table, interrupts);
        let bars = (0..6)
            .filter(|&index| bars.get(index).is_some_and(Option::is_some))
            .map(|index| window(&shared, index, &overlays))
            .collect();
        let rom = rom.map(|rom| {
            let part = rom.part();
            (rom, Arc::from([part]))
        });
        Ok(Arc::new(Self { shared, bars, rom }))
    }

    /// Whether there is a register for the address of the OpRegion: in mediated GPUs of Intel's.
    pub fn has_opregion_address(&self) -> bool {
        self.shared.lock().table.has_opregion_address()
    }

    /// Tells the guest's driver where the copy of the OpRegion is that the guest's firmware has placed for it: below 4 GiB, in
    /// memory that no operating system takes for its own. Firmware that has placed one of its own comes first. A reset
    /// forgets it. False if the function has no OpRegion: it is no mediated GPU of Intel's.
    pub fn preset_opregion(&self, address: u32) -> bool {
        self.shared.preset_opregion(address)
    }
}

/// The whole configuration space, by aligned dwords, which is what devices are used to. A space whose size is odd ends
/// with bytes.
fn read_config(host: &dyn HostDevice) -> io::Result<Vec<u8>> {
    let size = host.region(region::CONFIG).map_or(0, |region| region.size).min(0x1000) as usize;
    let mut raw = vec![0; size];
    let mut offset = 0;
    for dword in raw.chunks_mut(4) {
        if dword.len() == 4 {
            host.read(region::CONFIG, offset, dword)?;
        } else {
            for byte in dword.chunks_mut(1) {
                host.read(region::CONFIG, offset, byte)?;
                offset += 1;
            }
        }
        offset += 4;
    }
    Ok(raw)
}

fn window(shared: &Arc<Shared>, index: usize, overlays: &[(u8, AddressRange, Overlay)]) -> BarWindow {
    let host = &shared.host;
    let number = index as u32;
    let region = host.region(number).unwrap_or_default();
    let overlays: Vec<_> = overlays
        .iter()
        .filter(|(bar, range, _)| usize::from(*bar) == index && range.last() < region.size)
        .map(|&(_, range, overlay)| (range, overlay))
        .collect();
    let trapped: Vec<_> = overlays.iter().map(|(range, _)| *range).collect();
    let mapped = bars::mappable(region.size, &region.areas, &trapped)
        .into_iter()
        .filter_map(|(offset, len)| match host.map(number, offset, len) {
            Ok(memory) => Some(MappedPart { offset, memory }),
            Err(error) => {
                let device = host.name();
                tracing::warn!(device, bar = index, %error, "cannot map a BAR: each access to it will trap");
                None
            }
        })
        .collect();
    BarWindow { index, device: BarAccess::new(Arc::clone(shared), number, overlays), mapped }
}

impl PciFunction for VfioPci {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        self.shared.config_read(register, data);
    }

    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        self.shared.config_write(register, data)
    }

    fn regions(&self) -> Vec<Region> {
        let state = self.shared.lock();
        let mut regions: Vec<Region> = self
            .bars
            .iter()
            .filter_map(|bar| {
                let (space, range) = state.table.decoded_bar(bar.index)?;
                let mapped = if space == Space::Memory { Arc::clone(&bar.mapped) } else { Arc::default() };
                Some(Region::new(space, range, Arc::clone(&bar.device) as _).with_mapped(mapped))
            })
            .collect();
        if let (Some((rom, mapped)), Some(range)) = (&self.rom, state.table.decoded_rom()) {
            let region = Region::new(Space::Memory, range, Arc::clone(rom) as _);
            regions.push(region.with_mapped(Arc::clone(mapped)));
        }
        regions
    }

    fn bars(&self) -> Vec<BarState> {
        let state = self.shared.lock();
        let describe = |(index, bar)| BarState {
            index,
            bar,
            decoded: state.table.decoded_bar(index).map(|(_, range)| range),
        };
        state.table.bars().map(describe).collect()
    }

    fn reset(&self) {
        self.shared.reset();
    }

    fn settle(&self) {
        self.shared.settle();
    }
}
