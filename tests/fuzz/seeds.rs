//! Writes what fuzzing starts from into `FOLDER/TARGET/`: small samples of everything that is read.
//! Usage: seeds FOLDER

#[path = "seeds/control.rs"]
mod control;
#[path = "seeds/kernel.rs"]
mod kernel;
#[path = "seeds/qcow2.rs"]
mod qcow2;
#[path = "seeds/registers.rs"]
mod registers;
#[path = "seeds/virtio_queue.rs"]
mod virtio_queue;
#[path = "seeds/vnc.rs"]
mod vnc;

use std::error::Error;
use std::fs;
use std::io::{Cursor, Write};
use std::path::PathBuf;

use firmware::option_rom::testing::{AMPERE_STANDARD, ampere, muxless, put_bit, with_gop};
use firmware::uefi_volume::testing::{compression, file, guided, row, section, volume};
use firmware::unpack::testing::{ami_bios_guard, bios_guard_block, cabinet, hive, pfs};
use lzma_rust2::{LzmaOptions, LzmaWriter, XzOptions, XzWriter};
use uuid::{Uuid, uuid};

/// LZMA_CUSTOM_DECOMPRESS_GUID of edk2.
const LZMA: Uuid = uuid!("ee4e5898-3914-4259-9d6e-dc7bd79403cf");
/// The same of HP, and a GUID of nobody's.
const LZMA_HP: Uuid = uuid!("0ed85e23-f253-413f-a03c-901987b04397");
const OTHER: Uuid = uuid!("a0000000-0000-4000-8000-000000000001");
/// EFI_SECTION_RAW and EFI_FV_FILETYPE_FREEFORM.
const RAW: u8 = 0x19;
const FREEFORM: u8 = 0x02;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let samples = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: seeds FOLDER")?);
    let put = |target: &str, name: &str, bytes: &[u8]| -> Outcome {
        let folder = samples.join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(name), bytes)?)
    };
    let roms = [("muxless", muxless(0x10de, 0x1c8d)), ("gop", with_gop(0x10de, 0x1c8d))];
    for (name, rom) in &roms {
        put("option_rom", name, rom)?;
        put("option_rom", &format!("{name}-prefixed"), &[&[0; 512], rom.as_slice()].concat())?;
        put("vbios_find", name, rom)?;
    }
    let [(_, rom), _] = &roms;
    let mut recent = ampere(0x10de, 0x1c8d);
    put_bit(&mut recent, 24 * 512, [0x94, 0x02, 0x42, 0x00], 0x6c, "GA107 Board");
    put("option_rom", "ampere", &recent)?;
    put("option_rom", "ampere-standard", recent.get(..AMPERE_STANDARD).unwrap_or_default())?;
    put("option_rom", "ampere-cut", recent.get(..recent.len() - 700).unwrap_or_default())?;
    let mut damaged = rom.clone();
    damaged.truncate(0x4000);
    put("option_rom", "two", &[damaged.as_slice(), rom, &recent].concat())?;

    let packed = lzma(rom)?;
    let nested = guided(LZMA, &lzma(&section(RAW, rom))?);
    let flash = volume(&[file(LZMA, FREEFORM, &row(&[nested, compression(0, rom.len(), rom)]))]);
    put("vbios_find", "flash", &flash)?;
    put("vbios_find", "zip", &zip(&[("a.bin", &flash), ("b.rom", rom)])?)?;
    put("vbios_find", "7z", &seven_zip(rom)?)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&flash)?;
    put("vbios_find", "gzip", &gzip.finish()?)?;
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(rom)?;
    put("vbios_find", "zlib", &zlib.finish()?)?;
    let mut xz = XzWriter::new(Vec::new(), XzOptions::with_preset(0))?;
    xz.write_all(rom)?;
    put("vbios_find", "xz", &xz.finish()?)?;

    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(rom)?;
    put("vbios_find", "bzip2", &bzip2.finish()?)?;
    let zstd = ruzstd::encoding::compress_to_vec(rom.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
    put("vbios_find", "zstd", &zstd)?;
    put("vbios_find", "lzma", &packed)?;
    put("vbios_find", "cabinet", &cabinet(&[("a.txt", b"a"), ("b.rom", rom)]))?;
    let path = ["ControlSet001", "Control", "Class", "{4d36e968}", "0000", "Session"];
    let (first, second) = rom.split_at(rom.len() / 2);
    put("vbios_find", "hive", &hive(&path, &[("0", first), ("1", second)]))?;
    put("vbios_find", "hive-large-value", &hive(&path, &[("vbios", rom)]))?;
    let blocks =
        [0x2000usize, 0x0, 0x1000].map(|at| bios_guard_block(0x28, at as u32, false, &rom[at..at + 0x1000]));
    put("vbios_find", "dell", &pfs(&[pfs(&blocks)]))?;
    put("vbios_find", "ami", &ami_bios_guard(&[1, 0], &[("b", vec![second]), ("a", vec![first])]))?;
    let archive = seven_zip(rom)?;
    let rotated: Vec<u8> = archive.iter().map(|byte| byte.rotate_left(1)).collect();
    put("vbios_find", "7z-rotated", &[b";!@InstallEnd@!\r\n", rotated.as_slice()].concat())?;
    let whole = zip(&[("a.bin", &flash), ("b.rom", rom)])?;
    put("vbios_find", "zip-without-end", whole.get(..whole.len() - 30).unwrap_or_default())?;
    put(
        "vbios_find",
        "names",
        b"MZ Rar!\x1a\x07\0 \xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 MSWIM\0\0\0 \xef\xbe\xad\xdeNullsoftInst",
    )?;
    let sections = row(&[
        guided(LZMA_HP, &packed),
        guided(OTHER, &packed),
        compression(0x86, rom.len(), &packed),
        compression(2, rom.len(), &[&[0; 4], packed.as_slice()].concat()),
    ]);
    let others = volume(&[file(LZMA, FREEFORM, &sections)]);
    put("vbios_find", "sections", &others)?;
    put("uefi_section", "sections", &[&[0xff], others.as_slice()].concat())?;

    // The first byte is the method; one that is none stands for a volume.
    put("uefi_section", "volume", &[&[0xff], flash.as_slice()].concat())?;
    for method in 0..6u8 {
        put("uefi_section", &format!("method-{method}"), &[&[method], packed.as_slice()].concat())?;
    }

    for (name, text) in control::SAMPLES {
        put("control", name, text.as_bytes())?;
    }
    for (name, input) in qcow2::samples()? {
        put("qcow2", &name, &input)?;
    }

    put("acpi_table", "ssdt", &table(b"SSDT", &[0x08, b'X', b'_', b'_', b'_', 0x00]))?;
    put("acpi_table", "asf", &table(b"ASF!", &[0; 8]))?;
    put("acpi_table", "hpet", &table(b"HPET", &[0; 20]))?;
    put("acpi_table", "oem", &table(b"OEM1", &[0; 8]))?;

    kernel::samples(|name, bytes| put("kernel", name, bytes))?;
    virtio_queue::samples(|name, bytes| put("virtio_queue", name, bytes))?;
    registers::ahci(|name, bytes| put("ahci", name, bytes))?;
    registers::nvme(|name, bytes| put("nvme", name, bytes))?;
    registers::xhci(|name, bytes| put("xhci", name, bytes))?;
    vnc::samples(|name, bytes| put("vnc", name, bytes))?;
    Ok(())
}

fn lzma(bytes: &[u8]) -> Outcome<Vec<u8>> {
    let size = Some(u64::try_from(bytes.len())?);
    let mut writer = LzmaWriter::new_use_header(Vec::new(), &LzmaOptions::with_preset(0), size)?;
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}

fn zip(files: &[(&str, &[u8])]) -> Outcome<Vec<u8>> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default())?;
        writer.write_all(bytes)?;
    }
    Ok(writer.finish()?.into_inner())
}

fn seven_zip(bytes: &[u8]) -> Outcome<Vec<u8>> {
    let mut writer = sevenz_rust2::ArchiveWriter::new(Cursor::new(Vec::new()))?;
    writer.push_archive_entry(sevenz_rust2::ArchiveEntry::new_file("a.rom"), Some(bytes))?;
    Ok(writer.finish()?.into_inner())
}

/// An ACPI table (ACPI specification 6.5, section 5.2.6).
fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(36 + body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut table = [
        &signature[..],
        &length,
        &[2, 0],
        b"OPTIMU",
        b"FUZZSEED",
        &[1, 0, 0, 0],
        b"TEST",
        &[1, 0, 0, 0],
        body,
    ]
    .concat();
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(checksum) = table.get_mut(9) {
        *checksum = sum.wrapping_neg();
    }
    table
}
