//! Entries byte by byte, what is refused, and a blob of live data through the simulator of OVMF's loader.

use super::*;
use crate::tests::simulator::{self, Files};

fn script_with(names: &[&str]) -> (Script, Vec<BlobId>) {
    let mut script = Script::new();
    let ids = names.iter().map(|name| script.allocate(name, vec![0; 64], 16, Zone::High).unwrap()).collect();
    (script, ids)
}

/// Offset and bytes of what is not zero in an entry.
fn check_entry(entry: &[u8], fields: &[(usize, &[u8])]) {
    let mut expected = vec![0; ENTRY_SIZE];
    for (offset, bytes) in fields {
        expected[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    assert_eq!(entry, expected);
}

#[test]
fn entries_are_laid_out_as_the_firmware_reads_them() {
    let (mut script, ids) = script_with(&["a", "b"]);
    script.add_pointer((ids[0], 8), PointerSize::Eight, (ids[1], 0x21)).unwrap();
    script.add_checksum((ids[0], 33), 32..64).unwrap();
    script.write_pointer("c", 8, 4, PointerSize::Four, (ids[1], 0x28)).unwrap();
    let (blobs, entries) = script.finish();
    let entries: Vec<&[u8]> = entries.chunks(ENTRY_SIZE).collect();
    assert_eq!(entries.len(), 5);
    check_entry(entries[0], &[(0, &[1]), (4, b"a"), (60, &[16]), (64, &[1])]);
    check_entry(entries[2], &[(0, &[2]), (4, b"a"), (60, b"b"), (116, &[8]), (120, &[8])]);
    check_entry(entries[3], &[(0, &[3]), (4, b"a"), (60, &[33]), (64, &[32]), (68, &[32])]);
    check_entry(entries[4], &[(0, &[4]), (4, b"c"), (60, b"b"), (116, &[4]), (120, &[0x28]), (124, &[4])]);
    assert_eq!(blobs[0].bytes[8..16], [0x21, 0, 0, 0, 0, 0, 0, 0], "the pointer begins as an offset");
    assert_eq!((blobs[0].name.as_str(), blobs[1].name.as_str()), ("a", "b"));
}

#[test]
fn zones_differ() {
    let mut script = Script::new();
    script.allocate("rsdp", vec![0], 1, Zone::FSegment).unwrap();
    check_entry(&script.finish().1, &[(0, &[1]), (4, b"rsdp"), (60, &[1]), (64, &[2])]);
}

#[test]
fn impossible_allocations_are_refused() {
    let mut script = Script::new();
    let long = "x".repeat(56);
    for name in ["", "with\0nul", &long] {
        let error = script.allocate(name, vec![0], 1, Zone::High).unwrap_err();
        assert_eq!(error, ScriptError::Name(name.to_owned()));
    }
    script.allocate(&long[1..], vec![0], 4096, Zone::High).unwrap();
    let twice = script.allocate(&long[1..], vec![0], 1, Zone::High).unwrap_err();
    assert!(matches!(twice, ScriptError::Twice(_)));
    for align in [0, 3, 8192] {
        let error = script.allocate("a", vec![0], align, Zone::High).unwrap_err();
        assert_eq!(error, ScriptError::Align { name: "a".into(), align });
    }
    assert_eq!(script.allocate("a", vec![], 1, Zone::High), Err(ScriptError::Size("a".into())));
    assert_eq!(script.finish().1.len(), ENTRY_SIZE, "what is refused leaves nothing behind");
}

#[test]
fn pointers_out_of_bounds_are_refused() {
    let (mut script, ids) = script_with(&["a", "b"]);
    let four = PointerSize::Four;
    for (holder, target) in [(61, 0), (64, 0), (usize::MAX, 0), (0, 64), (0, usize::MAX)] {
        let error = script.add_pointer((ids[0], holder), four, (ids[1], target)).unwrap_err();
        assert!(matches!(error, ScriptError::Bounds { .. }), "{error}");
    }
    script.add_pointer((ids[0], 60), four, (ids[1], 63)).unwrap();
    assert_eq!(script.add_pointer((BlobId(2), 0), four, (ids[1], 0)), Err(ScriptError::Blob));
    assert_eq!(script.add_pointer((ids[0], 0), four, (BlobId(2), 0)), Err(ScriptError::Blob));
    for (size, offset, target) in [(8, 5, 0), (8, usize::MAX, 0), (3, 0, 0), (8, 0, 64)] {
        let error = script.write_pointer("file", size, offset, four, (ids[0], target)).unwrap_err();
        assert!(matches!(error, ScriptError::Bounds { .. }), "{error}");
    }
}

#[test]
fn checksums_come_last_and_include_their_byte() {
    let (mut script, ids) = script_with(&["a", "b"]);
    let outside = script.add_checksum((ids[0], 20), 0..20).unwrap_err();
    assert_eq!(outside, ScriptError::ChecksumPlace { name: "a".into(), offset: 20 });
    let long = script.add_checksum((ids[0], 1), 0..65).unwrap_err();
    assert!(matches!(long, ScriptError::Bounds { .. }));
    script.add_checksum((ids[0], 1), 0..20).unwrap();
    let sealed = script.add_pointer((ids[0], 16), PointerSize::Eight, (ids[1], 0)).unwrap_err();
    assert_eq!(sealed, ScriptError::Sealed { name: "a".into(), offset: 16 });
    script.add_pointer((ids[0], 20), PointerSize::Eight, (ids[1], 0)).unwrap();
    script.add_pointer((ids[1], 0), PointerSize::Eight, (ids[0], 0)).unwrap();
}

#[test]
fn stale_checksums_are_cleared() {
    let mut script = Script::new();
    let id = script.allocate("a", vec![0xAA; 16], 1, Zone::High).unwrap();
    script.add_checksum((id, 3), 0..16).unwrap();
    assert_eq!(script.finish().0[0].bytes[3], 0);
}

/// How a ROM image or a generation id reaches the guest: a blob of its own, known by address to an SSDT and
/// to the machine.
#[test]
fn live_data_is_kept_below_4_gib() {
    let mut script = Script::new();
    let ssdt = crate::tests::samples::ssdt();
    let mut table =
        crate::fixed::table(*b"SSDT", 2, crate::OemIds::default(), &[0x08, b'R', b'B', b'A', b'S', 0x0C]);
    table.extend_from_slice(&[0; 4]);
    table[4] = table.len() as u8;
    let field = table.len() - 4;
    let length = table.len();
    table.extend_from_slice(&ssdt);
    let tables = script.allocate("tables", table, 64, Zone::High).unwrap();
    let live = script.allocate("live", vec![0; 8192], 4096, Zone::High).unwrap();
    let root = script.allocate("root", vec![0; 8], 8, Zone::High).unwrap();
    script.add_pointer((tables, field), PointerSize::Four, (live, 0)).unwrap();
    script.add_checksum((tables, 9), 0..length).unwrap();
    script.add_pointer((root, 0), PointerSize::Four, (tables, 0)).unwrap();
    script.write_pointer("address", 8, 0, PointerSize::Eight, (live, 0x28)).unwrap();

    let (blobs, entries) = script.finish();
    let mut files: Files = blobs.into_iter().map(|blob| (blob.name, blob.bytes)).collect();
    files.insert("address".into(), vec![0; 8]);
    let installed = simulator::install(&entries, &files).unwrap();
    let base = installed.blobs["live"].base;
    assert!(base < 1 << 32 && base.is_multiple_of(4096));
    assert_eq!(installed.written["address"], (base + 0x28).to_le_bytes());
    assert!(installed.kept.contains("live") && !installed.kept.contains("tables"));
    let table = installed.of(b"SSDT")[0];
    assert_eq!(table[length - 4..length], (base as u32).to_le_bytes());
}

#[test]
fn scripts_that_cannot_be_executed_are_refused() {
    let (mut script, ids) = script_with(&["a", "b"]);
    script.add_pointer((ids[0], 20), PointerSize::Four, (ids[1], 0)).unwrap();
    script.add_checksum((ids[0], 1), 0..20).unwrap();
    script.write_pointer("address", 8, 0, PointerSize::Eight, (ids[1], 8)).unwrap();
    let (blobs, entries) = script.finish();
    let file = |name: &str| blobs.iter().find(|blob| blob.name == name).map(|blob| blob.bytes.clone());
    let run = |entries: &[u8]| execute(entries, file, |_, _, _| Some(0x1000));
    assert_eq!(run(&entries).unwrap().pointers[0].bytes, 0x1008u64.to_le_bytes());
    assert_eq!(run(&[0; 300]), Ok(Executed::default()));

    assert_eq!(execute(&entries, |_| None, |_, _, _| Some(0)), Err(ExecuteError::NoFile("a".into())));
    let no_room = execute(&entries, file, |_, _, _| None);
    assert_eq!(no_room, Err(ExecuteError::NoRoom { name: "a".into(), size: 64 }));
    let high = execute(&entries, file, |_, _, _| Some(1 << 32));
    assert_eq!(high, Err(ExecuteError::Entry(2)), "an address that does not fit its field");
    // Of each entry behind the allocations: a name without its NUL, another blob, a place outside.
    for (entry, at, bytes) in [
        (2, 4, [b'x'; 56].as_slice()),
        (2, 60, b"c\0"),
        (2, 116, &[61]),
        (2, 120, &[3]),
        (3, 4, b"c\0"),
        (3, 60, &[64]),
        (3, 64, &[0xff; 4]),
        (3, 68, &[65]),
        (4, 60, b"c\0"),
        (4, 124, &[9]),
    ] {
        let mut wrong = entries.clone();
        let at = entry * ENTRY_SIZE + at;
        wrong[at..at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(run(&wrong), Err(ExecuteError::Entry(entry)), "{entry} at {at:#x}");
    }
}
