//! Tests of sections and their decompression. The compressed vectors were made with the `uefi_firmware` and `brotli`
//! modules of Python, from a ROM that [`ImageBuilder`] builds, in a raw section.

use proptest::prelude::*;

use super::testing::{compression, file, guided, guided_plain, row, section, volume};
use super::*;
use crate::option_rom::testing::ImageBuilder;

const EFI: &str = "4600000004080000002b4b6db625fef48f506a35024703d90a453212144c116cb810e0d344c0eeb0e00b80860ab905f820\
                   04026d48dbb603c3d707ca4a75c6dd6e107b68f9a727eba22222264000";
const TIANO_DATA: &str = "4600000004080000002b4b6db625fef48f506a35024703d90a453212144c116cb810e0d344c0eeb0e00b80860ab905\
                          f410020136a46ddb01e1eb83e5253ae36eb7083db47cd393f5d11111132000";
const BROTLI_DATA: &str = "040800000000000000000000000000001b0308f885a06d1ef8c16854b005c16493c1ca5a5a284b65b1adacad10cab1\
                           08150008a891b5f30d7c02c31d7baee32f4fa7420ab829df0b";
/// A GUID of nothing in particular.
const NAME: Uuid = uuid!("fc1bcdb0-7d31-49aa-936a-a4600d9dd083");

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn original() -> Vec<u8> {
    section(0x19, &ImageBuilder::legacy(0x10de, 0x1c8d, 4).last().build())
}

fn found(bytes: &[u8]) -> Vec<Compressed> {
    let mut sections = Sections::default();
    for at in 0..bytes.len() {
        sections.walk_volume(bytes, at);
    }
    sections.into_found()
}

#[test]
fn each_algorithm_gives_the_original() {
    for (method, data) in [
        (Method::Standard, EFI),
        (Method::Standard, TIANO_DATA),
        (Method::Tiano, TIANO_DATA),
        (Method::Brotli, BROTLI_DATA),
    ] {
        let readings = decompress(method, &hex(data), 4096).unwrap();
        assert!(readings.contains(&original()), "{method:?}");
        let size = original().len();
        decompress(method, &hex(data), size).unwrap();
        let error = decompress(method, &hex(data), size - 1).unwrap_err();
        assert_eq!(error, DecompressError::TooLarge { limit: size - 1 }, "{method:?}");
    }
}

#[test]
fn the_variants_of_the_algorithm_are_told_apart() {
    let read = |data: &str, window| tiano::decompress(&hex(data), window, 1 << 20);
    assert_eq!(read(EFI, tiano::Window::Uefi).unwrap(), original());
    assert_eq!(read(TIANO_DATA, tiano::Window::Tiano).unwrap(), original());
    assert_ne!(read(EFI, tiano::Window::Tiano).ok(), Some(original()));
    assert_ne!(read(TIANO_DATA, tiano::Window::Uefi).ok(), Some(original()));
}

#[test]
fn damaged_data_is_refused() {
    for (method, data) in [(Method::Tiano, TIANO_DATA), (Method::Brotli, BROTLI_DATA)] {
        let data = hex(data);
        for end in 0..data.len() - 1 {
            assert!(decompress(method, &data[..end], 4096).is_err(), "{method:?} {end}");
        }
    }
    // All zeros: a block of no symbols.
    let mut zeros = vec![0; 64];
    zeros[0] = 56;
    zeros[4] = 1;
    assert!(decompress(Method::Standard, &zeros, 4096).is_err());
    assert!(decompress(Method::Lzma, &[0xff; 64], 4096).is_err());
}

#[test]
fn sections_are_found_through_every_wrapping() {
    let packed = compression(1, original().len(), &hex(EFI));
    let tiano = guided(TIANO, &hex(TIANO_DATA));
    let brotli = guided(BROTLI, &hex(BROTLI_DATA));
    let sections = row(&[
        section(0x15, b"n\0a\0\0\0"),
        packed,
        section(0x03, &tiano),
        compression(0, brotli.len(), &guided_plain(NAME, &[1, 2, 3, 4], &brotli)),
    ]);
    let image = volume(&[file(NAME, 0x01, b"raw"), file(NAME, 0x02, &sections)]);
    let bytes = [vec![0xff; 0x123], image].concat();
    let found = found(&bytes);
    let methods: Vec<_> = found.iter().map(|one| one.method).collect();
    assert_eq!(methods, [Method::Standard, Method::Tiano, Method::Brotli]);
    for one in found {
        let readings = decompress(one.method, &bytes[one.data], 4096).unwrap();
        assert!(readings.contains(&original()), "{:?}", one.method);
    }
}

#[test]
fn a_section_outside_of_a_volume_is_found_by_its_guid() {
    let bytes = [vec![7; 13], guided(TIANO, &hex(TIANO_DATA)), vec![7; 13]].concat();
    let mut sections = Sections::default();
    let at = bytes.windows(16).position(|window| window == TIANO.to_bytes_le()).unwrap();
    sections.take_guid(&bytes, at);
    // Once only.
    sections.take_guid(&bytes, at);
    let found = sections.into_found();
    assert_eq!(found.len(), 1);
    assert_eq!(bytes[found[0].data.clone()], hex(TIANO_DATA));
}

#[test]
fn a_walk_ends_however_many_volumes_overlap() {
    let one = volume(&[]);
    let header = &one[..72];
    let bytes: Vec<u8> = header.iter().copied().cycle().take(72 * 20_000).collect();
    let mut sections = Sections::default();
    let walked = (0..bytes.len()).step_by(72).filter(|at| sections.walk_volume(&bytes, *at)).count();
    assert!((100..=MAX_STEPS / VOLUME_STEPS).contains(&walked), "{walked}");
}

proptest! {
    #[test]
    fn hostile_streams_are_answered(
        method in prop_oneof![
            Just((Method::Standard, EFI)),
            Just((Method::Tiano, TIANO_DATA)),
            Just((Method::Brotli, BROTLI_DATA)),
        ],
        faults in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut data = hex(method.1);
        for (at, value) in faults {
            let at = at.index(data.len());
            data[at] = value;
        }
        if let Ok(readings) = decompress(method.0, &data, 5000) {
            prop_assert!(readings.iter().all(|reading| reading.len() <= 5000));
        }
    }

    #[test]
    fn hostile_lzma_is_answered(
        filter in any::<bool>(),
        faults in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let options = lzma_rust2::LzmaOptions::with_preset(1);
        let text: Vec<u8> = (0..3000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        let mut out =
            lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, Some(text.len() as u64)).unwrap();
        std::io::Write::write_all(&mut out, &text).unwrap();
        let mut data = out.finish().unwrap();
        for (at, value) in faults {
            let at = at.index(data.len());
            data[at] = value;
        }
        let method = if filter { Method::LzmaX86 } else { Method::Lzma };
        if let Ok(readings) = decompress(method, &data, 20_000) {
            prop_assert!(readings.iter().all(|reading| reading.len() <= 20_000));
        }
    }

    #[test]
    fn noise_is_answered(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut sized = data.clone();
        if sized.len() >= 8 {
            let packed = (sized.len() - 8) as u32;
            sized[..4].copy_from_slice(&packed.to_le_bytes());
            sized[4..8].copy_from_slice(&3000u32.to_le_bytes());
        }
        for method in [Method::Standard, Method::Tiano, Method::Lzma, Method::LzmaX86, Method::Brotli] {
            for data in [&data, &sized] {
                let _ = decompress(method, data, 5000);
            }
        }
    }

    #[test]
    fn hostile_volumes_are_answered(
        faults in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        noise in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let sections = row(&[guided(TIANO, &hex(TIANO_DATA)), compression(0, 64, &noise), section(0x03, &noise)]);
        let mut bytes = volume(&[file(NAME, 0x02, &sections)]);
        for (at, value) in faults {
            let at = 72 + at.index(400);
            bytes[at] = value;
        }
        for one in found(&bytes) {
            prop_assert!(bytes.get(one.data).is_some());
        }
    }
}
