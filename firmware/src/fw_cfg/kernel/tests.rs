//! Made-up kernels, right and wrong in each way that has an error of its own.

use std::fs;

use proptest::prelude::*;
use vocabulary::fw_cfg::Content;

use super::*;

/// A minimal image: `setup_sects` sectors of setup, `paragraphs` × 16 bytes of kernel.
fn bzimage(setup_sects: u8, paragraphs: u32, machine: u16) -> Vec<u8> {
    let sectors = if setup_sects == 0 { 4 } else { usize::from(setup_sects) };
    let mut image = vec![0; (sectors + 1) * 512];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x40;
    image[0x40..0x44].copy_from_slice(b"PE\0\0");
    image[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
    image[0x1f1] = setup_sects;
    image[0x1f4..0x1f8].copy_from_slice(&paragraphs.to_le_bytes());
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    image[0x238..0x23c].copy_from_slice(&2047u32.to_le_bytes());
    image.extend((0..paragraphs * 16).map(|n| n as u8));
    image
}

fn good() -> Vec<u8> {
    bzimage(27, 100, MACHINE_AMD64)
}

use format::{MACHINE_AMD64, MACHINE_I386};

struct Files {
    _dir: tempfile::TempDir,
    kernel: PathBuf,
    initrd: PathBuf,
}

fn files(kernel: &[u8], initrd: &[u8]) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let files =
        Files { kernel: dir.path().join("vmlinuz"), initrd: dir.path().join("initrd.img"), _dir: dir };
    fs::write(&files.kernel, kernel).unwrap();
    fs::write(&files.initrd, initrd).unwrap();
    files
}

fn read(content: &dyn Content) -> Vec<u8> {
    let mut bytes = vec![0; content.len() as usize];
    content.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn parts_make_up_the_untouched_image() {
    for setup_sects in [0, 1, 27, 64] {
        let image = bzimage(setup_sects, 100, MACHINE_AMD64);
        let files = files(&image, b"the initrd");
        let handoff =
            KernelHandoff::open(&files.kernel, Some(&files.initrd), " console=ttyS0 quiet\n").unwrap();
        let sectors = if setup_sects == 0 { 4 } else { u32::from(setup_sects) };
        assert_eq!(handoff.setup.len(), (sectors + 1) * 512);
        assert_eq!([read(&handoff.setup), read(&handoff.kernel)].concat(), image);
        assert_eq!(read(&handoff.image), image);
        assert_eq!(read(&handoff.initrd.unwrap()), b"the initrd");
        assert_eq!(handoff.cmdline, b"console=ttyS0 quiet\0");
    }
    // A signed image is longer than its header says.
    let mut signed = good();
    signed.extend([0; 1000]);
    let files = files(&signed, b"");
    let handoff = KernelHandoff::open(&files.kernel, None, "").unwrap();
    assert_eq!(read(&handoff.kernel).len() + handoff.setup.len() as usize, signed.len());
    assert_eq!(handoff.cmdline, b"\0");
}

#[test]
fn what_is_no_kernel_is_told_apart() {
    let mut arm = vec![0; 4096];
    arm[..2].copy_from_slice(b"MZ");
    arm[0x38..0x3c].copy_from_slice(b"ARM\x64");
    let mut no_stub = good();
    no_stub[..2].fill(0);
    let short = good();
    let cases: [(&[u8], &str); 13] = [
        (b"", "is empty"),
        (b"x", "boot header is missing"),
        (b"\x7fELF\x02\x01\x01", "arch/x86/boot/bzImage"),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"MZ\x90", "unified kernel image"),
        (b"QFI\xfb", "disk image"),
        (b"070701000", "it is an initrd"),
        (&arm, "64-bit ARM"),
        (&no_stub, "CONFIG_EFI_STUB"),
        (&bzimage(27, 100, MACHINE_I386), "32-bit"),
        (&short[..short.len() - 1], "is truncated"),
        (&short[..28 * 512], "is truncated"),
    ];
    for (bytes, expected) in cases {
        let files = files(bytes, b"");
        let message = KernelHandoff::open(&files.kernel, None, "").unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("vmlinuz"), "{expected}: {message}");
    }
}

#[test]
fn wrong_paths_and_initrds() {
    let files = files(&good(), b"");
    let empty = KernelHandoff::open(&files.kernel, Some(&files.initrd), "").unwrap_err().to_string();
    assert!(empty.contains("initrd.img is empty"), "{empty}");
    for wrong in ["/nonexistent", "/tmp", "/dev/null"] {
        let message = KernelHandoff::open(Path::new(wrong), None, "").unwrap_err().to_string();
        assert!(message.contains(&format!("cannot read the kernel {wrong}")), "{message}");
        let message = KernelHandoff::open(&files.kernel, Some(Path::new(wrong)), "").unwrap_err().to_string();
        assert!(message.contains(&format!("cannot read the initrd {wrong}")), "{message}");
    }
}

#[test]
fn command_line_must_fit_with_what_the_firmware_adds() {
    let files = files(&good(), b"initrd");
    let open = |initrd, length| KernelHandoff::open(&files.kernel, initrd, &"x".repeat(length));
    open(None, 2047).unwrap();
    assert!(open(None, 2048).unwrap_err().to_string().contains("2048 characters; this kernel takes 2047"));
    open(Some(files.initrd.as_path()), 2033).unwrap();
    assert!(open(Some(files.initrd.as_path()), 2034).is_err());
    for (cmdline, character) in [("a\0b", "'\\u{0}'"), ("a\nb", "'\\n'"), ("ä", "'\\u{e4}'")] {
        let message = KernelHandoff::open(&files.kernel, None, cmdline).unwrap_err().to_string();
        assert!(message.contains(character), "{message}");
    }
}

proptest! {
    #[test]
    fn random_heads_do_not_panic(head in proptest::collection::vec(any::<u8>(), 0..2048), len: u64) {
        prop_assert!(inspect(Path::new("x"), &head, len).is_err());
    }

    #[test]
    fn mutated_heads_do_not_panic(edits in proptest::collection::vec((0usize..0x270, any::<u8>()), 1..20), len: u64) {
        let mut head = good();
        for (at, value) in edits {
            head[at] = value;
        }
        if let Ok(header) = inspect(Path::new("x"), &head, len) {
            prop_assert!(u64::from(header.setup_size) < len);
            prop_assert!(header.cmdline_limit <= MAX_CMDLINE);
        }
    }
}
