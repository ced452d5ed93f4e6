//! Tests of ROM parsing and validation.

use proptest::prelude::*;

use super::testing::{ImageBuilder, ampere, muxless, with_gop};
use super::*;

mod chain;

const NV: u16 = 0x10de;
const GPU: u16 = 0x1c8d;

fn chain(images: &[ImageBuilder]) -> Vec<u8> {
    images.iter().flat_map(ImageBuilder::build).collect()
}

fn expect(device: u16) -> Option<Expect> {
    Some(Expect::new(NV, device))
}

fn errors(bytes: &[u8], expect: Option<Expect>) -> Vec<Problem> {
    match check(bytes, expect) {
        Err(RomError::Unusable(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_muxless_rom_is_followed_to_its_last_private_image() {
    let bytes = muxless(NV, GPU);
    let rom = parse(&bytes).unwrap();
    let seen: Vec<_> = rom.images.iter().map(|image| (image.offset, image.length, image.device)).collect();
    assert_eq!(
        seen,
        [(0, 0x3000, GPU), (0x3000, 0x2000, 0x1c80), (0x5000, 0x2800, 0x1c80), (0x7800, 0x800, 0x1c80)]
    );
    let kinds: Vec<_> = rom.images.iter().map(|image| image.kind).collect();
    let private = |signature, code_type| Kind::NvidiaPrivate { signature, code_type };
    assert_eq!(
        kinds,
        [Kind::Legacy, private([0x56, 0x4e], 0xe0), private([0x56, 0x4e], 0xe0), private([0x77, 0xbb], 0x70)]
    );
    assert_eq!((rom.prefix_len, rom.end, rom.has_gop()), (0, bytes.len(), false));
    assert_eq!(
        rom.images[0].npde,
        Some(Npde { revision: 0x101, length: 0x3000, last: Some(false), flags: 1 })
    );
    assert_eq!(rom.images[0].checksum, Some(0));
    assert_eq!(rom.images[1].checksum, None);

    let checked = check(&bytes, expect(GPU)).unwrap();
    assert_eq!(checked.image, bytes);
    assert_eq!(checked.warnings, [Problem::NoGop]);
}

#[test]
fn a_rom_with_gop_has_nothing_to_warn_of() {
    let bytes = with_gop(NV, GPU);
    let rom = parse(&bytes).unwrap();
    assert!(rom.has_gop());
    let efi = Efi { subsystem: 0x0b, machine: 0x8664, compression: 1, pe_offset: 0xc0 };
    assert_eq!(rom.images[1].kind, Kind::Efi(efi));
    assert_eq!(check(&bytes, expect(GPU)).unwrap(), Checked { image: bytes, warnings: vec![] });
}

#[test]
fn an_efi_image_for_another_machine_is_no_gop() {
    let bytes =
        chain(&[ImageBuilder::legacy(NV, GPU, 16), ImageBuilder::efi(NV, GPU, 12).machine(0xaa64).last()]);
    assert_eq!(check(&bytes, expect(GPU)).unwrap().warnings, [Problem::NoGop]);
}

#[test]
fn prefix_and_padding_are_stripped() {
    let rom = with_gop(NV, GPU);
    // A 55 AA without PCIR must not be taken for the start.
    let mut ifr = b"NVGI".to_vec();
    ifr.resize(0x600, 0x55);
    ifr[0x200..0x202].copy_from_slice(&[0x55, 0xaa]);
    let padding = vec![0xff; 0x1234];
    let bytes = [ifr, rom.clone(), padding.clone()].concat();
    let parsed = parse(&bytes).unwrap();
    assert_eq!((parsed.prefix_len, parsed.prefix, parsed.end), (0x600, Prefix::NvidiaIfr, 0x600 + rom.len()));
    assert_eq!(check(&bytes, expect(GPU)).unwrap(), Checked { image: rom.clone(), warnings: vec![] });

    let odd = [vec![7; 0x123], rom.clone(), padding].concat();
    let checked = check(&odd, expect(GPU)).unwrap();
    assert_eq!(checked.image, rom);
    assert_eq!(checked.warnings, [Problem::UnknownPrefix { length: 0x123 }]);
}

#[test]
fn files_without_a_rom_are_told_apart() {
    let legacy = ImageBuilder::legacy(NV, GPU, 4).last().build();
    let mut isa = legacy.clone();
    isa[0x40] = b'Q';
    for (bytes, said) in [
        (vec![], "the file is empty"),
        (vec![0xff; 4096], "it is blank"),
        (vec![0; 4096], "it is blank"),
        (b"NVGI with nothing behind".to_vec(), "missing or encrypted"),
        (b"MZ\x90".to_vec(), "vbios find"),
        (b"PK\x03\x04".to_vec(), "it is a zip archive, not a ROM"),
        (isa, "no PCIR structure"),
        (vec![0x55], "no PCI option ROM"),
        (legacy[..0x50].to_vec(), "no PCI option ROM"),
        (vec![1; MAX_SIZE + 1], "the file has 16777217 bytes"),
    ] {
        let error = check(&bytes, None).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn another_device_is_refused_with_both_ids() {
    let bytes = with_gop(NV, GPU);
    let wrong = errors(&bytes, expect(0x1c8c));
    assert_eq!(
        wrong,
        [Problem::OtherDevice { offset: 0x44, found: (NV, GPU), expected: vec![(NV, 0x1c8c)] }]
    );
    let said = RomError::Unusable(wrong).to_string();
    assert!(said.contains("at 0x44 are 10de:1c8d, expected 10de:1c8c"), "{said}");

    let spoofed = Expect { vendor: NV, device: 0x1c8c, also: Some((NV, GPU)) };
    check(&bytes, Some(spoofed)).unwrap();
    let neither = Expect { vendor: NV, device: 0x1c8c, also: Some((0x1002, GPU)) };
    let said = check(&bytes, Some(neither)).unwrap_err().to_string();
    assert!(said.contains("expected 10de:1c8c or 1002:1c8d"), "{said}");
    // The private images' ID is not that of the device.
    errors(&muxless(NV, GPU), expect(0x1c80));
}

#[test]
fn a_device_list_counts() {
    let image = ImageBuilder::legacy(NV, GPU, 4).device_list(&[0x1c91, 0x1c92]).last();
    let bytes = image.build();
    let rom = parse(&bytes).unwrap();
    assert_eq!((rom.images[0].revision, rom.images[0].device_list.as_slice()), (3, &[0x1c91, 0x1c92][..]));
    for device in [GPU, 0x1c91, 0x1c92] {
        validate(&rom, &bytes, expect(device)).unwrap();
    }
    validate(&rom, &bytes, expect(0x1c93)).unwrap_err();
    validate(&rom, &bytes, Some(Expect::new(0x1002, 0x1c91))).unwrap_err();
}

#[test]
fn a_changed_byte_breaks_the_checksum_of_bios_code_only() {
    let mut bytes = with_gop(NV, GPU);
    bytes[0x1000] ^= 1;
    let sum = 0x5bu8.wrapping_sub(0x5a);
    assert_eq!(errors(&bytes, None), [Problem::Checksum { image: 0, offset: 0, length: 0x2000, sum }]);
    bytes[0x1000] ^= 1;
    // EFI images have none.
    bytes[0x3000] ^= 1;
    check(&bytes, None).unwrap();
}

#[test]
fn the_checksum_can_be_turned_off() {
    let mut bytes = ImageBuilder::legacy(NV, GPU, 4).npde(true, 4, 4).build();
    bytes[0x300] ^= 0x10;
    assert_eq!(parse(&bytes).unwrap().images[0].checksum, None);
    check(&bytes, expect(GPU)).unwrap();
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let bytes = muxless(NV, GPU);
    // The last image may lack what is behind its structures.
    let structures = 0x7800 + 0x58;
    for end in (0x60..structures).step_by(97).chain([0x3000, 0x5000, 0x7800, structures - 1]) {
        let problems = errors(&bytes[..end], expect(GPU));
        assert!(
            problems.iter().any(|problem| matches!(
                problem,
                Problem::Truncated { .. } | Problem::ChainEnds { .. } | Problem::NoImage { .. }
            )),
            "{end:#x}: {problems:?}"
        );
    }
    let problems = errors(&bytes[..0x3000], expect(GPU));
    assert_eq!(problems, [Problem::ChainEnds { image: 1, offset: 0x3000 }]);
}

#[test]
fn a_header_may_not_claim_what_lies_behind_the_chain() {
    let mut bytes = ImageBuilder::efi(NV, GPU, 4).last().build();
    bytes[2..4].copy_from_slice(&6_u16.to_le_bytes());
    bytes.resize(0x1000, 0);
    let problem = Problem::HeaderOverrun { image: 0, offset: 2, length: 0xc00, end: 0x800 };
    assert_eq!(errors(&bytes, None), [problem]);
    // As it is refused where the chain stands alone.
    let alone = Problem::Truncated { image: 0, offset: 0, length: 0xc00, file: 0x800 };
    assert_eq!(errors(&bytes[..0x800], None), [alone]);
}

#[test]
fn a_broken_chain_names_what_it_found() {
    let mut bytes = muxless(NV, GPU);
    bytes[0x5000..0x5004].copy_from_slice(&[1, 2, 3, 4]);
    let problems = errors(&bytes, expect(GPU));
    assert_eq!(problems, [Problem::NoImage { image: 2, offset: 0x5000, found: vec![1, 2, 3, 4] }]);
    assert!(problems[0].to_string().contains("but 01 02 03 04 is there"), "{}", problems[0]);
}

#[test]
fn what_is_no_video_bios_is_refused() {
    let bytes = ImageBuilder::legacy(0x8086, 0x10d3, 4).class(0x02_0000).last().build();
    let problems = errors(&bytes, None);
    assert_eq!(problems, [Problem::NotDisplay { offset: 0x4d, found: 0x02_0000 }]);
    assert!(problems[0].to_string().contains("is 0x020000"), "{}", problems[0]);
}

#[test]
fn oddities_are_warned_of() {
    let warnings = |bytes: &[u8]| check(bytes, None).unwrap().warnings;
    // A GOP for another board.
    let bytes = chain(&[ImageBuilder::legacy(NV, GPU, 4), ImageBuilder::efi(NV, 0x1c91, 4).last()]);
    assert_eq!(warnings(&bytes), [Problem::MixedDevices { image: 1, offset: 0x844, found: (NV, 0x1c91) }]);
    // A forgotten image.
    let bytes = chain(&[ImageBuilder::legacy(NV, GPU, 4).last(), ImageBuilder::efi(NV, GPU, 4).last()]);
    assert_eq!(warnings(&bytes), [Problem::ImageAfterLast { offset: 0x800 }, Problem::NoGop]);
    // A blob that is said to go on.
    let bytes = ImageBuilder::legacy(NV, GPU, 4).npde(true, 0, 9).build();
    assert_eq!(
        warnings(&bytes),
        [Problem::BlobOverrun { offset: 0x50, end: 0x1200, file: 0x800 }, Problem::NoGop]
    );
    // PCIR of revision 1.
    let mut bytes = with_gop(NV, GPU);
    bytes[0x4c] = 1;
    bytes[6] = bytes[6].wrapping_sub(1);
    assert_eq!(warnings(&bytes), [Problem::PcirRevision { image: 0, offset: 0x4c, found: 1 }]);
}

#[test]
fn an_image_without_length_ends_the_chain() {
    let mut bytes = ImageBuilder::efi(NV, GPU, 4).build();
    bytes[0x50..0x52].fill(0);
    assert_eq!(errors(&bytes, None), [Problem::NoLength { image: 0, offset: 0 }]);
}

#[test]
fn what_the_whole_blob_covers_belongs_to_the_rom() {
    let image = ImageBuilder::legacy(NV, GPU, 4).npde(true, 0, 6).build();
    let bytes = [image, vec![0x77; 0x1000]].concat();
    assert_eq!(check(&bytes, None).unwrap().image, bytes[..0xc00]);
}

#[test]
fn structures_behind_the_image_are_refused() {
    let mut bytes = chain(&[ImageBuilder::efi(NV, GPU, 1), ImageBuilder::efi(NV, 0x1c91, 4).last()]);
    // The first image's pointer leads into the second.
    bytes[0x18..0x1a].copy_from_slice(&0x240u16.to_le_bytes());
    bytes[0x250] = 1;
    assert_eq!(
        errors(&bytes, None),
        [Problem::PcirOutside { image: 0, offset: 0x18, found: 0x240, length: 0x200 }]
    );
}

#[test]
fn an_old_bios_image_has_its_length_in_the_header() {
    let mut bytes = ImageBuilder::legacy(NV, GPU, 4).last().build();
    bytes[0x50..0x52].fill(0);
    bytes[6] = bytes[6].wrapping_add(4);
    assert_eq!(check(&bytes, None).unwrap().image, bytes);
}

#[test]
fn other_ids_leave_the_sum_as_it_was() {
    let mut bytes = with_gop(NV, GPU);
    let before = bytes.clone();
    assert_eq!(patch_ids(&mut bytes, NV, 0x1c91), Ok(2));
    check(&bytes, expect(0x1c91)).unwrap();
    check(&bytes, expect(GPU)).unwrap_err();
    let changed: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != before[*at]).collect();
    // The low byte of the device ID in both images, and the checksum of the BIOS image.
    assert_eq!(changed, [6, 0x46, 0x2046]);
    assert_eq!(patch_ids(&mut bytes, NV, 0x1c91), Ok(0));
    assert_eq!(patch_ids(&mut bytes, NV, GPU), Ok(2));
    assert_eq!(bytes, before);

    // A wrong sum is not made right.
    bytes[0x1000] ^= 0xff;
    patch_ids(&mut bytes, NV, 0x1c91).unwrap();
    assert!(matches!(errors(&bytes, None).as_slice(), [Problem::Checksum { .. }]));
    assert_eq!(patch_ids(&mut [0; 64], NV, GPU), Err(PatchError::NoRom));
}

#[test]
fn private_images_keep_their_ids() {
    let mut bytes = muxless(NV, 0x1c80);
    assert_eq!(patch_ids(&mut bytes, NV, 0x1c91), Ok(1));
    let devices: Vec<_> = parse(&bytes).unwrap().images.iter().map(|image| image.device).collect();
    assert_eq!(devices, [0x1c91, 0x1c80, 0x1c80, 0x1c80]);
}

#[test]
fn a_rom_that_other_ids_would_make_another_one_keeps_its_own() {
    let kept = |bytes: &[u8], vendor, device, why| {
        let mut patched = bytes.to_vec();
        assert_eq!(patch_ids(&mut patched, vendor, device), Err(why));
        assert_eq!(patched, bytes);
    };
    // A code type that is private if the vendor is NVIDIA.
    let mut bytes = ImageBuilder::legacy(0x1002, GPU, 4).last().build();
    bytes[0x54] = 0x70;
    check(&bytes, None).unwrap();
    kept(&bytes, NV, GPU, PatchError::Entangled);
    assert_eq!(patch_ids(&mut bytes, 0x1003, GPU), Ok(1));

    // The first image's structures lie in the second one: the chain may end before them.
    let mut bytes = with_gop(NV, GPU);
    bytes[0x19] = 0x20;
    errors(&bytes, None);
    let start = parse(&bytes).unwrap().chain(&bytes);
    kept(&start, NV, 0x1c91, PatchError::NoRom);

    // Its vendor ID is the byte that makes the second one's checksum right.
    let mut bytes = chain(&[ImageBuilder::legacy(NV, GPU, 1), ImageBuilder::legacy(NV, GPU, 1).last()]);
    bytes[0x18..0x1a].copy_from_slice(&0x202_u16.to_le_bytes());
    bytes.copy_within(0x40..0x56, 0x202);
    kept(&bytes, NV, 0x1c91, PatchError::Entangled);
}

pub(super) fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let samples = prop_oneof![Just(muxless(NV, GPU)), Just(with_gop(NV, GPU)), Just(ampere(NV, GPU))];
    // Faults where the structures lie, and anywhere.
    let fault =
        (prop_oneof![0usize..0xc0, 0x3000usize..0x30c0, 0x2000usize..0x20c0, any::<usize>()], any::<u8>());
    (samples, proptest::collection::vec(fault, 0..12), any::<proptest::sample::Index>(), any::<bool>())
        .prop_map(|(mut bytes, faults, end, cut)| {
            for (at, value) in faults {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        })
}

proptest! {
    #[test]
    fn hostile_roms_are_answered(bytes in hostile(), vendor: u16, device: u16) {
        if let Ok(rom) = parse(&bytes) {
            prop_assert!(rom.end <= bytes.len() && rom.prefix_len <= rom.end);
            prop_assert!(rom.images.len() <= bytes.len() / UNIT + 1);
            prop_assert!(rom.images.windows(2).all(|two| two[0].offset < two[1].offset));
            let accepted = validate(&rom, &bytes, None);
            if let Ok(image) = &accepted {
                // What was accepted is a whole ROM by itself.
                let again = check(image, None).map(|checked| checked.image);
                prop_assert_eq!(again.as_ref(), Ok(image));
            }
            let whole = rom.chain(&bytes);
            let mut patched = whole.clone();
            match patch_ids(&mut patched, vendor, device) {
                Ok(_) => {
                    let again = parse_at(&patched, 0);
                    prop_assert_eq!((again.images[0].vendor, again.images[0].device), (vendor, device));
                    let sums = |rom: &Rom| rom.images.iter().map(|image| image.checksum).collect::<Vec<_>>();
                    if accepted.is_ok() {
                        prop_assert_eq!(sums(&again), sums(&rom));
                    }
                }
                Err(error) => {
                    prop_assert_eq!(&patched, &whole);
                    prop_assert!(accepted.is_err() || error == PatchError::Entangled, "{}", error);
                }
            }
        }
    }

    #[test]
    fn noise_is_answered(bytes in proptest::collection::vec(prop_oneof![Just(0x55u8), Just(0xaa), any::<u8>()], 0..600)) {
        let _ = check(&bytes, Some(Expect::new(NV, GPU)));
    }

    #[test]
    fn one_changed_byte_of_bios_code_is_noticed(at in 0usize..0x2000, change in 1u8..) {
        // Other code types than BIOS code have no checksum.
        prop_assume!(at != 0x54);
        let mut bytes = with_gop(NV, GPU);
        bytes[at] = bytes[at].wrapping_add(change);
        let checked = check(&bytes, expect(GPU));
        // Without its signature the first image counts as something in front of the second.
        let noticed = checked.map_or(true, |checked| matches!(checked.warnings[..], [Problem::UnknownPrefix { .. }]));
        prop_assert!(noticed);
    }
}
