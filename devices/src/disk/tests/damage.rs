//! Images with damaged metadata: found when they are opened, or later, and never written to.

use super::engine::is_final;
use super::*;

/// Clusters of 4 KiB, 1 MiB; the first 64 KiB written, with a snapshot if asked for.
fn image(dir: &Path, options: &str, snapshot: bool) -> PathBuf {
    let path = create(dir, "a.qcow2", "qcow2", options, 1 << 20);
    qemu_io(&path, &["write -P 1 0 64k"]);
    if snapshot {
        qemu_img_ok(&["snapshot", "-c", "one", text(&path)]);
        qemu_io(&path, &["write -P 2 0 4k"]);
    }
    path
}

/// Where things are in an image.
struct Layout {
    l1: u64,
    l2: u64,
    refcount_table: u64,
    refcount_block: u64,
    data: u64,
}

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

fn layout(path: &Path) -> Layout {
    let (l1, refcount_table) = (u64_at(path, 40), u64_at(path, 48));
    let l2 = u64_at(path, l1) & OFFSET;
    Layout {
        l1,
        l2,
        refcount_table,
        refcount_block: u64_at(path, refcount_table),
        data: u64_at(path, l2) & OFFSET,
    }
}

const COPIED: u64 = 1 << 63;

type Change = fn(&Path, &Layout);

/// Each is damage to qemu-img too.
const DAMAGE: [(&str, Change, &str); 19] = [
    ("the first refcount block is missing", |p, l| edit(p, l.refcount_table, &[0; 8]), "no refcount"),
    ("a refcount block of zeroes", |p, l| edit(p, l.refcount_block, &[0; 4096]), "refcount 0"),
    (
        "the header has refcount 0",
        |p, l| edit(p, l.refcount_block, &[0; 2]),
        "at 0x0 is used 1 times and has refcount 0",
    ),
    ("data has refcount 0", |p, l| edit(p, l.refcount_block + l.data / 4096 * 2, &[0; 2]), "refcount 0"),
    (
        "data to write in place has refcount 2",
        |p, l| edit(p, l.refcount_block + l.data / 4096 * 2, &[0, 2]),
        "in place",
    ),
    ("data is the header", |p, l| edit(p, l.l2 + 8, &[0x80, 0, 0, 0, 0, 0, 0x10, 0]), "overlaps metadata"),
    ("data is the L1 table", |p, l| edit(p, l.l2 + 8, &(l.l1 | COPIED).to_be_bytes()), "overlaps metadata"),
    (
        "data is its own L2 table",
        |p, l| edit(p, l.l2 + 8, &(l.l2 | COPIED).to_be_bytes()),
        "overlaps metadata",
    ),
    (
        "data is the refcount table",
        |p, l| edit(p, l.l2 + 8, &(l.refcount_table | COPIED).to_be_bytes()),
        "overlaps",
    ),
    (
        "data is the refcount block",
        |p, l| edit(p, l.l2 + 8, &(l.refcount_block | COPIED).to_be_bytes()),
        "overlaps",
    ),
    (
        "data is there twice",
        |p, l| edit(p, l.l2 + 8, &(l.data | COPIED).to_be_bytes()),
        "used 2 times and has refcount 1",
    ),
    (
        "data beyond the end",
        |p, l| edit(p, l.l2 + 8, &((1u64 << 40) | COPIED).to_be_bytes()),
        "beyond the end",
    ),
    (
        "data within a cluster",
        |p, l| edit(p, l.l2 + 8, &((l.data + 512) | COPIED).to_be_bytes()),
        "no entry of an L2",
    ),
    (
        "reserved bits",
        |p, l| edit(p, l.l2 + 8, &(l.data | COPIED | 4).to_be_bytes()),
        "no entry of an L2 table",
    ),
    (
        "an L2 table beyond the end",
        |p, l| edit(p, l.l1, &((1u64 << 40) | COPIED).to_be_bytes()),
        "beyond the end",
    ),
    ("an L2 table that is the L1 table", |p, l| edit(p, l.l1, &(l.l1 | COPIED).to_be_bytes()), "overlaps"),
    (
        "an L2 table that is the header",
        |p, l| edit(p, l.l1, &(l.refcount_table | COPIED).to_be_bytes()),
        "overlaps",
    ),
    (
        "a refcount block beyond the end",
        |p, l| edit(p, l.refcount_table, &(1u64 << 40).to_be_bytes()),
        "beyond the end",
    ),
    (
        "a refcount block within a cluster",
        |p, l| edit(p, l.refcount_table + 6, &[0x22]),
        "not where a cluster begins",
    ),
];

#[test]
fn damage_is_found_when_an_image_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    for (name, change, word) in DAMAGE {
        let path = image(dir.path(), "cluster_size=4k", false);
        drop(open_with(&path, |_| {}));
        change(&path, &layout(&path));
        let code = qemu_img(&["check", text(&path)]).status.code();
        assert!(matches!(code, Some(1 | 2)), "{name}: qemu-img says {code:?}");
        let before = std::fs::read(&path).unwrap();
        let said = refused(&path, |_| {}).to_string();
        assert!(said.contains(word), "{name}: {said}");
        assert!(said.contains(&format!("qemu-img check -r all {}", text(&path))), "{said}");
        assert!(std::fs::read(&path).unwrap() == before, "{name}: written to");
        // What is left can be read, or is an error, and the file stays as it is.
        if let Ok(mut disk) = open_disk(&DiskOptions { read_only: true, ..DiskOptions::new(&path) }) {
            let _ = try_read(disk.as_mut(), 0, 1 << 20);
            drop(disk);
        }
        assert!(std::fs::read(&path).unwrap() == before, "{name}: written to");
    }
}

#[test]
fn a_truncated_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(dir.path(), "cluster_size=4k", false);
    let whole = std::fs::read(&path).unwrap();
    let end = (0..16).map(|at| u64_at(&path, layout(&path).l2 + at * 8) & OFFSET).max().unwrap() as usize;
    for len in (512..end).step_by(1024) {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(
            matches!(refused(&path, |_| {}), DiskError::Damaged { .. } | DiskError::Header { .. }),
            "{len}"
        );
    }
    // Only the last cluster need not be whole.
    std::fs::write(&path, &whole[..end + 512]).unwrap();
    drop(open_with(&path, |_| {}));
}

#[test]
fn damage_in_snapshots_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let changes: [(&str, Change, &str); 4] = [
        ("L1 table", |p, _| edit(p, u64_at(p, u64_at(p, 64)), &(1u64 << 40).to_be_bytes()), "beyond the end"),
        ("its place", |p, _| edit(p, u64_at(p, 64), &u64_at(p, 40).to_be_bytes()), "overlaps"),
        ("its size", |p, _| edit(p, u64_at(p, 64) + 8, &[1]), "too large"),
        ("the table's place", |p, _| edit(p, 64, &(1u64 << 40).to_be_bytes()), "beyond the end"),
    ];
    for (name, change, word) in changes {
        let path = image(dir.path(), "cluster_size=4k", true);
        drop(open_with(&path, |_| {}));
        change(&path, &layout(&path));
        let said = refused(&path, |_| {}).to_string();
        assert!(said.contains(word) && said.contains("qemu-img check -r all"), "{name}: {said}");
    }
}

#[test]
fn leaks_and_needless_copies_are_tolerated() {
    let dir = tempfile::tempdir().unwrap();
    let changes: [(&str, Change); 3] = [
        ("unused clusters that count as used", |p, l| edit(p, l.refcount_block + 200, &[0, 1, 0, 1])),
        ("data that nothing refers to any more", |p, l| edit(p, l.l2 + 8, &[0; 8])),
        ("data that could be written in place", |p, l| edit(p, l.l2, &l.data.to_be_bytes())),
    ];
    for (name, change) in changes {
        let path = image(dir.path(), "cluster_size=4k", false);
        change(&path, &layout(&path));
        let mut disk = open_with(&path, |_| {});
        write(disk.as_mut(), 512, &[9; 8192]);
        drop(disk);
        let code = qemu_img(&["check", "-q", text(&path)]).status.code();
        assert!(matches!(code, Some(0 | 3)), "{name}: {code:?}");
        let now = contents(&path, "qcow2");
        assert!(now[..512] == [1; 512] && now[512..512 + 8192] == [9; 8192], "{name}");
    }
}

/// Changes an image behind the back of whoever has it open.
fn damage_later(options: &str, change: Change) -> (tempfile::TempDir, PathBuf, Box<dyn BlockBackend>) {
    let dir = tempfile::tempdir().unwrap();
    let path = image(dir.path(), options, false);
    let disk = open_with(&path, |_| {});
    change(&path, &layout(&path));
    (dir, path, disk)
}

#[test]
fn damage_that_comes_later_stops_writing() {
    let changes: [(&str, Change); 6] = [
        ("data is the refcount table", |p, l| edit(p, l.l2, &(l.refcount_table | COPIED).to_be_bytes())),
        ("data is the L1 table", |p, l| edit(p, l.l2, &(l.l1 | COPIED).to_be_bytes())),
        ("data is the L2 table", |p, l| edit(p, l.l2, &(l.l2 | COPIED).to_be_bytes())),
        ("data is a refcount block", |p, l| edit(p, l.l2, &(l.refcount_block | COPIED).to_be_bytes())),
        ("data beyond the end", |p, l| edit(p, l.l2, &((1u64 << 40) | COPIED).to_be_bytes())),
        ("reserved bits", |p, l| edit(p, l.l2, &(l.data | COPIED | 4).to_be_bytes())),
    ];
    for (name, change) in changes {
        let (_dir, path, mut disk) = damage_later("cluster_size=4k", change);
        let before = std::fs::read(&path).unwrap();
        let error = try_write(disk.as_mut(), 0, &[7; 512]).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{name}: {error}");
        assert!(is_final(&error), "{name}: no repetition mends it");
        // Nothing has changed but the mark.
        let mut marked = before.clone();
        marked[79] |= 2;
        assert!(std::fs::read(&path).unwrap() == marked, "{name}: written to");
        let stopped = "repaired with `qemu-img check -r all`";
        assert!(
            try_write(disk.as_mut(), 8192, &[7; 512]).unwrap_err().to_string().contains(stopped),
            "{name}"
        );
        assert!(disk.flush().unwrap_err().to_string().contains(stopped), "{name}");
        let error = try_read(disk.as_mut(), 0, 512).err();
        assert!(error.is_none_or(|error| is_final(&error)), "{name}: reads meet it, or do not");
        assert!(disk.write_zeroes(8192, 4096, true).is_err(), "{name}");
        assert_eq!(read(disk.as_mut(), 8192, 512), [1; 512], "{name}: what is right can be read");
        drop(disk);
        assert!(std::fs::read(&path).unwrap() == marked, "{name}: written to at the end");
        assert!(refused(&path, |_| {}).to_string().contains("marked as corrupt"), "{name}");
    }
}

#[test]
fn version_2_has_no_mark_and_stops_all_the_same() {
    let change: Change = |p, l| edit(p, l.l2, &(l.l1 | COPIED).to_be_bytes());
    let (_dir, path, mut disk) = damage_later("compat=0.10,cluster_size=4k", change);
    let before = std::fs::read(&path).unwrap();
    assert!(try_write(disk.as_mut(), 0, &[7; 512]).is_err());
    assert!(try_write(disk.as_mut(), 8192, &[7; 512]).is_err());
    drop(disk);
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn a_repaired_image_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(dir.path(), "cluster_size=4k", false);
    edit(&path, layout(&path).refcount_block, &[0; 4096]);
    let said = refused(&path, |_| {}).to_string();
    let command = said.split('`').nth(1).unwrap();
    let _ = qemu_img(&command.split_whitespace().skip(1).collect::<Vec<_>>());
    assert_eq!(read(open_with(&path, |_| {}).as_mut(), 0, 65536), vec![1; 65536]);
}

#[test]
fn the_check_of_a_large_image_is_quick() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.qcow2");
    qemu_img_ok(&["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", text(&path), "100G"]);
    let start = Instant::now();
    drop(open_with(&path, |_| {}));
    // A fraction of a second in a release build; this one is not, and has company.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

/// Refcounts that lie in holes of the file cost nothing to forge, and are 2^24 in a block here.
#[test]
fn refcounts_of_nothing_are_not_looked_at() {
    const CLUSTER: u64 = 2 << 20;
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path(), "a.qcow2", "qcow2", "cluster_size=2M,refcount_bits=1", 1 << 30);
    let table = u64_at(&path, 48);
    let block = u64_at(&path, table);
    edit(&path, block, &[0xff; CLUSTER as usize]);
    let entries: Vec<u8> = (0..4096_u64).flat_map(|at| ((100 + at) * CLUSTER).to_be_bytes()).collect();
    edit(&path, table + 8, &entries);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(5000 * CLUSTER).unwrap();
    let start = Instant::now();
    let mut disk = open_with(&path, |_| {});
    // Each block that is looked at takes a second in a build for tests.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(read(disk.as_mut(), 0, 512), [0; 512]);
}
