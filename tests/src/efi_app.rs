//! A minimal EFI application around a few bytes of machine code, which is a kernel as well.
//!
//! The file is a PE32+ image (Microsoft PE format, chapters 2 to 4) of one section, with subsystem 10 (EFI
//! application). The code must not depend on its address. It is entered in long mode as UEFI 2.10, 2.3.4
//! says: RCX the image's handle, RDX the system table, interrupts on.
//!
//! As a kernel it is a bzImage (Linux, Documentation/arch/x86/boot.rst) whose 64-bit entry is the same code: then interrupts
//! are off, and there is no stack.

/// Alignment of the section in memory and in the file.
const ALIGNMENT: u32 = 0x1000;

/// The 64-bit entry's offset in a kernel, in bytes.
const ENTRY: u32 = 0x200;

/// The file of an application that runs `code`.
pub fn build(code: &[u8]) -> Vec<u8> {
    let size = u32::try_from(code.len()).unwrap_or(u32::MAX);
    let size = size.saturating_add(ENTRY).next_multiple_of(ALIGNMENT);
    let mut out = Vec::new();
    // The DOS header: only its magic and the offset of the real one, at 0x3C, count.
    out.extend(b"MZ");
    out.resize(0x3c, 0);
    out.extend(0x40_u32.to_le_bytes());
    out.extend(b"PE\0\0");
    // COFF header.
    out.extend(0x8664_u16.to_le_bytes()); // machine: x86-64
    out.extend(1_u16.to_le_bytes()); // sections
    out.extend([0; 12]); // time stamp, symbols
    out.extend(240_u16.to_le_bytes()); // size of the optional header
    out.extend(0x0022_u16.to_le_bytes()); // executable, large addresses
    // Optional header.
    out.extend(0x020b_u16.to_le_bytes()); // PE32+
    out.extend([0; 2]); // linker version
    for field in [size, 0, 0, ALIGNMENT + ENTRY, ALIGNMENT] {
        out.extend(field.to_le_bytes()); // code, data, bss, entry point, base of code
    }
    out.extend(0_u64.to_le_bytes()); // image base
    out.extend(ALIGNMENT.to_le_bytes()); // section alignment
    out.extend(ALIGNMENT.to_le_bytes()); // file alignment
    out.extend([0; 16]); // versions
    out.extend((2 * ALIGNMENT).max(ALIGNMENT.saturating_add(size)).to_le_bytes()); // size of the image
    out.extend(ALIGNMENT.to_le_bytes()); // size of the headers
    out.extend(0_u32.to_le_bytes()); // checksum
    out.extend(10_u16.to_le_bytes()); // subsystem: EFI application
    out.extend(0_u16.to_le_bytes());
    for field in [0x10000_u64, 0x10000, 0, 0] {
        out.extend(field.to_le_bytes()); // stack and heap
    }
    out.extend(0_u32.to_le_bytes()); // loader flags
    out.extend(16_u32.to_le_bytes()); // data directories
    out.extend([0; 128]);
    // The section.
    out.extend(b".text\0\0\0");
    for field in [size, ALIGNMENT, size, ALIGNMENT, 0, 0, 0] {
        out.extend(field.to_le_bytes()); // size and address in memory, in the file, nothing else
    }
    out.extend(0xe000_0020_u32.to_le_bytes()); // code; execute, read, write
    // The headers are the setup, and the section is the kernel.
    out.resize(usize::try_from(ALIGNMENT + ENTRY).unwrap_or_default(), 0);
    for (at, field) in setup_header(size) {
        out.iter_mut().skip(at).zip(field).for_each(|(to, byte)| *to = byte);
    }
    out.extend(code);
    out.resize(usize::try_from(ALIGNMENT.saturating_add(size)).unwrap_or_default(), 0);
    out
}

/// Fields of the setup header of a kernel of `size` bytes, with their offsets. All others are zero.
fn setup_header(size: u32) -> [(usize, Vec<u8>); 11] {
    let four = |value: u32| value.to_le_bytes().to_vec();
    [
        (0x1f1, vec![7]),               // setup_sects: with the first, 0x1000 bytes
        (0x1f4, four(size / 16)),       // syssize
        (0x1fe, vec![0x55, 0xaa]),      // boot_flag
        (0x200, vec![0xeb, 0x6a]),      // jump: where the header ends
        (0x202, b"HdrS".to_vec()),      // header
        (0x206, vec![0x0f, 0x02]),      // version
        (0x211, vec![1]),               // loadflags: LOADED_HIGH
        (0x22c, four(i32::MAX as u32)), // initrd_addr_max
        (0x230, [four(ALIGNMENT), vec![1, 12, 1, 0]].concat()), // kernel_alignment; movable; XLF_KERNEL_64
        (0x258, 0x20_0000_u64.to_le_bytes().to_vec()), // pref_address
        (0x260, four(size)),            // init_size
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_headers_lie_where_they_say() {
        let file = super::build(&[0x90; 5000]);
        assert_eq!(file.len(), 0x1000 + 0x2000);
        assert_eq!(&file[0x40..0x44], b"PE\0\0");
        // The size of the optional header says where the section table starts.
        let optional = usize::from(u16::from_le_bytes([file[0x54], file[0x55]]));
        assert_eq!(&file[0x58 + optional..0x58 + optional + 5], b".text");
        let entry = |at: usize| {
            let bytes = file[at..at + 4].try_into().unwrap();
            usize::try_from(u32::from_le_bytes(bytes)).unwrap()
        };
        // The entry point, and that of the kernel, 0x200 behind the sectors of its setup.
        assert_eq!(file[entry(0x58 + 16)..][..5000], [0x90; 5000]);
        let kernel = (usize::from(file[0x1f1]) + 1) * 512;
        assert_eq!(kernel + 0x200, entry(0x58 + 16));
        assert_eq!(&file[0x202..0x206], b"HdrS");
    }
}
