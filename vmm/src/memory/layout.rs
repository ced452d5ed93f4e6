//! Which host memory the guest sees where. This is the one owner of that knowledge; KVM's memory slots follow it, and so do
//! those that subscribe, such as the DMA mappings of real devices.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::memory::{HostMemory, WindowMapper};
use vocabulary::AddressRange;
use vocabulary::memory::PLATFORM;

use crate::kvm::slots::{Slots, Window};

/// Follows what windows the guest sees.
pub trait WindowObserver: Send + Sync {
    /// The guest sees `memory` at `base` from now on.
    fn shown(&self, base: u64, memory: &HostMemory);
    /// It is about to lose it.
    fn hidden(&self, base: u64, memory: &HostMemory);
}

struct Shown {
    base: u64,
    memory: HostMemory,
    window: Window,
}

#[derive(Default)]
struct State {
    shown: Vec<Shown>,
    observers: Vec<Arc<dyn WindowObserver>>,
}

/// The windows in the guest's memory beside RAM and flash.
pub struct Layout {
    slots: Slots,
    state: Mutex<State>,
}

impl Layout {
    /// No windows yet.
    pub fn new(slots: Slots) -> Arc<Self> {
        Arc::new(Self { slots, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells `observer` of all windows there are, and of every change.
    pub fn subscribe(&self, observer: Arc<dyn WindowObserver>) {
        let mut state = self.state();
        for shown in &state.shown {
            observer.shown(shown.base, &shown.memory);
        }
        state.observers.push(observer);
    }
}

impl WindowMapper for Layout {
    fn map(&self, base: u64, memory: &HostMemory) -> io::Result<()> {
        check(base, memory.len())?;
        let mut state = self.state();
        let window = self.slots.show(base, memory)?;
        state.shown.push(Shown { base, memory: memory.clone(), window });
        state.observers.iter().for_each(|observer| observer.shown(base, memory));
        Ok(())
    }

    fn unmap(&self, base: u64, memory: &HostMemory) {
        let mut state = self.state();
        let Some(index) = state.shown.iter().position(|shown| shown.base == base && shown.memory.is(memory))
        else {
            return;
        };
        state.observers.iter().for_each(|observer| observer.hidden(base, memory));
        let Shown { base: _, memory, window } = state.shown.swap_remove(index);
        if let Err(error) = self.slots.hide(window) {
            devices::limited_error!(%error, base = format_args!("{base:#x}"), "memory could not be taken from the guest");
            // It must stay mapped in this process for as long as the guest reaches it.
            std::mem::forget(memory);
        }
    }
}

/// Whether a window of `len` bytes may be at `base`.
fn check(base: u64, len: u64) -> io::Result<()> {
    let range = AddressRange::new(base, len).ok_or(io::ErrorKind::InvalidInput)?;
    if range.overlaps(PLATFORM) {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "the platform's own devices are there"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
