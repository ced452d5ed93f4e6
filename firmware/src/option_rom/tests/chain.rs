//! Tests of what a chain is as a whole, whatever a PCIR of its images says, and where it may end.

use super::super::testing::{AMPERE_STANDARD, ImageBuilder, ampere, muxless};
use super::super::*;
use super::{GPU, NV, chain, errors, expect};

#[test]
fn a_gop_without_class_is_one_in_a_video_bios() {
    // As on desktops since Ampere, with the GPU's IDs, and on laptops, without any.
    let legacy = || ImageBuilder::legacy(NV, GPU, 16);
    for (vendor, device) in [(NV, GPU), (0, 0)] {
        let efi = ImageBuilder::efi(vendor, device, 12).class(0).revision_3(0).last();
        let bytes = chain(&[legacy(), efi]);
        assert_eq!(check(&bytes, expect(GPU)).unwrap(), Checked { image: bytes.clone(), warnings: vec![] });
        assert!(parse(&bytes).unwrap().has_gop());
    }
    let bytes = ampere(NV, GPU);
    assert_eq!(check(&bytes, expect(GPU)).unwrap(), Checked { image: bytes, warnings: vec![] });
    // The class may be in a later image than the first.
    let bytes = chain(&[ImageBuilder::efi(NV, GPU, 4).class(0), ImageBuilder::legacy(NV, GPU, 4).last()]);
    assert_eq!(check(&bytes, expect(GPU)).unwrap().warnings, []);
    // A network card's EFI image is none.
    let network = ImageBuilder::legacy(NV, GPU, 4).class(0x02_0000);
    let bytes = chain(&[network, ImageBuilder::efi(NV, GPU, 4).class(0).last()]);
    assert!(!parse(&bytes).unwrap().has_gop());
    assert_eq!(errors(&bytes, None), [Problem::NotDisplay { offset: 0x4d, found: 0x02_0000 }]);
    let bytes = ImageBuilder::efi(NV, GPU, 4).class(0).last().build();
    assert_eq!(errors(&bytes, None), [Problem::NotDisplay { offset: 0x4d, found: 0 }]);
}

#[test]
fn a_rom_as_linux_reads_it_lacks_the_private_images_only() {
    let whole = ampere(NV, GPU);
    let standard = &whole[..AMPERE_STANDARD];
    let missing = vec![Problem::PrivateMissing { image: 2, offset: AMPERE_STANDARD }];
    let usable = Checked { image: standard.to_vec(), warnings: missing };
    // Through sysfs, and through VFIO, which fills the BAR up.
    assert_eq!(check(standard, expect(GPU)).unwrap(), usable);
    for filler in [0xff, 0] {
        let bar = [standard, &vec![filler; 0x8000]].concat();
        assert_eq!(check(&bar, expect(GPU)).unwrap(), usable);
    }
    // Anything else there is damage.
    let damaged = [standard, &[0xff; 100], &[1; 900]].concat();
    let found = vec![0xff; 4];
    assert_eq!(errors(&damaged, None), [Problem::NoImage { image: 2, offset: AMPERE_STANDARD, found }]);
    // An incomplete standard chain is none, nor one whose PCIR covers the private images too.
    assert_eq!(errors(&whole[..0x3000], None), [Problem::ChainEnds { image: 1, offset: 0x3000 }]);
    assert_eq!(errors(&muxless(NV, GPU)[..0x3000], None), [Problem::ChainEnds { image: 1, offset: 0x3000 }]);
    // Nor one that ends within or between private images.
    let end = AMPERE_STANDARD + 16 * 512;
    assert_eq!(errors(&whole[..end], None), [Problem::ChainEnds { image: 3, offset: end }]);
    assert!(matches!(errors(&whole[..end - 512], None).as_slice(), [Problem::Truncated { image: 2, .. }]));
}

#[test]
fn nothing_is_said_of_dumping_again() {
    for problem in [
        Problem::Truncated { image: 1, offset: 0, length: 2, file: 1 },
        Problem::ChainEnds { image: 1, offset: 0 },
        Problem::HeaderOverrun { image: 0, offset: 2, length: 2, end: 1 },
        Problem::PrivateMissing { image: 2, offset: 0 },
    ] {
        assert!(!problem.to_string().contains("again"), "{problem}");
    }
}

#[test]
fn filler_that_a_vendors_file_lacks_is_put_back() {
    for rom in [muxless(NV, GPU), ampere(NV, GPU)] {
        let (start, length) = (rom.len() - 0x800, 0x800);
        let mut whole = rom.clone();
        whole[start + 0x100..].fill(0xff);
        for cut in [1, 0x200, 0x700] {
            let file = rom.len() - cut;
            let checked = check(&whole[..file], expect(GPU)).unwrap();
            assert_eq!(checked.image, whole, "{cut:#x}");
            let warning = Problem::TailMissing { image: 3, offset: start, length, file };
            assert!(checked.warnings.contains(&warning), "{:?}", checked.warnings);
            assert!(!checked.warnings.iter().any(|warning| matches!(warning, Problem::BlobOverrun { .. })));
        }
        // Its structures must be there.
        assert!(check(&whole[..start + 0x40], expect(GPU)).is_err());
    }
    // Not of other private images, nor of one that is not the last, nor beyond what a ROM can have.
    let legacy = || ImageBuilder::legacy(NV, GPU, 4).npde(false, 1, 4);
    let cut = |images: &[ImageBuilder]| {
        let bytes = chain(images);
        errors(&bytes[..0x900], None)
    };
    assert!(matches!(
        cut(&[legacy(), ImageBuilder::private(NV, GPU, 4).last()])[..],
        [Problem::Truncated { .. }]
    ));
    assert!(matches!(cut(&[legacy(), ImageBuilder::nbsi(NV, GPU, 4)])[..], [Problem::Truncated { .. }]));
    let huge = ImageBuilder::nbsi(NV, GPU, 0x8000).last();
    assert!(matches!(cut(&[legacy(), huge])[..], [Problem::Truncated { .. }]));
}

#[test]
fn a_device_list_ends_within_its_image() {
    let list = |image: ImageBuilder| {
        let bytes = [image.build(), vec![0x11; 0x1000]].concat();
        parse(&bytes).unwrap().images[0].device_list.clone()
    };
    let image = || ImageBuilder::legacy(NV, GPU, 4).last();
    // A pointer of filler, one into filler, one behind the image, one that leads out of it, one into the PCIR itself.
    assert!(list(image().revision_3(0xffff)).is_empty());
    assert!(list(image().fill(0xff).revision_3(0x200)).is_empty());
    assert!(list(image().revision_3(0x900)).is_empty());
    assert!(list(image().revision_3(0x7b0)).is_empty());
    assert!(list(image().revision_3(4)).is_empty());
    assert_eq!(list(image().device_list(&[0x1c91])), [0x1c91]);
    // Filler ends a list too.
    assert_eq!(list(image().device_list(&[0x1c91, 0xffff, 0x1c92])), [0x1c91]);
    // Longer than any.
    assert!(list(ImageBuilder::legacy(NV, GPU, 16).last().device_list(&[7; 300])).is_empty());
}

#[test]
fn private_images_begin_no_rom() {
    let mut private = ImageBuilder::private(NV, GPU, 4).last().build();
    private[..2].copy_from_slice(&[0x55, 0xaa]);
    private[0x40..0x44].copy_from_slice(b"PCIR");
    assert_eq!(find(&private, 0), None);
    assert!(parse(&private).is_err());
}
