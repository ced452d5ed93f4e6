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
