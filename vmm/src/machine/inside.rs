//! Work on a running machine by a thread of this process: for `bench`, which has the guest measure and reads what it found.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use devices::GuestRam;
use devices::bus::{Bus, BusDevice, BusView, Priority};
use devices::pci::{RootComplex, Space};
use firmware::direct::chipset;
use vmm_sys_util::eventfd::EventFd;
use vocabulary::memory::FOUR_GIB;
use vocabulary::{AddressRange, PciAddress};

use super::listen::Notice;
use crate::cpu::schedule;
use crate::events::EventLog;
use crate::kvm::statistics::Statistics;
use crate::machine::assembly::build::Board;
use crate::machine::assembly::vcpus::Vcpus;
use crate::plan::MachinePlan;
use crate::session::Trigger;
use crate::vfio::{Pages, Vfio};

/// Who works on the machine while its guest runs.
pub struct Companion {
    /// Called once the guest runs. The machine ends when it returns.
    pub work: Box<dyn FnOnce(&Inside) + Send>,
    /// Hears what happens when, in place of a file of the user's.
    pub events: EventLog,
}

/// The machine, as a companion sees it.
pub struct Inside {
    /// What it was built from.
    pub plan: Arc<MachinePlan>,
    /// Its memory.
    pub ram: GuestRam,
    root: Arc<RootComplex>,
    io: Arc<Bus>,
    memory: Arc<Bus>,
    exits: Box<dyn Fn() -> u64 + Send>,
    threads: Box<dyn Fn() -> Vec<i32> + Send>,
    /// KVM's, of the VM and of the first vCPU.
    statistics: Vec<Statistics>,
    vfio: Option<Arc<Vfio>>,
    over: Arc<AtomicBool>,
}

impl Inside {
    /// Whether the machine is ending: nothing that is waited for comes any more.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Reads `bytes` bytes of a configuration register, up to four, as the guest would.
    pub fn config_read(&self, at: PciAddress, register: u16, bytes: u8) -> u32 {
        let mut data = [0; 4];
        if let Some(data) = data.get_mut(..bytes.into()) {
            self.root.config_read(at, register, data);
        }
        u32::from_le_bytes(data)
    }

    /// Writes the lower `bytes` bytes of `value` to a configuration register, as the guest would.
    pub fn config_write(&self, at: PciAddress, register: u16, value: u32, bytes: u8) {
        if let Some(data) = value.to_le_bytes().get(..bytes.into()) {
            // No register of a device's asks for more than the device does itself.
            let _ = self.root.config_write(at, register, data);
        }
    }

    /// The memory that functions decode now.
    pub fn decoded_memory(&self) -> Vec<AddressRange> {
        let all = self.root.decoded().into_iter();
        all.filter(|(space, _)| *space == Space::Memory).map(|(_, range)| range).collect()
    }

    /// Where configuration registers are in memory.
    pub fn ecam(&self) -> Option<AddressRange> {
        chipset::ecam()
    }

    /// Accesses of our own to memory that is not RAM, and that no slot backs.
    pub fn devices_memory(&self) -> BusView {
        self.memory.view()
    }

    /// Adds a device at these ports.
    pub fn add_ports(&self, ports: AddressRange, device: Arc<dyn BusDevice>) {
        self.io.insert(ports, Priority::Platform, device);
    }

    /// Adds a device at this memory.
    pub fn add_memory(&self, range: AddressRange, device: Arc<dyn BusDevice>) {
        self.memory.insert(range, Priority::Platform, device);
    }

    /// How often all vCPUs have left the guest to this process.
    pub fn exits(&self) -> u64 {
        (self.exits)()
    }

    /// Whether devices of the host are behind an IOMMU, to which memory has to be opened.
    pub fn pins_memory(&self) -> bool {
        self.plan.passthrough.iter().any(|device| device.host.function().is_some())
    }

    /// How long it takes to open so many bytes of memory to the passed-through devices, and to them alone.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn pin(&self, bytes: u64, pages: Pages) -> Result<Duration, String> {
        let vfio = self.vfio.as_ref().ok_or("there are no devices to open memory to")?;
        // Behind all memory, where no base address register is either.
        let address = self.plan.memory.end().next_multiple_of(1 << 30).max(FOUR_GIB);
        let locked = self.plan.memory.size.saturating_add(self.plan.shared_memory());
        vfio.try_opening(address, bytes, pages, locked)
    }

    /// How long a vCPU has run, and how long it has waited for a CPU of the host; `None` if the kernel does not count that.
    pub fn vcpu_times(&self, index: usize) -> Option<(Duration, Duration)> {
        schedule::of_thread(*(self.threads)().get(index)?)?.times
    }

    /// What KVM counts of the VM and of the first vCPU, by its names; nothing on kernels that do not tell.
    pub fn kvm_counts(&self) -> BTreeMap<String, u64> {
        let all = self.statistics.iter().map(|statistics| {
            statistics.read().unwrap_or_else(|error| {
                tracing::debug!("KVM's statistics cannot be read: {error}");
                BTreeMap::new()
            })
        });
        all.flatten().collect()
    }
}

/// A companion before it works.
pub(super) struct Working {
    companion: Companion,
    inside: Inside,
    done: EventFd,
}

impl Working {
    pub(super) fn new(
        companion: Companion,
        plan: &Arc<MachinePlan>,
        board: &Board,
        vcpus: &mut Vcpus,
    ) -> io::Result<Self> {
        let inside = Inside {
            plan: Arc::clone(plan),
            ram: board.ram.clone(),
            root: Arc::clone(&board.devices.root),
            io: Arc::clone(&board.io),
            memory: Arc::clone(&board.memory),
            exits: Box::new(vcpus.exits()),
            threads: Box::new(vcpus.thread_ids()),
            statistics: Statistics::of(&*board.vm).into_iter().chain(vcpus.first_statistics()).collect(),
            vfio: board.passthrough.as_ref().map(|passthrough| Arc::clone(passthrough.vfio())),
            over: Arc::default(),
        };
        let done = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        Ok(Self { companion, inside, done })
    }

    /// Ends the machine once it is done.
    pub(super) fn notice(&self) -> io::Result<Notice> {
        Ok(Notice { event: self.done.try_clone()?, trigger: Box::new(|| Some(Trigger::Quit)) })
    }

    pub(super) fn start(self) -> io::Result<Started> {
        let Self { companion: Companion { work, events: _ }, inside, done } = self;
        let over = Arc::clone(&inside.over);
        let thread = Builder::new().name("companion".into()).spawn(move || {
            work(&inside);
            drop(inside);
            if let Err(error) = done.write(1) {
                tracing::error!("cannot end the machine: {error}");
            }
        })?;
        Ok(Started { over, thread: Some(thread) })
    }
}

/// A companion that works. Dropping it has it return, and waits for that.
pub(super) struct Started {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that works on the machine ended by a panic");
        }
    }
}
