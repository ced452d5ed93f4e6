//! UEFI firmware: volumes, sections and each way of compressing one.
#![no_main]

use firmware::uefi_volume::{Method, Sections, decompress};
use libfuzzer_sys::fuzz_target;

const METHODS: [Method; 6] = [
    Method::Standard,
    Method::Tiano,
    Method::Lzma,
    Method::LzmaX86,
    Method::Brotli,
    Method::Other(uuid::Uuid::nil()),
];

/// The most that may come out.
const LIMIT: usize = 4 << 20;

fuzz_target!(|data: &[u8]| {
    // The first byte says how the rest is taken.
    let Some((kind, data)) = data.split_first() else { return };
    if let Some(method) = METHODS.get(usize::from(*kind)) {
        if let Ok(readings) = decompress(*method, data, LIMIT) {
            assert!(readings.iter().all(|out| out.len() <= LIMIT));
        }
        return;
    }
    let mut sections = Sections::default();
    sections.walk_volume(data, 0);
    sections.walk_sections(data, 0..data.len());
    for guid in 0..data.len().min(64) {
        sections.take_guid(data, guid);
    }
    for unread in sections.unread() {
        assert!(unread.offset < data.len());
    }
    for section in sections.into_found() {
        assert!(data.get(section.data).is_some_and(|data| !data.is_empty()));
    }
});
