//! The in-kernel PIC, IOAPIC, local APICs and PIT: how they are made, and the power-on state of those that no vCPU owns, put back at
//! each system reset.

use std::sync::Arc;

use kvm_bindings::{KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip};
use kvm_ioctls::VmFd;

use super::pit::Pit;
use super::{HostError, setup};

/// The chips of a VM that no vCPU owns.
pub struct Chips {
    irqchips: Vec<kvm_irqchip>,
    pit: Pit,
}

impl Chips {
    /// Gives a VM its interrupt controllers and its PIT, before it has vCPUs. INTx of passed-through devices needs all of them in
    /// the kernel: resampling irqfds do not work with a split irqchip.
    ///
    /// Memory slots should be there before. The chips enter KVM's buses, whose old state it frees after a grace period of SRCU
    /// (Linux 6.18); a memory slot that comes then waits for that, 5 to 10 ms.
    pub fn create(vm: &VmFd) -> Result<Self, HostError> {
        vm.create_irq_chip().map_err(setup("create the interrupt controllers in KVM"))?;
        let irqchips = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC]
            .into_iter()
            .map(|chip_id| {
                let mut chip = kvm_irqchip { chip_id, ..Default::default() };
                vm.get_irqchip(&mut chip).map_err(setup("read the state of the interrupt controllers"))?;
                Ok(chip)
            })
            .collect::<Result<_, HostError>>()?;
        Ok(Self { irqchips, pit: Pit::create(vm)? })
    }

    /// Begins what KVM takes long for and the guest need not wait for. Routes of interrupts would wait, so most of them should have
    /// been set before.
    pub fn settle(&mut self, vm: &Arc<VmFd>) -> Result<(), HostError> {
        self.pit.leave_lost_ticks(vm)
    }

    /// Puts them back into their power-on state. All vCPUs are parked.
    pub fn restore(&self, vm: &VmFd) -> Result<(), HostError> {
        let Self { irqchips, pit } = self;
        for chip in irqchips {
            vm.set_irqchip(chip).map_err(setup("reset the interrupt controllers"))?;
        }
        pit.reset(vm)
    }
}
