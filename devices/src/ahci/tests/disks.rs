//! A SATA disk: reading and writing in each way that ATA has, against a model of the sectors, and what goes wrong.

use std::sync::Mutex;

use proptest::prelude::*;
use vm_memory::VolatileSlice;

use super::super::registers::port as p;
use super::*;
use crate::disk::{BlockBackend, OnError, Topology};

/// Sectors of the disk, of 512 bytes.
pub(super) const SECTORS: u64 = 2048;

/// What has been done to a disk, and what is in it.
#[derive(Default)]
pub(super) struct Platter {
    pub(super) bytes: Vec<u8>,
    pub(super) flushes: u32,
    pub(super) fails: bool,
    /// A sector, of 512 bytes, that can neither be read nor written.
    pub(super) bad: Option<u64>,
    /// A trim was asked for, and the image has found that its file system has none.
    trimmed: bool,
}

impl Platter {
    fn is_bad(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> bool {
        let len = buffers.iter().map(|buffer| buffer.len() as u64).sum::<u64>();
        self.bad.is_some_and(|bad| (offset / 512..(offset + len) / 512).contains(&bad))
    }
}

struct Image(Arc<Mutex<Platter>>);

impl BlockBackend for Image {
    fn size(&self) -> u64 {
        SECTORS * 512
    }
    fn read_only(&self) -> bool {
        false
    }
    fn can_discard(&self) -> bool {
        !self.0.lock().unwrap().trimmed
    }
    fn topology(&self) -> Topology {
        Topology { physical_block: 4096, optimal_io: 0, discard_granularity: 4096 }
    }
    fn read(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        let platter = self.0.lock().unwrap();
        if platter.fails || platter.is_bad(offset, buffers) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset as usize;
        for buffer in buffers {
            buffer.copy_from(&platter.bytes[at..][..buffer.len()]);
            at += buffer.len();
        }
        Ok(())
    }
    fn write(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        if platter.fails || platter.is_bad(offset, buffers) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut at = offset as usize;
        for buffer in buffers {
            at += buffer.copy_to(&mut platter.bytes[at..][..buffer.len()]);
        }
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.flushes += 1;
        if platter.fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.trimmed = true;
        platter.bytes[offset as usize..][..len as usize].fill(0);
        Ok(())
    }
    fn write_zeroes(&mut self, _offset: u64, _len: u64, _unmap: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A controller with a disk of these sectors at its first port, which is started.
pub(super) fn with_disk(sector: u32) -> (Bench, Arc<Mutex<Platter>>) {
    let platter =
        Arc::new(Mutex::new(Platter { bytes: vec![0; SECTORS as usize * 512], ..Platter::default() }));
    let failures = Failures::new("disk[0]", OnError::Report);
    (with_image(sector, Box::new(Image(Arc::clone(&platter))), failures), platter)
}

/// The same with this image.
pub(super) fn with_image(sector: u32, image: Box<dyn BlockBackend>, failures: Arc<Failures>) -> Bench {
    let told = DiskIdentity {
        model: "ACME DISK".into(),
        revision: "2.1".into(),
        serial: "S7".into(),
        ssd: true,
        sector,
    };
    let mut attached = [const { None }; PORTS];
    attached[0] = Some(Attached::Disk { disk: Disk::new(image), identity: told, failures });
    let bench = assemble(attached, [Drive::new(identity(), None), Drive::new(identity(), None)]);
    bench.start(0);
    bench
}

/// A command for sectors.
pub(super) fn access(code: u8, wide: bool, lba: u64, count: u16) -> [u8; 16] {
    let l = lba.to_le_bytes();
    let c = count.to_le_bytes();
    let device = if wide { 0x40 } else { 0x40 | (lba >> 24) as u8 & 0xf };
    let (l3, l4, l5, c1) = if wide { (l[3], l[4], l[5], c[1]) } else { (0, 0, 0, 0) };
    [0x27, 0x80, code, 0, l[0], l[1], l[2], device, l3, l4, l5, 0, c[0], c1, 0, 0]
}

fn words(bench: &Bench) -> Vec<u16> {
    assert_eq!(bench.perform(0, &frame(0xec), &[], &[(DATA, 512)]), (0x50, 512));
    bench.get(DATA, 512).chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

#[test]
fn a_disk_identifies_itself() {
    let (bench, _) = with_disk(512);
    assert_eq!(bench.port(0, p::SIG), 0x101);
    let words = words(&bench);
    // What Windows, Linux and OVMF decide by.
    for (index, expected) in [
        (0, 0x0040),
        (49, 0x0b00),
        (60, SECTORS as u16),
        (75, 31),
        (76, 0x102),
        (83, 0x7400),
        (84, 0x4060),
        (85, 0x4068),
        (86, 0x3400),
        (100, SECTORS as u16),
        (106, 0x6003),
        (169, 1),
        (209, 0x4000),
        (217, 1),
    ] {
        assert_eq!(words[index], expected, "word {index}");
    }
    assert_eq!(words[88] >> 8, 0x20, "Ultra DMA 5");
    let (bench, _) = with_disk(4096);
    let words = self::words(&bench);
    assert_eq!((words[100], words[106], words[117], words[118]), (SECTORS as u16 / 8, 0x5000, 2048, 0));
}

#[test]
fn settings_are_kept_until_the_machine_is_switched_on() {
    let (bench, platter) = with_disk(512);
    let feature = |code: u8, count: u8| {
        let mut frame = frame(0xef);
        (frame[3], frame[12]) = (code, count);
        let (status, _) = bench.perform(0, &frame, &[], &[]);
        if status & 1 != 0 {
            bench.recover(0);
        }
        status
    };
    assert_eq!(feature(3, 0x46), 0x50);
    assert_eq!(feature(0x82, 0), 0x50);
    assert_eq!(feature(0x55, 0), 0x50);
    assert_eq!(platter.lock().unwrap().flushes, 1, "what was in the cache");
    assert_eq!(feature(3, 0x99), 0x451);
    assert_eq!(feature(0x10, 2), 0x451);
    let mut multiple = frame(0xc6);
    multiple[12] = 16;
    bench.perform(0, &multiple, &[], &[]);
    let told = words(&bench);
    assert_eq!((told[59], told[85], told[88]), (0x110, 0x4008, 0x407f));
    // Each write is durable then.
    bench.perform(0, &access(0xca, false, 0, 1), &[], &[(DATA, 512)]);
    assert_eq!(platter.lock().unwrap().flushes, 2);
    let link = || {
        bench.set_port(0, p::SCTL, 1);
        bench.set_port(0, p::SCTL, 0);
        bench.start(0);
        let told = words(&bench);
        (told[59], told[85], told[88])
    };
    assert_eq!(link(), (0x110, 0x4008, 0x407f));
    bench.perform(0, &access(0xca, false, 0, 1), &[], &[(DATA, 512)]);
    assert_eq!(platter.lock().unwrap().flushes, 3);
    // Unless the guest wants it otherwise, and by switching on at the latest.
    assert_eq!(feature(0xcc, 0), 0x50);
    assert_eq!(link(), (0, 0x4068, 0x207f));
    assert_eq!(feature(0x82, 0), 0x50);
    assert_eq!(link(), (0, 0x4068, 0x207f), "it stays so");
    assert_eq!((feature(0x66, 0), feature(0x82, 0)), (0x50, 0x50));
    assert_eq!(link(), (0, 0x4048, 0x207f));
    PciFunction::reset(&*bench.function);
    let _ = bench.function.config_write(reg::BAR0 + 4 * 5, &ABAR_AT.to_le_bytes());
    let _ = bench.function.config_write(reg::COMMAND, &[6, 0]);
    assert_eq!(link(), (0, 0x4068, 0x207f));
}

#[test]
fn flushes_trims_and_the_rest() {
    let (bench, platter) = with_disk(512);
    platter.lock().unwrap().bytes.fill(9);
    for command in [0xe7, 0xea] {
        assert_eq!(bench.perform(0, &frame(command), &[], &[]).0, 0x50);
    }
    bench.perform(0, &access(0x3d, true, 8, 1), &[], &[(DATA, 512)]);
    assert_eq!(platter.lock().unwrap().flushes, 3, "and a write that is durable at once");
    // A block of ranges: two, and empty ones.
    let mut ranges = vec![0; 512];
    ranges[..8].copy_from_slice(&(100 | 8u64 << 48).to_le_bytes());
    ranges[8..16].copy_from_slice(&(2047 | 1u64 << 48).to_le_bytes());
    bench.put(DATA, &ranges);
    let mut trim = access(0x06, true, 0, 1);
    trim[3] = 1;
    assert_eq!(bench.perform(0, &trim, &[], &[(DATA, 512)]), (0x50, 512));
    let zeroes =
        |platter: &Mutex<Platter>| platter.lock().unwrap().bytes.iter().filter(|byte| **byte == 0).count();
    assert_eq!(zeroes(&platter), 10 * 512);
    // What was offered is taken again, whatever has become of it.
    assert_eq!(bench.perform(0, &trim, &[], &[(DATA, 512)]), (0x50, 512));
    assert_eq!(words(&bench)[169], 1);
    // One that is not all there trims nothing.
    ranges[..8].copy_from_slice(&(1000 | 8u64 << 48).to_le_bytes());
    ranges[8..16].copy_from_slice(&(2047 | 2u64 << 48).to_le_bytes());
    bench.put(DATA, &ranges);
    assert_eq!(bench.perform(0, &trim, &[], &[(DATA, 512)]).0, 0x1051);
    assert_eq!(zeroes(&platter), 10 * 512);
    bench.recover(0);
    assert_eq!(bench.perform(0, &access(0x42, true, 2000, 48), &[], &[]).0, 0x50);
    assert_eq!(bench.perform(0, &frame(0xe5), &[], &[]).0, 0x50);
    assert_eq!(bench.get(FRAMES + 0x4c, 1), [0xff], "active");
    bench.perform(0, &access(0xf8, false, 0, 0), &[], &[]);
    assert_eq!(bench.get(FRAMES + 0x44, 4), [0xff, 0x07, 0, 0x40]);
    for code in [0x00, 0xa0, 0xa1, 0xb0, 0x47, 0x63, 0x64, 0xf5, 0x45] {
        assert_eq!(bench.perform(0, &access(code, true, 0, 1), &[], &[(DATA, 512)]).0, 0x451, "{code:x}");
        bench.recover(0);
    }
}

#[test]
fn errors_name_the_sector() {
    let (bench, platter) = with_disk(512);
    for (frame, error) in [
        (access(0xc8, false, SECTORS - 1, 2), 0x10),
        (access(0x25, true, SECTORS, 1), 0x10),
        (access(0x25, true, u64::MAX >> 16, 0), 0x10),
        (access(0x35, true, 0, 0), 0x10),
        (access(0x40, false, SECTORS, 1), 0x10),
        // Before the number of sectors is set.
        (access(0xc4, false, 0, 1), 0x04),
    ] {
        let (status, count) = bench.perform(0, &frame, &[], &[(DATA, 1024)]);
        assert_eq!((status, count), (error << 8 | 0x51, 0), "{frame:x?}");
        bench.recover(0);
    }
    // By cylinders and heads.
    let mut old = access(0xc8, false, 0, 1);
    old[7] = 0;
    assert_eq!(bench.perform(0, &old, &[], &[(DATA, 512)]).0, 0x451);
    bench.recover(0);
    platter.lock().unwrap().fails = true;
    for (code, error) in [(0xc8, 0x40), (0xca, 0x04), (0x40, 0x40)] {
        assert_eq!(
            bench.perform(0, &access(code, false, 0x123, 1), &[], &[(DATA, 512)]).0,
            error << 8 | 0x51
        );
        assert_eq!(bench.get(FRAMES + 0x44, 2), [0x23, 0x01]);
        bench.recover(0);
    }
    assert_eq!(bench.perform(0, &frame(0xe7), &[], &[]).0, 0x451);
    bench.recover(0);
    platter.lock().unwrap().fails = false;
    assert_eq!(bench.perform(0, &frame(0xe7), &[], &[]).0, 0x50, "once more, and it works");
}

#[test]
fn a_bad_sector_costs_no_more_than_what_follows_it_and_is_named() {
    for (sector, bad) in [(512, 700u64), (4096, 700 / 8)] {
        let (bench, platter) = with_disk(sector);
        platter.lock().unwrap().bytes.fill(7);
        platter.lock().unwrap().bad = Some(700);
        let count = (SECTORS * 512 / u64::from(sector)) as u16;
        // By DMA, by PIO, and without data.
        for (code, moves) in [(0x25, true), (0x24, true), (0x42, false), (0x35, false)] {
            bench.put(DATA, &[0; SECTORS as usize * 512]);
            let regions = [(DATA, SECTORS as u32 * 512)];
            let (status, moved) = bench.perform(0, &access(code, true, 0, count), &[], &regions);
            let good = bad * u64::from(sector);
            let (error, counted) =
                if code == 0x35 { (0x04, good) } else { (0x40, if moves { good } else { 0 }) };
            assert_eq!((status, u64::from(moved)), (error << 8 | 0x51, counted), "{code:x}");
            let data = bench.get(DATA, SECTORS as usize * 512);
            assert_eq!(data.iter().filter(|byte| **byte == 7).count() as u64, if moves { good } else { 0 });
            if code == 0x35 {
                // All before it is there, and nothing behind.
                let written: Vec<_> = platter.lock().unwrap().bytes.iter().map(|byte| *byte == 0).collect();
                assert_eq!(written.iter().position(|zero| !zero), Some(good as usize));
                assert!(!written[good as usize..].contains(&true));
            }
            assert_eq!(bench.get(FRAMES + 0x44, 3), bad.to_le_bytes()[..3]);
            bench.recover(0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The matrix of QEMU's test, and more: each kind of command, anywhere, in regions of any shape, against a model.
    #[test]
    fn what_is_written_is_read(
        sector in prop_oneof![Just(512u32), Just(4096)],
        requests in proptest::collection::vec((0usize..8, 0u64..300, 1u16..40, any::<u8>(), 400u32..3000), 1..25),
    ) {
        const READS: [(u8, bool); 4] = [(0x20, false), (0x24, true), (0xc8, false), (0x25, true)];
        const WRITES: [(u8, bool); 4] = [(0x30, false), (0x34, true), (0xca, false), (0x35, true)];
        let (bench, platter) = with_disk(sector);
        let sectors = SECTORS * 512 / u64::from(sector);
        let mut model = platter.lock().unwrap().bytes.clone();
        for (kind, first, count, seed, piece) in requests {
            let count = u64::from(count).min(sectors - first.min(sectors - 1)) as u16;
            let (first, write) = (first.min(sectors - u64::from(count)), kind >= 4);
            let (code, wide) = if write { WRITES[kind - 4] } else { READS[kind] };
            let len = usize::from(count) * sector as usize;
            let mut regions = Vec::new();
            let mut left = len as u32;
            while left > 0 {
                let part = (piece * 2).min(left);
                regions.push((DATA + regions.len() as u64 * 0x1800, part));
                left -= part;
            }
            let data: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(3) ^ seed).collect();
            if write {
                let mut at = 0;
                for (address, part) in &regions {
                    bench.put(*address, &data[at..at + *part as usize]);
                    at += *part as usize;
                }
            }
            let (status, moved) = bench.perform(0, &access(code, wide, first, count), &[], &regions);
            prop_assert_eq!((status, moved as usize), (0x50, len));
            bench.set_port(0, p::IS, u32::MAX);
            let range = &mut model[first as usize * sector as usize..][..len];
            if write {
                range.copy_from_slice(&data);
            } else {
                let read: Vec<u8> = regions.iter().flat_map(|(at, len)| bench.get(*at, *len as usize)).collect();
                prop_assert_eq!(&read[..], &*range);
            }
        }
        prop_assert_eq!(&platter.lock().unwrap().bytes, &model);
    }
}
