//! The screen as a whole: over made-up planes and plain memory.

mod adapter;
mod planes;
mod property;
mod ramfb;
mod thread;

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress};

use super::core::{Core, Sources};
use super::scan::Effort;
use super::view::Copy;
use super::*;
use crate::GuestRam;
use crate::fw_cfg::WriteListener;

const XR24: u32 = 0x3432_5258;
const AR24: u32 = 0x3432_5241;
const RAM: u64 = 4 << 20;

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap()
}

/// The file as firmware writes it.
fn file(address: u64, code: u32, width: u32, height: u32, stride: u32) -> [u8; 28] {
    let mut file = [0; 28];
    file[..8].copy_from_slice(&address.to_be_bytes());
    for (index, word) in [code, 0, width, height, stride].into_iter().enumerate() {
        file[8 + 4 * index..12 + 4 * index].copy_from_slice(&word.to_be_bytes());
    }
    file
}

/// Memory of a plane that counts what is read.
struct Memory {
    id: u64,
    bytes: Mutex<Vec<u8>>,
    read: AtomicUsize,
    /// From where on it cannot be read.
    breaks_at: AtomicU64,
}

impl Memory {
    fn new(id: u64, len: usize, fill: u8) -> Arc<Self> {
        let (bytes, read) = (Mutex::new(vec![fill; len]), AtomicUsize::new(0));
        Arc::new(Self { id, bytes, read, breaks_at: AtomicU64::new(u64::MAX) })
    }
    fn break_all(&self, broken: bool) {
        self.breaks_at.store(if broken { 0 } else { u64::MAX }, Ordering::Relaxed);
    }
    fn draw(&self, offset: usize, bytes: &[u8]) {
        self.bytes.lock().unwrap()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl PlaneMemory for Memory {
    fn id(&self) -> u64 {
        self.id
    }
    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if offset + data.len() as u64 > self.breaks_at.load(Ordering::Relaxed) {
            return Err(io::Error::other("it is gone"));
        }
        self.read.fetch_add(data.len(), Ordering::Relaxed);
        let offset = offset as usize;
        data.copy_from_slice(&self.bytes.lock().unwrap()[offset..offset + data.len()]);
        Ok(())
    }
}

/// A virtual GPU.
#[derive(Default)]
struct Gpu {
    primary: Mutex<Option<(Arc<Memory>, u32, u32)>>,
    cursor: Mutex<Option<(Arc<Memory>, i32, i32)>>,
    modifier: AtomicU64,
    resets: AtomicUsize,
}

impl Gpu {
    fn show(&self, memory: &Arc<Memory>, width: u32, height: u32) {
        *self.primary.lock().unwrap() = Some((memory.clone(), width, height));
    }
}

fn plane(memory: &Arc<Memory>, format: u32, width: u32, height: u32) -> Plane {
    let size = memory.bytes.lock().unwrap().len() as u64;
    let memory = memory.clone();
    Plane { format, modifier: 0, width, height, stride: width * 4, size, x: 0, y: 0, hot: None, memory }
}

impl PlaneSource for Gpu {
    fn primary(&self) -> io::Result<Option<Plane>> {
        let primary = self.primary.lock().unwrap();
        Ok(primary.as_ref().map(|(memory, width, height)| Plane {
            modifier: self.modifier.load(Ordering::Relaxed),
            ..plane(memory, XR24, *width, *height)
        }))
    }
    fn cursor(&self) -> io::Result<Option<Plane>> {
        let cursor = self.cursor.lock().unwrap();
        Ok(cursor.as_ref().map(|(memory, x, y)| Plane {
            x: *x,
            y: *y,
            hot: Some((1, 2)),
            ..plane(memory, AR24, 4, 4)
        }))
    }
    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
        *self.primary.lock().unwrap() = None;
        *self.cursor.lock().unwrap() = None;
    }
}

/// Written pages as tests say; counts watches.
#[derive(Default)]
struct Tracker {
    written: Arc<Mutex<Vec<Range<u64>>>>,
    fails: Arc<AtomicBool>,
    watches: AtomicUsize,
    live: Arc<AtomicUsize>,
}

struct Pages {
    written: Arc<Mutex<Vec<Range<u64>>>>,
    fails: Arc<AtomicBool>,
    live: Arc<AtomicUsize>,
}

impl WriteTracker for Tracker {
    fn watch(&self, _base: u64, _len: u64) -> io::Result<Box<dyn WrittenPages>> {
        self.watches.fetch_add(1, Ordering::Relaxed);
        self.live.fetch_add(1, Ordering::Relaxed);
        self.written.lock().unwrap().clear();
        let (written, fails) = (self.written.clone(), self.fails.clone());
        Ok(Box::new(Pages { written, fails, live: self.live.clone() }))
    }
}

impl WrittenPages for Pages {
    fn take(&mut self, written: &mut Vec<Range<u64>>) -> io::Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("not any more"));
        }
        let mut taken = std::mem::take(&mut *self.written.lock().unwrap());
        taken.sort_by_key(|range| range.start);
        taken.dedup();
        written.append(&mut taken);
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A core with all sources, and one looker's copy.
struct Bench {
    ram: GuestRam,
    ramfb: Arc<Ramfb>,
    gpu: Arc<Gpu>,
    tracker: Arc<Tracker>,
    core: Core,
    copy: Copy,
    seen: u64,
}

impl Bench {
    fn new() -> Self {
        let ram = ram();
        let ramfb = Arc::new(Ramfb::new(ram.clone()));
        let (gpu, tracker) = (Arc::<Gpu>::default(), Arc::<Tracker>::default());
        let core = Core::new(Sources {
            ramfb: Some(ramfb.clone()),
            planes: Some(gpu.clone()),
            tracker: Some(tracker.clone()),
            ..Sources::default()
        });
        Self { ram, ramfb, gpu, tracker, core, copy: Copy::default(), seen: 0 }
    }

    /// The firmware shows 64 × 32 pixels at 1 MiB.
    fn small_ramfb(&self) {
        self.ramfb.written(&file(1 << 20, XR24, 64, 32, 0));
    }

    /// The guest's processor draws, a page at a time.
    fn draw(&self, offset: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress((1 << 20) + offset)).unwrap();
        let page = offset & !0xfff;
        let end = (offset + bytes.len() as u64).next_multiple_of(4096);
        self.tracker.written.lock().unwrap().push(page..end);
    }

    fn look(&mut self, effort: Effort) -> Change {
        self.core.refresh(effort);
        let change = self.core.copy(self.seen, &mut self.copy);
        self.seen = self.core.generation();
        change
    }

    fn size(&self) -> (u32, u32) {
        (self.copy.frame.width, self.copy.frame.height)
    }
}
