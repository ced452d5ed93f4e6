//! Samples of kernel images with their command lines, and of what is taken for one.

use crate::Outcome;

pub(crate) fn samples(put: impl Fn(&str, &[u8]) -> Outcome) -> Outcome {
    let sample = |cmdline: &str, image: &[u8]| -> Vec<u8> {
        let length = u16::try_from(cmdline.len()).unwrap_or(0).to_le_bytes();
        [&length, cmdline.as_bytes(), image].concat()
    };
    for (name, machine) in [("x86_64", 0x8664_u16), ("i386", 0x14c), ("arm64", 0xaa64)] {
        put(name, &sample("console=ttyS0 quiet", &bzimage(machine, 0x20f, 2047)))?;
    }
    put("old", &sample("", &bzimage(0x8664, 0x202, 0)))?;
    put("long", &sample(&"a=b ".repeat(600), &bzimage(0x8664, 0x20f, 2047)))?;
    // What starts without firmware.
    put("direct", &sample("quiet", &direct()))?;
    let note = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0\0\0\x20\0";
    put("pvh", &sample("quiet", &elf(note, 64)))?;
    put("pvh-bss", &sample("quiet", &elf(note, 0x1_0000)))?;
    put("elf-other-note", &sample("quiet", &elf(b"\x04\0\0\0\0\0\0\0\x01\0\0\0GNU\0", 64)))?;
    let heads: [(&str, &[u8]); 6] = [
        ("elf", b"\x7fELF\x02\x01\x01"),
        ("gzip", b"\x1f\x8b\x08"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("pe", b"MZ"),
        ("qcow2", b"QFI\xfb\0\0\0\x03"),
        ("cpio", b"070701"),
    ];
    for (name, head) in heads {
        put(name, &sample("quiet", &[head, &[0; 600]].concat()))?;
    }
    Ok(())
}

/// The same with a 64-bit entry, for 1 MiB of memory from 2 MiB on.
fn direct() -> Vec<u8> {
    let mut image = bzimage(0x8664, 0x20f, 2047);
    let mut write = |at: usize, bytes: &[u8]| {
        image.iter_mut().skip(at).zip(bytes).for_each(|(byte, value)| *byte = *value);
    };
    write(0x201, &[0x6a]);
    write(0x211, &[1]);
    write(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    write(0x230, &0x20_0000_u32.to_le_bytes());
    write(0x234, &[1, 21, 1, 0]);
    write(0x258, &0x20_0000_u64.to_le_bytes());
    write(0x260, &0x10_0000_u32.to_le_bytes());
    image
}

/// An ELF file with a segment at 2 MiB, of which 64 bytes are in the file, and these notes.
fn elf(note: &[u8], memory: u64) -> Vec<u8> {
    let mut image = vec![0; 512];
    let mut write = |at: usize, bytes: &[u8]| {
        image.iter_mut().skip(at).zip(bytes).for_each(|(byte, value)| *byte = *value);
    };
    write(0, b"\x7fELF\x02\x01\x01");
    write(16, &[2, 0, 62, 0, 1]);
    write(32, &[64]);
    write(54, &[56, 0, 2]);
    let headers = [(1_u32, 384_u64, 0x20_0000_u64, 64_u64, memory), (4, 256, 0, note.len() as u64, 0)];
    for (at, (kind, offset, address, size, memory)) in [64, 120].into_iter().zip(headers) {
        write(at, &kind.to_le_bytes());
        for (field, value) in [(8, offset), (24, address), (32, size), (40, memory)] {
            write(at + field, &value.to_le_bytes());
        }
    }
    write(256, note);
    image
}

/// Linux, Documentation/arch/x86/boot.rst: two sectors of setup and one of kernel, with a PE header.
fn bzimage(machine: u16, version: u16, cmdline_size: u32) -> Vec<u8> {
    let mut image = vec![0; 4 * 512];
    let mut write = |at: usize, bytes: &[u8]| {
        image.iter_mut().skip(at).zip(bytes).for_each(|(byte, value)| *byte = *value);
    };
    write(0, b"MZ");
    write(0x3c, &0x80_u32.to_le_bytes());
    write(0x80, b"PE\0\0");
    write(0x84, &machine.to_le_bytes());
    write(0x1f1, &[2]);
    write(0x1f4, &0x20_u32.to_le_bytes());
    write(0x1fe, &0xaa55_u16.to_le_bytes());
    write(0x202, b"HdrS");
    write(0x206, &version.to_le_bytes());
    write(0x238, &cmdline_size.to_le_bytes());
    image
}
