//! Option ROMs: `vbios info`, `vbios find`, `vbios` and `rom` of vm.toml, and other IDs.
#![no_main]

use firmware::option_rom::{Expect, PatchError, Problem, Rom, Search, Severity, check, parse, patch_ids};
use libfuzzer_sys::fuzz_target;

/// What is true of every chain, damaged or not.
fn judge(rom: &Rom, data: &[u8]) {
    assert!(rom.prefix_len <= rom.end && rom.end <= data.len());
    assert!(!rom.images.is_empty());
    let expect = Some(Expect::new(0x10de, 0x1c8d));
    let findings = rom.findings(expect);
    // Only EFI drivers by themselves may be for another device.
    let of_driver = rom.findings_of_driver(expect);
    assert!(rom.is_efi_only() || of_driver == findings);
    assert!(of_driver.len() <= findings.len());
    for problem in findings.iter().chain(&of_driver) {
        assert!(!problem.to_string().contains("again"));
    }
    let said = |what: fn(&Problem) -> bool| findings.iter().filter(|problem| what(problem)).count();
    // A GOP is one of a video BIOS, and told as what it is.
    assert_eq!(
        said(|problem| matches!(problem, Problem::NoGop)),
        usize::from(rom.is_display() && !rom.has_gop())
    );
    assert_eq!(said(|problem| matches!(problem, Problem::NotDisplay { .. })), usize::from(!rom.is_display()));
    assert_eq!(said(|problem| matches!(problem, Problem::TailMissing { .. })), usize::from(rom.padding != 0));
    assert!(said(|problem| matches!(problem, Problem::PrivateMissing { .. })) <= 1);
    for image in &rom.images {
        // A list lies within its image.
        assert!(image.device_list.len() < 256 && 2 * image.device_list.len() <= image.length);
        assert!(!image.device_list.iter().any(|id| matches!(id, 0 | 0xffff)));
    }
    let label = rom.label(data);
    for text in label.version.iter().chain(&label.board) {
        assert!(
            !text.is_empty() && text.len() <= 160 && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        );
    }
}

fuzz_target!(|data: &[u8]| {
    // No image is found twice, nor anything that belongs to what was found.
    let mut seen = Vec::new();
    let mut end = 0;
    let mut damaged = 0;
    let mut search = Search::new(data);
    for candidate in search.by_ref() {
        let start = candidate.start;
        assert!(!seen.contains(&start));
        assert!(start >= end);
        judge(&candidate.rom, candidate.window);
        seen.extend(candidate.rom.images.iter().map(|image| start + image.offset));
        if candidate.rom.is_whole() {
            end = start + candidate.rom.end;
        } else {
            damaged += 1;
        }
        if candidate.is_intact() {
            assert!(check(&candidate.rom.chain(candidate.window), None).is_ok());
        }
    }
    assert!(damaged <= 256);

    let Ok(rom) = parse(data) else { return };
    judge(&rom, data);
    let errors = rom.findings(None).iter().any(|problem| problem.severity() == Severity::Error);
    let Ok(checked) = check(data, None) else {
        assert!(errors);
        return;
    };
    assert!(!errors);
    // What a guest gets is a ROM by itself, and remains one under other IDs.
    let mut image = checked.image;
    assert_eq!(check(&image, None).map(|again| again.image).as_ref(), Ok(&image));
    match patch_ids(&mut image, 0x10de, 0x1c8d) {
        Ok(_) => assert!(check(&image, Some(Expect::new(0x10de, 0x1c8d))).is_ok()),
        Err(error) => assert!(error == PatchError::Entangled && check(&image, None).is_ok()),
    }
});
