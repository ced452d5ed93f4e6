//! The host's interrupts for the made-up device, and the kernel's rules about them (Linux
//! drivers/vfio/pci/vfio_pci_intrs.c).

use std::collections::BTreeMap;
use std::io;

use vmm_sys_util::eventfd::EventFd;

use crate::vfio::host::{FewerVectors, IrqInfo, irq};

use super::einval;

/// The interrupt index that is on.
pub(super) struct Active {
    pub(super) index: u32,
    /// Host vectors taken.
    allocated: u32,
    pub(super) triggers: BTreeMap<u32, EventFd>,
    pub(super) unmask: Option<EventFd>,
    /// INTx is masked, by itself or on request.
    pub(super) masked: bool,
}

/// All interrupts of the device.
pub(super) struct HostInterrupts {
    pub(super) infos: [IrqInfo; 3],
    pub(super) active: Option<Active>,
    /// Vectors that the host has for MSI or MSI-X.
    pub(super) available: u32,
    /// Errors of giving triggers, by interrupt index.
    pub(super) refusals: BTreeMap<u32, i32>,
    pub(super) refuse_unmask: Option<i32>,
    pub(super) violations: Vec<String>,
}

impl Default for HostInterrupts {
    fn default() -> Self {
        Self {
            infos: Default::default(),
            active: None,
            available: u32::MAX,
            refusals: BTreeMap::new(),
            refuse_unmask: None,
            violations: Vec::new(),
        }
    }
}

impl HostInterrupts {
    pub(super) fn info(&self, index: u32) -> IrqInfo {
        self.infos.get(index as usize).copied().unwrap_or_default()
    }

    fn violated(&mut self, rule: &str) -> io::Error {
        self.violations.push(rule.to_owned());
        einval()
    }

    pub(super) fn set_triggers(
        &mut self,
        index: u32,
        first: u32,
        events: &[Option<&EventFd>],
    ) -> io::Result<()> {
        let info = self.info(index);
        let end = first + events.len() as u32;
        if events.is_empty() || end > info.count {
            return Err(self.violated("named vectors that there are not"));
        }
        if self.active.as_ref().is_some_and(|active| active.index != index) {
            return Err(self.violated("another kind of interrupt is on"));
        }
        if let Some(&errno) = self.refusals.get(&index)
            && events.iter().any(Option::is_some)
        {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let allocated = self.active.as_ref().map_or(0, |active| active.allocated);
        if allocated != 0 && end > allocated && info.fixed {
            return Err(self.violated("the set of vectors cannot grow"));
        }
        if index != irq::INTX && end > self.available {
            return Err(match (allocated, self.available) {
                (0, 1..) => FewerVectors { available: self.available }.into(),
                _ => io::Error::from_raw_os_error(libc::ENOSPC),
            });
        }
        let active = self.active.get_or_insert_with(|| Active {
            index,
            allocated: 0,
            triggers: BTreeMap::new(),
            unmask: None,
            masked: false,
        });
        active.allocated = active.allocated.max(end);
        for (vector, event) in (first..).zip(events) {
            match event {
                Some(event) => active.triggers.insert(vector, event.try_clone()?),
                None => active.triggers.remove(&vector),
            };
        }
        Ok(())
    }

    pub(super) fn disable(&mut self, index: u32) -> io::Result<()> {
        match self.active.take_if(|active| active.index == index) {
            Some(_) => Ok(()),
            None => Err(self.violated("turned off what is off")),
        }
    }

    /// INTx, which must be on.
    pub(super) fn intx(&mut self) -> io::Result<&mut Active> {
        if self.active.as_ref().is_none_or(|active| active.index != irq::INTX) {
            return Err(self.violated("INTx is not on"));
        }
        self.active.as_mut().ok_or_else(einval)
    }

    /// The device interrupts by `vector` of `index`; `disabled` is the Command register's Interrupt Disable. False if
    /// there is nobody to tell.
    pub(super) fn interrupt(&mut self, index: u32, vector: u32, disabled: bool) -> bool {
        let Some(active) = self.active.as_mut().filter(|active| active.index == index) else { return false };
        let Some(trigger) = active.triggers.get(&vector) else { return false };
        if index == irq::INTX {
            if active.unmask.as_ref().is_some_and(|event| event.read().is_ok()) {
                active.masked = false;
            }
            if active.masked || disabled {
                return false;
            }
            active.masked = true;
        }
        trigger.write(1).unwrap();
        true
    }
}
