//! The power-on state of the in-kernel PIC, IOAPIC and PIT, put back at each system reset.

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip, kvm_pit_state2,
};
use kvm_ioctls::VmFd;

use super::{HostError, setup};

/// State of the chips that no vCPU owns.
pub struct Chips {
    irqchips: Vec<kvm_irqchip>,
    pit: kvm_pit_state2,
}

impl Chips {
    /// Takes the state of a VM that has not run.
    pub fn take(vm: &VmFd) -> Result<Self, HostError> {
        let irqchips = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC]
            .into_iter()
            .map(|chip_id| {
                let mut chip = kvm_irqchip { chip_id, ..Default::default() };
                vm.get_irqchip(&mut chip).map_err(setup("read the state of the interrupt controllers"))?;
                Ok(chip)
            })
            .collect::<Result<_, HostError>>()?;
        let pit = vm.get_pit2().map_err(setup("read the state of the PIT"))?;
        Ok(Self { irqchips, pit })
    }

    /// Puts it back. All vCPUs are parked.
    pub fn restore(&self, vm: &VmFd) -> Result<(), HostError> {
        let Self { irqchips, pit } = self;
        for chip in irqchips {
            vm.set_irqchip(chip).map_err(setup("reset the interrupt controllers"))?;
        }
        vm.set_pit2(pit).map_err(setup("reset the PIT"))
    }
}
