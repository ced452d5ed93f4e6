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
}

const KINDS: [Kind; 8] = [
    Kind { name: "raw.img", format: "raw", options: "", direct: false, discard: true },
    Kind { name: "kept.img", format: "raw", options: "preallocation=full", direct: false, discard: false },
    Kind { name: "direct.img", format: "raw", options: "", direct: true, discard: true },
    Kind { name: "plain.qcow2", format: "qcow2", options: "", direct: false, discard: true },
    Kind { name: "small.qcow2", format: "qcow2", options: "cluster_size=512", direct: false, discard: true },
    Kind { name: "old.qcow2", format: "qcow2", options: "compat=0.10", direct: false, discard: true },
    Kind { name: "direct.qcow2", format: "qcow2", options: "", direct: true, discard: false },
    Kind {
        name: "lazy.qcow2",
        format: "qcow2",
        options: "lazy_refcounts=on,refcount_bits=1",
        direct: false,
        discard: true,
    },
];

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
    let path = create(dir.path(), kind.name, kind.format, kind.options, SIZE);
    let open = || {
        open_with(&path, |options| {
            options.direct = kind.direct;
            options.discard = kind.discard;
        })
    };
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), SPACE)]).unwrap();
    let mut model = vec![0; SIZE as usize];
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
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
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
    let mut data = pattern(7, SIZE as usize);
    data[1 << 20..2 << 20].fill(0);
    std::fs::write(&raw, &data).unwrap();
    for (name, args) in [("plain.qcow2", &[][..]), ("compressed.qcow2", &["-c"])] {
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
