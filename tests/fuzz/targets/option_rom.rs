//! Option ROMs: `vbios info`, `vbios` and `rom` of vm.toml, and other IDs.
#![no_main]

use firmware::option_rom::{Expect, check, parse, patch_ids};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(rom) = parse(data) else { return };
    assert!(rom.prefix_len <= rom.end && rom.end <= data.len());
    assert!(!rom.images.is_empty());
    for problem in rom.findings(Some(Expect::new(0x10de, 0x1c8d))) {
        let _ = problem.to_string();
    }
    let Ok(checked) = check(data, None) else { return };
    // What a guest gets is a ROM by itself, and remains one under other IDs.
    let mut image = checked.image;
    assert!(check(&image, None).is_ok());
    assert!(patch_ids(&mut image, 0x10de, 0x1c8d).is_ok());
    assert!(check(&image, Some(Expect::new(0x10de, 0x1c8d))).is_ok());
});
