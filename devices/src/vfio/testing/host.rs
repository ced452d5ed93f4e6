//! What the made-up device does when it is asked, by the kernel's rules.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use vmm_sys_util::eventfd::EventFd;

use crate::memory::{HostMemory, HostMemoryKind};
use crate::pci::config::{command, reg};
use crate::vfio::host::{HostDevice, IrqInfo, RegionInfo, ResetDone, region};

use super::{FakeDevice, Op, State, einval};

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
    pub(super) fn answers(&self) -> bool {
        self.config[usize::from(reg::COMMAND)] & command::MEMORY as u8 != 0
            && self.power.is_none_or(|power| self.config[power] & 3 == 0)
    }

    pub(super) fn owns(&self, memory: &HostMemory) -> bool {
        self.regions
            .values()
            .any(|region| (region.base()..region.base() + region.info.size).contains(&memory.address()))
    }

    pub(super) fn violated(&mut self, rule: &str) {
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
