//! ACPI tables of the user's.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(error) = acpi::check_table(data) {
        assert!(!error.to_string().is_empty());
        return;
    }
    assert!(data.len() >= 36);
    assert_eq!(data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    let Some(signature) = data.first_chunk::<4>() else { return };
    // What a log shows of it is printable, and none of those that there can be only one of.
    assert!(signature.iter().all(u8::is_ascii_graphic));
    assert!(
        ![b"DSDT", b"FACP", b"FACS", b"RSDT", b"XSDT", b"APIC", b"MCFG", b"WAET", b"BGRT"]
            .contains(&signature)
    );
    let licence = [b"SSDT", b"SLIC", b"MSDM"].contains(&signature);
    assert!(!(licence && acpi::describes_hardware(data)));
});
