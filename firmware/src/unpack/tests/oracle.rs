//! Containers that the formats' own programs make or read: UEFIExtract (Debian's uefitool-cli), gcab, 7z (p7zip-full),
//! zstd and hivexsh (libhivex-bin).

use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// All files below a directory.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(std::fs::read(path).unwrap()),
        }
    }
    found
}

#[test]
fn uefi_extract_finds_the_same_rom() {
    // An image that fills its section, as vendors pack it: UEFIExtract knows files and sections only.
    let rom = with_gop(0x10de, 0x1c8d);
    let inner = volume(&[file(NAME, 0x02, &section(0x19, &rom))]);
    let packed = guided(LZMA, &lzma(&row(&[section(0x19, &[0; 60]), section(0x17, &inner)])));
    let image = volume(&[file(NAME, 0x0b, &packed)]);

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("image"), &image).unwrap();
    let status = Command::new("UEFIExtract")
        .args(["image", "all"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .status()
        .expect("UEFIExtract must be installed (Debian: uefitool-cli)");
    assert!(status.success(), "{status}");
    let theirs = files(&dir.path().join("image.dump"));
    assert!(theirs.contains(&rom), "UEFIExtract wrote {} files, none of them the ROM", theirs.len());

    let ours = search(&image);
    assert_eq!(ours.roms.len(), 1, "{ours:?}");
    assert_eq!(ours.roms[0].image, rom);
}

/// Runs a program in a folder; what it says on standard output.
fn run(folder: &Path, program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    output.stdout
}

#[test]
fn what_the_formats_own_programs_pack_is_unpacked() {
    let rom = gpu();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    // Of several blocks of a cabinet, and not all the same.
    let body: Vec<u8> =
        (0..100_000u32).flat_map(|index| (index / 7).to_le_bytes()).chain(padded(&rom)).collect();
    std::fs::write(folder.join("BIOS.bin"), &body).unwrap();
    std::fs::write(folder.join("readme.txt"), b"read me").unwrap();
    let both = ["readme.txt", "BIOS.bin"];
    let seven = |name: &'static str, options: &[&'static str]| [&["a", "-bd", name], options, &both].concat();
    let insyde = "-pY`t~i!L@i#t$U%h^s7A*l(f)E-d=y+S_n?i";
    for (program, args, name) in [
        ("gcab", [&["-c", "-n", "stored.cab"][..], &both].concat(), "stored.cab"),
        ("gcab", [&["-c", "-z", "-n", "mszip.cab"][..], &both].concat(), "mszip.cab"),
        ("7z", seven("lzma2.7z", &[]), "lzma2.7z"),
        ("7z", seven("lzma.7z", &["-m0=lzma", "-mhc=off"]), "lzma.7z"),
        (
            "7z",
            seven(
                "bcj2.7z",
                &["-m0=BCJ2", "-m1=lzma", "-m2=lzma", "-m3=lzma", "-mb0:1", "-mb0s1:2", "-mb0s2:3"],
            ),
            "bcj2.7z",
        ),
        ("7z", seven("deflate.7z", &["-m0=deflate", "-ms=off"]), "deflate.7z"),
        ("7z", seven("bzip2.7z", &["-m0=bzip2"]), "bzip2.7z"),
        ("7z", seven("copy.7z", &["-m0=copy"]), "copy.7z"),
        ("7z", seven("insyde.7z", &[insyde]), "insyde.7z"),
        ("7z", seven("headers.7z", &[insyde, "-mhe=on"]), "headers.7z"),
        ("7z", seven("deflate64.zip", &["-mm=Deflate64"]), "deflate64.zip"),
        ("7z", seven("bzip2.zip", &["-mm=BZip2"]), "bzip2.zip"),
        ("7z", vec!["a", "-bd", "one.xz", "BIOS.bin"], "one.xz"),
        ("7z", vec!["a", "-bd", "one.bz2", "BIOS.bin"], "one.bz2"),
        ("7z", vec!["a", "-bd", "one.gz", "BIOS.bin"], "one.gz"),
        ("zstd", vec!["-q", "-19", "--long=27", "BIOS.bin", "-o", "one.zst"], "one.zst"),
        ("zstd", vec!["-q", "--no-check", "BIOS.bin", "-o", "fast.zst"], "fast.zst"),
    ] {
        run(folder, program, &args);
        let survey = search(&std::fs::read(folder.join(name)).unwrap());
        assert!(survey.complete() && survey.damaged.is_empty(), "{name} {survey:?}");
        assert_eq!(survey.roms.len(), 1, "{name} {survey:?}");
        assert_eq!((&survey.roms[0].image, survey.roms[0].copies), (&rom, 1), "{name}");
    }
    // What is not read is named.
    for (args, name) in [
        (seven("ppmd.7z", &["-m0=PPMd"]), "ppmd.7z"),
        (seven("secret.7z", &["-psecret"]), "secret.7z"),
        (seven("lzma.zip", &["-mm=LZMA"]), "lzma.zip"),
        (seven("secret.zip", &["-psecret"]), "secret.zip"),
    ] {
        run(folder, "7z", &args);
        let survey = search(&std::fs::read(folder.join(name)).unwrap());
        assert!(survey.roms.is_empty() && !survey.complete(), "{name} {survey:?}");
        assert!(survey.notes.iter().all(|note| note.contains("`7z x")), "{name} {survey:?}");
    }
}

#[test]
fn programs_read_what_the_tests_make() {
    let rom = gpu();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    std::fs::write(folder.join("a.cab"), cabinet(&[("BIOS.bin", &padded(&rom))])).unwrap();
    run(folder, "gcab", &["-x", "a.cab"]);
    assert_eq!(std::fs::read(folder.join("BIOS.bin")).unwrap(), padded(&rom));

    std::fs::write(folder.join("a.7z"), boxes::without_substreams_info("stored.bin", &rom)).unwrap();
    run(folder, "7z", &["x", "-bd", "a.7z"]);
    assert_eq!(std::fs::read(folder.join("stored.bin")).unwrap(), rom);

    let bytes = hive(&["Control", "Class"], &[("vbios", &rom), ("small", b"one")]);
    std::fs::write(folder.join("hive"), bytes).unwrap();
    let theirs = run(folder, "hivexget", &["hive", "\\Control\\Class", "vbios"]);
    assert_eq!(theirs, rom);
}
