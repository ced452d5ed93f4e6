//! Samples of drivers of virtio devices: a disk's requests and a source of entropy's, in all framings.

use crate::Outcome;

/// Devices by their number in the target.
const DISK: u8 = 0;
const READ_ONLY_DISK: u8 = 1;
const RNG: u8 = 2;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// The queue's places and what the samples use.
const DESC: u64 = 0;
const AVAIL: u64 = 0x100;
const USED: u64 = 0x200;
const HEADERS: u64 = 0x300;
const STATUS: u64 = 0x3f0;
const DATA: u64 = 0x400;

type Chain<'a> = &'a [(u64, u32, u16)];

pub(crate) fn samples(put: impl Fn(&str, &[u8]) -> Outcome) -> Outcome {
    // The request's type and sector: read, write, flush, identification, discard, write zeroes, and none.
    for (kind, name) in
        [(0, "read"), (1, "write"), (4, "flush"), (8, "id"), (11, "discard"), (13, "zeroes"), (99, "unknown")]
    {
        let to_driver = if matches!(kind, 0 | 8 | 99) { WRITE } else { 0 };
        let chain: Chain<'_> = &[(HEADERS, 16, 0), (DATA, 512, to_driver), (STATUS, 1, WRITE)];
        put(name, &sample(DISK, kind, &[chain], 0))?;
        put(&format!("{name}-read-only"), &sample(READ_ONLY_DISK, kind, &[chain], 3))?;
    }
    let mut segments = memory(11, &[&[(HEADERS, 16, 0), (DATA, 32, 0), (STATUS, 1, WRITE)]]);
    store(&mut segments, DATA, &[4, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    store(&mut segments, DATA + 16, &[16, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
    put("segments", &[head(DISK, 1), segments].concat())?;
    let pieces: Chain<'_> =
        &[(HEADERS, 3, 0), (HEADERS + 3, 13, 0), (DATA, 100, WRITE), (DATA + 100, 413, WRITE)];
    put("pieces", &sample(DISK, 0, &[pieces], 2))?;
    let mut table = memory(0, &[&[(0x800, 48, INDIRECT)]]);
    describe(&mut table, 0x800, 0, (HEADERS, 16, NEXT), 1);
    describe(&mut table, 0x800, 1, (DATA, 512, NEXT | WRITE), 2);
    describe(&mut table, 0x800, 2, (STATUS, 1, WRITE), 0);
    put("indirect", &[head(DISK, 1), table].concat())?;
    let several: [Chain<'_>; 3] = [
        &[(HEADERS, 16, 0), (DATA, 512, WRITE), (STATUS, 1, WRITE)],
        &[(HEADERS, 16, 0), (STATUS + 1, 1, WRITE)],
        &[(HEADERS, 16, 0), (DATA, 1024, WRITE), (STATUS + 2, 1, WRITE)],
    ];
    put("several", &sample(DISK, 0, &several, 2))?;
    let chains: [(&str, Chain<'_>); 4] = [
        ("entropy", &[(DATA, 64, WRITE)]),
        ("entropies", &[(DATA, 64, WRITE), (DATA + 64, 4000, WRITE)]),
        ("entropy-out", &[(DATA, 64, 0)]),
        ("entropy-outside", &[(DATA, 0x10_0000, WRITE)]),
    ];
    for (name, chain) in chains {
        put(name, &sample(RNG, 0, &[chain], 0))?;
    }
    Ok(())
}

fn sample(device: u8, kind: u32, chains: &[Chain<'_>], transport: u8) -> Vec<u8> {
    [head(device, transport), memory(kind, chains)].concat()
}

/// What comes before the memory: all features of the device, and a write that turns the disk's cache off.
fn head(device: u8, transport: u8) -> Vec<u8> {
    let place = |at: u64, unit: u64| u16::try_from(at / unit).unwrap_or(0).to_le_bytes();
    let writes = [0x20, 0x20, 0, 0, 0, 0, 0];
    let first = [device, 0xff, 0xff, 0xff, 0xff, transport, 1];
    let queue = [&[4][..], &place(DESC, 16), &place(AVAIL, 2), &place(USED, 4)].concat();
    [&first[..], &writes, &queue].concat()
}

/// A queue of 16 descriptors with these chains, the header of a request for sector 1, and something as data.
fn memory(kind: u32, chains: &[Chain<'_>]) -> Vec<u8> {
    let mut memory = vec![0; 0xc00];
    let mut next = 0;
    for (position, chain) in chains.iter().enumerate() {
        let slot = AVAIL + 4 + 2 * position as u64;
        store(&mut memory, slot, &u16::to_le_bytes(next));
        for (index, (at, len, flags)) in chain.iter().enumerate() {
            let more = if index + 1 < chain.len() { NEXT } else { 0 };
            describe(&mut memory, DESC, next, (*at, *len, flags | more), next + 1);
            next += 1;
        }
    }
    store(&mut memory, AVAIL + 2, &u16::try_from(chains.len()).unwrap_or(0).to_le_bytes());
    store(&mut memory, HEADERS, &kind.to_le_bytes());
    store(&mut memory, HEADERS + 8, &1_u64.to_le_bytes());
    memory
}

fn describe(memory: &mut [u8], table: u64, index: u16, (at, len, flags): (u64, u32, u16), next: u16) {
    let descriptor =
        [&at.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()].concat();
    store(memory, table + 16 * u64::from(index), &descriptor);
}

fn store(memory: &mut [u8], at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    memory.iter_mut().skip(at).zip(bytes).for_each(|(byte, value)| *byte = *value);
}
