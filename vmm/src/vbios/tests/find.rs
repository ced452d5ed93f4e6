//! Tests of `vbios find`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use firmware::option_rom::testing::{ImageBuilder, muxless, put_bit, with_gop};
use firmware::uefi_volume::testing::{file, section, volume};
use firmware::unpack::Limits;

use super::super::find::{World, find};
use super::super::{Answer, CommandError};
use crate::cli::FindArgs;

struct Case {
    dir: tempfile::TempDir,
    args: FindArgs,
}

impl Case {
    fn new(bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("update.exe");
        fs::write(&file, bytes).unwrap();
        let args = FindArgs { file, output: dir.path().join("out"), force: false };
        Self { dir, args }
    }

    /// A program of the test's, found before all others.
    fn program(&self, name: &str, script: &str) -> OsString {
        let folder = self.dir.path().join("bin");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        format!("{}:/usr/bin:/bin", folder.display()).into()
    }

    fn find(&self, limits: &Limits, search: OsString) -> Result<Answer, CommandError> {
        find(&self.args, limits, &mut World::new(search, false))
    }

    fn run(&self) -> Result<Answer, CommandError> {
        self.find(&Limits::default(), OsString::new())
    }

    fn out(&self, name: &str) -> PathBuf {
        self.args.output.join(name)
    }

    fn names(&self) -> Vec<String> {
        let list = fs::read_dir(&self.args.output).map(|list| {
            list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        });
        let mut names = list.unwrap_or_default();
        names.sort();
        names
    }
}

#[test]
fn each_rom_gets_a_file_named_by_its_ids() {
    let other = ImageBuilder::legacy(0x10de, 0x1c8d, 8).fill(1).last().build();
    let gop = with_gop(0x8086, 0x5916);
    let gpu = muxless(0x10de, 0x1c8d);
    let name = "a0000000-0000-4000-8000-000000000001".parse().unwrap();
    let body = [gpu.clone(), vec![0; 64], other.clone(), vec![0; 64], gop.clone(), vec![0; 64], gpu.clone()]
        .concat();
    let case = Case::new(&volume(&[file(name, 0x02, &section(0x19, &body))]));
    let answer = case.run().unwrap();
    assert_eq!(answer.status, 0, "{}", answer.text);
    assert_eq!(case.names(), ["vbios_10de_1c8d.rom", "vbios_10de_1c8d_2.rom", "vbios_8086_5916.rom"]);
    assert_eq!(fs::read(case.out("vbios_10de_1c8d.rom")).unwrap(), gpu);
    assert_eq!(fs::read(case.out("vbios_10de_1c8d_2.rom")).unwrap(), other);
    assert_eq!(fs::read(case.out("vbios_8086_5916.rom")).unwrap(), gop);
    assert!(
        answer
            .text
            .contains("vbios_10de_1c8d.rom: 32768 bytes, no GOP, 2 copies\n  from update.exe at 0x64\n")
    );
    assert!(
        answer.text.ends_with("3 intact video ROMs in 1 file or section, with 1 firmware volume\n"),
        "{}",
        answer.text
    );
}

#[test]
fn a_different_file_is_replaced_only_by_force() {
    let mut case = Case::new(&muxless(0x10de, 0x1c8d));
    case.run().unwrap();
    let again = case.run().unwrap();
    assert!(again.text.contains("was there already"), "{}", again.text);

    let path = case.out("vbios_10de_1c8d.rom");
    fs::write(&path, b"mine").unwrap();
    let answer = case.run().unwrap();
    assert_eq!(answer.status, 2);
    assert!(answer.text.starts_with("not written: "), "{}", answer.text);
    assert!(answer.text.contains("replace it with --force\n  from update.exe at 0x0\n"), "{}", answer.text);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(case.names(), ["vbios_10de_1c8d.rom"]);

    case.args.force = true;
    case.run().unwrap();
    assert_eq!(fs::read(&path).unwrap(), muxless(0x10de, 0x1c8d));
    assert_eq!(case.names(), ["vbios_10de_1c8d.rom"]);
}

#[test]
fn nothing_found_says_where_else_to_look_and_writes_nothing() {
    let case = Case::new(&[7; 5000]);
    let answer = case.run().unwrap();
    assert_eq!(answer.status, 2);
    for place in ["0 intact video ROMs", "optimus-vmm vbios dump", "flashrom", "GPU-Z"] {
        assert!(answer.text.contains(place), "{}", answer.text);
    }
    assert!(!case.args.output.exists());
}

#[test]
fn a_damaged_rom_is_named_with_its_fault() {
    let mut rom = muxless(0x10de, 0x1c8d);
    rom[0x1000] ^= 1;
    let case = Case::new(&rom);
    let answer = case.run().unwrap();
    assert_eq!((answer.status, case.names().len()), (2, 0));
    let said =
        "damaged, not written: 10de:1c8d from update.exe at 0x0\n  error: the checksum of image 0 is wrong";
    assert!(answer.text.contains(said), "{}", answer.text);
    assert!(
        answer.text.contains("No intact video ROM is in it. Where else to look:\n- in"),
        "{}",
        answer.text
    );
}

#[test]
fn a_piece_of_a_damaged_rom_is_not_written() {
    // The EFI image of a ROM that is not whole is a ROM of its own by its structures.
    let mut rom = with_gop(0x10de, 0x1c8d);
    rom[0x50] = 8;
    let twice = [vec![0; 100], rom.clone(), vec![0; 100], rom].concat();
    let case = Case::new(&twice);
    let answer = case.run().unwrap();
    assert_eq!((answer.status, case.names().len()), (2, 0), "{}", answer.text);
    assert_eq!(answer.text.matches("damaged, not written").count(), 1, "{}", answer.text);
    assert!(answer.text.contains("10de:1c8d from update.exe at 0x64\n"), "{}", answer.text);
    assert!(!answer.text.contains("No video ROM"), "{}", answer.text);
}

#[test]
fn roms_of_the_same_ids_are_told_apart() {
    let rom = |version, product| {
        let mut rom = with_gop(0x10de, 0x1c8d);
        put_bit(&mut rom, 0x2000, version, 0x26, product);
        rom
    };
    let case = Case::new(&[rom([0x86, 4, 0x2a, 0], "P2510"), rom([0x86, 7, 0x50, 0], "P\x1b]2;x")].concat());
    let answer = case.run().unwrap();
    assert!(
        answer.text.contains("_1c8d.rom: 14336 bytes, with GOP\n  version 86.04.2a.00.26, for P2510\n"),
        "{}",
        answer.text
    );
    assert!(
        answer.text.contains("_1c8d_2.rom: 14336 bytes, with GOP\n  version 86.07.50.00.26, for P\n"),
        "{}",
        answer.text
    );
}

#[test]
fn an_incomplete_search_is_no_success() {
    let case = Case::new(&muxless(0x10de, 0x1c8d));
    let limits = Limits { things: 0, ..Limits::default() };
    let answer = case.find(&limits, OsString::new()).unwrap();
    assert_eq!(answer.status, 2);
    assert!(
        answer.text.contains("ended early: more than 0 things are in it; there may be more"),
        "{}",
        answer.text
    );
}

fn inno() -> Vec<u8> {
    [b"MZ".to_vec(), vec![0; 5000], b"Inno Setup Setup Data (5.5.7)".to_vec()].concat()
}

#[test]
fn a_missing_tool_is_named() {
    let answer = Case::new(&inno()).run().unwrap();
    let said = "note: update.exe: it is an Inno Setup installer, which takes the program `innoextract` to open; install";
    assert!(answer.text.contains(said), "{}", answer.text);
}

#[test]
fn a_tool_opens_an_installer() {
    let case = Case::new(&inno());
    let rom = case.dir.path().join("gpu.rom");
    fs::write(&rom, muxless(0x10de, 0x1c8d)).unwrap();
    // The options are those of innoextract 1.9.
    let script = format!(
        "[ \"$1 $2 $4\" = '--silent --output-dir --' ] && cmp -s \"$5\" {} || exit 9\n\
         mkdir \"$3/app\" && cp {} \"$3/app/bios.bin\" && ln -s /etc/passwd \"$3/app/link\"",
        case.args.file.display(),
        rom.display()
    );
    let search = case.program("innoextract", &script);
    let answer = case.find(&Limits::default(), search).unwrap();
    assert_eq!(answer.status, 0, "{}", answer.text);
    assert!(answer.text.contains("from update.exe > app/bios.bin at 0x0"), "{}", answer.text);
    // The link was not followed.
    assert!(answer.text.contains("1 intact video ROM in 2 files and sections"), "{}", answer.text);
}

#[test]
fn a_tool_opens_a_packed_program() {
    let packed = [b"MZ".to_vec(), vec![0; 500], b"UPX!".to_vec(), vec![0; 500]].concat();
    let case = Case::new(&packed);
    let answer = case.run().unwrap();
    assert!(answer.text.contains("packed with UPX, which takes the program `upx`"), "{}", answer.text);

    let rom = case.dir.path().join("gpu.rom");
    fs::write(&rom, muxless(0x10de, 0x1c8d)).unwrap();
    // The options are those of UPX 4.
    let script = format!(
        "[ \"$1 $2 $3 $5\" = '-q -d -o --' ] && cmp -s \"$6\" {} || exit 9\ncp {} \"$4\"",
        case.args.file.display(),
        rom.display()
    );
    let search = case.program("upx", &script);
    let answer = case.find(&Limits::default(), search).unwrap();
    assert_eq!(answer.status, 0, "{}", answer.text);
    assert!(answer.text.contains("from update.exe > unpacked at 0x0"), "{}", answer.text);
}

#[test]
fn progress_is_told_once_a_second_of_what_takes_longer() {
    let mut world = World::new(OsString::new(), true);
    let start = Instant::now();
    let mut said = Vec::new();
    for tenths in 0..40 {
        said.extend(world.progress(start + Duration::from_millis(tenths * 100 + 50), "a.zip > b", 2048));
    }
    let lines = [1, 2, 3].map(|seconds| format!("   {seconds} s: looking at a.zip > b (2 KiB)"));
    assert_eq!(said, lines);

    let mut silent = World::new(OsString::new(), false);
    assert_eq!(silent.progress(start + Duration::from_secs(5), "a.zip", 1), None);
}

#[test]
fn a_tool_that_fails_or_writes_too_much_is_told() {
    let case = Case::new(&inno());
    let limits = Limits { memory: 1 << 20, ..Limits::default() };
    for (script, said) in [
        ("exit 3", "`innoextract` could not open it (exit status: 3)"),
        (
            "exec head -c 3000000 /dev/zero >\"$3/zeros\"",
            "`innoextract` may not have unpacked all of it (signal: 25",
        ),
        (
            "for i in 1 2 3; do head -c 600000 /dev/zero >\"$3/$i\"; done; exec sleep 60",
            "more than 1048576 bytes come out of it",
        ),
        (
            "for i in 1 2 3; do head -c 600000 /dev/zero >\"$3/$i\"; done",
            "more than 1048576 bytes come out of it",
        ),
    ] {
        let search = case.program("innoextract", script);
        let answer = case.find(&limits, search).unwrap();
        assert!(answer.status == 2 && answer.text.contains(said), "{}", answer.text);
    }
}

#[test]
fn of_a_rom_with_many_errors_some_are_told() {
    let mut image = ImageBuilder::legacy(0x10de, 0x1c8d, 1).build();
    image[0x100] ^= 1;
    let bytes = [image.repeat(69), ImageBuilder::legacy(0x10de, 0x1c8d, 1).last().build()].concat();
    let answer = Case::new(&bytes).run().unwrap();
    assert_eq!(
        answer.text.lines().filter(|line| line.starts_with("  error: ")).count(),
        20,
        "{}",
        answer.text
    );
    assert!(answer.text.contains("\n  and 49 more errors\n"), "{}", answer.text);
}

#[test]
fn a_folder_of_files_is_searched_and_ends_in_a_table() {
    let mut case = Case::new(b"");
    let folder = case.dir.path().join("updates");
    fs::create_dir_all(folder.join("more")).unwrap();
    let gpu = muxless(0x10de, 0x1c8d);
    let mut damaged = gpu.clone();
    damaged[0x1000] ^= 1;
    for index in 0..96 {
        fs::write(folder.join(format!("nothing-{index:02}.bin")), [7; 600]).unwrap();
    }
    fs::write(folder.join("a.bin"), [&[1; 100][..], &gpu].concat()).unwrap();
    fs::write(folder.join("b.bin"), [gpu, with_gop(0x8086, 0x5916)].concat()).unwrap();
    fs::write(folder.join("damaged.bin"), &damaged).unwrap();
    let other = ImageBuilder::legacy(0x10de, 0x1c8d, 8).fill(1).last().build();
    fs::write(folder.join("more/c.bin"), &other).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).unwrap();
    case.args.file = folder.clone();

    let answer = case.run().unwrap();
    assert_eq!(answer.status, 0, "{}", answer.text);
    // The same ROM of two files is one.
    assert_eq!(case.names(), ["vbios_10de_1c8d.rom", "vbios_10de_1c8d_2.rom", "vbios_8086_5916.rom"]);
    assert_eq!(fs::read(case.out("vbios_10de_1c8d_2.rom")).unwrap(), other);
    let table: Vec<_> = answer.text.lines().skip_while(|line| !line.starts_with("FILE")).collect();
    assert_eq!(table.len(), 101, "{}", answer.text);
    let expected = [
        "FILE            ROMS",
        "a.bin           10de:1c8d",
        "b.bin           10de:1c8d 8086:5916",
        "damaged.bin     none                 damaged ones too",
        "more/c.bin      10de:1c8d",
        "nothing-00.bin  none",
    ];
    let trimmed: Vec<_> = table.iter().take(6).map(|line| line.trim_end()).collect();
    assert_eq!(trimmed, expected);

    // One that is not looked at in whole is told, and is no success.
    fs::write(folder.join("x.rar"), b"Rar!\x1a\x07\x01\x00 and so on, to some length").unwrap();
    let answer = case.run().unwrap();
    assert_eq!(answer.status, 2);
    assert!(
        answer.text.ends_with("x.rar           none                 not all of it was looked at\n"),
        "{}",
        answer.text
    );
}

#[test]
fn progress_in_a_folder_counts_the_files() {
    let case = Case::new(b"");
    let folder = case.dir.path().join("updates");
    fs::create_dir(&folder).unwrap();
    let args = FindArgs { file: folder.clone(), ..case.args.clone() };
    let mut world = World::new(OsString::new(), true);
    let empty = find(&args, &Limits::default(), &mut world).unwrap_err();
    assert!(empty.to_string().contains("there is no file in"), "{empty}");

    fs::write(folder.join("a"), [1; 600]).unwrap();
    fs::write(folder.join("b"), [2; 600]).unwrap();
    find(&args, &Limits::default(), &mut world).unwrap();
    let line = world.progress(Instant::now() + Duration::from_secs(3), "b", 1024).unwrap();
    assert!(line.ends_with(" s: file 2 of 2: looking at b (1 KiB)"), "{line}");
}

#[test]
fn what_was_not_looked_at_is_no_success() {
    let rar = [muxless(0x10de, 0x1c8d), b"Rar!\x1a\x07\x01\x00".to_vec()].concat();
    let case = Case::new(&rar);
    let answer = case.run().unwrap();
    assert_eq!((answer.status, case.names().len()), (2, 1), "{}", answer.text);
    assert!(
        answer.text.contains("note: update.exe at 0x8000 is a RAR 5 archive, which is not opened"),
        "{}",
        answer.text
    );
}

#[test]
fn a_tool_opens_a_cabinet_of_lzx() {
    let mut cabinet = firmware::unpack::testing::cabinet(&[("a", b"a")]);
    cabinet[42] = 3;
    let case = Case::new(&cabinet);
    let answer = case.run().unwrap();
    assert!(
        answer.text.contains("a cabinet file of LZX or Quantum, which takes the program `cabextract`"),
        "{}",
        answer.text
    );

    let rom = case.dir.path().join("gpu.rom");
    fs::write(&rom, muxless(0x10de, 0x1c8d)).unwrap();
    // The options are those of cabextract 1.9.
    let script = format!(
        "[ \"$1 $2 $4\" = '-q -d --' ] && cmp -s \"$5\" {} || exit 9\ncp {} \"$3/f.rom\"",
        case.args.file.display(),
        rom.display()
    );
    let search = case.program("cabextract", &script);
    let answer = case.find(&Limits::default(), search).unwrap();
    assert_eq!(answer.status, 0, "{}", answer.text);
    assert!(answer.text.contains("from update.exe > cabinet at 0x0 > f.rom at 0x0"), "{}", answer.text);
}
