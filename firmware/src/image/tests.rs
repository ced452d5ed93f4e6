//! Debian's images as they are, and images broken in each way that has an error of its own.

use std::fs;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

const OVMF: &str = "/usr/share/OVMF";

fn debian(name: &str) -> PathBuf {
    Path::new(OVMF).join(name)
}

fn debian_bytes(name: &str) -> Vec<u8> {
    fs::read(debian(name)).expect("Debian's package ovmf is needed for this test")
}

fn refused(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.fd");
    fs::write(&path, bytes).unwrap();
    OvmfImage::load_code(&path).unwrap_err().to_string()
}

#[test]
fn debian_code_images_are_accepted() {
    for (name, layout) in [("OVMF_CODE.fd", FlashLayout::TwoMiB), ("OVMF_CODE_4M.fd", FlashLayout::FourMiB)] {
        let started = Instant::now();
        let image = OvmfImage::load_code(&debian(name)).unwrap();
        println!("{name}: load {:?}", started.elapsed());
        assert_eq!(image.info(), ImageInfo { layout, builtin_vars: None }, "{name}");
        let started = Instant::now();
        image.check(true).unwrap();
        assert_eq!(Modules::of(image.bytes()).smm_use(), SmmUse::NotUsed, "{name}");
        println!("{name}: SMM check {:?}", started.elapsed());
    }
}

#[test]
fn secure_boot_builds_are_told_by_content() {
    for name in
        ["OVMF_CODE.secboot.fd", "OVMF_CODE_4M.secboot.fd", "OVMF_CODE_4M.ms.fd", "OVMF_CODE_4M.snakeoil.fd"]
    {
        let image = OvmfImage::load_code(&debian(name)).unwrap();
        let started = Instant::now();
        let message = image.check(false).unwrap_err().to_string();
        println!("{name}: SMM check {:?}", started.elapsed());
        let plain =
            if name.contains("4M") { "use /usr/share/OVMF/OVMF_CODE_4M.fd in" } else { "OVMF_CODE.fd in" };
        assert!(message.contains(plain), "{message}");
    }
    // A name proves nothing: the same content under an innocent name, with no neighbours.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("OVMF_CODE_4M.fd");
    fs::copy(debian("OVMF_CODE_4M.secboot.fd"), &path).unwrap();
    let message = OvmfImage::load_code(&path).unwrap().check(false).unwrap_err().to_string();
    assert!(message.contains("use a build without SMM"), "{message}");
}

/// What is advised starts, whatever its name says.
#[test]
fn the_advised_build_is_one_that_starts() {
    let dir = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| fs::copy(debian(from), dir.path().join(to)).unwrap();
    let advice = |name: &str| {
        let message =
            OvmfImage::load_code(&dir.path().join(name)).unwrap().check(false).unwrap_err().to_string();
        assert!(message.contains("docs/secure-boot.md"), "{message}");
        message
    };
    copy("OVMF_CODE_4M.secboot.fd", "OVMF_CODE.secboot.4m.fd");
    copy("OVMF_CODE_4M.secboot.fd", "OVMF_CODE.4m.fd");
    let message = advice("OVMF_CODE.secboot.4m.fd");
    assert!(message.contains("use a build without SMM"), "{message}");
    copy("OVMF_CODE_4M.fd", "OVMF_CODE.fd");
    let message = advice("OVMF_CODE.secboot.4m.fd");
    assert!(
        message.contains(&format!("use {} in its place", dir.path().join("OVMF_CODE.fd").display())),
        "{message}"
    );
    // As Arch and openSUSE name the neighbours.
    copy("OVMF_CODE_4M.fd", "OVMF_CODE.4m.fd");
    let message = advice("OVMF_CODE.secboot.4m.fd");
    assert!(message.contains("OVMF_CODE.4m.fd in its place"), "{message}");
    copy("OVMF_CODE_4M.secboot.fd", "ovmf-x86_64-smm-ms-code.bin");
    copy("OVMF_CODE_4M.fd", "ovmf-x86_64-code.bin");
    let message = advice("ovmf-x86_64-smm-ms-code.bin");
    assert!(message.contains("ovmf-x86_64-code.bin in its place"), "{message}");
}

/// The image with other names for some of its first modules, the part that is looked at packed anew.
fn with_modules_renamed(image: &[u8], names: &[(uuid::Uuid, uuid::Uuid)]) -> Vec<u8> {
    let stream = pei::volumes(image).find_map(pei::compressed).unwrap();
    let mut reader = lzma_rust2::LzmaReader::new_mem_limit(stream, u32::MAX, None).unwrap();
    let mut modules = vec![0; pei::LIMIT];
    io::Read::read_exact(&mut reader, &mut modules).unwrap();
    for (old, new) in names {
        let at = modules.windows(16).position(|bytes| bytes == old.to_bytes_le()).unwrap();
        modules[at..at + 16].copy_from_slice(&new.to_bytes_le());
    }
    let options = lzma_rust2::LzmaOptions::with_preset(3);
    let size = Some(modules.len() as u64);
    let mut writer = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, size).unwrap();
    io::Write::write_all(&mut writer, &modules).unwrap();
    let packed = writer.finish().unwrap();
    let start = stream.as_ptr().addr() - image.as_ptr().addr();
    let mut renamed = image.to_vec();
    renamed[start..start + packed.len()].copy_from_slice(&packed);
    renamed
}

#[test]
fn builds_without_a_tpm_are_told_by_content() {
    let code = debian_bytes("OVMF_CODE_4M.fd");
    assert_eq!(Modules::of(&code).knows_tpm(), Some(true));
    check(Path::new("OVMF_CODE.fd"), &code, true).unwrap();
    let tcg2_pei = uuid::uuid!("a0c98b77-cba5-4bb8-993b-4af6ce33ece4");
    let packed = with_modules_renamed(&code, &[(tcg2_pei, uuid::Uuid::nil())]);
    assert_eq!(Modules::of(&packed).knows_tpm(), Some(false));
    // All else is as it was.
    assert_eq!(Modules::of(&packed).smm_use(), SmmUse::NotUsed);
    let message = check(Path::new("OVMF_CODE.fd"), &packed, true).unwrap_err().to_string();
    assert!(message.contains("OVMF_CODE.fd has no modules for a TPM"), "{message}");
    assert_eq!(Modules::of(&[0; 4096]).knows_tpm(), None);
}

#[test]
fn nothing_is_unpacked_twice_for_a_start() {
    let code = debian_bytes("OVMF_CODE_4M.fd");
    let mut modules = Modules::of(&code);
    assert_eq!(modules.unpacked(), 0);
    assert_eq!(modules.smm_use(), SmmUse::NotUsed);
    assert!((1..200 << 10).contains(&modules.unpacked()), "{}", modules.unpacked());
    assert!(!modules.keeps_variables_outside());
    let most = modules.unpacked();
    assert!(most < 1 << 20, "{most}");
    assert_eq!((modules.smm_use(), modules.knows_tpm()), (SmmUse::NotUsed, Some(true)));
    assert_eq!(modules.unpacked(), most);
}

#[test]
fn builds_with_variables_outside_are_told_by_content() {
    const DXE_CORE: uuid::Uuid = uuid::uuid!("d6a2cb7f-6a18-4e2f-b43b-9920a733700a");
    let code = debian_bytes("OVMF_CODE_4M.fd");
    check(Path::new("OVMF_CODE.fd"), &code, false).unwrap();
    // As edk2 lists them: without the driver for flash among the first ones, and with the one for the device. The core is the first of all.
    let names = [(dxe::FLASH_VARIABLES, uuid::Uuid::nil()), (DXE_CORE, dxe::VIRT_MM_COMMUNICATION)];
    let outside = with_modules_renamed(&code, &names);
    assert_eq!(Modules::of(&outside).smm_use(), SmmUse::NotUsed);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("OVMF.qemuvars.fd");
    fs::write(&path, &outside).unwrap();
    let message = check(&path, &outside, false).unwrap_err().to_string();
    assert!(
        message.contains("keep its variables in a device") && message.contains("use a build"),
        "{message}"
    );
    // Neither is another one of them advised, but one that starts.
    fs::write(dir.path().join("OVMF_CODE_4M.fd"), &outside).unwrap();
    let message = check(&path, &outside, false).unwrap_err().to_string();
    assert!(message.contains("use a build"), "{message}");
    fs::copy(debian("OVMF_CODE_4M.fd"), dir.path().join("OVMF.fd")).unwrap();
    let message = check(&path, &outside, false).unwrap_err().to_string();
    assert!(message.contains("OVMF.fd in its place"), "{message}");
    // With variables in flash the device would not be asked.
    let both = with_modules_renamed(&code, &names[1..]);
    assert!(!Modules::of(&both).keeps_variables_outside());
    assert!(!Modules::of(&[0; 4096]).keeps_variables_outside());
}

/// Secure Boot without SMM starts up to a certain age, which nobody can see.
#[test]
fn advice_for_secure_boot_without_smm_is_no_promise() {
    for directory in ovmf_directories() {
        let code = fs::read(directory.join("OVMF_CODE_4M.fd")).unwrap();
        let message = error::plain_build_advice(&directory.join("OVMF_CODE_4M.secboot.fd"));
        assert!(message.contains("OVMF_CODE_4M.fd in its place"), "{message}");
        let secure_boot = dxe::knows_secure_boot(&code).unwrap();
        assert_eq!(message.contains("unless it is of August 2026"), secure_boot, "{}", directory.display());
        println!("{}: Secure Boot without SMM: {secure_boot}", directory.display());
    }
}

#[test]
fn a_raw_image_is_read_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("payload.bin");
    fs::write(&path, [0xf4; 4096]).unwrap();
    let file = CodeFile::open(&path).unwrap();
    let mut bytes = vec![0; file.size()];
    file.read_raw_into(&mut bytes).unwrap();
    assert_eq!(bytes, [0xf4; 4096]);
    assert!(matches!(file.read_raw_into(&mut [0; 100]), Err(ImageError::Read { .. })));
    assert!(matches!(file.read_into(&mut bytes), Err(ImageError::NoVolume { .. })));
}

/// The directories of `OPTIMUS_VMM_OVMF_DIRS` (separated by colons), for other versions than the installed one.
fn ovmf_directories() -> Vec<PathBuf> {
    let more = std::env::var_os("OPTIMUS_VMM_OVMF_DIRS").unwrap_or_default();
    std::env::split_paths(&more).filter(|path| !path.as_os_str().is_empty()).chain([OVMF.into()]).collect()
}

#[test]
fn every_shipped_image_is_told_for_what_it_is() {
    for directory in ovmf_directories() {
        let mut seen = 0;
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.ends_with(".fd") || !path.is_file() {
                continue;
            }
            let refused = |error: ImageError| error.to_string();
            let verdict = OvmfImage::load_code(&path).map_err(refused);
            if name.starts_with("OVMF_VARS") {
                assert!(verdict.unwrap_err().contains("(a VARS file)"), "{}", path.display());
                crate::nvram::check_template(&path, &fs::read(&path).unwrap()).unwrap();
            } else if name.starts_with("OVMF_CODE") {
                let needs_smm =
                    ["secboot", "ms", "snakeoil"].iter().any(|mark| name.contains(&format!(".{mark}")));
                let expected = if needs_smm { SmmUse::Required } else { SmmUse::NotUsed };
                let image = verdict.unwrap();
                assert_eq!(Modules::of(image.bytes()).smm_use(), expected, "{}", path.display());
                assert_eq!(Modules::of(image.bytes()).knows_tpm(), Some(true), "{}", path.display());
                if expected == SmmUse::NotUsed {
                    // By the first drivers alone: this is part of each start.
                    assert_eq!(
                        pei::Unpacker::of(image.bytes(), pei::LIMIT)
                            .and_then(|mut unpacker| dxe::starts_with(&mut unpacker, dxe::FLASH_VARIABLES)),
                        Some(true),
                        "{}",
                        path.display()
                    );
                    assert!(!Modules::of(image.bytes()).keeps_variables_outside(), "{}", path.display());
                }
            } else {
                continue;
            }
            seen += 1;
        }
        assert!(seen > 2, "no OVMF images in {}", directory.display());
    }
}

#[test]
fn combined_image_is_one_unit() {
    let mut combined = debian_bytes("OVMF_VARS_4M.fd");
    combined.extend(debian_bytes("OVMF_CODE_4M.fd"));
    let info = inspect(Path::new("OVMF.fd"), &combined).unwrap();
    assert_eq!(info, ImageInfo { layout: FlashLayout::FourMiB, builtin_vars: Some(0x8_4000) });
    assert_eq!(Modules::of(&combined).smm_use(), SmmUse::NotUsed);
}

#[test]
fn each_mistake_has_its_message() {
    let code = debian_bytes("OVMF_CODE_4M.fd");
    let mut no_vector = code.clone();
    let len = no_vector.len();
    no_vector[len - 16..].fill(0xff);
    let mut bad_sum = code.clone();
    bad_sum[0] ^= 1;
    let mut seabios = vec![0; 256 << 10];
    let len = seabios.len();
    seabios[len - 16] = 0xea;
    let cases: [(&str, &[u8], &str); 10] = [
        ("empty", &[], "is empty"),
        ("short", &code[..5000], "not a multiple"),
        ("truncated in the first volume", &code[..0x10_0000], "is truncated"),
        ("truncated in the last volume", &code[..code.len() - 4096], "is truncated"),
        ("oversized", &vec![0; (8 << 20) + 4096], "at most 8388608"),
        ("blank", &vec![0xff; 0x37_c000], "(it is blank)"),
        ("no reset vector", &no_vector, "no reset vector"),
        ("bad header checksum", &bad_sum, "does not begin with a UEFI firmware volume"),
        ("SeaBIOS", &seabios, "legacy BIOS"),
        ("first volume only", &code[..0x34_8000], "no reset vector"),
    ];
    for (what, bytes, expected) in cases {
        let message = refused(bytes);
        assert!(message.contains(expected), "{what}: {message}");
    }
    assert!(refused(b"QFI\xfb0000").contains("qemu-img convert"));
}

#[test]
fn wrong_paths_and_vars_files() {
    let missing = OvmfImage::load_code(Path::new("/nonexistent/OVMF.fd")).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/OVMF.fd") && missing.contains("package ovmf"), "{missing}");
    let directory = OvmfImage::load_code(Path::new("/tmp")).unwrap_err();
    assert!(matches!(directory, ImageError::NotAFile { .. }), "{directory}");
    for vars in ["OVMF_VARS_4M.fd", "OVMF_VARS_4M.ms.fd"] {
        let message = OvmfImage::load_code(&debian(vars)).unwrap_err().to_string();
        assert!(message.contains("probably /usr/share/OVMF/OVMF_CODE_4M.fd"), "{message}");
    }
}

#[test]
fn flash_ends_at_four_gib() {
    let map = flash_map(0x37_c000, 0x8_4000).unwrap();
    assert_eq!((map.vars, map.code), (0xffc0_0000, 0xffc8_4000));
    let map = flash_map(0x1e_0000, 0x2_0000).unwrap();
    assert_eq!((map.vars, map.code), (0xffe0_0000, 0xffe2_0000));
    let map = flash_map(0x40_0000, 0).unwrap();
    assert_eq!((map.vars, map.code, map.vars_size), (0xffc0_0000, 0xffc0_0000, 0));
    for (code, vars) in [(0, 4096), (4095, 4096), (4096, 1), (8 << 20, 4096), (u64::MAX - 4095, 8192)] {
        assert!(flash_map(code, vars).is_err(), "{code:#x} {vars:#x}");
    }
}

proptest! {
    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..8192)) {
        prop_assert!(inspect(Path::new("x"), &bytes).is_err());
        prop_assert_eq!(Modules::of(&bytes).smm_use(), SmmUse::Unknown);
    }

    // A volume header that parses, with anything behind it: neither function may panic or run away.
    #[test]
    fn mutated_images_do_not_panic(
        edits in proptest::collection::vec((0usize..0x400, any::<u8>()), 1..12),
        tail_edits in proptest::collection::vec((0usize..0x600, any::<u8>()), 0..8),
        fix_checksum in any::<bool>(),
    ) {
        let mut image = debian_bytes("OVMF_CODE.fd");
        let len = image.len();
        for (at, value) in edits {
            image[at] = value;
        }
        for (at, value) in tail_edits {
            image[len - 1 - at] = value;
        }
        if fix_checksum {
            let header = usize::from(u16::from_le_bytes([image[48], image[49]])).min(len);
            image[50..52].fill(0);
            let sum = image[..header].chunks_exact(2).fold(0u16, |sum, p| sum.wrapping_add(u16::from_le_bytes([p[0], p[1]])));
            image[50..52].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
        }
        let _ = inspect(Path::new("x"), &image);
        // Together as each for itself.
        let mut modules = Modules::of(&image);
        prop_assert_eq!(modules.keeps_variables_outside(), Modules::of(&image).keeps_variables_outside());
        prop_assert_eq!(modules.smm_use(), Modules::of(&image).smm_use());
        prop_assert_eq!(modules.knows_tpm(), Modules::of(&image).knows_tpm());
    }
}
