//! A made-up device of the host that keeps the kernel's rules (Linux drivers/vfio/pci) and writes down what it is asked.

mod host;
mod interrupts;
mod line;
mod memory;
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use vmm_sys_util::eventfd::EventFd;

use crate::memory::HostMemory;
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
