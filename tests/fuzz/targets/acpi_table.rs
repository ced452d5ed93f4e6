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
});
