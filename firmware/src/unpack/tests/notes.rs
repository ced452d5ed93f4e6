//! What is said: of everything that was not looked at, and of nothing else.

use super::*;

#[test]
fn a_format_that_is_not_opened_is_named_with_the_program_that_unpacks_it() {
    let ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
    let ucp = [&b"@UAF"[..], &600u32.to_le_bytes(), &[1, 2, 3, 4, 0, 0, 0, 0], b"@UII"].concat();
    for (head, name, program) in [
        (&b"Rar!\x1a\x07\x01\x00"[..], "a RAR 5 archive", "unrar"),
        (b"Rar!\x1a\x07\x00", "a RAR archive", "unrar"),
        (ole, "a compound document", "msiextract"),
        (&ucp, "an AMI UCP update", "ami_ucp_extract"),
        (b"\xef\xbe\xad\xdeNullsoftInst", "an NSIS installer", "7z"),
        (b"ISSetupStream\0", "an InstallShield installer", "unshield"),
        (b"MSWIM\0\0\0", "a Windows image", "wimlib"),
    ] {
        for (bytes, place) in [
            ([head, &[3; 600]].concat(), "file is "),
            ([&[b'M', b'Z'][..], &[3; 600], head, &[3; 600]].concat(), "file at 0x25a is "),
        ] {
            let survey = search(&bytes);
            assert_eq!(survey.notes.len(), 1, "{name} {survey:?}");
            assert!(survey.notes[0].starts_with(&format!("{place}{name}")), "{survey:?}");
            assert!(survey.notes[0].contains(program) && !survey.complete(), "{survey:?}");
        }
        assert!(describe(&[head, &[3; 600]].concat()).is_some_and(|what| what.starts_with(name)));
    }
    let arj = [&[0x60, 0xea, 40, 0, 30][..], &[3; 600]].concat();
    assert_eq!(search(&arj).notes.len(), 1);
}

#[test]
fn files_say_what_they_are() {
    let hive = hive(&["a"], &[("b", b"c")]);
    for (bytes, what) in [
        (gzip(b"a"), "a gzip file"),
        (xz(b"a"), "an xz file"),
        (bzip2(b"a"), "a bzip2 file"),
        (zstd(b"a"), "a zstd file"),
        (lzma(b"a"), "an LZMA file"),
        (zip_of(&[("a", b"a")]), "a zip archive"),
        (seven_zip_of(&[("a", b"a")]), "a 7z archive"),
        (cabinet(&[("a", b"a")]), "a cabinet file"),
        (pfs(&[]), "a BIOS update of Dell's (PFS)"),
        (hive, "a Windows registry hive"),
        (volume(&[]), "a BIOS image"),
    ] {
        assert_eq!(describe(&bytes), Some(what));
        // Also where the ROM in it can be seen.
        let error = crate::option_rom::parse(&[bytes, gpu()].concat()).unwrap_err();
        let said = format!("it is {what}, not a ROM; look for ROMs in it with `optimus-vmm vbios find`");
        assert_eq!(error.to_string(), said);
    }
    assert_eq!(describe(&gpu()), None);
}

#[test]
fn nothing_is_carved_inside_what_a_container_owns() {
    // What a section, a volume cut short, a RAR archive and a ROM look like, stored and so in the open.
    let bait = [
        guided(LZMA, &[0x5d; 700]),
        volume(&[file(NAME, 0x02, &[0; 9000])])[..5000].to_vec(),
        b"Rar!\x1a\x07\x00".to_vec(),
    ]
    .concat();
    let noisy = search(&bait);
    assert_eq!(noisy.notes.len(), 3, "{noisy:?}");
    let rom = gpu();
    // The same in a 7z archive comes out once, so it is told once: of what came out.
    for body in [bait, rom[..9000].to_vec()] {
        let bytes = boxes::without_substreams_info("a", &body);
        let survey = search(&bytes);
        let inside = |note: &String| note.starts_with("file > 7z at 0x0 > a");
        assert!(survey.notes.iter().all(inside), "{survey:?}");
        assert!(survey.damaged.iter().all(|rom| inside(&rom.place)), "{survey:?}");
        assert_eq!(survey.notes.len() + survey.damaged.len(), if body.len() == 9000 { 1 } else { 3 });
    }
    // A ROM that is stored in an archive is one, not two.
    let stored = boxes::without_substreams_info("a", &rom);
    assert_eq!(search(&stored).roms[0].copies, 1);
}

#[test]
fn what_cannot_be_unpacked_is_told() {
    let kind = search(&volume(&[file(NAME, 0x02, &compression(7, 100, &[3; 100]))]));
    assert_eq!(kind.notes, ["file at 0x60: the section is compressed in an unknown way (0x07)"]);
    let guid = search(&volume(&[file(NAME, 0x02, &guided(NAME, &[3; 100]))]));
    assert!(
        guid.notes[0].starts_with(&format!(
            "file > section of method {NAME} at 0x78 cannot be unpacked: the method is not"
        )),
        "{guid:?}"
    );
    let image = volume(&[file(NAME, 0x02, &[0; 9000])]);
    let cut = search(&image[..8000]);
    assert!(cut.notes[0].starts_with("file at 0x0: the firmware volume ends too early"), "{cut:?}");
    for survey in [kind, guid, cut] {
        assert!(!survey.complete());
    }
    // A checksum in front of plain sections is nothing to tell.
    assert!(search(&image).complete());
}

#[test]
fn an_error_of_a_library_is_never_shown() {
    let archive = seven_zip_of(&[("a", &[1; 600]), ("b", &gpu())]);
    let zip = zip_of(&[("a", &[1; 600]), ("b", &gpu())]);
    for bytes in [archive, zip] {
        for at in (8..bytes.len()).step_by(bytes.len() / 60) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x55;
            for note in search(&bytes).notes {
                assert!(
                    !["Error", "Other(", "Io(", "Kind", "\""].iter().any(|word| note.contains(word)),
                    "{note}"
                );
            }
        }
    }
}
