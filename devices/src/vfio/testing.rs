//! A made-up device of the host that keeps the kernel's rules (Linux drivers/vfio/pci) and writes down what it is asked.

mod interrupts;
mod line;
mod memory;
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use vmm_sys_util::eventfd::EventFd;

use crate::memory::{HostMemory, HostMemoryKind};
use crate::pci::config::{command, reg};
use crate::test_support::Windows;

use super::host::{HostDevice, IrqInfo, RegionInfo, ResetDone, region};
use interrupts::HostInterrupts;
use memory::FakeRegion;

pub(crate) use line::FakeLine;

/// What the device was asked, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Read {
        index: u32,
        offset: u64,
        len: usize,
    },
    Write {
        index: u32,
        offset: u64,
        data: Vec<u8>,
    },
    Map {
        index: u32,
        offset: u64,
        len: u64,
    },
    /// `set` tells which vectors from `first` on have an event.
    SetTriggers {
        index: u32,
        first: u32,
        set: Vec<bool>,
    },
    DisableIrq(u32),
    SetIntxUnmask,
    MaskIntx,
    UnmaskIntx,
    WaitForDma,
    AnnounceReset,
    Reset,
    /// The guest sees memory of the device at this address from now on.
    Shown(u64),
    /// It does not any more.
    Hidden(u64),
}

struct State {
    config: Vec<u8>,
    writable: Vec<u8>,
    regions: BTreeMap<u32, FakeRegion>,
    msix_table: Option<(u32, u64, u64)>,
    interrupts: HostInterrupts,
    dma: bool,
    reset: ResetDone,
    /// Where the PowerState field is.
    power: Option<usize>,
    /// Bits that start a function-level reset.
    reset_controls: Vec<(usize, u8)>,
    gone: bool,
    /// The guest's windows, to see that it has none on memory that does not answer.
    windows: Option<Arc<Windows>>,
    log: Vec<Op>,
}

/// What a test does in the middle of a call.
type Hook = Box<dyn Fn() + Send>;

/// The device. A new one has a type 0 header with memory decoding on, as vfio-pci hands devices out, and nothing else.
pub(crate) struct FakeDevice {
    name: String,
    state: Mutex<State>,
    on_reset: Mutex<Option<Hook>>,
    on_wait: Mutex<Option<Hook>>,
}

fn einval() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

impl FakeDevice {
    pub(crate) fn new() -> Self {
        let mut state = State {
            config: vec![0; 0x1000],
            writable: vec![0; 0x1000],
            regions: BTreeMap::new(),
            msix_table: None,
            interrupts: HostInterrupts::default(),
            dma: true,
            reset: ResetDone::Function,
            power: None,
            reset_controls: Vec::new(),
            gone: false,
            windows: None,
            log: Vec::new(),
        };
        state.config[usize::from(reg::COMMAND)] = (command::IO | command::MEMORY) as u8;
        state.writable[usize::from(reg::COMMAND)..][..2].copy_from_slice(&[0x47, 0x05]);
        state.writable[usize::from(reg::INTERRUPT_LINE)] = 0xff;
        Self {
            name: "0000:01:00.0".to_owned(),
            state: Mutex::new(state),
            on_reset: Mutex::default(),
            on_wait: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Presets configuration space; the guest cannot write there unless told otherwise.
    pub(crate) fn with_config(self, register: u16, data: &[u8]) -> Self {
        self.state().config[usize::from(register)..][..data.len()].copy_from_slice(data);
        self
    }

    /// Lets the bits of `mask` be written from `register` on.
    pub(crate) fn writable(self, register: u16, mask: &[u8]) -> Self {
        self.state().writable[usize::from(register)..][..mask.len()].copy_from_slice(mask);
        self
    }

    /// A BAR of `size` bytes, a power of two, with type bits `kind` (bits 3:0 of the register) and parts that can be
    /// mapped.
    pub(crate) fn with_bar(self, index: u32, kind: u8, size: u64, areas: &[(u64, u64)]) -> Self {
        let at = usize::from(reg::BAR0) + index as usize * 4;
        let len = if kind & 7 == 4 { 8 } else { 4 };
        let mut state = self.state();
        state.config[at] = kind;
        let fixed = if kind & 1 != 0 { 3 } else { 15 };
        state.writable[at..][..len].copy_from_slice(&(!(size - 1) & !fixed).to_le_bytes()[..len]);
        state.regions.insert(index, FakeRegion::new(size, areas.to_vec()));
        drop(state);
        self
    }

    /// A ROM with contents `image`. Its region is a power of two long.
    pub(crate) fn with_rom(self, image: &[u8]) -> Self {
        let rom = FakeRegion::new((image.len() as u64).next_power_of_two().max(0x800), Vec::new());
        for (byte, value) in rom.bytes(0, image.len()).unwrap().iter().zip(image) {
            byte.store(*value, Ordering::Relaxed);
        }
        let mask = (!(rom.info.size - 1) as u32 | 1).to_le_bytes();
        self.state().regions.insert(region::ROM, rom);
        self.writable(0x30, &mask)
    }

    /// `vectors` of interrupt `index`.
    pub(crate) fn with_irq(self, index: u32, vectors: u32, fixed: bool) -> Self {
        self.state().interrupts.infos[index as usize] = IrqInfo { count: vectors, fixed };
        self
    }

    /// The part of a BAR that holds the device's own MSI-X table, which the host does not let through.
    pub(crate) fn with_msix_table(self, bar: u32, offset: u64, len: u64) -> Self {
        self.state().msix_table = Some((bar, offset, len));
        self
    }

    /// The register with the PowerState field, which can be D0, where memory answers, or D3hot.
    pub(crate) fn with_power(self, register: u16) -> Self {
        self.state().power = Some(register.into());
        self.writable(register, &[3])
    }

    /// A write of bit `mask` to `register` resets the function. The bit reads as zero.
    pub(crate) fn with_function_reset(self, register: u16, mask: u8) -> Self {
        self.state().reset_controls.push((register.into(), mask));
        self
    }

    /// Nothing but errors comes from the device from now on.
    pub(crate) fn vanish(&self) {
        self.state().gone = true;
    }

    /// Memory stops answering, without the guest having asked for it.
    pub(crate) fn close_memory(&self) {
        self.state().config[usize::from(reg::COMMAND)] &= !(command::MEMORY as u8);
    }

    /// Calls `hook` at the next reset, before anything else.
    pub(crate) fn on_reset(&self, hook: impl Fn() + Send + 'static) {
        *self.on_reset.lock().unwrap() = Some(Box::new(hook));
    }

    /// Calls `hook` when the device's DMA is next waited for.
    pub(crate) fn on_wait_for_dma(&self, hook: impl Fn() + Send + 'static) {
        *self.on_wait.lock().unwrap() = Some(Box::new(hook));
    }

    /// Takes it for a violation when the device stops answering for memory that `windows` show.
    pub(crate) fn guard(&self, windows: &Arc<Windows>) {
        self.state().windows = Some(Arc::clone(windows));
    }

    /// The guest is shown `memory` at `base`, or it is hidden from it. False if it is not this device's.
    pub(crate) fn lends(&self, base: u64, memory: &HostMemory, shown: bool) -> bool {
        let mut state = self.state();
        if !state.owns(memory) {
            return false;
        }
        if shown && !state.answers() {
            state.violated("memory was shown that does not answer");
        }
        state.log.push(if shown { Op::Shown(base) } else { Op::Hidden(base) });
        true
    }

    /// The host has only this many vectors for MSI or MSI-X left.
    pub(crate) fn limit_vectors(&self, available: u32) {
        self.state().interrupts.available = available;
    }

    /// Fails to give interrupt `index` triggers from now on; silencing vectors and turning it on empty still works.
    pub(crate) fn refuse_triggers(&self, index: u32, errno: Option<i32>) {
        match errno {
            Some(errno) => self.state().interrupts.refusals.insert(index, errno),
            None => self.state().interrupts.refusals.remove(&index),
        };
    }

    /// Fails to take an event that unmasks INTx from now on.
    pub(crate) fn refuse_unmask(&self, errno: i32) {
        self.state().interrupts.refuse_unmask = Some(errno);
    }

    /// What [`HostDevice::wait_for_dma`] finds.
    pub(crate) fn set_dma(&self, works: bool) {
        self.state().dma = works;
    }

    /// What [`HostDevice::reset`] reports.
    pub(crate) fn set_reset(&self, reset: ResetDone) {
        self.state().reset = reset;
    }

    /// All operations since the last call.
    pub(crate) fn take_log(&self) -> Vec<Op> {
        std::mem::take(&mut self.state().log)
    }

    /// All operations since the last call but reads.
    pub(crate) fn take_changes(&self) -> Vec<Op> {
        self.take_log().into_iter().filter(|op| !matches!(op, Op::Read { .. })).collect()
    }

    /// Calls that the kernel would have refused because they break its rules.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.state().interrupts.violations.clone()
    }

    /// The register as the device has it, without an entry in the log.
    pub(crate) fn config_u16(&self, register: u16) -> u16 {
        let state = self.state();
        let at = usize::from(register);
        u16::from_le_bytes([state.config[at], state.config[at + 1]])
    }

    /// The device's own access to a BAR's contents.
    pub(crate) fn poke(&self, index: u32, offset: u64, data: &[u8]) {
        let state = self.state();
        let bytes = state.regions[&index].bytes(offset, data.len()).unwrap();
        for (byte, value) in bytes.iter().zip(data) {
            byte.store(*value, Ordering::Relaxed);
        }
    }

    /// Address in this process of a BAR's first byte, which [`HostMemory`] of it counts from.
    pub(crate) fn address(&self, index: u32) -> u64 {
        self.state().regions[&index].base()
    }

    /// The interrupt index that is on, and the vectors of it that have events.
    pub(crate) fn triggers(&self) -> Option<(u32, Vec<u32>)> {
        self.state()
            .interrupts
            .active
            .as_ref()
            .map(|active| (active.index, active.triggers.keys().copied().collect()))
    }

    /// The device interrupts by `vector` of `index`. False if the host has nobody to tell.
    pub(crate) fn interrupt(&self, index: u32, vector: u32) -> bool {
        let mut state = self.state();
        let disabled = state.config[usize::from(reg::COMMAND) + 1] & (command::INTX_DISABLE >> 8) as u8 != 0;
        state.interrupts.interrupt(index, vector, disabled)
    }
}

impl State {
    fn config_range(&self, offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
        let start = usize::try_from(offset).map_err(|_| einval())?;
        let end = start.checked_add(len).filter(|end| *end <= self.config.len()).ok_or_else(einval)?;
        Ok(start..end)
    }

    /// The bytes of a BAR or the ROM that an access reaches.
    fn memory(&self, index: u32, offset: u64, len: usize) -> io::Result<&[AtomicU8]> {
        let region = self.regions.get(&index).ok_or_else(einval)?;
        let bytes = region.bytes(offset, len)?;
        let port = index < region::ROM && self.config[usize::from(reg::BAR0) + index as usize * 4] & 1 != 0;
        let ports = self.config[usize::from(reg::COMMAND)] & command::IO as u8 != 0;
        if if port { !ports } else { !self.answers() } {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(bytes)
    }

    /// Whether memory answers: its decoding is on, and the device in D0.
    fn answers(&self) -> bool {
        self.config[usize::from(reg::COMMAND)] & command::MEMORY as u8 != 0
            && self.power.is_none_or(|power| self.config[power] & 3 == 0)
    }

    fn owns(&self, memory: &HostMemory) -> bool {
        self.regions
            .values()
            .any(|region| (region.base()..region.base() + region.info.size).contains(&memory.address()))
    }

    fn violated(&mut self, rule: &str) {
        self.interrupts.violations.push(rule.to_owned());
    }

    /// Memory is about to stop answering.
    fn needs_no_windows(&mut self) {
        let shown = self.windows.as_ref().is_some_and(|windows| windows.any(|memory| self.owns(memory)));
        if shown {
            self.violated("memory stopped answering while it was shown");
        }
    }

    /// The device is about to reset.
    fn needs_quiet(&mut self) {
        self.needs_no_windows();
        if self.config[usize::from(reg::COMMAND)] & command::BUS_MASTER as u8 != 0 {
            self.violated("reset a bus master");
        }
        if self.interrupts.active.is_some() {
            self.violated("reset with interrupts on");
        }
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        let answered = self.answers();
        for (at, value) in (offset..).zip(data) {
            if self.reset_controls.iter().any(|&(control, mask)| at == control && value & mask != 0) {
                self.needs_quiet();
            }
            // It has neither D1 nor D2, and a write of a state that a function does not have is discarded.
            let refused = self.power == Some(at) && matches!(value & 3, 1 | 2);
            let mask = if refused { 0 } else { self.writable[at] };
            self.config[at] = self.config[at] & !mask | value & mask;
        }
        if answered && !self.answers() {
            self.needs_no_windows();
        }
    }

    fn present(&self) -> io::Result<()> {
        if self.gone { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    fn hidden(&self, index: u32, offset: u64) -> bool {
        self.msix_table
            .is_some_and(|(bar, start, len)| index == bar && (start..start + len).contains(&offset))
    }
}

impl HostDevice for FakeDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn region(&self, index: u32) -> Option<RegionInfo> {
        let state = self.state();
        match index {
            0..=region::ROM => {
                Some(state.regions.get(&index).map_or_else(RegionInfo::default, |r| r.info.clone()))
            }
            region::CONFIG => Some(RegionInfo { size: state.config.len() as u64, areas: Vec::new() }),
            _ => None,
        }
    }

    fn read(&self, index: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.log.push(Op::Read { index, offset, len: data.len() });
        state.present()?;
        if index == region::CONFIG {
            let range = state.config_range(offset, data.len())?;
            data.copy_from_slice(&state.config[range]);
            return Ok(());
        }
        let bytes = state.memory(index, offset, data.len())?;
        for ((at, byte), value) in (offset..).zip(bytes).zip(data) {
            *value = if state.hidden(index, at) { 0xff } else { byte.load(Ordering::Relaxed) };
        }
        Ok(())
    }

    fn write(&self, index: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.log.push(Op::Write { index, offset, data: data.to_vec() });
        state.present()?;
        if index == region::CONFIG {
            let range = state.config_range(offset, data.len())?;
            state.write_config(range.start, data);
            return Ok(());
        }
        let bytes = state.memory(index, offset, data.len())?;
        for ((at, byte), value) in (offset..).zip(bytes).zip(data) {
            if index != region::ROM && !state.hidden(index, at) {
                byte.store(*value, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn map(&self, index: u32, offset: u64, len: u64) -> io::Result<HostMemory> {
        let mut state = self.state();
        state.log.push(Op::Map { index, offset, len });
        let region = state.regions.get(&index).ok_or_else(einval)?;
        let inside = |&(start, size): &(u64, u64)| offset >= start && offset + len <= start + size;
        if !region.info.areas.iter().any(inside) {
            return Err(einval());
        }
        Ok(HostMemory::new(
            region.base() + offset,
            len,
            HostMemoryKind::Device,
            Arc::new(Arc::clone(&region.bytes)),
        ))
    }

    fn irq(&self, index: u32) -> IrqInfo {
        self.state().interrupts.info(index)
    }

    fn set_triggers(&self, index: u32, first: u32, events: &[Option<&EventFd>]) -> io::Result<()> {
        let mut state = self.state();
        let set = events.iter().map(Option::is_some).collect();
        state.log.push(Op::SetTriggers { index, first, set });
        state.interrupts.set_triggers(index, first, events)
    }

    fn disable_irq(&self, index: u32) -> io::Result<()> {
        let mut state = self.state();
        state.log.push(Op::DisableIrq(index));
        state.interrupts.disable(index)
    }

    fn set_intx_unmask(&self, event: &EventFd) -> io::Result<()> {
        let mut state = self.state();
        state.log.push(Op::SetIntxUnmask);
        if let Some(errno) = state.interrupts.refuse_unmask {
            return Err(io::Error::from_raw_os_error(errno));
        }
        state.interrupts.intx()?.unmask = Some(event.try_clone()?);
        Ok(())
    }

    fn mask_intx(&self) -> io::Result<()> {
        let mut state = self.state();
        state.log.push(Op::MaskIntx);
        state.interrupts.intx()?.masked = true;
        Ok(())
    }

    fn unmask_intx(&self) -> io::Result<()> {
        let mut state = self.state();
        state.log.push(Op::UnmaskIntx);
        state.interrupts.intx()?.masked = false;
        Ok(())
    }

    fn wait_for_dma(&self) -> bool {
        if let Some(hook) = self.on_wait.lock().unwrap().take() {
            hook();
        }
        let mut state = self.state();
        state.log.push(Op::WaitForDma);
        state.dma
    }

    fn announce_reset(&self) {
        self.state().log.push(Op::AnnounceReset);
    }

    fn reset(&self) -> io::Result<ResetDone> {
        if let Some(hook) = self.on_reset.lock().unwrap().take() {
            hook();
        }
        let mut state = self.state();
        state.log.push(Op::Reset);
        state.present()?;
        // The host puts configuration space back as it was.
        state.needs_quiet();
        if state.power.is_some_and(|power| state.config[power] & 3 != 0) {
            state.violated("reset outside of D0");
        }
        Ok(state.reset)
    }
}
