//! Kernel images: `[kernel]` of vm.toml, from the first bytes to what the firmware is handed.
#![no_main]

use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use firmware::fw_cfg::kernel::{KernelHandoff, inspect};
use libfuzzer_sys::fuzz_target;
use vocabulary::fw_cfg::Content;

/// What is read of an image to judge it.
const HEAD: usize = 0x1000;

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
