//! Kernel images: `[kernel]` of vm.toml, from the first bytes to what the firmware is handed, and to what is in guest memory
//! when they start without firmware.
#![no_main]

use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use firmware::direct::kernel::{DirectKernel, Handover};
use firmware::direct::memory_map::memory_map;
use firmware::fw_cfg::kernel::{KernelHandoff, inspect};
use libfuzzer_sys::fuzz_target;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vocabulary::AddressRange;
use vocabulary::fw_cfg::Content;

/// What is read of an image to judge it.
const HEAD: usize = 0x1000;
/// Guest memory: 7 MiB for kernel and initrd, from 1 MiB on, and 32 MiB behind them that are kept for tables.
const RAM: u64 = 40 << 20;
const TABLES: u64 = 8 << 20;

fuzz_target!(|data: &[u8]| {
    // The first two bytes are the length of a command line in front of the image.
    let Some((length, data)) = data.split_first_chunk() else { return };
    let (cmdline, image) = data.split_at(usize::from(u16::from_le_bytes(*length)).min(data.len()));
    let cmdline = String::from_utf8_lossy(cmdline);
    let head = image.get(..HEAD).unwrap_or(image);

    // A length that the file does not have, such as one that shrinks meanwhile.
    for len in [0, u64::MAX, u64::from(u32::MAX) + 1] {
        if let Err(error) = inspect("image".as_ref(), head, len) {
            assert!(!error.to_string().is_empty());
        }
    }
    let len = image.len() as u64;
    let header = inspect("image".as_ref(), head, len);
    if let Ok(header) = &header {
        assert!(u64::from(header.setup_size) < len);
    }

    thread_local!(static FILE: std::fs::File = memory_file());
    FILE.with(|mut file| {
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(image));
        assert!(written.is_ok());
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        start(&path, &cmdline);
        let handoff = match KernelHandoff::open(&path, Some(&path), &cmdline) {
            Ok(handoff) => handoff,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        let Ok(header) = header else { panic!("an image that is refused is opened") };
        // The firmware puts the two parts together again.
        assert_eq!([&handoff.setup, &handoff.kernel].map(read).concat(), image);
        assert_eq!(read(&handoff.image), image);
        assert_eq!(handoff.initrd.as_ref().map(read).as_deref(), Some(image));
        let Some((0, text)) = handoff.cmdline.split_last() else { panic!("no NUL at the end") };
        assert!(text.len() <= header.cmdline_limit && !text.contains(&0));
    });
});

/// Without firmware. What is beside kernel, initrd and boot parameters stays as it is.
fn start(path: &Path, cmdline: &str) {
    thread_local!(static MEMORY: GuestMemoryMmap<()> = memory());
    let kernel = match DirectKernel::open(path, Some(path), cmdline, RAM) {
        Ok(kernel) => kernel,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    MEMORY.with(|memory| {
        // VGA's memory, and both ends of the room for tables.
        let kept = [0xa_0000, 0xe_f000, TABLES, RAM - 4096].map(GuestAddress);
        for at in kept {
            assert!(memory.write_slice(&[0xa5; 4096], at).is_ok());
        }
        let map = memory_map(RAM, None, AddressRange::new(RAM - 4096, 4096), &[]);
        if let Err(error) = kernel.load(memory, &Handover { memory: &map, rsdp: 0xf_0000 }) {
            assert!(!error.to_string().is_empty());
        }
        for at in kept {
            let mut page = [0; 4096];
            assert!(
                memory.read_slice(&mut page, at).is_ok() && page == [0xa5; 4096],
                "{at:?} was written to"
            );
        }
    });
}

fn memory() -> GuestMemoryMmap<()> {
    match GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM as usize)]) {
        Ok(memory) => memory,
        Err(error) => panic!("no memory: {error}"),
    }
}

fn read(content: &impl Content) -> Vec<u8> {
    let mut bytes = vec![0; content.len() as usize];
    assert!(content.read_at(0, &mut bytes).is_ok());
    bytes
}

fn memory_file() -> std::fs::File {
    match tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()) {
        Ok(file) => file,
        Err(error) => panic!("no temporary file: {error}"),
    }
}
