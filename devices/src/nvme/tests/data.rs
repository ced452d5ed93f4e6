//! Commands of the NVM command set, against a model of the disk.

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::host::{Dwords, Format, Host, SIZE, plain, transfer};
use crate::disk::tests::pattern;

const OK: (u16, u16) = (0, 0);
/// Where data and lists are.
const DATA: u64 = 0x40_0000;
const LIST: u64 = 0x10_0000;

#[derive(Debug, Clone)]
enum Step {
    Read { block: u32, count: u32, skew: u64 },
    Write { block: u32, count: u32, skew: u64, force: bool },
    Zero { block: u32, count: u32, free: bool },
    Deallocate(Vec<(u32, u32)>),
    Flush { everywhere: bool },
    Cache { on: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let block = 0..6000u32;
    let count = prop_oneof![3 => 1..20u32, 1 => 1..2049u32];
    let skew = prop_oneof![Just(0u64), (0..1024u64).prop_map(|dword| dword * 4)];
    let step = prop_oneof![
        3 => (block.clone(), count.clone(), skew.clone())
            .prop_map(|(block, count, skew)| Step::Read { block, count, skew }),
        3 => (block.clone(), count.clone(), skew, any::<bool>())
            .prop_map(|(block, count, skew, force)| Step::Write { block, count, skew, force }),
        1 => (block.clone(), count.clone(), any::<bool>())
            .prop_map(|(block, count, free)| Step::Zero { block, count, free }),
        1 => proptest::collection::vec((block, count), 1..5).prop_map(Step::Deallocate),
        1 => any::<bool>().prop_map(|everywhere| Step::Flush { everywhere }),
        1 => any::<bool>().prop_map(|on| Step::Cache { on }),
    ];
    proptest::collection::vec(step, 1..24)
}

/// Writes the list for `len` bytes from `skew` of the page `DATA` on, whose pages lie every second one, and returns both PRPs. The
/// list begins so late in its page that it goes on in another one where it is long.
fn describe(host: &Host, len: u64, skew: u64) -> ((u64, u64), Vec<(u64, u64)>) {
    let mut parts = vec![(DATA + skew, len.min(4096 - skew))];
    let mut rest = len - parts[0].1;
    let mut page = DATA;
    while rest > 0 {
        page += 0x2000;
        parts.push((page, rest.min(4096)));
        rest -= rest.min(4096);
    }
    let second = match parts.len() {
        1 => 0xdead_beef_dead_beef,
        2 => parts[1].0,
        _ => {
            let (mut at, mut pages) = (LIST + 0xf00, &parts[1..]);
            loop {
                let room = ((0x1000 - at % 0x1000) / 8) as usize;
                let take = if pages.len() > room { room - 1 } else { pages.len() };
                for (page, _) in &pages[..take] {
                    host.ram.write_obj(*page, GuestAddress(at)).unwrap();
                    at += 8;
                }
                pages = &pages[take..];
                if pages.is_empty() {
                    break LIST + 0xf00;
                }
                let next = LIST + 0x1000;
                host.ram.write_obj(next, GuestAddress(at)).unwrap();
                at = next;
            }
        }
    };
    ((parts[0].0, second), parts)
}

fn scatter(host: &Host, parts: &[(u64, u64)], mut data: &[u8]) {
    for (address, len) in parts {
        let (part, rest) = data.split_at(*len as usize);
        host.ram.write_slice(part, GuestAddress(*address)).unwrap();
        data = rest;
    }
}

fn gather(host: &Host, parts: &[(u64, u64)]) -> Vec<u8> {
    parts.iter().flat_map(|(address, len)| host.bytes(*address, *len as usize)).collect()
}

fn deallocation(host: &Host, ranges: &[(u32, u32)]) -> Dwords {
    for (index, (block, count)) in (0u64..).zip(ranges) {
        let range = [0, *count, *block, 0];
        host.ram.write_obj(range, GuestAddress(DATA + index * 16)).unwrap();
    }
    let mut command = plain(9, [ranges.len() as u32 - 1, 4, 0, 0, 0, 0]);
    command[6] = DATA as u32;
    command
}

fn run(format: Format, steps: Vec<Step>) {
    let mut host = Host::with_queue(format);
    let mut model = vec![0u8; SIZE as usize];
    // What deallocated blocks read as is open until they are written.
    let mut known = vec![true; SIZE as usize / 512];
    for (seed, step) in (1u64..).zip(steps) {
        let span = |block: u32, count: u32| block as usize * 512..(block + count) as usize * 512;
        let blocks = |block: u32, count: u32| block as usize..(block + count) as usize;
        match step {
            Step::Read { block, count, skew } => {
                let (prps, parts) = describe(&host, u64::from(count) * 512, skew);
                assert_eq!(host.io(transfer(2, block, count, prps)), OK);
                let found = gather(&host, &parts);
                for (index, found) in found.chunks(512).enumerate() {
                    let at = block as usize + index;
                    assert!(!known[at] || found == &model[at * 512..(at + 1) * 512], "block {at}");
                }
            }
            Step::Write { block, count, skew, force } => {
                let (prps, parts) = describe(&host, u64::from(count) * 512, skew);
                let data = pattern(seed, count as usize * 512);
                scatter(&host, &parts, &data);
                let mut command = transfer(1, block, count, prps);
                command[12] |= u32::from(force) << 30;
                assert_eq!(host.io(command), OK);
                model[span(block, count)].copy_from_slice(&data);
                known[blocks(block, count)].fill(true);
            }
            Step::Zero { block, count, free } => {
                let flags = u32::from(free) << 25;
                assert_eq!(host.io(plain(8, [block, 0, (count - 1) | flags, 0, 0, 0])), OK);
                model[span(block, count)].fill(0);
                known[blocks(block, count)].fill(true);
            }
            Step::Deallocate(ranges) => {
                let command = deallocation(&host, &ranges);
                assert_eq!(host.io(command), OK);
                for (block, count) in ranges {
                    known[blocks(block, count)].fill(false);
                }
            }
            Step::Flush { everywhere } => {
                let mut command = plain(0, [0; 6]);
                command[1] = if everywhere { u32::MAX } else { 1 };
                assert_eq!(host.io(command), OK);
            }
            Step::Cache { on } => {
                assert_eq!(host.admin(9, 0, [6, u32::from(on), 0, 0, 0, 0]), (0, OK));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_raw_disk_holds_what_is_written(steps in steps()) {
        run(Format::Raw, steps);
    }

    #[test]
    fn a_qcow2_disk_holds_what_is_written(steps in steps()) {
        run(Format::Qcow2, steps);
    }
}

#[test]
fn what_is_written_is_in_the_image() {
    let mut host = Host::with_queue(Format::Raw);
    let (prps, parts) = describe(&host, 1 << 20, 0x204);
    let data = pattern(5, 1 << 20);
    scatter(&host, &parts, &data);
    assert_eq!(host.io(transfer(1, 100, 2048, prps)), OK);
    assert_eq!(host.image(100 * 512, 1 << 20), data);
    assert_eq!(host.io(plain(8, [101, 0, 1, 0, 0, 0])), OK);
    assert_eq!(host.image(100 * 512, 2048), [&data[..512], &[0; 1024], &data[1536..2048]].concat());
}

#[test]
fn wrong_commands_are_refused_and_change_nothing() {
    let mut host = Host::with_queue(Format::Raw);
    let last = (SIZE / 512) as u32;
    let with = |mut command: Dwords, at: usize, value: u32| {
        command[at] = value;
        command
    };
    let write = |block, count| transfer(1, block, count, (DATA, DATA + 0x1000));
    for (what, command, status) in [
        ("an operation that there is not", plain(5, [0; 6]), (0, 1)),
        ("one of the vendor's", plain(0x90, [0; 6]), (0, 1)),
        ("another namespace", with(write(0, 1), 1, 2), (0, 0xb)),
        ("no namespace", with(write(0, 1), 1, 0), (0, 0xb)),
        ("all of them", with(write(0, 1), 1, u32::MAX), (0, 0xb)),
        ("a fused command", with(write(0, 1), 0, 1 | 1 << 8), (0, 2)),
        ("an SGL", with(write(0, 1), 0, 1 | 1 << 14), (0, 2)),
        ("more than MDTS", write(0, 2049), (0, 2)),
        ("behind the end", write(last, 1), (0, 0x80)),
        ("over the end", write(last - 1, 2), (0, 0x80)),
        ("far behind the end", with(write(0, 1), 11, u32::MAX), (0, 0x80)),
        ("zeroes over the end", plain(8, [last - 1, 0, 1, 0, 0, 0]), (0, 0x80)),
        ("a first PRP that is no dword", transfer(1, 0, 1, (DATA + 2, 0)), (0, 0x13)),
        ("a second one within a page", transfer(1, 0, 16, (DATA, DATA + 0x1004)), (0, 0x13)),
        ("a list that is no qword", transfer(1, 0, 32, (DATA, LIST + 4)), (0, 0x13)),
        ("no memory", transfer(1, 0, 1, (1 << 40, 0)), (0, 4)),
        ("a list that is nowhere", transfer(1, 0, 32, (DATA, 1 << 40)), (0, 4)),
        ("a range over the end", deallocation(&host, &[(0, 1), (last, 1)]), (0, 0x80)),
    ] {
        host.ram.write_slice(&[0xaa; 64], GuestAddress(DATA + 0x100)).unwrap();
        assert_eq!(host.io(command), status, "{what}");
    }
    assert!(host.image(0, SIZE as usize).iter().all(|byte| *byte == 0));
    // Hints are none of our business, and empty ranges nothing to do.
    assert_eq!(host.io(plain(9, [0, 3, 0, 0, 0, 0])), OK);
    let empty = deallocation(&host, &[(5, 0), (last, 0)]);
    assert_eq!(host.io(empty), OK);
}
