//! What commands do with the devices.

use std::time::Instant;

use super::{Entry, State, Status, UsbError};
use crate::usb::Wanted;
use crate::usb::choice::{Choice, Meant, assign, listed};

impl State {
    /// Gives the guest a device that a command names.
    pub(in crate::usb) fn attach_by_command(&mut self, choice: Choice) -> Result<Status, UsbError> {
        self.check()?;
        self.depart(Instant::now());
        let devices = self.host.devices();
        let device = match &assign(&[&choice], &devices)[..] {
            [Meant::One(device)] => (*device).clone(),
            [Meant::Several(found)] => return Err(UsbError::Several { choice, found: listed(found) }),
            _ => return Err(UsbError::Missing(choice)),
        };
        if let Some(entry) = self.holder(&device) {
            return Err(UsbError::Attached { device: device.to_string(), name: entry.wanted.name.clone() });
        }
        if let Some(refusal) = self.host.refusal(&device) {
            return Err(UsbError::Refused { device: device.to_string(), why: refusal.to_string() });
        }
        // A section that means it has it again; otherwise it is wanted from now on.
        let waits = |entry: &Entry| entry.attached.is_none() && entry.wanted.choice.means(&device);
        let known = self.entries.iter().position(waits);
        let index = known.unwrap_or_else(|| {
            let wanted = Wanted { name: "ctl usb".into(), section: None, choice, optional: true };
            self.entries.push(Entry::new(wanted));
            self.entries.len() - 1
        });
        if let Err(why) = self.attach(index, &device) {
            if known.is_none() {
                self.entries.pop();
            }
            return Err(UsbError::Refused { device: device.to_string(), why });
        }
        self.given.retain(|given| !given.is_same(&device));
        if let Some(entry) = self.entries.get_mut(index) {
            entry.held_back = false;
        }
        Ok(self.status(&device))
    }

    /// Takes a device from the guest that a command names, for as long as no other command gives it.
    pub(in crate::usb) fn detach_by_command(&mut self, choice: &Choice) -> Result<Option<Status>, UsbError> {
        self.check()?;
        self.depart(Instant::now());
        let means = |entry: &Entry| match &entry.attached {
            Some(attached) => choice.means(&attached.device),
            None => !entry.held_back && entry.wanted.choice == *choice,
        };
        let found: Vec<usize> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| means(entry))
            .map(|(index, _)| index)
            .collect();
        let index = match found[..] {
            [index] => index,
            [] => return Err(UsbError::NotAttached(choice.clone())),
            _ => {
                let devices = found.iter().filter_map(|index| self.entries.get(*index)?.attached.as_ref());
                let devices: Vec<_> = devices.map(|attached| &attached.device).collect();
                return Err(UsbError::Several { choice: choice.clone(), found: listed(&devices) });
            }
        };
        let Some(entry) = self.entries.get_mut(index) else { return Ok(None) };
        entry.held_back = true;
        let attached = entry.attached.take();
        if entry.wanted.section.is_none() {
            self.entries.remove(index);
        }
        let Some(attached) = attached else { return Ok(None) };
        let device = attached.device.clone();
        tracing::info!("{device} goes from the guest to the host");
        self.given.push(device.clone());
        if !self.take(&attached) {
            return Err(UsbError::Stuck { device: device.to_string() });
        }
        let device = self.host.devices().into_iter().find(|now| now.is_same(&device)).unwrap_or(device);
        Ok(Some(self.status(&device)))
    }

    fn check(&self) -> Result<(), UsbError> {
        if self.ended { Err(UsbError::Ended) } else { Ok(()) }
    }
}
