//! The controller through its registers, with a clock that the tests set: what the drivers of Linux and Windows do, and
//! laws that hold for any.

mod codec;
mod drivers;
mod hostile;
mod registers;
mod time;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use vm_memory::GuestAddress;

use super::*;
use crate::audio::{Frame, Report};
use crate::interrupt::MsiMessage;
use crate::pci::PciFunction;
use crate::pci::config::reg;
use crate::pci::msix::testing::FakeAllocator;
use crate::test_support::{Line, Memory, TestClock};

const BAR_AT: u32 = 0xc000_0000;
const RAM: u64 = 0x40_0000;
const MESSAGE: MsiMessage = MsiMessage { address: 0xfee0_1000, data: 0x42 };

/// Where guests have their structures.
const CORB: u64 = 0x1000;
const RIRB: u64 = 0x2000;
const POSITIONS: u64 = 0x3000;
const LIST: u64 = 0x4000;
const BUFFER: u64 = 0x10_0000;

/// The first stream from the guest.
const OUT: u64 = 4;

/// What a sink was told, and what it tells.
#[derive(Default)]
struct Heard {
    /// `Err` is a start (the rate) or a stop (0).
    told: Vec<Result<Frame, u32>>,
    surplus: Option<i64>,
    /// It would not be heard yet.
    opens: bool,
}

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Heard>>);

impl Ear {
    fn take(&self) -> Vec<Result<Frame, u32>> {
        std::mem::take(&mut self.0.lock().unwrap().told)
    }

    fn frames(&self) -> Vec<Frame> {
        self.take().into_iter().flatten().collect()
    }
}

impl Sink for Ear {
    fn start(&mut self, rate: u32) {
        self.0.lock().unwrap().told.push(Err(rate));
    }
    fn ready(&self) -> bool {
        !self.0.lock().unwrap().opens
    }
    fn write(&mut self, frames: &[Frame]) {
        self.0.lock().unwrap().told.extend(frames.iter().copied().map(Ok));
    }
    fn stop(&mut self) {
        self.0.lock().unwrap().told.push(Err(0));
    }
    fn surplus(&self) -> Option<i64> {
        self.0.lock().unwrap().surplus
    }
}

/// A source that counts.
#[derive(Default)]
struct Voice(i32);

impl Source for Voice {
    fn start(&mut self, _rate: u32) {}
    fn read(&mut self, frames: &mut [Frame]) {
        for frame in frames {
            self.0 += 1;
            *frame = [self.0 << 16, -self.0 << 16];
        }
    }
    fn stop(&mut self) {}
    fn surplus(&self) -> Option<i64> {
        None
    }
}

struct Bench {
    function: Arc<Endpoint<Hda>>,
    ear: Ear,
    monitor: Arc<Monitor>,
    line: Arc<Line>,
    vectors: FakeAllocator,
    time: Arc<TestClock>,
    ram: GuestRam,
}

fn bench() -> Bench {
    let (line, vectors, ear) = (Arc::<Line>::default(), FakeAllocator::default(), Ear::default());
    let (monitor, time) = (Arc::<Monitor>::default(), TestClock::new(0));
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap();
    let ends = Ends {
        sink: Box::new(ear.clone()),
        source: Some(Box::new(Voice::default())),
        monitor: Arc::clone(&monitor),
    };
    let function =
        Hda::assemble(ends, ram.clone(), &vectors, line.clone(), Arc::clone(&time) as _, false).unwrap();
    let bench = Bench { function, ear, monitor, line, vectors, time, ram };
    let _ = bench.function.config_write(reg::BAR0, &BAR_AT.to_le_bytes());
    let _ = bench.function.config_write(reg::COMMAND, &[6, 0]);
    bench
}

impl Memory for Bench {
    fn ram(&self) -> &GuestRam {
        &self.ram
    }
}

impl Bench {
    fn bytes(&self, offset: u64, data: &mut [u8]) {
        self.function.regions()[0].device.read(offset, data);
    }

    fn read8(&self, offset: u64) -> u8 {
        let mut data = [0; 1];
        self.bytes(offset, &mut data);
        data[0]
    }

    fn read16(&self, offset: u64) -> u16 {
        let mut data = [0; 2];
        self.bytes(offset, &mut data);
        u16::from_le_bytes(data)
    }

    fn read32(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.bytes(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let _ = self.function.regions()[0].device.write(offset, data);
    }

    fn write8(&self, offset: u64, value: u8) {
        self.write(offset, &[value]);
    }

    fn write16(&self, offset: u64, value: u16) {
        self.write(offset, &value.to_le_bytes());
    }

    fn write32(&self, offset: u64, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }

    /// What the thread does at a time.
    fn tick(&self, by: Duration) {
        self.time.advance(by);
        let shared = &self.function.device().shared;
        shared.look(&mut shared.engine());
    }

    /// What the thread would sleep.
    fn rest(&self) -> Option<Duration> {
        self.function.device().shared.engine().rest()
    }

    fn report(&self) -> Report {
        self.monitor.report()
    }

    /// A verb by the registers for single ones.
    fn verb(&self, node: u32, verb: u32) -> u32 {
        self.write32(0x60, node << 20 | verb);
        self.write16(0x68, 3);
        assert_eq!(self.read16(0x68) & 3, 2, "there is an answer");
        self.read32(0x64)
    }

    /// Out of reset, with interrupts of all streams.
    fn enable(&self) {
        self.write32(0x08, 1);
        self.write32(0x20, 0xc000_00ff);
    }

    /// Describes buffers to a stream, one after the other from `BUFFER`, and sets their sum as the length.
    fn buffers(&self, stream: u64, format: u16, lens: &[u32]) {
        let base = 0x80 + 0x20 * stream;
        let mut at = BUFFER;
        for (index, len) in (0..).zip(lens) {
            let entry = [at as u32, 0, *len, 1].map(u32::to_le_bytes).concat();
            self.put(LIST + 16 * index, &entry);
            at += u64::from(*len);
        }
        self.write32(base + 8, lens.iter().sum());
        self.write16(base + 0xc, lens.len() as u16 - 1);
        self.write16(base + 0x12, format);
        self.write32(base + 0x18, LIST as u32);
        self.write32(base + 0x1c, 0);
    }

    /// Has the converter take stream 1, and lets a stream of that number run.
    fn start(&self, stream: u64) {
        let converter = if stream >= OUT { 2 } else { 4 };
        self.verb(converter, 0x70610);
        let base = 0x80 + 0x20 * stream;
        self.write8(base + 2, 0x10);
        self.write8(base, 0x06);
    }

    fn stop(&self, stream: u64) {
        self.write8(0x80 + 0x20 * stream, 0);
    }

    fn position(&self, stream: u64) -> u32 {
        self.read32(0x84 + 0x20 * stream)
    }

    /// Whether a stream has finished a buffer since the last call.
    fn finished(&self, stream: u64) -> bool {
        let at = 0x83 + 0x20 * stream;
        let status = self.read8(at);
        self.write8(at, status);
        status & 4 != 0
    }
}

/// Frames that count, as a stream of 16 bits.
fn counted(from: u32, count: u32) -> Vec<u8> {
    (from..from + count)
        .flat_map(|number| ((number & 0x7fff) | (number & 0x7fff) << 16).to_le_bytes())
        .collect()
}

/// The numbers of such frames.
fn numbers(frames: &[Frame]) -> Vec<u32> {
    frames
        .iter()
        .map(|[left, right]| {
            assert_eq!(left, right);
            (left >> 16) as u32
        })
        .collect()
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
