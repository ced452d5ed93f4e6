//! Tests of `vbios info`.

use clap::Parser;
use firmware::option_rom::testing::{AMPERE_STANDARD, ImageBuilder, ampere, muxless, put_bit, with_gop};

use super::super::{Answer, CommandError, run};
use crate::cli::{Cli, Command};

fn info(bytes: &[u8], options: &[&str]) -> Result<Answer, CommandError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gpu.rom");
    std::fs::write(&file, bytes).unwrap();
    let words = ["optimus-vmm", "vbios", "info", file.to_str().unwrap()];
    match Cli::try_parse_from(words.iter().chain(options)).unwrap().command {
        Command::Vbios(args) => run(&args, false),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_image_has_a_line() {
    let mut bytes = b"NVGI".to_vec();
    bytes.resize(0x400, 0);
    bytes.extend(muxless(0x10de, 0x1c8d));
    bytes.extend([0xff; 16]);
    let answer = info(&bytes, &["--device", "10de:1C8D"]).unwrap();
    let lines: Vec<_> = answer.text.lines().skip(1).collect();
    assert_eq!(
        lines[..6],
        [
            "  0x000000     1024  in front of the ROM: NVIDIA initialisation block",
            "  0x000400    12288  legacy x86 BIOS, 10de:1c8d, class 030000, PCIR rev 0, NPDE, checksum right",
            "  0x003400     8192  NVIDIA private extension (56 4e, code type 0xe0), 10de:1c80, class 030000, PCIR rev 0, \
             NPDE, no checksum",
            "  0x005400    10240  NVIDIA private extension (56 4e, code type 0xe0), 10de:1c80, class 030000, PCIR rev 0, \
             NPDE, no checksum",
            "  0x007c00     2048  NVIDIA private NBSI (77 bb, code type 0x70), 10de:1c80, class 030000, PCIR rev 0, no \
             checksum",
            "  0x008400       16  behind the ROM",
        ]
    );
    assert_eq!(lines[6], "ROM: 32768 bytes, GOP: no");
    assert!(lines[7].starts_with("warning: it is legacy-only"), "{lines:?}");
    assert_eq!((lines[8], lines.len(), answer.status), ("fits 10de:1c8d", 9, 0));
}

#[test]
fn a_gop_is_named() {
    let answer = info(&with_gop(0x10de, 0x1c8d), &[]).unwrap();
    assert!(
        answer.text.contains("EFI boot service driver for x86-64, compressed (GOP), 10de:1c8d"),
        "{}",
        answer.text
    );
    assert!(answer.text.ends_with("GOP: yes\nintact\n"), "{}", answer.text);
}

#[test]
fn a_recent_laptops_rom_has_a_gop_and_nothing_to_warn_of() {
    let mut rom = ampere(0x10de, 0x25a2);
    put_bit(&mut rom, 24 * 512, [0x94, 0x07, 0x5b, 0x00], 0x6c, "GA107 Board - 3800");
    let answer = info(&rom, &["--device", "10de:25a2"]).unwrap();
    let end = "ROM: 28672 bytes, GOP: yes\nversion 94.07.5b.00.6c, for GA107 Board - 3800\nfits 10de:25a2\n";
    assert!(answer.text.ends_with(end), "{}", answer.text);
    assert!(
        answer.text.contains("compressed (GOP), 0000:0000, class 000000, PCIR rev 3, NPDE"),
        "{}",
        answer.text
    );
    let json: serde_json::Value = serde_json::from_str(&info(&rom, &["--json"]).unwrap().text).unwrap();
    assert_eq!((&json["version"], &json["board"]), (&"94.07.5b.00.6c".into(), &"GA107 Board - 3800".into()));
    assert_eq!((&json["gop"], &json["images"][1]["gop"]), (&true.into(), &true.into()));

    // As Linux reads it.
    let answer = info(&rom[..AMPERE_STANDARD], &["--device", "10de:25a2"]).unwrap();
    assert_eq!(answer.status, 0, "{}", answer.text);
    assert!(answer.text.contains("\nwarning: NVIDIA's private images are missing"), "{}", answer.text);
    assert!(!answer.text.contains("again"), "{}", answer.text);
}

#[test]
fn missing_filler_is_told_and_counted() {
    let rom = muxless(0x10de, 0x1c8d);
    let answer = info(&rom[..rom.len() - 1000], &[]).unwrap();
    assert_eq!(answer.status, 0, "{}", answer.text);
    assert!(
        answer.text.contains("\nROM: 32768 bytes, GOP: no\nwarning: the file ends at 0x7c18"),
        "{}",
        answer.text
    );
}

#[test]
fn an_unknown_prefix_is_told_with_what_it_means() {
    let rom = [vec![1; 100], with_gop(0x10de, 0x1c8d)].concat();
    let answer = info(&rom, &[]).unwrap();
    for said in ["the 0x64 bytes in front", "left out: harmless", "not all of the ROM", "vbios find"] {
        assert!(answer.text.contains(said), "{}", answer.text);
    }
}

#[test]
fn a_rom_that_does_not_fit_ends_with_status_2_and_the_reasons() {
    let mut bytes = muxless(0x10de, 0x1c8d);
    bytes[0x1000] ^= 1;
    let answer = info(&bytes, &["--device", "10de:1c91"]).unwrap();
    assert_eq!(answer.status, 2);
    assert!(answer.text.contains("checksum WRONG"), "{}", answer.text);
    assert!(answer.text.contains("\nerror: the checksum of image 0 is wrong"), "{}", answer.text);
    assert!(
        answer.text.contains("at 0x44 are 10de:1c8d, expected 10de:1c91\nmust not be used for 10de:1c91\n"),
        "{}",
        answer.text
    );
}

#[test]
fn json_says_the_same() {
    let bytes = ImageBuilder::legacy(0x10de, 0x1c8d, 4).device_list(&[0x1c91]).last().build();
    let answer = info(&bytes, &["--json", "--device", "10de:1c92"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(json["usable"], false);
    assert_eq!(json["expected"], "10de:1c92");
    assert_eq!(json["errors"].as_array().unwrap().len(), 1);
    let image = &json["images"][0];
    assert_eq!((&image["device"], &image["device_list"][0]), (&"1c8d".into(), &"1c91".into()));
    assert_eq!(
        (&image["kind"], &image["checksum_ok"], &image["gop"]),
        (&"legacy".into(), &true.into(), &false.into())
    );
    assert_eq!(answer.status, 2);
}

#[test]
fn files_that_are_no_roms_are_named() {
    for (bytes, said) in [(vec![], "the file is empty"), (vec![0xff; 512], "it is blank")] {
        let failure = info(&bytes, &[]).unwrap_err();
        assert_eq!(failure.status(), 2);
        let message = failure.to_string();
        assert!(message.contains("gpu.rom: ") && message.contains(said), "{message}");
    }
    let failure = info(&vec![0; (16 << 20) + 1], &[]).unwrap_err().to_string();
    assert!(failure.contains("optimus-vmm vbios find"), "{failure}");
    for wrong in ["10de", "10de:1c8", "10de:1c8d0", "+0de:1c8d", "nvidia:1c8d"] {
        let words = ["optimus-vmm", "vbios", "info", "x", "--device", wrong];
        let error = Cli::try_parse_from(words).unwrap_err().to_string();
        assert!(error.contains("such as 10de:1c8d"), "{error}");
    }
}
