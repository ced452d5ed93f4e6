//! The ECAM window as taken memory: without this device, Linux and Windows distrust MCFG
//! (PCI Firmware Specification 3.3, 4.1.2, note 2).

use acpi_tables::aml::{Device, Name, ResourceTemplate};

use super::hid;
use crate::aml::{MemoryRange, Terms};
use crate::platform::Ecam;

pub(super) fn push(terms: &mut Terms, ecam: Ecam) {
    let Some(range) = ecam.range() else {
        return;
    };
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&MemoryRange(range)]));
    terms.push(&Device::new("DRAC".into(), vec![&hid("PNP0C01"), &crs]));
}
