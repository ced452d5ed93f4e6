//! Stand-ins for the world around a device, shared by the tests.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant, SystemTime};

use vm_memory::{Bytes, GuestAddress};

use crate::GuestRam;
use crate::bus::BusDevice;
use crate::interrupt::IrqLine;
use crate::memory::{HostMemory, WindowMapper};
use crate::pci::{PciFunction, Space};
use crate::time::{Alarm, Clock};

/// Keeps what is written.
#[derive(Clone, Default)]
pub(crate) struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

thread_local! {
    /// Where [`logged`] collects.
    static LOG: RefCell<Option<Sink>> = const { RefCell::new(None) };
}

/// What `act` logs in this thread, up to the level INFO.
///
/// There is one subscriber for the whole process: scoped ones of several threads disturb each other, since what a
/// place may log is kept for all threads.
pub(crate) fn logged(act: impl FnOnce()) -> String {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(|| LOG.with_borrow(Option::clone).unwrap_or_default())
            .init();
    });
    let log = Sink::default();
    LOG.set(Some(log.clone()));
    act();
    LOG.set(None);
    String::from_utf8(log.take()).unwrap()
}

/// Guest memory, as tests put data there and get it back.
pub(crate) trait Memory {
    /// All of it.
    fn ram(&self) -> &GuestRam;

    fn put(&self, at: u64, data: &[u8]) {
        self.ram().write_slice(data, GuestAddress(at)).unwrap();
    }
    fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.ram().read_slice(&mut data, GuestAddress(at)).unwrap();
        data
    }
    fn get_u32(&self, at: u64) -> u32 {
        self.ram().read_obj(GuestAddress(at)).unwrap()
    }
}

impl Memory for GuestRam {
    fn ram(&self) -> &GuestRam {
        self
    }
}

/// What a function decodes in memory from this address on.
pub(crate) fn memory_at(function: &dyn PciFunction, base: u64) -> Arc<dyn BusDevice> {
    let mut regions = function.regions().into_iter();
    regions.find(|region| region.space == Space::Memory && region.range.base() == base).unwrap().device
}

/// An interrupt line that counts its rising edges.
#[derive(Default)]
pub(crate) struct Line(Mutex<(bool, usize)>);

impl Line {
    pub(crate) fn is_high(&self) -> bool {
        self.0.lock().unwrap().0
    }
    pub(crate) fn edges(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

impl IrqLine for Line {
    fn set_level(&self, high: bool) {
        let mut state = self.0.lock().unwrap();
        state.1 += usize::from(high && !state.0);
        state.0 = high;
    }
}

/// Remembers which windows are shown; refuses those that overlap, as KVM does.
#[derive(Default)]
pub(crate) struct Windows(Mutex<Vec<(u64, HostMemory)>>);

impl Windows {
    /// Base and length of each window, in ascending order.
    pub(crate) fn shown(&self) -> Vec<(u64, u64)> {
        let mut shown: Vec<_> =
            self.0.lock().unwrap().iter().map(|(base, memory)| (*base, memory.len())).collect();
        shown.sort_unstable();
        shown
    }

    /// Whether a window shows memory that fits.
    pub(crate) fn any(&self, fits: impl Fn(&HostMemory) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(|(_, memory)| fits(memory))
    }
}

impl WindowMapper for Windows {
    fn map(&self, base: u64, memory: &HostMemory) -> io::Result<()> {
        let mut windows = self.0.lock().unwrap();
        let overlaps =
            |(other, held): &(u64, HostMemory)| base < other + held.len() && *other < base + memory.len();
        if windows.iter().any(overlaps) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        windows.push((base, memory.clone()));
        Ok(())
    }
    fn unmap(&self, base: u64, memory: &HostMemory) {
        let mut windows = self.0.lock().unwrap();
        let before = windows.len();
        windows.retain(|(other, held)| *other != base || !held.is(memory));
        assert_eq!(windows.len() + 1, before, "unmapped what was not mapped");
    }
}

/// An alarm that remembers its deadline and how often it was touched.
#[derive(Default)]
pub(crate) struct TestAlarm(Mutex<(Option<Instant>, usize)>);

impl TestAlarm {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.lock().unwrap().0
    }
    pub(crate) fn calls(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

impl Alarm for TestAlarm {
    fn arm(&self, deadline: Option<Instant>) {
        let mut state = self.0.lock().unwrap();
        *state = (deadline, state.1 + 1);
    }
}

/// Clocks that stand still until told.
pub(crate) struct TestClock(Mutex<(Instant, SystemTime, Duration)>);

impl TestClock {
    /// `wall` in seconds since 1970.
    pub(crate) fn new(wall: u64) -> Arc<Self> {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(wall);
        Arc::new(Self(Mutex::new((Instant::now(), wall, Duration::from_secs(1000)))))
    }
    pub(crate) fn advance(&self, by: Duration) {
        let mut clocks = self.0.lock().unwrap();
        clocks.0 += by;
        clocks.1 += by;
        clocks.2 += by;
    }
    /// What the host's sleep does.
    pub(crate) fn sleep(&self, by: Duration) {
        let mut clocks = self.0.lock().unwrap();
        clocks.1 += by;
        clocks.2 += by;
    }
    /// Sets the wall clock alone.
    pub(crate) fn step(&self, wall: SystemTime) {
        self.0.lock().unwrap().1 = wall;
    }
}

impl Clock for TestClock {
    fn monotonic(&self) -> Instant {
        self.0.lock().unwrap().0
    }
    fn wall(&self) -> SystemTime {
        self.0.lock().unwrap().1
    }
    fn boot(&self) -> Duration {
        self.0.lock().unwrap().2
    }
}

/// Reads one byte.
pub(crate) fn read_u8(device: &dyn BusDevice, offset: u64) -> u8 {
    let mut data = [0; 1];
    device.read(offset, &mut data);
    data[0]
}

/// Reads a word.
pub(crate) fn read_u16(device: &dyn BusDevice, offset: u64) -> u16 {
    let mut data = [0; 2];
    device.read(offset, &mut data);
    u16::from_le_bytes(data)
}

/// Reads a dword.
pub(crate) fn read_u32(device: &dyn BusDevice, offset: u64) -> u32 {
    let mut data = [0; 4];
    device.read(offset, &mut data);
    u32::from_le_bytes(data)
}
