//! Containers that no vendor of firmware has for itself: streams, archives, cabinets, the registry.

use super::*;

/// A ROM on the border of two things.
fn halves(rom: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let body = padded(rom);
    let (one, two) = body.split_at(9000);
    (one.to_vec(), two.to_vec())
}

#[test]
fn more_kinds_of_streams_are_opened_wherever_they_begin() {
    let body = padded(&gpu());
    for (bytes, container) in [(bzip2(&body), "file > bzip2 at 0x309"), (zstd(&body), "file > zstd at 0x309")]
    {
        let survey = search(&padded(&bytes));
        assert!(survey.complete() && survey.roms.len() == 1, "{survey:?}");
        assert!(survey.roms[0].place.starts_with(container), "{survey:?}");
    }
    let survey = search(&lzma(&body));
    assert!(survey.complete(), "{survey:?}");
    assert_eq!(survey.roms[0].place, "file > LZMA at 0x0 at 0x309");
}

#[test]
fn streams_in_a_row_are_one_thing() {
    let rom = gpu();
    let (one, two) = halves(&rom);
    let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    for bytes in [
        [gzip(&one), gzip(&two)].concat(),
        [gzip(&one), vec![0; 512], gzip(&two)].concat(),
        [xz(&one), vec![0; 8], xz(&two)].concat(),
        [bzip2(&one), bzip2(&two)].concat(),
        [zstd(&one), skippable, zstd(&two)].concat(),
    ] {
        let survey = search(&bytes);
        assert!(survey.complete(), "{survey:?}");
        assert_eq!((survey.things, survey.roms.len(), survey.damaged.len()), (2, 1, 0), "{survey:?}");
        assert_eq!(survey.roms[0].image, rom);
    }
}

#[test]
fn what_comes_out_of_a_cut_stream_is_searched_and_the_cut_is_told() {
    let rom = gpu();
    // Bytes that do not get shorter follow the ROM, so that the cut lies behind it.
    let mut noise = 1u32;
    let tail: Vec<u8> = (0..400_000)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        })
        .collect();
    let body = [rom.clone(), tail].concat();
    for whole in [gzip(&body), xz(&body), zlib(&body), bzip2(&body), zstd(&body), lzma(&body)] {
        let cut = &whole[..whole.len() - 100_000];
        let survey = search(cut);
        assert_eq!(survey.notes.len(), 1, "{survey:?}");
        assert!(survey.notes[0].contains("ends too early: the file was not downloaded"), "{survey:?}");
        assert!(survey.roms.iter().all(|found| found.image == rom) && survey.roms.len() == 1, "{survey:?}");
    }
    // Damage in the middle.
    let mut damaged = gzip(&body);
    let middle = damaged.len() - 50_000;
    damaged[middle..middle + 1000].fill(0xff);
    let survey = search(&damaged);
    assert_eq!(survey.roms.len(), 1);
    assert!(!survey.complete(), "{survey:?}");
}

#[test]
fn a_zip_archive_without_its_end_is_searched_and_the_cut_is_told() {
    let rom = gpu();
    let whole = zip_of(&[("a", &[1; 700]), ("b.rom", &padded(&rom)), ("c", &[2; 700])]);
    let directory = whole.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    for end in [whole.len() - 10, directory + 10, directory] {
        let survey = search(&whole[..end]);
        assert_eq!((survey.roms.len(), survey.damaged.len()), (1, 0), "{survey:?}");
        assert_eq!(survey.roms[0].place, "file > zip > b.rom at 0x309");
        assert_eq!(survey.notes.len(), 1, "{survey:?}");
        assert!(survey.notes[0].contains("the end of the archive is missing"), "{survey:?}");
    }
    assert!(search(&whole).complete());
}

#[test]
fn a_cabinet_is_opened_wherever_it_begins() {
    let rom = gpu();
    // Of several blocks, the ROM on their borders.
    let body = [vec![7; 30_000], padded(&rom)].concat();
    let bytes = cabinet(&[("readme.txt", b"read me"), ("firmware.bin", &body), ("c", b"c")]);
    let survey = search(&padded(&bytes));
    assert!(survey.complete(), "{survey:?}");
    assert_eq!(survey.roms[0].place, "file > cabinet at 0x309 > firmware.bin at 0x7839");
    assert_eq!(survey.roms[0].image, rom);

    let survey = search(&bytes[..bytes.len() - 20]);
    assert!(
        survey.notes[0].contains("folder 0 cannot be unpacked in whole: it ends too early"),
        "{survey:?}"
    );
    // Each block has a checksum.
    let mut damaged = bytes.clone();
    damaged[bytes.len() - 20] ^= 1;
    let survey = search(&damaged);
    assert!(survey.notes[0].ends_with("folder 0 cannot be unpacked in whole: it is damaged"), "{survey:?}");
    // A method that is not read here is left to a program.
    let mut foreign = bytes;
    foreign[42] = 3;
    let mut world = World { files: vec![("f.rom".into(), rom)], ..World::default() };
    let survey = survey_in(&foreign, &mut world);
    assert_eq!(world.asked, [Tool::Cabextract]);
    assert_eq!(survey.roms[0].place, "file > cabinet at 0x0 > f.rom at 0x0");
}

fn survey_in(bytes: &[u8], world: &mut World) -> Survey {
    survey(bytes, "file", &Limits::default(), world)
}

#[test]
fn the_values_of_a_registry_key_are_joined() {
    let rom = gpu();
    let path = ["ControlSet001", "Control", "Class", "{4d36e968}", "0000", "Session"];
    let place = |bytes: &[u8]| place_of(&rom, bytes);
    let inside = "file > registry > ControlSet001\\Control\\Class\\{4d36e968}\\0000\\Session at 0x0";
    // One value, which the hive keeps in pieces.
    assert_eq!(
        place(&hive(&path, &[("vbios", &rom), ("name", b"x")])),
        "file > registry > ControlSet001\\Control\\Class\\{4d36e968}\\0000\\Session at 0x1"
    );
    // Values in any order, with numbers for names.
    let parts: Vec<_> = rom.chunks(3000).enumerate().map(|(index, part)| (index.to_string(), part)).collect();
    assert!(parts.len() > 10);
    let mut values: Vec<_> = parts.iter().map(|(name, part)| (name.as_str(), *part)).collect();
    values.sort();
    let bytes = hive(&[&path[..], &["vbios"]].concat(), &values);
    assert_eq!(place(&bytes), inside.replace(" at", "\\vbios at"));
    assert!(search(&bytes).complete());
    // The pieces are no damaged ROMs.
    assert_eq!(search(&bytes).damaged, []);
    let survey = search(&bytes[..bytes.len() - 5000]);
    assert!(!survey.complete(), "{survey:?}");
}

#[test]
fn a_value_that_a_key_lists_again_and_again_does_not_fill_memory() {
    let long = "n".repeat(60_000);
    let values: Vec<(&str, &[u8])> =
        (0..2000).map(|_| ("x", &[1; 8][..])).chain([(&*long, &[2; 8][..])]).collect();
    let bytes = hive(&["Key"], &values);
    assert!(search(&bytes).complete());
    let value = bytes.windows(4).position(|four| four == [b'v', b'k', 0x60, 0xea]).unwrap();
    let entry = u32::try_from(value - 4 - 4096).unwrap().to_le_bytes();
    let last = bytes.windows(4).position(|four| four == entry).unwrap();
    let repeated = [&bytes[..last - 4 * 2000], entry.repeat(2000).as_slice(), &bytes[last..]].concat();
    let survey = search(&repeated);
    assert!(survey.notes[0].contains("1 keys cannot be read"), "{survey:?}");
}

#[test]
fn a_7z_archive_without_substreams_info_opens() {
    let rom = gpu();
    let bytes = without_substreams_info("BIOS.bin", &padded(&rom));
    let survey = search(&bytes);
    assert!(survey.complete(), "{survey:?}");
    assert_eq!(survey.roms[0].place, "file > 7z at 0x0 > BIOS.bin at 0x309");
}

/// An archive of one file, stored.
pub(super) fn without_substreams_info(name: &str, file: &[u8]) -> Vec<u8> {
    let crc = |data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        crc.sum().to_le_bytes()
    };
    // A number of four bytes has four bits set at the top.
    let size = [&[0xf0][..], &(file.len() as u32).to_le_bytes()].concat();
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let header = [
        &[0x01, 0x04, 0x06, 0x00, 0x01, 0x09][..],
        &size,
        &[0x00, 0x07, 0x0b, 0x01, 0x00, 0x01, 0x01, 0x00, 0x0c],
        &size,
        &[0x0a, 0x01],
        &crc(file),
        &[0x00, 0x00, 0x05, 0x01, 0x11, name.len() as u8 + 1, 0x00],
        &name,
        &[0x00, 0x00],
    ]
    .concat();
    let start = [&(file.len() as u64).to_le_bytes()[..], &(header.len() as u64).to_le_bytes(), &crc(&header)]
        .concat();
    [b"7z\xbc\xaf\x27\x1c\x00\x04", &crc(&start)[..], &start, file, &header].concat()
}

#[test]
fn one_unreadable_block_does_not_keep_the_others_from_being_read() {
    let rom = gpu();
    // A block for each file.
    let mut bytes = seven_zip_of(&[("bad", &[1; 70_000]), ("good", &rom)]);
    bytes[40] ^= 0xff;
    let survey = search(&bytes);
    assert_eq!(survey.roms.len(), 1, "{survey:?}");
    assert!(!survey.complete());
    assert!(!survey.notes.iter().any(|note| note.contains("Error") || note.contains('"')), "{survey:?}");
}

#[test]
fn a_7z_archive_without_its_end_is_told() {
    let bytes = seven_zip_of(&[("a", &gpu())]);
    let survey = search(&bytes[..bytes.len() - 5]);
    let said = "file > 7z at 0x0: its end is missing, where its directory is: the file was not downloaded or copied in whole";
    assert_eq!(survey.notes, [said]);
    // A program that holds the signature is none.
    assert!(search(&padded(b"7z\xbc\xaf\x27\x1c")).notes.is_empty());
}
