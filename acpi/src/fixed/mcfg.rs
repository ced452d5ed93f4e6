//! MCFG (PCI Firmware Specification 3.3, 4.1.2): where the ECAM window of segment 0 is.

use super::header::table;
use crate::platform::{Ecam, OemIds};

pub(crate) fn mcfg(ecam: Ecam, last_bus: u8, oem: OemIds) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.extend_from_slice(&ecam.base.to_le_bytes());
    // Segment 0, buses from 0 on.
    body.extend_from_slice(&[0, 0, 0, last_bus, 0, 0, 0, 0]);
    table(*b"MCFG", 1, oem, &body)
}
