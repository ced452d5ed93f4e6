//! The passed-through devices of a machine: taken from the host, opened for the VM, and given back.

mod binding;
mod igpu;
mod rom;

use std::collections::BTreeMap;
use std::sync::Arc;

use devices::GuestRam;
use devices::display::PlaneSource;
use devices::pci::PciFunction;
use devices::vfio::{InterruptSources, Options, VfioPci};
use kvm_ioctls::VmFd;
use vocabulary::interrupts::{Pin, Pirq};

use super::listen::Notice;
use crate::affinity;
use crate::finding::Findings;
use crate::kvm::irq::{Interrupts, Messages};
use crate::memory::layout::Layout;
use crate::outcome::PassthroughError;
use crate::plan::{MachinePlan, PlannedPassthrough};
use crate::session::Trigger;
use crate::topology::{Placed, Role};
use crate::vfio::{Notification, NotificationKind, Vfio, VfioHostDevice};
pub(super) use binding::{HostBinding, refused_devices};
use igpu::DisplayGpu;
pub(super) use igpu::OpRegion;
pub(super) use rom::Roms;

/// What a VM has been lent.
pub(super) struct Passthrough {
    vfio: Arc<Vfio>,
    functions: BTreeMap<usize, Arc<dyn PciFunction>>,
    display: Option<DisplayGpu>,
}

/// What opening devices needs of the machine.
pub(super) struct MachineContext<'a> {
    pub(super) vm: &'a VmFd,
    pub(super) ram: &'a GuestRam,
    pub(super) interrupts: &'a Arc<Interrupts>,
    pub(super) layout: &'a Layout,
}

impl Passthrough {
    /// Opens all functions of the plan and starts to open guest memory to them. `None` if there are none.
    pub(super) fn open(
        plan: &MachinePlan,
        roms: &Roms,
        context: &MachineContext<'_>,
    ) -> Result<Option<Self>, PassthroughError> {
        if plan.passthrough.is_empty() {
            return Ok(None);
        }
        let vfio = Arc::new(Vfio::new(context.vm, plan.machine.vfio_backend)?);
        let mut functions = BTreeMap::new();
        let mut display = None;
        for placed in plan.pci.placed() {
            if let Role::Passthrough(index) = placed.function.role
                && let Some(device) = plan.passthrough.get(index)
            {
                let (host, function) = context.open(&vfio, plan, (index, device), roms, placed)?;
                if let Some(igpu) = plan.igpu.filter(|igpu| igpu.index == index) {
                    display = Some(DisplayGpu::new(&igpu, &host, &function)?);
                }
                functions.insert(index, function as Arc<dyn PciFunction>);
            }
        }
        let start = || vfio.start_dma(context.ram, plan.shared_memory());
        // The guest waits for its memory to be open, so all CPUs of this process work on it.
        match &plan.placement {
            Some(placement) => affinity::started_on(&placement.given, start).unwrap_or_else(|_| start())?,
            None => start()?,
        }
        if let Some(windows) = vfio.windows(plan.shared_memory() > 0) {
            context.layout.subscribe(windows);
        }
        Ok(Some(Self { vfio, functions, display }))
    }

    /// The kernel's side of all of them.
    pub(super) fn vfio(&self) -> &Arc<Vfio> {
        &self.vfio
    }

    /// The function at this index of the plan.
    pub(super) fn function(&self, index: usize) -> Option<Arc<dyn PciFunction>> {
        self.functions.get(&index).map(Arc::clone)
    }

    /// What the guest of a virtual display GPU shows, if the host's driver tells. It keeps the device open.
    pub(super) fn planes(&self) -> Option<Arc<dyn PlaneSource>> {
        self.display.as_ref()?.planes()
    }

    /// The display GPU's OpRegion, if the guest is to have one.
    pub(super) fn opregion(&self) -> Option<OpRegion> {
        self.display.as_ref()?.opregion()
    }

    /// Whether every device is as at power-on.
    pub(super) fn is_fresh(&self) -> bool {
        self.vfio.are_fresh()
    }

    /// What the run loop has to listen to.
    pub(super) fn notices(&self) -> std::io::Result<Vec<Notice>> {
        let vfio = Arc::clone(&self.vfio);
        let failed = Notice {
            event: self.vfio.failure_event().try_clone()?,
            trigger: Box::new(move || vfio.take_failure().map(Trigger::DeviceFailed)),
        };
        let told = self.vfio.notifications()?.into_iter().map(|Notification { device, kind, event }| {
            Notice { event, trigger: Box::new(move || Some(meaning(kind, &device))) }
        });
        Ok(std::iter::once(failed).chain(told).collect())
    }

    /// Bytes of guest memory that are open to devices, while vCPUs may have to wait for more of them.
    pub(super) fn progress(&self) -> Option<u64> {
        self.vfio.dma_progress()
    }

    /// Lets go of vCPUs that wait for a device.
    pub(super) fn release(&self) {
        self.vfio.stop_dma();
    }

    /// Ends what the devices do. No vCPU runs any more.
    pub(super) fn shut_down(&self) {
        self.vfio.shut_down();
    }
}

fn meaning(kind: NotificationKind, device: &str) -> Trigger {
    match kind {
        NotificationKind::UnrecoverableError => Trigger::DeviceFailed(format!(
            "{device} reported an error that cannot be corrected, and its state is unknown; the kernel's log (`dmesg`) has \
             the details"
        )),
        NotificationKind::ReleaseRequest => {
            tracing::warn!("the host wants {device} back: the guest is asked to power off");
            Trigger::DeviceWanted(device.to_owned())
        }
    }
}

impl MachineContext<'_> {
    /// Opens `device`, the plan's of this index, for its place there.
    fn open(
        &self,
        vfio: &Vfio,
        plan: &MachinePlan,
        (index, device): (usize, &PlannedPassthrough),
        roms: &Roms,
        placed: Placed<'_>,
    ) -> Result<(Arc<VfioHostDevice>, Arc<VfioPci>), PassthroughError> {
        let host = vfio.open(device.host)?;
        let rom = roms.of(index, device, host.as_ref());
        let rom = rom.map_err(|error| Findings::from(rom::finding(plan, device, &error)))?;
        let options = Options {
            identity: device.identity,
            multifunction: placed.function.multifunction,
            placement: placed.placement(),
            rom,
            mediated: device.host.function().is_none(),
        };
        let line = |pin| {
            let gsi = Pirq::of_root_bus(placed.root_slot().device(), Pin::wrapping(pin)).gsi();
            self.interrupts.resampled_line(gsi)
        };
        let messages = Arc::new(Messages(Arc::clone(self.interrupts)));
        let sources = InterruptSources { line: &line, messages };
        let function = VfioPci::new(Arc::clone(&host) as _, &options, &sources)?;
        Ok((host, function))
    }
}
