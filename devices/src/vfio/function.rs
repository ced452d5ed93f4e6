//! A passed-through function on the guest's PCI bus: configuration cycles, decoding, reset.
//!
//! Configuration space is the device's own under a table of what the guest is to see otherwise ([`super::config`]). BARs are
//! the guest's to place; the host's stay where they are. What the guest may reach changes in a fixed order: memory is
//! taken from the guest before the device stops answering there (Memory Space Enable off, D3hot, a reset), and given
//! after the device answers. So such writes reach the device in [`PciFunction::settle`], when the buses have followed.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bus::AddressRange;
use crate::interrupt::{MsiAllocator, ResampledLine};
use crate::pci::config::{command, reg};
use crate::pci::{MappedPart, PciFunction, Region, Space, Written};

use super::access::{BarAccess, MIRROR, Overlay};
use super::bars;
use super::config::{self, Capabilities, Raw, Table, Virtualized};
use super::host::{HostDevice, region};
use super::interrupt::{Interrupts, IntxError, MsiRegisters};
use super::rom::RomWindow;
use super::{Options, Rom};

/// NVIDIA's vendor ID.
const NVIDIA: u16 = 0x10de;
/// Class of a VGA-compatible display controller, without the programming interface.
const VGA: u32 = 0x0300;

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

/// What a guest's write leaves to do for the time after the buses have followed.
enum Deferred {
    /// A write to the device's own configuration space.
    Write(u16, [u8; 4], usize),
    /// The write that starts a function-level reset.
    FunctionReset(u16, [u8; 4], usize),
    /// Power-on reset.
    Reset,
}

pub(super) struct State {
    table: Table,
    pub(super) interrupts: Interrupts,
    deferred: Vec<Deferred>,
}

/// What the function and its BARs share.
pub(super) struct Shared {
    pub(super) host: Arc<dyn HostDevice>,
    capabilities: Capabilities,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Registers behind masks: every state is one that a guest could have written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn config_read(&self, register: u16, data: &mut [u8]) {
        let state = self.lock();
        if let Some(part) = state.table.hardware_part(register, data.len()) {
            let from = usize::from(part.start - register);
            let real = data.get_mut(from..from + part.len()).unwrap_or_default();
            if self.host.read(region::CONFIG, u64::from(part.start), real).is_err() {
                // Nobody answers: the device is gone.
                real.fill(0xff);
            }
        }
        state.table.overlay(register, data);
    }

    /// Lets the device see what it is to see of a write.
    fn forward(&self, table: &Table, register: u16, data: &[u8]) {
        for (register, part) in table.forwarded(register, data) {
            self.write(register, part);
        }
    }

    fn write(&self, register: u16, data: &[u8]) {
        if let Err(error) = self.host.write(region::CONFIG, u64::from(register), data) {
            tracing::debug!(device = self.host.name(), register, %error, "lost a configuration write");
        }
    }

    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        let mut data = Data::new(data);
        self.admit_bus_mastering(register, &mut data);
        let mut state = self.lock();
        let State { table, interrupts, deferred } = &mut *state;
        if self.starts_function_reset(register, data.bytes()) {
            interrupts.before_reset();
            table.reset();
            deferred.push(Deferred::FunctionReset(register, data.array, data.len));
            return Written { decode_changed: true, ..Written::default() };
        }
        let before = Reach::of(table);
        table.write(register, data.bytes());
        let narrows = Reach::of(table).is_less_than(before);
        // Later writes must not overtake one that waits.
        if narrows || !deferred.is_empty() {
            deferred.push(Deferred::Write(register, data.array, data.len));
        } else {
            self.forward(table, register, data.bytes());
        }
        self.update_interrupts(table, interrupts, register, data.len);
        let decode_changed = table.touches_decode(register, data.len) || !deferred.is_empty();
        Written { decode_changed, ..Written::default() }
    }

    /// Holds a write that turns bus mastering on until the device finds the guest's memory; takes the bit out when it
    /// never will.
    fn admit_bus_mastering(&self, register: u16, data: &mut Data) {
        let bit = command::BUS_MASTER as u8;
        let Some(byte) = data.byte_at(register, reg::COMMAND) else { return };
        if *byte & bit == 0 || self.lock().table.command() & command::BUS_MASTER != 0 {
            return;
        }
        // Without the function's lock: this may take as long as pinning all memory does.
        if !self.host.wait_for_dma() {
            *byte &= !bit;
        }
    }

    /// Initiate Function Level Reset in Device Control (PCIe 6.0, 7.5.3.4) or in the Advanced Features capability.
    fn starts_function_reset(&self, register: u16, data: &[u8]) -> bool {
        self.capabilities.reset_controls.iter().flatten().any(|&(at, mask)| {
            at.checked_sub(register)
                .and_then(|index| data.get(usize::from(index)))
                .is_some_and(|byte| byte & mask != 0)
        })
    }

    fn update_interrupts(&self, table: &Table, interrupts: &mut Interrupts, register: u16, len: usize) {
        let touches = |at: u16, size: u16| {
            usize::from(register) < usize::from(at) + usize::from(size)
                && usize::from(at) < usize::from(register) + len
        };
        if let Some(msi) = &self.capabilities.msi
            && touches(msi.offset + 2, msi.size() - 2)
        {
            interrupts.set_msi(MsiRegisters {
                enabled: msi.enabled(table) > 0,
                multiple: msi.enabled(table).checked_ilog2().unwrap_or_default() as u8,
                message: msi.message(table),
            });
        }
        if let Some(msix) = &self.capabilities.msix
            && touches(msix.offset + 2, 2)
        {
            interrupts.set_msix_control(msix.control(table));
        }
    }

    /// A write to NVIDIA's copy of configuration space. What would change decoding is left to configuration cycles,
    /// which drivers use for it.
    pub(super) fn mirror_write(&self, register: u16, data: &[u8]) {
        let moves = self.lock().table.touches_decode(register, data.len())
            || self.starts_function_reset(register, data);
        if moves {
            tracing::debug!(
                device = self.host.name(),
                register,
                "ignored a write to a copy of a decode register"
            );
            return;
        }
        let _ = self.config_write(register, data);
        // Drivers acknowledge an MSI by a write to the first bytes of its capability in this copy. To configuration space
        // that is a write to read-only bits; the GPU takes it for the acknowledgement.
        let acknowledges = self
            .capabilities
            .msi
            .as_ref()
            .is_some_and(|msi| (msi.offset..msi.offset + 2).contains(&register));
        if acknowledges && let Err(error) = self.host.write(0, MIRROR.0 + u64::from(register), data) {
            tracing::debug!(device = self.host.name(), %error, "lost the acknowledgement of an MSI");
        }
    }

    fn settle(&self) {
        let mut state = self.lock();
        let State { table, interrupts, deferred } = &mut *state;
        for deferred in std::mem::take(deferred) {
            match deferred {
                Deferred::Write(register, data, len) => {
                    self.forward(table, register, data.get(..len).unwrap_or_default());
                }
                Deferred::FunctionReset(register, data, len) => {
                    // No DMA may be under way while the function resets.
                    self.write(reg::COMMAND, &[0; 2]);
                    self.forward(table, register, data.get(..len).unwrap_or_default());
                    interrupts.after_reset();
                }
                Deferred::Reset => {
                    self.write(reg::COMMAND, &[0; 2]);
                    self.wake();
                    if let Err(error) = self.host.reset() {
                        tracing::warn!(device = self.host.name(), %error, "the device could not be reset");
                    }
                    interrupts.after_reset();
                }
            }
        }
    }

    /// Brings the device to D0, where it can be reset.
    fn wake(&self) {
        if let Some(power) = self.capabilities.power {
            let mut control = [0; 2];
            let at = u64::from(power) + 4;
            if self.host.read(region::CONFIG, at, &mut control).is_ok() && control[0] & 3 != 0 {
                self.write(power + 4, &[control[0] & !3, control[1]]);
            }
        }
    }
}

/// A configuration write of at most 4 bytes, which may be changed on its way.
struct Data {
    array: [u8; 4],
    len: usize,
}

impl Data {
    fn new(data: &[u8]) -> Self {
        let mut array = [0; 4];
        let len = data.len().min(4);
        for (byte, value) in array.iter_mut().zip(data) {
            *byte = *value;
        }
        Self { array, len }
    }

    fn bytes(&self) -> &[u8] {
        self.array.get(..self.len).unwrap_or_default()
    }

    /// The byte that goes to register `wanted`, in a write at `register`.
    fn byte_at(&mut self, register: u16, wanted: u16) -> Option<&mut u8> {
        let index = usize::from(wanted.checked_sub(register)?);
        self.array.get_mut(..self.len)?.get_mut(index)
    }
}

/// What the guest can reach of the device.
#[derive(Clone, Copy)]
struct Reach {
    io: bool,
    memory: bool,
}

impl Reach {
    fn of(table: &Table) -> Self {
        let powered = table.in_d0();
        let on = |bit| powered && table.command() & bit != 0;
        Self { io: on(command::IO), memory: on(command::MEMORY) }
    }

    fn is_less_than(self, before: Self) -> bool {
        before.io && !self.io || before.memory && !self.memory
    }
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
        let rom_size = rom.as_ref().map_or(0, |rom| rom.size());
        let Virtualized { table, capabilities, warnings } =
            config::virtualize(&Raw { bytes: &raw, bars: &bars, rom_size }, options)
                .map_err(|source| FunctionError::Config { device: device(), source })?;
        for warning in warnings {
            tracing::info!(device = host.name(), "{warning}");
        }
        let line = match capabilities.interrupt_pin {
            0 => None,
            pin => {
                Some((sources.line)(pin).map_err(|source| FunctionError::Line { device: device(), source })?)
            }
        };
        let mut interrupts = Interrupts::new(Arc::clone(&host), line, Arc::clone(&sources.messages));
        interrupts.start()?;
        let overlays = overlays(&raw, &capabilities);
        let state = Mutex::new(State { table, interrupts, deferred: Vec::new() });
        let shared = Arc::new(Shared { host, capabilities, state });
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

/// The registers in BARs that are ours, each with its BAR.
fn overlays(raw: &[u8], capabilities: &Capabilities) -> Vec<(u8, AddressRange, Overlay)> {
    let mut overlays = Vec::new();
    if let Some(msix) = &capabilities.msix {
        let table = AddressRange::new(msix.table_offset.into(), u64::from(msix.vectors) * 16);
        overlays.extend(table.map(|range| (msix.table_bar, range, Overlay::MsixTable)));
        let pending = AddressRange::new(msix.pba_offset.into(), u64::from(msix.vectors).div_ceil(64) * 8);
        overlays.extend(pending.map(|range| (msix.pba_bar, range, Overlay::MsixPending)));
    }
    let word = |at: usize| u16::from_le_bytes([0, 1].map(|byte| raw.get(at + byte).copied().unwrap_or(0)));
    let nvidia = word(usize::from(reg::VENDOR_ID)) == NVIDIA;
    if nvidia && u32::from(word(usize::from(reg::REVISION_ID) + 2)) == VGA {
        let range = AddressRange::new(MIRROR.0, MIRROR.1);
        overlays.extend(range.map(|range| (0, range, Overlay::ConfigMirror)));
    }
    overlays
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
                let device = Arc::clone(&bar.device) as _;
                Some(Region { space, range, device, mapped, doorbells: Arc::default(), platform: false })
            })
            .collect();
        if let (Some((rom, mapped)), Some(range)) = (&self.rom, state.table.decoded_rom()) {
            regions.push(Region {
                space: Space::Memory,
                range,
                device: Arc::clone(rom) as _,
                mapped: Arc::clone(mapped),
                doorbells: Arc::default(),
                platform: false,
            });
        }
        regions
    }

    fn reset(&self) {
        let mut state = self.shared.lock();
        state.interrupts.before_reset();
        state.table.reset();
        state.deferred.push(Deferred::Reset);
        self.shared.host.announce_reset();
    }

    fn settle(&self) {
        self.shared.settle();
    }
}
