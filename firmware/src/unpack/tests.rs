//! Tests of the search for ROMs, on containers that other libraries or the tests themselves make.

mod boxes;
mod notes;
mod oracle;
mod vendors;

use std::io::Write;
use std::sync::LazyLock;

use proptest::prelude::*;
use uuid::{Uuid, uuid};

use super::testing::{ami_bios_guard, bios_guard_block, cabinet, hive, pfs};
use super::*;
use crate::option_rom::testing::{ImageBuilder, muxless, with_gop};
use crate::uefi_volume::testing::{compression, file, guided, row, section, volume};

const NAME: Uuid = uuid!("a0000000-0000-4000-8000-000000000001");
const LZMA: Uuid = uuid!("ee4e5898-3914-4259-9d6e-dc7bd79403cf");
const LZMA_X86: Uuid = uuid!("d42ae6bd-1352-4bfb-909a-ca72a6eae889");

/// Remembers what it was asked, and opens containers by a table.
#[derive(Default)]
struct World {
    places: Vec<String>,
    asked: Vec<Tool>,
    files: Vec<(String, Vec<u8>)>,
}

impl Surroundings for World {
    fn looking_at(&mut self, place: &str, _: usize) {
        self.places.push(place.to_owned());
    }
    fn open_with(&mut self, tool: Tool, _: &[u8], limit: usize) -> Result<Opened, String> {
        self.asked.push(tool);
        assert!(self.files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= limit);
        match self.files.is_empty() {
            true => Err("the tool is missing".into()),
            false => Ok(Opened { files: self.files.clone(), note: None }),
        }
    }
}

fn search(bytes: &[u8]) -> Survey {
    survey(bytes, "file", &Limits::default(), &mut World::default())
}

/// The places of the one ROM that must be found.
fn place_of(rom: &[u8], bytes: &[u8]) -> String {
    let survey = search(bytes);
    assert_eq!(survey.stopped, None);
    assert_eq!(survey.roms.len(), 1, "{survey:?}");
    assert_eq!(survey.roms[0].image, rom);
    survey.roms[0].place.clone()
}

fn gpu() -> Vec<u8> {
    muxless(0x10de, 0x1c8d)
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut out = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut out = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn lzma(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::LzmaOptions::with_preset(1);
    let size = Some(bytes.len() as u64);
    let mut out = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, size).unwrap();
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        out.start_file(*name, options).unwrap();
        out.write_all(bytes).unwrap();
    }
    out.finish().unwrap().into_inner()
}

fn seven_zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = sevenz_rust2::ArchiveWriter::new(std::io::Cursor::new(Vec::new())).unwrap();
    out.set_content_methods(vec![sevenz_rust2::encoder_options::Lzma2Options::from_level(1).into()]);
    for (name, bytes) in files {
        out.push_archive_entry(sevenz_rust2::ArchiveEntry::new_file(name), Some(*bytes)).unwrap();
    }
    out.finish().unwrap().into_inner()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    [&[0x11; 777][..], bytes, &[0x22; 333]].concat()
}

#[test]
fn a_rom_that_lies_bare_is_found_at_any_offset() {
    assert_eq!(place_of(&gpu(), &padded(&gpu())), "file at 0x309");
}

#[test]
fn a_rom_is_found_in_each_container() {
    let rom = gpu();
    let body = padded(&rom);
    let lzma_volume = |guid| volume(&[file(NAME, 0x02, &guided(guid, &lzma(&section(0x19, &body))))]);
    for (bytes, container) in [
        (zlib(&body), "file > zlib at 0x309 at "),
        (gzip(&body), "file > gzip at 0x309 at "),
        (xz(&body), "file > xz at 0x309 at "),
        (seven_zip_of(&[("a", b"a"), ("b/BIOS.bin", &body)]), "file > 7z at 0x309 > b/BIOS.bin at "),
        (zip_of(&[("a", b"a"), ("BIOS.bin", &body)]), "file > zip > BIOS.bin at "),
        (lzma_volume(LZMA), "file > LZMA section at "),
    ] {
        let place = place_of(&rom, &padded(&bytes));
        assert!(place.starts_with(container), "{place}");
    }
    // The filter changes nothing where there are no jumps.
    let place = place_of(&rom, &lzma_volume(LZMA_X86));
    assert!(place.contains("LZMA (x86) section"), "{place}");
}

#[test]
fn sections_within_unpacked_sections_are_found_without_a_volume() {
    let rom = gpu();
    let inner = guided(LZMA, &lzma(&section(0x19, &rom)));
    let plain = compression(0, inner.len(), &inner);
    let bytes = volume(&[file(NAME, 0x02, &guided(LZMA, &lzma(&row(&[section(0x15, b"n\0\0\0"), plain]))))]);
    let place = place_of(&rom, &bytes);
    assert_eq!(place.matches("LZMA section").count(), 2, "{place}");
}

#[test]
fn a_volume_within_a_volume_in_an_archive_in_an_archive() {
    let rom = gpu();
    let inner = volume(&[file(NAME, 0x02, &section(0x19, &padded(&rom)))]);
    let outer = volume(&[file(NAME, 0x0b, &guided(LZMA, &lzma(&row(&[section(0x17, &inner)]))))]);
    let update = zip_of(&[("bios.cap", &outer)]);
    let bytes = padded(&seven_zip_of(&[("update.exe", &padded(&update))]));
    let survey = search(&bytes);
    assert_eq!(survey.roms.len(), 1, "{survey:?}");
    assert_eq!((survey.volumes, survey.roms[0].copies), (2, 1));
    let place = &survey.roms[0].place;
    assert!(
        place.starts_with("file > 7z at 0x309 > update.exe > zip > bios.cap > LZMA section at "),
        "{place}"
    );
}

#[test]
fn an_insyde_image_needs_no_unpacking() {
    let rom = gpu();
    let image = volume(&[file(NAME, 0x02, &guided(LZMA, &lzma(&section(0x19, &rom))))]);
    let size = (image.len() as u32).to_le_bytes();
    let flasher =
        [b"MZ".to_vec(), vec![0; 301], b"$_IFLASH_BIOSIMG".to_vec(), size.repeat(2), image].concat();
    place_of(&rom, &flasher);
}

#[test]
fn tools_are_asked_for_what_only_they_can_open() {
    let setup = [b"MZ".to_vec(), vec![0; 5000], b"Inno Setup Setup Data (5.5.7)".to_vec()].concat();
    let packed = [b"MZ".to_vec(), vec![0; 500], b"UPX!".to_vec(), vec![0; 500]].concat();
    for (bytes, tool) in [(setup, Tool::Innoextract), (packed, Tool::Upx)] {
        let mut world = World { files: vec![("app/bios.bin".into(), padded(&gpu()))], ..World::default() };
        let found = survey(&bytes, "file", &Limits::default(), &mut world);
        assert_eq!(world.asked, [tool]);
        assert_eq!(found.roms[0].place, "file > app/bios.bin at 0x309");

        let mut world = World::default();
        let found = survey(&bytes, "file", &Limits::default(), &mut world);
        assert_eq!(found.notes, ["file: the tool is missing"]);
    }
}

#[test]
fn roms_are_kept_once_and_other_kinds_not_at_all() {
    let network = ImageBuilder::legacy(0x8086, 0x10d3, 8).class(0x02_0000).last().build();
    let intel = with_gop(0x8086, 0x5916);
    let bytes = [gpu(), network, intel.clone(), vec![0; 100], gpu()].concat();
    let survey = search(&bytes);
    let found: Vec<_> = survey.roms.iter().map(|found| (found.image.clone(), found.copies)).collect();
    assert_eq!(found, [(gpu(), 2), (intel, 1)]);
    assert_eq!(survey.damaged, []);
}

#[test]
fn a_damaged_rom_is_told_and_not_taken() {
    let mut rom = gpu();
    rom[0x1000] ^= 1;
    let survey = search(&padded(&rom));
    assert!(survey.roms.is_empty());
    assert_eq!((survey.damaged.len(), survey.damaged[0].rom.end), (1, rom.len()));
    assert_eq!(survey.damaged[0].place, "file at 0x309");
}

#[test]
fn names_do_nothing_to_the_terminal() {
    let name = format!("\u{1b}[31m\n{}", "x".repeat(1000));
    let place = place_of(&gpu(), &zip_of(&[(&name, &gpu())]));
    assert!(place.starts_with("file > zip > \u{fffd}[31m\u{fffd}xxx"), "{place}");
    assert!(place.len() < 300 && !place.contains(char::is_control), "{place}");
}

#[test]
fn depth_is_limited() {
    let mut bytes = gpu();
    for _ in 0..6 {
        bytes = gzip(&padded(&bytes));
    }
    assert_eq!(search(&bytes).roms.len(), 1);
    let limits = Limits { depth: 5, ..Limits::default() };
    let survey = survey(&bytes, "file", &limits, &mut World::default());
    assert!(survey.roms.is_empty());
    assert!(
        survey.notes[0].ends_with("containers deeper than 5 levels were not opened"),
        "{:?}",
        survey.notes
    );
}

#[test]
fn bombs_do_not_go_off() {
    let zeros = vec![0; 8 << 20];
    let limits = Limits { memory: 1 << 20, unpacked: 4 << 20, ..Limits::default() };
    for bomb in [
        zlib(&zeros),
        gzip(&zeros),
        xz(&zeros),
        bzip2(&zeros),
        zstd(&zeros),
        zip_of(&[("zeros", &zeros)]),
        seven_zip_of(&[("zeros", &zeros)]),
        volume(&[file(NAME, 0x02, &guided(LZMA, &lzma(&zeros)))]),
    ] {
        // The ROM beside the bomb is found nevertheless.
        let bytes = [gpu(), bomb].concat();
        let survey = survey(&bytes, "file", &limits, &mut World::default());
        assert_eq!((survey.roms.len(), survey.things, survey.stopped), (1, 1, None), "{:?}", survey.notes);
    }
    // Of a cabinet, what there is room for is looked at.
    let bomb = survey(&cabinet(&[("zeros", &zeros)]), "file", &limits, &mut World::default());
    assert!(bomb.notes[0].ends_with("more than 524288 bytes come out of it"), "{bomb:?}");
    // Many small ones.
    let one: Vec<u8> = zlib(&vec![0; 900 << 10]);
    let survey = survey(&one.repeat(10), "file", &limits, &mut World::default());
    assert_eq!(survey.stopped, Some(Stopped::Unpacked(4 << 20)));
}

#[test]
fn a_7z_archive_that_asks_for_too_much_memory_is_refused() {
    let mut out = sevenz_rust2::ArchiveWriter::new(std::io::Cursor::new(Vec::new())).unwrap();
    let mut options = sevenz_rust2::encoder_options::Lzma2Options::from_level(1);
    options.set_dictionary_size(512 << 20);
    out.set_content_methods(vec![options.into()]);
    out.push_archive_entry(sevenz_rust2::ArchiveEntry::new_file("a"), Some(&[1u8; 600][..])).unwrap();
    let survey = search(&out.finish().unwrap().into_inner());
    assert_eq!(survey.things, 1);
    assert!(survey.notes[0].contains("needs a dictionary of 536870912 bytes"), "{:?}", survey.notes);
}

#[test]
fn an_archive_that_holds_the_same_over_and_over_is_looked_at_once() {
    let body = padded(&gpu());
    let files: Vec<_> = (0..50).map(|_| body.as_slice()).collect();
    let names: Vec<_> = (0..50).map(|index| format!("{index}")).collect();
    let files: Vec<_> = names.iter().map(String::as_str).zip(files).collect();
    let survey = search(&zip_of(&files));
    assert_eq!((survey.things, survey.roms.len(), survey.roms[0].copies), (2, 1, 1));
}

#[test]
fn the_number_of_things_and_the_time_are_limited() {
    let files: Vec<_> = (0..20u8).map(|index| vec![index; 600]).collect();
    let names: Vec<_> = (0..20).map(|index| format!("{index}")).collect();
    let files: Vec<_> = names.iter().map(String::as_str).zip(files.iter().map(Vec::as_slice)).collect();
    let bytes = zip_of(&files);
    let limits = Limits { things: 10, ..Limits::default() };
    let stopped = survey(&bytes, "file", &limits, &mut World::default()).stopped;
    assert_eq!(stopped, Some(Stopped::Things(10)));
    let limits = Limits { time: Duration::ZERO, ..Limits::default() };
    let stopped = survey(&bytes, "file", &limits, &mut World::default()).stopped;
    assert_eq!(stopped, Some(Stopped::Time(Duration::ZERO)));
}

#[test]
fn false_headers_do_not_hold_up_the_search() {
    // Each of these headers claims the most bytes to sum up.
    let mut one = ImageBuilder::legacy(0x10de, 0x1c8d, 1).build();
    one.truncate(0x60);
    one[2] = 0xff;
    one[0x50] = 0xff;
    let bytes = one.repeat(5_000);
    let survey = search(&bytes);
    assert!(survey.roms.is_empty());
    let said = |what: &str| survey.notes.iter().filter(|note| note.contains(what)).count();
    assert_eq!(
        (said("too many false ROM headers"), said("too many video ROMs")),
        (1, 1),
        "{:?}",
        survey.notes
    );
}

static SEVEN_ZIP: LazyLock<Vec<u8>> = LazyLock::new(|| seven_zip_of(&[("a", &[1; 600]), ("b", &gpu())]));

static EVERYTHING: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let rom = gpu();
    let inner = volume(&[file(NAME, 0x02, &guided(LZMA, &lzma(&section(0x19, &padded(&rom)))))]);
    let mut bytes = zip_of(&[("a.bin", &inner[..2048.min(inner.len())])]);
    bytes.extend(seven_zip_of(&[("b.bin", &padded(&rom))]));
    bytes.extend(gzip(&zlib(&rom)));
    bytes.extend(xz(&rom));
    bytes.extend(inner);
    bytes
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn hostile_containers_are_answered(
        faults in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..40),
        end in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = EVERYTHING.clone();
        bytes.truncate(1 + end.index(bytes.len() * 2).min(bytes.len() - 1));
        for (at, value) in faults {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let limits = Limits { memory: 16 << 20, unpacked: 64 << 20, ..Limits::default() };
        let survey = survey(&bytes, "file", &limits, &mut World::default());
        for found in survey.roms {
            let checked = crate::option_rom::check(&found.image, None);
            prop_assert_eq!(checked.map(|checked| checked.image), Ok(found.image));
        }
    }

    #[test]
    fn hostile_7z_headers_are_answered(
        faults in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = SEVEN_ZIP.clone();
        let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let (offset, size) = (number(&bytes, 12), number(&bytes, 20));
        let header = 32 + offset..32 + offset + size;
        for (at, value) in faults {
            bytes[header.start + at.index(size)] = value;
        }
        // The checksums are made right, or no fault would come further than to them.
        let crc = |data: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(data);
            crc.sum().to_le_bytes()
        };
        let header = crc(&bytes[header]);
        bytes[28..32].copy_from_slice(&header);
        let start = crc(&bytes[12..32]);
        bytes[8..12].copy_from_slice(&start);
        let limits = Limits { memory: 1 << 20, unpacked: 4 << 20, ..Limits::default() };
        let survey = survey(&bytes, "file", &limits, &mut World::default());
        prop_assert!(survey.things <= 4);
    }

    #[test]
    fn hostile_zip_headers_are_answered(
        faults in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = zip_of(&[("a", &[1; 600]), ("b", &[2; 600])]);
        // The file headers, the central directory and the end record are nearly all of it.
        for (at, value) in faults {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let limits = Limits { memory: 1 << 20, unpacked: 4 << 20, ..Limits::default() };
        let survey = survey(&bytes, "file", &limits, &mut World::default());
        prop_assert!(survey.things <= 8);
    }
}
