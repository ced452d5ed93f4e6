//! What vendors wrap their updates in.

use super::*;

/// The password of all of Insyde's packers.
const INSYDE: &str = "Y`t~i!L@i#t$U%h^s7A*l(f)E-d=y+S_n?i";

fn encrypted_7z(password: &str) -> Vec<u8> {
    let mut out = sevenz_rust2::ArchiveWriter::new(std::io::Cursor::new(Vec::new())).unwrap();
    let aes = sevenz_rust2::encoder_options::AesEncoderOptions::new(password.into());
    out.set_content_methods(vec![
        aes.into(),
        sevenz_rust2::encoder_options::Lzma2Options::from_level(1).into(),
    ]);
    out.push_archive_entry(
        sevenz_rust2::ArchiveEntry::new_file("isflash.bin"),
        Some(padded(&gpu()).as_slice()),
    )
    .unwrap();
    out.finish().unwrap().into_inner()
}

#[test]
fn insydes_self_extracting_archives_open() {
    let plain = seven_zip_of(&[("isflash.bin", &padded(&gpu()))]);
    let encrypted = encrypted_7z(INSYDE);
    let rotate = |bytes: &[u8]| bytes.iter().map(|byte| byte.rotate_left(1)).collect::<Vec<_>>();
    let stub = [b"MZ".to_vec(), vec![0x90; 3000], b";!@Install@!UTF-8!\r\n\r\n;!@InstallEnd@!\r\n".to_vec()]
        .concat();
    for archive in [plain.clone(), rotate(&plain), encrypted.clone(), rotate(&encrypted)] {
        let survey = search(&[stub.clone(), archive, vec![0x5a; 600]].concat());
        assert!(survey.complete(), "{survey:?}");
        assert_eq!(survey.roms.len(), 1, "{survey:?}");
        assert!(
            survey.roms[0].place.contains("7z at 0x")
                && survey.roms[0].place.ends_with("isflash.bin at 0x309")
        );
    }
    let survey = search(&encrypted_7z("another"));
    assert_eq!(survey.roms, []);
    assert!(survey.notes[0].contains("encrypted with a password"), "{survey:?}");
}

#[test]
fn dells_blocks_are_put_where_their_headers_say() {
    let rom = gpu();
    let image = [vec![0x33; 100], rom.clone(), vec![0x44; 100]].concat();
    for script in [0x218, 0x28, 0x10] {
        // Small blocks in another order, with a gap behind the ROM.
        let mut entries: Vec<_> = image
            .chunks(3000)
            .enumerate()
            .map(|(index, part)| bios_guard_block(script, 0x70_0000 + 3000 * index as u32, false, part))
            .collect();
        entries.push(bios_guard_block(script, 0x71_0000, false, b"the end"));
        entries.reverse();
        let update = zlib(&pfs(&[pfs(&entries)]));
        let header = b"\x10\0\0\0\xaa\xee\xaa\x76\x1b\xec\xbb\x20\xf1\xe6\x51\x00";
        let bytes = padded(&[&header[..], &update].concat());
        let survey = search(&bytes);
        assert!(survey.complete() && survey.damaged.is_empty(), "{survey:?}");
        let place = place_of(&rom, &bytes);
        assert!(place.ends_with("Dell PFS at 0x58 at 0x64"), "{place}");
    }
    // The gap is as large as it says, and no larger than can be.
    let blocks =
        [bios_guard_block(0x18, 0x1000, false, b"one"), bios_guard_block(0x18, 0x1010, false, b"two")];
    let joined = dell::join_blocks(&pfs(&blocks), 1 << 20).unwrap().bytes;
    assert_eq!(joined, [&b"one"[..], &[0xff; 13], b"two"].concat());
    let far = [bios_guard_block(0x18, 0, false, b"one"), bios_guard_block(0x18, u32::MAX, false, b"two")];
    assert_eq!(dell::join_blocks(&pfs(&far), 1 << 30).unwrap().bytes, b"onetwo");
    assert!(dell::join_blocks(&pfs(&blocks), 5).is_none());
    // Entries without data are passed over, but not for ever.
    let mut entries = vec![Vec::new(); 65_535];
    entries.extend_from_slice(&blocks[..1]);
    assert_eq!(dell::join_blocks(&pfs(&entries), 1 << 20).unwrap().bytes, b"one");
    entries.push(Vec::new());
    assert!(dell::join_blocks(&pfs(&entries), 1 << 20).is_none());
}

#[test]
fn amis_blocks_are_joined_in_order() {
    let rom = gpu();
    let body = padded(&rom);
    let parts: Vec<_> = body.chunks(4096).collect();
    let (first, rest) = parts.split_at(2);
    let bytes = padded(&ami_bios_guard(&[], &[("a.bin", first.to_vec()), ("b.bin", rest.to_vec())]));
    let survey = search(&bytes);
    assert!(survey.complete() && survey.damaged.is_empty(), "{survey:?}");
    assert_eq!(survey.roms[0].image, rom);
    assert_eq!(survey.roms[0].place, "file > AMI BIOS Guard at 0x309 at 0x309");
    // The list says where in flash each lies.
    let swapped = ami_bios_guard(&[1, 0], &[("b.bin", rest.to_vec()), ("a.bin", first.to_vec())]);
    assert_eq!(place_of(&rom, &swapped), "file > AMI BIOS Guard at 0x0 at 0x309");

    let survey = search(&swapped[..swapped.len() - 600]);
    assert!(
        survey.notes[0].ends_with("ends too early: it was not downloaded or copied in whole"),
        "{survey:?}"
    );
}

/// Sections of other GUIDs and forms, each around a packed ROM.
#[test]
fn sections_of_vendors_are_unpacked() {
    let rom = gpu();
    let hp = uuid!("0ed85e23-f253-413f-a03c-901987b04397");
    let signed = uuid!("0f9d89e8-9259-4f76-a5af-0c89e34023df");
    let packed = lzma(&section(0x19, &rom));
    let legacy = [&(packed.len() as u32 + 4).to_le_bytes()[..], &packed].concat();
    // WIN_CERTIFICATE_UEFI_GUID of 0x28 bytes, which the data offset does not count.
    let certificate = [&[0x28, 0, 0, 0, 0, 2, 0xf1, 0x0e][..], &[0x77; 32]].concat();
    for one in [
        guided(hp, &packed),
        guided(LZMA, &legacy),
        compression(2, rom.len(), &packed),
        compression(2, rom.len(), &legacy),
        compression(0x86, rom.len(), &packed),
        // A GUID of nobody's, around something that is known.
        guided(NAME, &packed),
        guided(signed, &guided(LZMA, &packed)),
        guided(signed, &[certificate, guided(LZMA, &packed)].concat()),
    ] {
        let survey = search(&volume(&[file(NAME, 0x02, &one)]));
        assert!(survey.complete(), "{survey:?}");
        assert_eq!(survey.roms.len(), 1, "{survey:?}");
        assert_eq!(survey.roms[0].image, rom);
    }
    // HP's is found without a volume too.
    assert_eq!(search(&padded(&guided(hp, &packed))).roms.len(), 1);
}
