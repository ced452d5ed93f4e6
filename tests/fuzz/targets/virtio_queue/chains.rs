//! What a device may do to memory, worked out from the rings alone (virtio 1.2, 2.7): it writes to writable buffers of chains
//! that were made available and to its used ring, and returns chains that it was given, with no more than fits them.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::TOP;
use crate::input::QueueSetup;

const PAGE: usize = 256;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// What one queue allows.
pub(crate) struct Expected {
    queue: QueueSetup,
    /// How often each head was made available, and what its writable buffers hold together.
    heads: BTreeMap<u16, (usize, u64)>,
    writable: Vec<Range<usize>>,
}

fn range(at: u64, len: u64) -> Range<usize> {
    let bound = |address: u64| address.min(TOP as u64) as usize;
    bound(at)..bound(at.saturating_add(len))
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

fn u16_at(memory: &[u8], at: u64) -> Option<u16> {
    let at = usize::try_from(at).ok()?;
    Some(u16::from_le_bytes(memory.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

impl Descriptor {
    fn read(memory: &[u8], table: u64, index: u16) -> Option<Self> {
        let at = usize::try_from(table.checked_add(16 * u64::from(index))?).ok()?;
        let bytes: [u8; 16] = memory.get(at..at.checked_add(16)?)?.try_into().ok()?;
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
        Some(Self {
            address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        })
    }
}

impl Expected {
    /// `None` when what the device writes would change what it reads as rings and tables, so that anything follows.
    pub(crate) fn of(queue: &QueueSetup, memory: &[u8]) -> Option<Self> {
        let size = u64::from(queue.size);
        let used = range(queue.used, 6 + 8 * size);
        let mut read = vec![range(queue.desc, 16 * size), range(queue.avail, 6 + 2 * size)];
        let mut expected = Self { queue: *queue, heads: BTreeMap::new(), writable: vec![] };
        let count = u16_at(memory, queue.avail + 2).unwrap_or(0);
        for position in 0..count.min(queue.size) {
            let head = u16_at(memory, queue.avail + 4 + 2 * u64::from(position)).unwrap_or(0);
            if let Some((times, _)) = expected.heads.get_mut(&head) {
                *times += 1;
                continue;
            }
            let room = expected.walk(memory, head, &mut read);
            expected.heads.insert(head, (1, room));
        }
        let writes = || expected.writable.iter().chain([&used]);
        if read.iter().any(|read| writes().any(|write| overlap(read, write)))
            || expected.writable.iter().any(|write| overlap(write, &used))
        {
            return None;
        }
        Some(expected)
    }

    /// Adds a chain's writable buffers, and tells their size together.
    fn walk(&mut self, memory: &[u8], head: u16, read: &mut Vec<Range<usize>>) -> u64 {
        let (mut table, mut size, mut index) = (self.queue.desc, u32::from(self.queue.size), head);
        let (mut room, mut indirect) = (0, false);
        // No chain is longer than its table.
        let mut left = size;
        while left > 0 && u32::from(index) < size {
            left -= 1;
            let Some(descriptor) = Descriptor::read(memory, table, index) else { break };
            if descriptor.flags & INDIRECT != 0 {
                if indirect {
                    break;
                }
                // Followed whether it was negotiated or not: this is the most that may be written.
                (table, size, index, indirect) =
                    (descriptor.address, (descriptor.len / 16).min(0xffff), 0, true);
                left = size;
                read.push(range(table, u64::from(size) * 16));
                continue;
            }
            if descriptor.flags & WRITE != 0 {
                room += u64::from(descriptor.len);
                self.writable.push(range(descriptor.address, descriptor.len.into()));
            }
            if descriptor.flags & NEXT == 0 {
                break;
            }
            index = descriptor.next;
        }
        room
    }
}

/// Compares memory before and after a run with what was allowed.
pub(crate) fn check(all: &[Expected], before: &[u8], after: &[u8]) {
    let mut allowed = vec![false; TOP];
    for expected in all {
        let QueueSetup { size, used, .. } = expected.queue;
        let used = range(used, 6 + 8 * u64::from(size));
        for range in expected.writable.iter().chain([&used]) {
            allowed[range.clone()].fill(true);
        }
    }
    // Most of it is as it was, and compared quickly.
    let pages = before
        .chunks(PAGE)
        .zip(after.chunks(PAGE))
        .enumerate()
        .filter(|(_, (before, after))| before != after);
    for (page, (before, after)) in pages {
        for (at, (before, after)) in (page * PAGE..).zip(before.iter().zip(after)) {
            assert!(allowed[at] || before == after, "{at:#x} is in no buffer, and was written");
        }
    }
    all.iter().for_each(|expected| check_used(expected, before, after));
}

fn check_used(expected: &Expected, before: &[u8], after: &[u8]) {
    let QueueSetup { size, used, .. } = expected.queue;
    let mut returned = BTreeMap::new();
    let Some(count) = u16_at(after, used + 2) else { return };
    if u16_at(before, used + 2) == Some(count) {
        return;
    }
    assert!(count <= size, "more chains were returned than made available");
    for position in 0..count {
        let at = used + 4 + 8 * u64::from(position);
        let (Some(id), Some(0)) = (u16_at(after, at), u16_at(after, at + 2)) else {
            panic!("the number of a returned chain is none")
        };
        let (Some(low), Some(high)) = (u16_at(after, at + 4), u16_at(after, at + 6)) else { return };
        let len = u64::from(low) | u64::from(high) << 16;
        let Some((available, room)) = expected.heads.get(&id) else { panic!("{id} was not made available") };
        assert!(len <= *room, "{len} bytes of {room} are said to be written");
        let times = returned.entry(id).or_insert(0);
        *times += 1;
        assert!(*times <= *available, "{id} is returned once too often");
    }
}
