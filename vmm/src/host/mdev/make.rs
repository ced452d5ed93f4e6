//! Making and removing mediated devices.

use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD};
use uuid::Uuid;
use vocabulary::{HostPciAddress, MdevParent, MdevType, NewMdev};

use super::{HostMdev, MdevError, WantedMdev};
use crate::host::binding::step::{Host, StepError};
use crate::host::{HostFiles, WriteError};

/// How long making or removing one may take. The kernel waits for its users before it removes one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the module of GVT-g may take.
const LOAD: Duration = Duration::from_secs(30);
/// A parent that is busy with the end of another device is asked again, so many times and after so long.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);

impl HostFiles {
    /// Whether a mediated device is to be made by i915, whose module for that has to be loaded first.
    pub(in crate::host) fn lacks_gvt(&self, wanted: &WantedMdev) -> bool {
        let Some(NewMdev { parent, .. }) = &wanted.create else { return false };
        let i915 = parent
            .as_str()
            .parse::<HostPciAddress>()
            .is_ok_and(|address| self.driver(address).as_deref() == Some("i915"));
        i915 && !self.is_mdev_parent(parent) && !self.path("sys/module/kvmgt").exists()
    }

    /// What has to be made for `wanted`, or `None` if it exists. Everything that stands against it is found without a
    /// change.
    pub(in crate::host) fn mdev_to_make(&self, wanted: &WantedMdev) -> Result<Option<NewMdev>, MdevError> {
        let WantedMdev { uuid, create } = wanted;
        if let Some(device) = self.mdev(*uuid) {
            self.is_usable(&device, create.as_ref())?;
            return Ok(None);
        }
        let new = match create {
            Some(new) => new.clone(),
            None => self.defined_mdev(*uuid)?.ok_or(MdevError::Missing { uuid: *uuid })?,
        };
        let NewMdev { parent, kind } = &new;
        if !self.is_mdev_parent(parent) {
            return Err(self.no_parent(parent));
        }
        let offers = self.offers(parent);
        let Some(offer) = offers.iter().find(|offer| offer.kind == kind.as_str()) else {
            return Err(MdevError::NoType { parent: parent.clone(), kind: kind.clone(), offers });
        };
        if offer.available == Some(0) {
            let users = self.children(parent);
            return Err(MdevError::Full { parent: parent.clone(), kind: kind.clone(), users, offers });
        }
        let file = self.mdev_types(parent.as_str()).join(kind.as_str()).join("create");
        rustix::fs::accessat(CWD, &file, Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(|_| MdevError::Denied { uuid: *uuid, parent: parent.clone(), kind: kind.clone() })?;
        Ok(Some(new))
    }

    /// Whether a machine can have this device, which exists.
    fn is_usable(&self, device: &HostMdev, wanted: Option<&NewMdev>) -> Result<(), MdevError> {
        if let Some(NewMdev { parent, kind }) = wanted
            && !device.is(parent, kind)
        {
            let (parent, kind) = (parent.clone(), kind.clone());
            return Err(MdevError::Other { device: Box::new(device.clone()), parent, kind });
        }
        self.lent_group(device)?;
        let holders = self.mdev_holders(device);
        if holders.found.is_empty() {
            return Ok(());
        }
        Err(MdevError::InUse { uuid: device.uuid, holders })
    }

    /// The IOMMU group of a device that VFIO lends.
    pub(in crate::host) fn lent_group(&self, device: &HostMdev) -> Result<u32, MdevError> {
        let uuid = device.uuid;
        let driver = device.driver.as_ref().ok_or(MdevError::NoDriver { uuid })?;
        device.iommu_group.ok_or_else(|| MdevError::NoGroup { uuid, driver: driver.clone() })
    }
}

impl Host {
    /// Loads what GVT-g needs, if an Intel GPU is to make a device and lacks just that. That it did not help is found when
    /// the device is looked for.
    pub(in crate::host) fn load_gvt(&self, wanted: &WantedMdev) {
        if self.files.lacks_gvt(wanted) {
            let loaded = self.kernel.load_module("kvmgt", LOAD);
            tracing::debug!(?loaded, "kvmgt was asked for");
        }
    }

    /// Makes a mediated device, of which there was none.
    pub(in crate::host) fn make(
        &self,
        uuid: Uuid,
        parent: &MdevParent,
        kind: &MdevType,
    ) -> Result<(), StepError> {
        let doing = || format!("making the mediated device {uuid} ({kind} of {parent})");
        tracing::debug!("{}", doing());
        let file = self.files.mdev_types(parent.as_str()).join(kind.as_str()).join("create");
        self.insist(&file, &uuid.to_string()).map_err(|source| match source {
            WriteError::TimedOut(patience) => StepError::Hung {
                doing: doing(),
                patience,
                cure: cure(&format!("grep -i -e mdev -e {parent}")),
            },
            source => StepError::NotMade {
                doing: doing(),
                hint: self.hint(uuid, parent, kind).into(),
                source: Box::new(source),
            },
        })?;
        if self.files.mdev(uuid).is_some_and(|made| self.files.lent_group(&made).is_ok()) {
            return Ok(());
        }
        // It is of no use, and takes the place of others.
        self.unmake(uuid, parent, kind)?;
        Err(StepError::NotMade {
            doing: doing(),
            source: Box::new(WriteError::Said("no driver took it".into())),
            hint: "`sudo dmesg | tail` may tell why".into(),
        })
    }

    /// Removes a mediated device, if it is there and is what was made. The kernel has no other mark of ours than its UUID.
    pub(in crate::host) fn unmake(
        &self,
        uuid: Uuid,
        parent: &MdevParent,
        kind: &MdevType,
    ) -> Result<(), StepError> {
        let there = || self.files.mdev(uuid).filter(|device| device.is(parent, kind));
        let Some(device) = there() else { return Ok(()) };
        let doing = || format!("removing the mediated device {uuid} ({kind} of {parent})");
        tracing::debug!("{}", doing());
        // The kernel would wait for whoever has taken it since a crash, and then take it from them.
        let holders = self.files.mdev_holders(&device);
        if !holders.found.is_empty() {
            return Err(StepError::Held { doing: doing(), holders });
        }
        let file = self.files.mdev_path(uuid).join("remove");
        self.insist(&file, "1").or_else(|source| match source {
            WriteError::TimedOut(patience) => Err(StepError::Hung {
                doing: doing(),
                patience,
                cure: format!(
                    "end the process that still has it open, as shown by `sudo fuser -v /dev/vfio/*`; {}",
                    cure(&format!("grep -i -e mdev -e {parent}"))
                ),
            }),
            // Somebody else was faster.
            _ if there().is_none() => Ok(()),
            source => Err(StepError::Refused { doing: doing(), source }),
        })
    }

    /// Writes, again if the parent is busy: with the end of a device, for example.
    fn insist(&self, file: &Path, value: &str) -> Result<(), WriteError> {
        let busy = |error: &WriteError| match error {
            WriteError::Said(reason) => {
                reason.contains("Device or resource busy") || reason.contains("temporarily unavailable")
            }
            _ => false,
        };
        let mut left = TRIES;
        loop {
            left = left.saturating_sub(1);
            match self.kernel.write(file, value, PATIENCE) {
                Err(error) if left > 0 && busy(&error) => thread::sleep(PAUSE),
                other => return other,
            }
        }
    }

    /// What a refusal likely means, by what has become of the parent since it was looked at.
    fn hint(&self, uuid: Uuid, parent: &MdevParent, kind: &MdevType) -> String {
        if self.files.mdev_path(uuid).exists() {
            return "another process has made it in the meantime; start again, and it is used".into();
        }
        let new = NewMdev { parent: parent.clone(), kind: kind.clone() };
        let wanted = WantedMdev { uuid, create: Some(new) };
        match self.files.mdev_to_make(&wanted) {
            Err(error) => error.to_string(),
            Ok(_) => "`sudo dmesg | tail` may tell why; with GVT-g it is mostly room in the aperture that is short, or \
                      that a device made before has not been removed in order, which takes a reboot"
                .into(),
        }
    }
}

fn cure(search: &str) -> String {
    format!("`sudo dmesg | {search}` shows where it waits, and only a reboot helps if that does not end")
}
