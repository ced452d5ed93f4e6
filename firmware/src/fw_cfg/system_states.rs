//! `etc/system-states`: which ACPI sleep states the platform has.
//!
//! Six bytes, one per state S0 to S5; bit 7 says that the state exists, the low bits are its SLP_TYP value (edk2
//! OvmfPkg/Library/QemuFwCfgS3Lib reads byte 3).

/// S0 and S5 exist; S3 and S4 do not, as this machine cannot resume a guest.
#[must_use]
pub const fn system_states() -> [u8; 6] {
    const EXISTS: u8 = 1 << 7;
    [EXISTS, 0, 0, 1, 2, EXISTS]
}

#[cfg(test)]
mod tests {
    #[test]
    fn suspend_and_hibernate_are_absent() {
        assert_eq!(super::system_states(), [0x80, 0, 0, 1, 2, 0x80]);
    }
}
