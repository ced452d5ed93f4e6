//! The backends against a model in memory, and against qemu-img as an independent reader.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

use super::*;
use crate::GuestRam;

const SIZE: u64 = 3 << 20;
/// Where operations have their data.
const SPACE: usize = 1 << 20;

/// How an image is made and opened.
#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    format: &'static str,
    options: &'static str,
    direct: bool,
    discard: bool,
    history: History,
}

const fn qcow2(name: &'static str, options: &'static str) -> Kind {
    Kind { name, format: "qcow2", options, direct: false, discard: true, history: History::None }
}

const KINDS: [Kind; 20] = [
    Kind { format: "raw", ..qcow2("raw.img", "") },
    Kind { format: "raw", discard: false, ..qcow2("kept.img", "preallocation=full") },
    Kind { format: "raw", direct: true, ..qcow2("direct.img", "") },
    qcow2("plain.qcow2", ""),
    qcow2("small.qcow2", "cluster_size=512"),
    qcow2("page.qcow2", "cluster_size=4k"),
    qcow2("large.qcow2", "cluster_size=2M"),
    qcow2("old.qcow2", "compat=0.10"),
    qcow2("old-small.qcow2", "compat=0.10,cluster_size=512"),
    qcow2("wide.qcow2", "refcount_bits=64,cluster_size=512"),
    qcow2("narrow.qcow2", "refcount_bits=2,cluster_size=1k"),
    qcow2("lazy.qcow2", "lazy_refcounts=on,refcount_bits=1"),
    qcow2("prepared.qcow2", "preallocation=metadata"),
    Kind { discard: false, ..qcow2("kept.qcow2", "") },
    Kind { direct: true, discard: false, ..qcow2("direct.qcow2", "") },
    Kind { direct: true, ..qcow2("direct-small.qcow2", "cluster_size=512") },
    Kind { history: History::Snapshot, ..qcow2("snapshot.qcow2", "cluster_size=4k") },
    Kind { history: History::Snapshot, ..qcow2("old-snapshot.qcow2", "compat=0.10") },
    Kind { history: History::Backing, ..qcow2("top.qcow2", "cluster_size=8k") },
    Kind { history: History::Backing, ..qcow2("old-top.qcow2", "compat=0.10,cluster_size=1k") },
];

/// What the image's contents rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    None,
    /// Contents that a snapshot shares, made by qemu-io and qemu-img.
    Snapshot,
    /// A raw backing file that ends before the disk.
    Backing,
}

/// Makes the image. Returns its path and contents.
fn make(dir: &Path, kind: Kind) -> (PathBuf, Vec<u8>) {
    let mut model = vec![0; SIZE as usize];
    match kind.history {
        History::None => (create(dir, kind.name, kind.format, kind.options, SIZE), model),
        History::Snapshot => {
            let path = create(dir, kind.name, kind.format, kind.options, SIZE);
            qemu_io(&path, &["write -P 0x5a 0 1M", "write -P 0x5b 2M 100k", "write -z 1500k 64k"]);
            qemu_img_ok(&["snapshot", "-c", "kept", text(&path)]);
            model[..1 << 20].fill(0x5a);
            model[2 << 20..(2 << 20) + (100 << 10)].fill(0x5b);
            (path, model)
        }
        History::Backing => {
            let base = dir.join("base.raw");
            let len = (SIZE - (700 << 10)) as usize;
            let data = pattern(77, len);
            std::fs::write(&base, &data).unwrap();
            model[..len].copy_from_slice(&data);
            let path = dir.join(kind.name);
            let size = SIZE.to_string();
            let options = format!("backing_file=base.raw,backing_fmt=raw,{}", kind.options);
            qemu_img_ok(&["create", "-q", "-f", "qcow2", "-o", &options, text(&path), &size]);
            (path, model)
        }
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Write(u64),
    Read,
    Discard,
    Zero(bool),
    Flush,
    Reopen,
}

fn operations() -> impl Strategy<Value = Vec<(Operation, u64, u64, Vec<usize>)>> {
    let operation = prop_oneof![
        6 => any::<u64>().prop_map(Operation::Write),
        3 => Just(Operation::Read),
        2 => Just(Operation::Discard),
        2 => any::<bool>().prop_map(Operation::Zero),
        1 => Just(Operation::Flush),
        1 => Just(Operation::Reopen),
    ];
    let sectors = SIZE / 512;
    let len = prop_oneof![1u64..20, 1u64..1000];
    let cuts = proptest::collection::vec(0usize..SPACE, 0..5);
    proptest::collection::vec((operation, 0..sectors, len, cuts), 1..30)
}

/// Guest memory cut into buffers of `len` bytes in all, at arbitrary places.
fn buffers<'a>(ram: &'a GuestRam, len: usize, cuts: &[usize]) -> Vec<VolatileSlice<'a>> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut % len).chain([len]).filter(|&end| end > 0).collect();
    ends.sort_unstable();
    ends.dedup();
    let mut start = 0;
    let cut = |end| {
        let from = std::mem::replace(&mut start, end);
        ram.get_slice(GuestAddress(from as u64), end - from).unwrap()
    };
    ends.into_iter().map(cut).collect()
}

fn run(kind: Kind, operations: Vec<(Operation, u64, u64, Vec<usize>)>) {
    let dir = tempfile::tempdir().unwrap();
    let (path, mut model) = make(dir.path(), kind);
    let before = model.clone();
    let open = || {
        open_with(&path, |options| {
            options.direct = kind.direct;
            options.discard = kind.discard;
            options.allow_backing = kind.history == History::Backing;
        })
    };
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), SPACE)]).unwrap();
    let mut disk = open();
    assert_eq!(disk.size(), SIZE);
    for (operation, sector, sectors, cuts) in operations {
        let sectors = sectors.min(SIZE / 512 - sector);
        let (offset, len) = (sector * 512, (sectors * 512) as usize);
        let part = offset as usize..offset as usize + len;
        let slices = buffers(&ram, len, &cuts);
        match operation {
            Operation::Write(seed) => {
                model[part.clone()].copy_from_slice(&pattern(seed, len));
                ram.write_slice(&model[part], GuestAddress(0)).unwrap();
                disk.write(offset, &slices).unwrap();
            }
            Operation::Read => {
                disk.read(offset, &slices).unwrap();
                let mut data = vec![0; len];
                ram.read_slice(&mut data, GuestAddress(0)).unwrap();
                assert!(data == model[part], "{kind:?}: read at {offset:#x}");
            }
            Operation::Discard => {
                disk.discard(offset, len as u64).unwrap();
                // Each sector keeps its contents or loses them.
                disk.read(offset, &slices).unwrap();
                let mut data = vec![0; len];
                ram.read_slice(&mut data, GuestAddress(0)).unwrap();
                for (now, before) in data.chunks(512).zip(model[part.clone()].chunks(512)) {
                    assert!(now == before || now.iter().all(|&byte| byte == 0));
                }
                model[part].copy_from_slice(&data);
            }
            Operation::Zero(unmap) => {
                disk.write_zeroes(offset, len as u64, unmap).unwrap();
                model[part].fill(0);
            }
            Operation::Flush => disk.flush().unwrap(),
            Operation::Reopen => {
                drop(disk);
                disk = open();
            }
        }
    }
    disk.flush().unwrap();
    drop(disk);
    if kind.format == "qcow2" {
        qemu_img_ok(&["check", "-q", text(&path)]);
    }
    assert!(contents(&path, kind.format) == model, "{kind:?}: qemu-img reads something else");
    match kind.history {
        History::None => {}
        History::Snapshot => {
            qemu_img_ok(&["snapshot", "-a", "kept", text(&path)]);
            qemu_img_ok(&["check", "-q", text(&path)]);
            assert!(contents(&path, "qcow2") == before, "{kind:?}: the snapshot has changed");
        }
        History::Backing => {
            let base = std::fs::read(dir.path().join("base.raw")).unwrap();
            assert!(base == before[..base.len()], "{kind:?}: the backing file has changed");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn images_hold_what_was_written(kind in 0..KINDS.len(), operations in operations()) {
        run(KINDS[kind], operations);
    }
}

#[test]
fn direct_io_needs_whole_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.img");
    std::fs::write(&path, vec![0; 4096 + 512]).unwrap();
    let mut options = DiskOptions::new(&path);
    options.direct = true;
    match open_disk(&options) {
        // Where the file system takes single sectors.
        Ok(disk) => assert_eq!(disk.topology().physical_block, 512),
        Err(error) => assert!(matches!(error, DiskError::OddSize { multiple: 1024.., .. }), "{error}"),
    }
}

#[test]
fn images_made_by_qemu_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("source.img");
    // Half of it can be compressed.
    let mut data = pattern(7, SIZE as usize);
    data.chunks_mut(128).for_each(|chunk| chunk[..64].fill(7));
    data[1 << 20..2 << 20].fill(0);
    std::fs::write(&raw, &data).unwrap();
    for (name, args) in [
        ("plain.qcow2", &[][..]),
        ("compressed.qcow2", &["-c"]),
        ("zstd.qcow2", &["-c", "-o", "compression_type=zstd"]),
        ("small.qcow2", &["-c", "-o", "cluster_size=512"]),
        ("zstd-large.qcow2", &["-c", "-o", "compression_type=zstd,cluster_size=2M"]),
    ] {
        let path = dir.path().join(name);
        let fixed = ["convert", "-f", "raw", "-O", "qcow2", text(&raw), text(&path)];
        qemu_img_ok(&[&fixed[..1], args, &fixed[1..]].concat());
        let mut disk = open_with(&path, |_| {});
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), SIZE as usize)]).unwrap();
        disk.read(0, &buffers(&ram, SIZE as usize, &[7, 5000])).unwrap();
        let mut read = vec![0; SIZE as usize];
        ram.read_slice(&mut read, GuestAddress(0)).unwrap();
        assert!(read == data, "{name}");
        // Writing into compressed clusters leaves the rest of them.
        ram.write_slice(&[9; 1024], GuestAddress(0)).unwrap();
        disk.write(512, &buffers(&ram, 1024, &[])).unwrap();
        disk.flush().unwrap();
        drop(disk);
        qemu_img_ok(&["check", "-q", text(&path)]);
        let now = contents(&path, "qcow2");
        assert!(now[..512] == data[..512] && now[512..1536] == [9; 1024] && now[1536..] == data[1536..]);
    }
}
