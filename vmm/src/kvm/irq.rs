//! Interrupts of the machine on KVM's in-kernel controllers: shared lines, the chipset's PIRQ routes, and
//! message-signalled vectors by irqfd.
//!
//! Global interrupts 0–15 reach both the 8259 pair and the IOAPIC, as on a PC, with the timer on IOAPIC input 2. 16–23
//! are PIRQ A–H: wired to the IOAPIC, and to an 8259 input when the chipset routes them there. 24 and up are messages.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::interrupt::{IrqLine, MsiAllocator, MsiMessage, MsiVector, PirqRouter, ResampledLine};
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KvmIrqRouting, kvm_irq_routing_entry,
};
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::EventFd;
use vocabulary::interrupts::{FIRST_PIRQ, IO_APIC_PINS};

use super::io_error;

/// Global interrupts that KVM has routes for, `KVM_MAX_IRQ_ROUTES` of the kernel on x86.
const MOST_ROUTES: u32 = 4096;

#[derive(Default)]
struct Routes {
    pirq: [Option<u8>; 8],
    messages: BTreeMap<u32, MsiMessage>,
    /// Sources that hold each line high.
    asserted: [u32; IO_APIC_PINS as usize],
    levels: [bool; IO_APIC_PINS as usize],
}

/// All interrupt routes of a VM.
pub struct Interrupts {
    vm: Arc<VmFd>,
    routes: Mutex<Routes>,
    next_message: AtomicU32,
}

impl Interrupts {
    /// Installs the reset-time routes in `vm`.
    pub fn new(vm: Arc<VmFd>) -> io::Result<Arc<Self>> {
        let this =
            Arc::new(Self { vm, routes: Mutex::default(), next_message: AtomicU32::new(IO_APIC_PINS) });
        this.commit(&this.routes())?;
        Ok(this)
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, routes: &Routes) -> io::Result<()> {
        let entries = entries(routes);
        let table = KvmIrqRouting::from_entries(&entries)
            .map_err(|_| io::Error::other("more interrupt routes than KVM takes"))?;
        self.vm.set_gsi_routing(&table).map_err(io_error)
    }

    /// A new source on line `gsi` (0–23).
    pub fn line(self: &Arc<Self>, gsi: u8) -> Arc<dyn IrqLine> {
        Arc::new(Line { interrupts: Arc::clone(self), gsi, high: Mutex::new(false) })
    }

    /// A real device's source on the level-triggered line `gsi` (16–23).
    pub fn resampled_line(&self, gsi: u8) -> io::Result<Arc<dyn ResampledLine>> {
        let resample = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let irqfd = Irqfd::new(Arc::clone(&self.vm), u32::from(gsi), Some(resample.try_clone()?))?;
        Ok(Arc::new(Resampled { irqfd, resample }))
    }

    /// An event that interrupts on the edge-triggered line `gsi` without a thread of ours.
    pub fn edge_event(&self, gsi: u8) -> io::Result<EventFd> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        self.vm.register_irqfd(&event, u32::from(gsi)).map_err(io_error)?;
        Ok(event)
    }

    fn assert(&self, gsi: u8, high: bool) {
        let mut routes = self.routes();
        let index = usize::from(gsi);
        let (Some(count), Some(level)) =
            (routes.asserted.get(index).copied(), routes.levels.get(index).copied())
        else {
            return;
        };
        let count = if high { count + 1 } else { count.saturating_sub(1) };
        if let Some(slot) = routes.asserted.get_mut(index) {
            *slot = count;
        }
        if level == (count > 0) {
            return;
        }
        if let Some(slot) = routes.levels.get_mut(index) {
            *slot = count > 0;
        }
        self.set_line(gsi, count > 0);
        if count == 0 {
            // KVM keeps one level for each 8259 input, not one for each of our lines that share it: put back what a
            // neighbour still asserts.
            for other in FIRST_PIRQ.into()..IO_APIC_PINS {
                let shares =
                    shared_pic_input(&routes.pirq, u32::from(gsi)) == shared_pic_input(&routes.pirq, other);
                if shares && routes.levels.get(other as usize) == Some(&true) {
                    self.set_line(other as u8, true);
                }
            }
        }
    }

    fn set_line(&self, gsi: u8, high: bool) {
        if let Err(error) = self.vm.set_irq_line(u32::from(gsi), high) {
            devices::limited_debug!(gsi, high, error = %io_error(error), "interrupt line could not be set");
        }
    }
}

/// The 8259 input that a PIRQ line reaches, if any.
fn shared_pic_input(pirq: &[Option<u8>; 8], gsi: u32) -> Option<u8> {
    gsi.checked_sub(FIRST_PIRQ.into()).and_then(|index| *pirq.get(index as usize)?)
}

fn entries(routes: &Routes) -> Vec<kvm_irq_routing_entry> {
    let mut entries = Vec::with_capacity(48 + routes.messages.len());
    let mut chip = |gsi: u32, irqchip: u32, pin: u32| {
        let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
        entry.u.irqchip.irqchip = irqchip;
        entry.u.irqchip.pin = pin;
        entries.push(entry);
    };
    let pic =
        |irq: u32| if irq < 8 { (KVM_IRQCHIP_PIC_MASTER, irq) } else { (KVM_IRQCHIP_PIC_SLAVE, irq - 8) };
    for irq in 0..16 {
        let (irqchip, pin) = pic(irq);
        chip(irq, irqchip, pin);
        // The PIT is on input 2 of the IOAPIC, where the MADT's override says; input 2 is no interrupt of its own.
        match irq {
            0 => chip(0, KVM_IRQCHIP_IOAPIC, 2),
            2 => {}
            _ => chip(irq, KVM_IRQCHIP_IOAPIC, irq),
        }
    }
    for (index, routed) in routes.pirq.iter().enumerate() {
        let gsi = u32::from(FIRST_PIRQ) + index as u32;
        chip(gsi, KVM_IRQCHIP_IOAPIC, gsi);
        if let Some(irq) = routed {
            let (irqchip, pin) = pic(u32::from(irq & 0xf));
            chip(gsi, irqchip, pin);
        }
    }
    for (&gsi, message) in &routes.messages {
        let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
        entry.u.msi.address_lo = message.address as u32;
        entry.u.msi.address_hi = (message.address >> 32) as u32;
        entry.u.msi.data = message.data;
        entries.push(entry);
    }
    entries
}

impl PirqRouter for Interrupts {
    fn route(&self, index: usize, irq: Option<u8>) {
        let mut routes = self.routes();
        let Some(slot) = routes.pirq.get_mut(index) else { return };
        if *slot == irq {
            return;
        }
        *slot = irq;
        if let Err(error) = self.commit(&routes) {
            devices::limited_warn!(%error, "cannot change the route of a PCI interrupt");
        }
    }
}

struct Line {
    interrupts: Arc<Interrupts>,
    gsi: u8,
    high: Mutex<bool>,
}

impl IrqLine for Line {
    fn set_level(&self, high: bool) {
        let mut present = self.high.lock().unwrap_or_else(PoisonError::into_inner);
        if *present != high {
            *present = high;
            self.interrupts.assert(self.gsi, high);
        }
    }
}

/// Makes message-signalled vectors of a VM.
pub struct Messages(pub Arc<Interrupts>);

impl MsiAllocator for Messages {
    fn allocate(&self) -> io::Result<Arc<dyn MsiVector>> {
        let next = |gsi| (gsi < MOST_ROUTES).then_some(gsi + 1);
        let gsi =
            self.0.next_message.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_err(|_| {
                let most = MOST_ROUTES - IO_APIC_PINS;
                io::Error::other(format!(
                    "all {most} message-signalled interrupts that KVM has for one machine are taken"
                ))
            })?;
        let irqfd = Irqfd::new(Arc::clone(&self.0.vm), gsi, None)?;
        Ok(Arc::new(Vector { interrupts: Arc::clone(&self.0), irqfd }))
    }
}

/// An event that KVM takes for an interrupt while it is attached. Detached, signals add up in its counter, and attaching
/// it again delivers them as one interrupt: a masked vector's pending bit, kept by the kernel.
struct Irqfd {
    vm: Arc<VmFd>,
    gsi: u32,
    event: EventFd,
    resample: Option<EventFd>,
    attached: Mutex<bool>,
}

impl Irqfd {
    fn new(vm: Arc<VmFd>, gsi: u32, resample: Option<EventFd>) -> io::Result<Self> {
        let event = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        Ok(Self { vm, gsi, event, resample, attached: Mutex::new(false) })
    }

    fn attach(&self, wanted: bool) -> io::Result<()> {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if *attached == wanted {
            return Ok(());
        }
        match (wanted, &self.resample) {
            (true, None) => self.vm.register_irqfd(&self.event, self.gsi),
            (true, Some(resample)) => self.vm.register_irqfd_with_resample(&self.event, resample, self.gsi),
            (false, _) => self.vm.unregister_irqfd(&self.event, self.gsi),
        }
        .map_err(io_error)?;
        *attached = wanted;
        if wanted {
            // What was signalled before, KVM has delivered now, but left in the counter (virt/kvm/eventfd.c): there it would
            // be delivered again the next time. What is signalled from now on never stays there.
            let _ = self.event.read();
        }
        Ok(())
    }
}

impl Drop for Irqfd {
    fn drop(&mut self) {
        if let Err(error) = self.attach(false) {
            devices::limited_debug!(%error, gsi = self.gsi, "an interrupt's event could not be detached");
        }
    }
}

/// Detaching stands for masking: it spares the VM a new routing table. The irqfd is made at first use, so a vector that
/// the guest never programs costs no kernel object.
struct Vector {
    interrupts: Arc<Interrupts>,
    irqfd: Irqfd,
}

impl MsiVector for Vector {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        let Some(message) = message else { return self.irqfd.attach(false) };
        let mut routes = self.interrupts.routes();
        let before = routes.messages.insert(self.irqfd.gsi, message);
        if before != Some(message)
            && let Err(error) = self.interrupts.commit(&routes)
        {
            // KVM refuses the table as a whole: what it does not take, such as an address that is none of an interrupt,
            // must not stand in the way of everybody's next change.
            match before {
                Some(before) => routes.messages.insert(self.irqfd.gsi, before),
                None => routes.messages.remove(&self.irqfd.gsi),
            };
            return Err(error);
        }
        drop(routes);
        self.irqfd.attach(true)
    }

    fn event(&self) -> &EventFd {
        &self.irqfd.event
    }
}

impl Drop for Vector {
    fn drop(&mut self) {
        let mut routes = self.interrupts.routes();
        if routes.messages.remove(&self.irqfd.gsi).is_some()
            && let Err(error) = self.interrupts.commit(&routes)
        {
            devices::limited_debug!(%error, "the route of a message could not be removed");
        }
    }
}

/// A real device's line on the IOAPIC. KVM ORs it with what our own devices assert.
struct Resampled {
    irqfd: Irqfd,
    resample: EventFd,
}

impl ResampledLine for Resampled {
    fn trigger(&self) -> &EventFd {
        &self.irqfd.event
    }

    fn resample(&self) -> &EventFd {
        &self.resample
    }

    fn connect(&self) -> io::Result<()> {
        self.irqfd.attach(true)
    }

    fn disconnect(&self) -> io::Result<()> {
        self.irqfd.attach(false)
    }
}
