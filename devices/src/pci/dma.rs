//! DMA of an emulated function: accesses to guest memory that it starts itself, and may start only while Bus Master
//! Enable is set in its Command register (PCIe 6.0, 7.5.1.1.3).
//!
//! When a guest's write that clears the bit has returned, no access is under way and none begins: what follows in that
//! memory is safe from the device.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};

use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use crate::GuestRam;

/// Why a transfer did not happen, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum DmaError {
    /// The guest has not enabled bus mastering.
    #[error("bus mastering is disabled")]
    Disabled,
    /// There is no RAM.
    #[error("{len:#x} bytes at {address:#x} are not all RAM")]
    OutsideRam {
        /// Guest-physical address.
        address: u64,
        /// Bytes.
        len: usize,
    },
}

struct Gate {
    ram: GuestRam,
    /// What the Command register says. Cleared before the writer waits for transfers under way.
    enabled: AtomicBool,
    /// Held by who changes `enabled`, until all of it has been done: of two virtual CPUs that write the Command register at a time, one waits for
    /// the other. Else a transfer could be told to end, see the bit set again, and go on while the first one waits for its end.
    switch: Mutex<()>,
    /// Held for reading by each transfer.
    transfers: RwLock<()>,
    /// How many have a [`Lease`], and the news that none has.
    leases: Mutex<usize>,
    returned: Condvar,
    /// Who waits for bus mastering, or has transfers under way.
    listeners: Mutex<Vec<Arc<EventFd>>>,
    /// Who transfers for long, and is to be told to end.
    transferring: Mutex<Vec<Weak<EventFd>>>,
}

/// A function's way to guest memory. Clones are the same way.
#[derive(Clone)]
pub struct Dma(Arc<Gate>);

/// Leave to access guest memory, which the guest cannot withdraw while it lasts: the virtual CPU that tries waits. To be
/// held while requests are under way, not more than once by one thread. Who waits for them meanwhile is woken by the event of
/// [`Dma::signal_when_changed`].
pub struct Permit<'a> {
    _transfer: RwLockReadGuard<'a, ()>,
}

/// Leave for accesses that others make, such as the kernel, and that last from one step of a worker to the next: the virtual CPU that disables
/// bus mastering waits until it is given back. Unlike under a [`Permit`], whoever has it can use [`Dma::read`] and [`Dma::write`], which fail
/// once bus mastering is disabled. Who is to give it back is woken by the event of [`Dma::signal_when_changed`].
pub(crate) struct Lease(Dma);

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = self.0.0.leases();
        *leases -= 1;
        if *leases == 0 {
            self.0.0.returned.notify_all();
        }
    }
}

impl Gate {
    fn leases(&self) -> MutexGuard<'_, usize> {
        // A number, changed in one step.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dma {
    /// A way to `ram` that is closed, as out of reset.
    pub fn new(ram: GuestRam) -> Self {
        Self(Arc::new(Gate {
            ram,
            enabled: AtomicBool::new(false),
            switch: Mutex::default(),
            transfers: RwLock::default(),
            leases: Mutex::default(),
            returned: Condvar::new(),
            listeners: Mutex::default(),
            transferring: Mutex::default(),
        }))
    }

    /// Whether the guest has enabled bus mastering. A worker that holds a [`Permit`] looks after each request, and gives it
    /// back when the answer is no.
    #[inline]
    pub fn enabled(&self) -> bool {
        self.0.enabled.load(Ordering::Acquire)
    }

    /// Leave for transfers, `None` while bus mastering is disabled.
    pub fn permit(&self) -> Option<Permit<'_>> {
        if !self.enabled() {
            return None;
        }
        let permit = Permit { _transfer: self.0.transfers.read().unwrap_or_else(PoisonError::into_inner) };
        // The bit may have been cleared before the lock was ours.
        self.enabled().then_some(permit)
    }

    /// Leave for lasting transfers, `None` while bus mastering is disabled.
    pub(crate) fn lease(&self) -> Option<Lease> {
        let mut leases = self.0.leases();
        // Who disables it looks at the number afterwards.
        self.enabled().then(|| {
            *leases += 1;
            Lease(self.clone())
        })
    }

    /// Guest memory, for accesses under a [`Permit`] or a [`Lease`] and for questions about addresses.
    pub(crate) fn ram(&self) -> &GuestRam {
        &self.0.ram
    }

    /// Reads guest memory. What could not be read leaves `data` undefined.
    pub fn read(&self, address: u64, data: &mut [u8]) -> Result<(), DmaError> {
        let _permit = self.permit().ok_or(DmaError::Disabled)?;
        let len = data.len();
        self.0.ram.read_slice(data, GuestAddress(address)).map_err(|_| DmaError::OutsideRam { address, len })
    }

    /// Writes guest memory; on an error, a part of it may have been written.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), DmaError> {
        let _permit = self.permit().ok_or(DmaError::Disabled)?;
        self.0
            .ram
            .write_slice(data, GuestAddress(address))
            .map_err(|_| DmaError::OutsideRam { address, len: data.len() })
    }

    /// Signals `event` each time that bus mastering is enabled, for work that had to wait, and before the write that disables it waits for
    /// transfers under way.
    pub fn signal_when_changed(&self, event: Arc<EventFd>) {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Signals `event`, while somebody else has it, each time that bus mastering is disabled: for who holds a [`Permit`] and has handed its
    /// doorbells to somebody else, whose transfers have to end before the guest goes on.
    pub(crate) fn signal_when_disabled(&self, event: &Arc<EventFd>) {
        let mut events = self.0.transferring.lock().unwrap_or_else(PoisonError::into_inner);
        events.retain(|event| event.strong_count() > 0);
        events.push(Arc::downgrade(event));
    }

    /// Takes over the Command register. Disabling waits for transfers under way.
    pub(crate) fn set_enabled(&self, enabled: bool) {
        let Gate { ram: _, enabled: gate, switch, transfers, leases: _, returned, listeners, transferring } =
            self.0.as_ref();
        let _switch = switch.lock().unwrap_or_else(PoisonError::into_inner);
        if gate.swap(enabled, Ordering::AcqRel) == enabled {
            return;
        }
        if !enabled {
            let events = transferring.lock().unwrap_or_else(PoisonError::into_inner);
            for event in events.iter().filter_map(Weak::upgrade) {
                let _ = event.write(1);
            }
        }
        for listener in listeners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // A full counter has been signalled already.
            let _ = listener.write(1);
        }
        if !enabled {
            drop(transfers.write().unwrap_or_else(PoisonError::into_inner));
            let mut leases = self.0.leases();
            while *leases > 0 {
                leases = returned.wait(leases).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn bus_mastering_comes_back_only_when_transfers_of_before_have_ended() {
        let dma = Dma::new(GuestRam::from_ranges(&[(GuestAddress(0), 4096)]).unwrap());
        dma.set_enabled(true);
        thread::scope(|scope| {
            let permit = dma.permit().unwrap();
            let disabling = scope.spawn(|| dma.set_enabled(false));
            while dma.enabled() {
                thread::yield_now();
            }
            let enabling = scope.spawn(|| dma.set_enabled(true));
            for _ in 0..50 {
                thread::sleep(Duration::from_millis(1));
                assert!(!dma.enabled(), "who transfers would not see that it is to end");
            }
            assert!(!disabling.is_finished() && !enabling.is_finished());
            drop(permit);
        });
        assert!(dma.permit().is_some());
    }

    #[test]
    fn a_lease_holds_up_who_disables_bus_mastering_and_not_who_has_it() {
        let dma = Dma::new(GuestRam::from_ranges(&[(GuestAddress(0), 4096)]).unwrap());
        assert!(dma.lease().is_none());
        dma.set_enabled(true);
        thread::scope(|scope| {
            let leases = [dma.lease().unwrap(), dma.lease().unwrap()];
            dma.write(0, &[1]).unwrap();
            let disabling = scope.spawn(|| dma.set_enabled(false));
            while dma.enabled() {
                thread::yield_now();
            }
            assert!(matches!(dma.write(0, &[2]), Err(DmaError::Disabled)), "it does not wait for itself");
            assert!(dma.lease().is_none());
            let [first, second] = leases;
            drop(first);
            thread::sleep(Duration::from_millis(20));
            assert!(!disabling.is_finished());
            drop(second);
        });
        assert!(!dma.enabled());
    }
}
