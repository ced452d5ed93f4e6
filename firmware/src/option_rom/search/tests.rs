//! Tests of the search for ROMs.

use proptest::prelude::*;

use super::super::testing::{ImageBuilder, ampere, with_gop};
use super::super::tests::hostile;
use super::Search;

const NV: u16 = 0x10de;
const GPU: u16 = 0x1c8d;

fn chain(images: &[ImageBuilder]) -> Vec<u8> {
    images.iter().flat_map(ImageBuilder::build).collect()
}

fn candidates(bytes: &[u8]) -> Vec<(usize, bool)> {
    Search::new(bytes).map(|candidate| (candidate.start, candidate.is_intact())).collect()
}

#[test]
fn what_belongs_to_a_damaged_rom_is_no_rom_of_its_own() {
    let good = with_gop(NV, GPU);
    // A wrong checksum; a length that is too small, so that the EFI image is not come to; one that is too large.
    let mut edited = good.clone();
    edited[0x1000] ^= 1;
    let mut short = good.clone();
    short[0x50] = 8;
    let mut long = good.clone();
    long[0x50] = 200;
    for damaged in [&edited, &short, &long] {
        let bytes = [vec![0; 77], damaged.clone(), vec![0; 0x40000]].concat();
        assert_eq!(candidates(&bytes), [(77, false)]);
        // Other copies and other ROMs are found, also within a length that is too large.
        let other = ImageBuilder::efi(0x8086, 0x5916, 4).last().build();
        let bytes = [damaged.clone(), good.clone(), other].concat();
        let second = good.len();
        assert_eq!(candidates(&bytes), [(0, false), (second, true), (2 * second, true)]);
    }
    // A whole chain of private images behind it does not help.
    let mut broken = ampere(NV, GPU);
    broken[0x3000 + 0x40] = b'Q';
    assert_eq!(candidates(&broken), [(0, false)]);
    // A chain that begins with EFI images.
    let mut efi = chain(&[ImageBuilder::efi(NV, GPU, 4), ImageBuilder::legacy(NV, GPU, 4).last()]);
    efi[0x50] = 2;
    assert_eq!(candidates(&efi), [(0, false)]);
}

#[test]
fn a_network_roms_images_are_passed_over() {
    let network = |image: ImageBuilder| image.class(0x02_0000);
    let bytes = chain(&[
        network(ImageBuilder::legacy(0x8086, 0x10d3, 4)),
        ImageBuilder::efi(0x8086, 0x10d3, 4).last(),
        ImageBuilder::legacy(NV, GPU, 4).last(),
    ]);
    assert_eq!(candidates(&bytes), [(0, false), (0x1000, true)]);
}

#[test]
fn false_headers_are_bounded() {
    // Each claims more than is there.
    let image = ImageBuilder::legacy(NV, GPU, 1).build();
    let many: Vec<u8> = (0..600u16)
        .flat_map(|device| {
            let mut header = image.clone();
            header[0x46..0x48].copy_from_slice(&(device + 1).to_le_bytes());
            header[0x50] = 0;
            header[2] = 0;
            header
        })
        .collect();
    let mut search = Search::new(&many);
    assert_eq!(search.by_ref().count(), 256);
    assert!(search.gave_up());
}

proptest! {
    #[test]
    fn no_image_is_part_of_two_candidates(bytes in hostile(), again in hostile()) {
        let bytes = [bytes, again].concat();
        let mut seen = Vec::new();
        for candidate in Search::new(&bytes) {
            prop_assert!(!seen.contains(&candidate.start), "{:#x}", candidate.start);
            seen.extend(candidate.rom.images.iter().map(|image| candidate.start + image.offset));
        }
    }
}
