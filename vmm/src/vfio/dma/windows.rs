//! The BARs of passed-through devices as targets of each other's DMA (peer to peer), and shared memory as one of all of them. They come and go as the guest moves
//! them. Few guests use the former, so what fails there is logged once and left out; without the latter a GPU cannot show its frames.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::memory::{HostMemory, HostMemoryKind};

use crate::memory::layout::WindowObserver;
use crate::vfio::space::Space;

/// The windows that devices can reach.
pub(in crate::vfio) struct Windows {
    space: Arc<Space>,
    /// BARs of devices are among them.
    peers: bool,
    /// By guest-physical address; the memory stays mapped for as long as devices reach it.
    open: Mutex<BTreeMap<u64, HostMemory>>,
    logged: AtomicBool,
}

impl Windows {
    /// For the devices of `space`; `peers` says whether they reach each other's BARs, and not only shared memory.
    pub(in crate::vfio) fn new(space: Arc<Space>, peers: bool) -> Self {
        Self { space, peers, open: Mutex::default(), logged: AtomicBool::new(false) }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, HostMemory>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WindowObserver for Windows {
    #[allow(unsafe_code, reason = "devices write to the memory of other devices")]
    fn shown(&self, base: u64, memory: &HostMemory) {
        let Ok(len) = usize::try_from(memory.len()) else { return };
        match memory.kind() {
            HostMemoryKind::Rom | HostMemoryKind::Emulated => return,
            HostMemoryKind::Device if !self.peers => return,
            HostMemoryKind::Device | HostMemoryKind::Shared => {}
        }
        let mut open = self.open();
        // SAFETY: `open` keeps a clone of `memory`, and with it the mapping, until `hidden` has unmapped it. Nothing but
        // the guest and devices reads or writes it.
        match unsafe { self.space.map(base, memory.address(), len) } {
            Ok(()) => {
                open.insert(base, memory.clone());
            }
            Err(error) if memory.kind() == HostMemoryKind::Shared => devices::limited_warn!(
                %error,
                base = format_args!("{base:#x}"),
                "passed-through devices cannot reach shared memory; a GPU may not be able to copy its frames there. It counts as locked memory (`ulimit -l`)"
            ),
            Err(error) if !self.logged.swap(true, Ordering::Relaxed) => tracing::info!(
                %error,
                base = format_args!("{base:#x}"),
                "passed-through devices cannot reach each other's memory (peer-to-peer DMA); few guests need that"
            ),
            Err(error) => {
                devices::limited_debug!(%error, base = format_args!("{base:#x}"), "no peer-to-peer DMA")
            }
        }
    }

    fn hidden(&self, base: u64, memory: &HostMemory) {
        let mut open = self.open();
        if open.get(&base).is_some_and(|shown| shown.is(memory))
            && let Some(shown) = open.remove(&base)
        {
            close(&self.space, base, shown);
        }
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        for (base, shown) in std::mem::take(&mut *self.open()) {
            close(&self.space, base, shown);
        }
    }
}

fn close(space: &Space, base: u64, memory: HostMemory) {
    let result = usize::try_from(memory.len()).map(|len| space.unmap(base, len));
    if let Ok(Err(error)) = result {
        // The device's memory must not go while the IOMMU leads to it.
        devices::limited_error!(%error, base = format_args!("{base:#x}"), "peer-to-peer DMA could not be ended");
        std::mem::forget(memory);
    }
}
