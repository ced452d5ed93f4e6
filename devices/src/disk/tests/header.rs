//! Headers that are not understood are refused, whatever qemu-img would make of them.

use super::*;

/// What is changed in a good header (offset, bytes), and words of the refusal.
type Case = (&'static str, &'static [(u64, &'static [u8])], &'static [&'static str]);

/// Version 3, clusters of 64 KiB, 1 MiB: L1 table with one entry at 0x30000, refcount table of one cluster.
const CASES: [Case; 35] = [
    ("version 1", &[(4, &[0, 0, 0, 1])], &["version 1", "qemu-img convert"]),
    ("version 4", &[(4, &[0, 0, 0, 4])], &["version 4", "qemu-img convert"]),
    (
        "AES",
        &[(32, &[0, 0, 0, 1])],
        &["encrypted (AES)", "qemu-img convert --object secret", "encrypt.key-secret"],
    ),
    ("LUKS", &[(32, &[0, 0, 0, 2])], &["encrypted (LUKS)", "qemu-img convert --object secret"]),
    ("unknown encryption", &[(32, &[0, 0, 0, 3])], &["encrypted", "unknown method 3"]),
    ("unknown encryption", &[(32, &[0xff; 4])], &["encrypted", "unknown method 4294967295"]),
    ("clusters of 256 bytes", &[(20, &[0, 0, 0, 8])], &["clusters of 2^8"]),
    ("clusters of 4 MiB", &[(20, &[0, 0, 0, 22])], &["clusters of 2^22"]),
    ("clusters of 2^4294967295 bytes", &[(20, &[0xff; 4])], &["clusters of 2^4294967295"]),
    ("external data", &[(79, &[4])], &["external file", "qemu-img convert"]),
    ("extended L2", &[(79, &[16])], &["extended L2", "qemu-img convert"]),
    ("unknown feature", &[(79, &[32])], &["unknown incompatible feature number 5", "qemu-img convert"]),
    ("unknown features", &[(72, &[0x80]), (78, &[1])], &["number 8, number 63"]),
    ("dirty", &[(79, &[1])], &["not closed properly", "qemu-img check -r all"]),
    ("corrupt", &[(79, &[2])], &["marked as corrupt", "qemu-img check -r all"]),
    ("compression without a type", &[(79, &[8])], &["compression type contradicts"]),
    ("zstd without the feature", &[(104, &[1])], &["compression type contradicts"]),
    ("unknown compression", &[(79, &[8]), (104, &[2])], &["unknown method 2", "qemu-img convert"]),
    ("unknown compression", &[(104, &[0xff])], &["unknown method 255"]),
    ("refcounts of 128 bits", &[(99, &[7])], &["refcounts of 2^7 bits"]),
    ("a short header", &[(100, &[0, 0, 0, 100])], &["length of 100"]),
    ("a header longer than a cluster", &[(100, &[0, 1, 0, 1])], &["length of 65537"]),
    ("a disk of 2^63 bytes", &[(24, &[0x80, 0, 0, 0, 0, 0, 0, 0])], &["too large"]),
    (
        "a disk that needs a second L1 entry",
        &[(24, &[0, 0, 0, 0, 0x20, 0, 0, 1])],
        &["L1 table has 1 entries", "needs 2"],
    ),
    ("no L1 entry", &[(36, &[0; 4])], &["L1 table has 0 entries", "needs 1"]),
    ("too many L1 entries", &[(36, &[0, 0x40, 0, 1])], &["L1 table is too large"]),
    ("an L1 table at 0", &[(40, &[0; 8])], &["L1 table", "impossible offset 0x0"]),
    ("an L1 table within a cluster", &[(47, &[8])], &["L1 table", "impossible offset 0x30008"]),
    (
        "an L1 table beyond everything",
        &[(40, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0])],
        &["L1 table", "impossible"],
    ),
    ("a refcount table within a cluster", &[(54, &[2])], &["refcount table", "impossible offset"]),
    ("no refcount table", &[(56, &[0; 4])], &["no refcount table"]),
    ("a huge refcount table", &[(56, &[0, 0, 0, 129])], &["refcount table is too large"]),
    (
        "a backing file's name behind the header",
        &[(8, &[0, 0, 0, 0, 0, 1, 0, 1])],
        &["outside of the header"],
    ),
    ("too many snapshots", &[(60, &[0, 1, 0, 1])], &["too many snapshots"]),
    (
        "an extension that does not fit",
        &[(112, &[1, 2, 3, 4, 0, 1, 0, 0])],
        &["extension of its header does not fit"],
    ),
];

#[test]
fn headers_that_are_not_understood_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (name, changes, words) in CASES {
        let path = create(dir.path(), "a.qcow2", "qcow2", "", 1 << 20);
        for (offset, bytes) in changes {
            edit(&path, *offset, bytes);
        }
        let before = std::fs::read(&path).unwrap();
        let said = refused(&path, |_| {}).to_string();
        for word in words {
            assert!(said.contains(word), "{name}: {said}");
        }
        assert!(said.contains(text(&path)), "{said}");
        assert!(std::fs::read(&path).unwrap() == before, "{name}: written to");
        // What can be trusted to be read correctly is only what is wrong about writing.
        let readable = ["dirty", "corrupt"].contains(&name);
        let options = DiskOptions { read_only: true, ..DiskOptions::new(&path) };
        assert_eq!(open_patiently(&options).is_ok(), readable, "{name}");
    }
}

#[test]
fn what_qemu_img_can_make_is_read_or_refused_in_the_right_words() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "--object=secret,id=key,data=password";
    let cases = [
        (&["-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"][..], "encrypted (LUKS)"),
        (&["-o", "encrypt.format=aes,encrypt.key-secret=key"], "encrypted (AES)"),
        (&["-o", "extended_l2=on"], "extended L2"),
        (&["-o", "compression_type=zstd"], ""),
        (&["-o", "compat=0.10"], ""),
        (&["-o", "lazy_refcounts=on"], ""),
    ];
    for (options, word) in cases {
        let path = dir.path().join("a.qcow2");
        qemu_img_ok(&[&["create", "-q", secret, "-f", "qcow2"], options, &[text(&path), "1M"]].concat());
        match word {
            "" => drop(open_with(&path, |_| {})),
            word => {
                for read_only in [false, true] {
                    let said = refused(&path, |options| options.read_only = read_only).to_string();
                    assert!(said.contains(word) && said.contains("qemu-img convert"), "{said}");
                    assert!(!said.contains("qemu-img check"), "{said}");
                }
            }
        }
    }
}

#[test]
fn the_command_for_encrypted_images_works() {
    let dir = tempfile::tempdir().unwrap();
    let (path, key) = (dir.path().join("a.qcow2"), dir.path().join("key"));
    std::fs::write(&key, "password").unwrap();
    let secret = format!("--object=secret,id=key,file={}", text(&key));
    let options = "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10";
    qemu_img_ok(&["create", "-q", &secret, "-f", "qcow2", "-o", options, text(&path), "1M"]);
    let said = refused(&path, |_| {}).to_string();
    let command = said.split('`').nth(1).unwrap().replace("PASSWORD_FILE", text(&key));
    qemu_img_ok(&command.split_whitespace().skip(1).collect::<Vec<_>>());
    drop(open_with(&dir.path().join("a.converted.qcow2"), |_| {}));
}

#[test]
fn unknown_features_are_called_by_the_names_that_the_image_gives() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "a.qcow2", "qcow2", "", 1 << 20);
    let bytes = std::fs::read(&path).unwrap();
    // The table's first name, "dirty bit", becomes that of bit 40.
    let table = bytes.windows(4).position(|bytes| bytes == [0x68, 0x03, 0xf8, 0x57]).unwrap();
    edit(&path, table as u64 + 8, b"\0\x28time travel\0");
    edit(&path, 74, &[1]);
    assert!(refused(&path, |_| {}).to_string().contains("feature \"time travel\", which is not supported"));
}

#[test]
fn bitmaps_are_void_after_the_first_write_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "a.qcow2", "qcow2", "", 1 << 20);
    qemu_img_ok(&["bitmap", "--add", text(&path), "backup"]);
    assert_eq!(u64_at(&path, 88), 1, "consistent bitmaps");
    let mut disk = open_with(&path, |_| {});
    read(disk.as_mut(), 0, 512);
    disk.flush().unwrap();
    assert_eq!(u64_at(&path, 88), 1);
    write(disk.as_mut(), 0, &[1; 512]);
    assert_eq!(u64_at(&path, 88), 0);
    drop(disk);
    // qemu-img finds the bitmap's clusters leaked, and nothing else.
    assert_eq!(qemu_img(&["check", text(&path)]).status.code(), Some(3));
}
