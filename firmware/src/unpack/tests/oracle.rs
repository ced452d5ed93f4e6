//! The volumes of the tests, and what comes out of them, compared with UEFIExtract (Debian's uefitool-cli).

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
