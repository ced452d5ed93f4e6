//! WAET (Microsoft, "Windows ACPI Emulated Devices Table", version 1.0): what an OS need not work around.

use super::header::table;
use crate::platform::OemIds;

/// One read of the PM timer is enough: it never tears, as the real chips' did.
const PM_TIMER_GOOD: u32 = 1 << 1;

pub(crate) fn waet(oem: OemIds) -> Vec<u8> {
    table(*b"WAET", 1, oem, &PM_TIMER_GOOD.to_le_bytes())
}
