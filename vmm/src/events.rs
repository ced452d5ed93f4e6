//! `--events FILE`: what happened and when, as JSON lines for scripts and benchmarks.
//!
//! Every line is an object with `event`, the kind in snake case; `ns`, nanoseconds of `CLOCK_MONOTONIC`,
//! which is the same clock in every process of the host; and the fields of the kind. Lines are in the order
//! of `ns`, and each is written whole as it happens. A FIFO that is full, because its reader has paused, loses events
//! rather than hold up the machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::output::Output;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line of `main` was reached. `ns` is that moment.
    ProcessStart {
        /// When the kernel made the process, as nanoseconds of the same clock: that is before its exec. It
        /// is known to one tick, commonly 10 ms; see [`ProcessStart`].
        created_ns: Option<u64>,
        /// The length of the tick, in nanoseconds.
        tick_ns: Option<u64>,
    },
    /// The guest's memory is mapped and known to KVM.
    MemoryReady {
        /// Its size in bytes.
        bytes: u64,
    },
    /// vCPU 0 is about to enter the guest; KVM may keep it for some 15 ms more.
    FirstInstruction,
    /// The firmware read from the fw_cfg device for the first time.
    FirmwareFwCfg,
    /// The firmware selected the ACPI table-loader script: its PCI addresses are assigned.
    TableLoader,
    /// The firmware fetched the kernel that was given to it through fw_cfg.
    KernelHandedOver,
    /// A disk was read for the first time after the table-loader: the firmware looks for something to boot.
    BootDevice {
        /// The disk, as the configuration calls it.
        device: String,
    },
    /// A console has an address that the configuration does not tell.
    Console {
        /// The guest's device.
        device: String,
        /// The terminal on the host.
        path: PathBuf,
    },
    /// The screen can be looked at.
    Display {
        /// Where the VNC server listens: an address with a port, or `unix:PATH`.
        vnc: String,
    },
    /// The guest reset the machine.
    GuestReset,
    /// The guest powered the machine off.
    GuestPoweroff,
    /// The guest reported a crash of its own.
    GuestPanic {
        /// What it told of it, if it did so by Hyper-V's crash registers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        crash: Option<ReportedCrash>,
    },
    /// The power button was pressed.
    PowerButton,
    /// The reset button was pressed.
    ResetButton,
    /// The host has slept, and is awake again.
    HostSlept {
        /// How long, in nanoseconds; at least.
        slept_ns: u64,
        /// Whether the guest can still compute KVM's time from the TSC by itself; `null` where the kernel does not say. Without,
        /// its clocks are slow until the machine is started anew.
        master_clock: Option<bool>,
    },
    /// The machine has ended.
    Exit {
        /// Why, in a word or a sentence.
        reason: String,
        /// The exit status of the process.
        status: u8,
        /// How often the vCPUs left the guest, all together.
        exits: ExitCounts,
        /// Further counters by name.
        counters: BTreeMap<String, u64>,
    },
}

/// A guest's report of its crash by Hyper-V's crash registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedCrash {
    /// `windows`, `linux` or `other`.
    pub system: String,
    /// The name of Windows' bug check, if it is a known one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The registers P0 to P4, in hexadecimal: many readers of JSON do not keep 64 bits of a number. Of Windows the first is the
    /// code of the bug check, the others are its parameters; of Linux the third is RIP.
    pub parameters: [String; 5],
}

/// How often a vCPU left the guest, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExitCounts {
    /// Reads of I/O ports.
    pub io_in: u64,
    /// Writes to I/O ports.
    pub io_out: u64,
    /// Reads of memory that no slot backs.
    pub mmio_read: u64,
    /// Writes to such memory.
    pub mmio_write: u64,
    /// Halts that KVM did not handle itself.
    pub halt: u64,
    /// Signals to the vCPU thread.
    pub interrupted: u64,
    /// What KVM's implementation of Hyper-V's interface leaves to the program: pages of the synthetic interrupt controller
    /// were moved, calls that are not known, resets and crashes that the guest reports.
    pub hyperv: u64,
    /// Everything else.
    pub other: u64,
}

impl ExitCounts {
    /// The sum of two counts.
    pub fn plus(self, other: Self) -> Self {
        Self {
            io_in: self.io_in.wrapping_add(other.io_in),
            io_out: self.io_out.wrapping_add(other.io_out),
            mmio_read: self.mmio_read.wrapping_add(other.mmio_read),
            mmio_write: self.mmio_write.wrapping_add(other.mmio_write),
            halt: self.halt.wrapping_add(other.halt),
            interrupted: self.interrupted.wrapping_add(other.interrupted),
            hyperv: self.hyperv.wrapping_add(other.hyperv),
            other: self.other.wrapping_add(other.other),
        }
    }
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub ns: u64,
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// When the process started, to be taken in the first line of `main`.
///
/// The exact moment of exec is not kept by the kernel: `starttime` of proc_pid_stat(5) is the fork before
/// it, in clock ticks. Who measures from exec reads the same clock before it and subtracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStart {
    main_ns: u64,
}

impl ProcessStart {
    /// Takes the time.
    pub fn now() -> Self {
        Self { main_ns: now_ns() }
    }

    fn event(self) -> Event {
        let tick_ns = 1_000_000_000_u64.checked_div(rustix::param::clock_ticks_per_second());
        let ticks = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| start_ticks(&stat));
        // The ticks are of CLOCK_BOOTTIME, which also counts the time that the host slept.
        let asleep = nanoseconds(ClockId::Boottime).saturating_sub(now_ns());
        let created_ns = ticks
            .zip(tick_ns)
            .and_then(|(ticks, tick)| ticks.checked_mul(tick))
            .map(|since_boot| since_boot.saturating_sub(asleep));
        Event::ProcessStart { created_ns, tick_ns }
    }
}

/// `starttime`, the 22nd field. The second is a name in parentheses that may contain anything.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Where events go. Its clones write to the same file.
#[derive(Debug, Clone, Default)]
pub struct EventLog(Option<Arc<Log>>);

#[derive(Debug)]
struct Log {
    path: PathBuf,
    /// `None` after a write failed.
    stream: Mutex<Option<Stream>>,
    /// The milestones that were reached.
    reached: AtomicU32,
}

/// A file, or a FIFO that does not block.
#[derive(Debug)]
struct Stream {
    file: File,
    /// The end of a line whose beginning was written.
    rest: Vec<u8>,
}

/// How long a full FIFO is waited for.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// An event that is written only the first time it happens. A guest that reboots reaches it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// See [`Event::FirstInstruction`].
    FirstInstruction,
    /// See [`Event::FirmwareFwCfg`].
    FirmwareFwCfg,
    /// See [`Event::TableLoader`].
    TableLoader,
    /// See [`Event::KernelHandedOver`].
    KernelHandedOver,
    /// See [`Event::BootDevice`].
    BootDevice,
}

impl EventLog {
    /// A log that writes nothing.
    pub const fn disabled() -> Self {
        Self(None)
    }

    /// A log that replaces the file at `path`.
    ///
    /// # Errors
    ///
    /// The file cannot be created.
    #[cfg(test)]
    pub fn create(path: &std::path::Path) -> io::Result<Self> {
        Self::begin(Output::open(path)?)
    }

    /// A log that replaces the contents of this file.
    ///
    /// # Errors
    ///
    /// The file cannot be emptied.
    pub fn begin(output: Output) -> io::Result<Self> {
        let path = output.path().to_owned();
        Ok(Self::into_file(output.begin()?, path))
    }

    /// A log that writes to an open file, which is called `path`.
    pub fn into_file(file: File, path: PathBuf) -> Self {
        let stream = Mutex::new(Some(Stream { file, rest: Vec::new() }));
        Self(Some(Arc::new(Log { path, stream, reached: AtomicU32::new(0) })))
    }

    /// Writes that the process started.
    pub fn process_start(&self, start: ProcessStart) {
        if let Some(log) = &self.0 {
            log.write(start.event(), Some(start.main_ns));
        }
    }

    /// Writes that something happens now.
    pub fn emit(&self, event: Event) {
        if let Some(log) = &self.0 {
            log.write(event, None);
        }
    }

    /// Writes the event of a milestone that is reached for the first time; later calls, and calls on a
    /// disabled log, cost a comparison.
    pub fn reach(&self, milestone: Milestone, event: impl FnOnce() -> Event) {
        let Some(log) = &self.0 else { return };
        let bit = 1 << milestone as u32;
        if log.reached.load(Ordering::Relaxed) & bit == 0
            && log.reached.fetch_or(bit, Ordering::Relaxed) & bit == 0
        {
            log.write(event(), None);
        }
    }

    /// Whether a milestone was reached; never on a disabled log.
    pub fn has_reached(&self, milestone: Milestone) -> bool {
        self.0.as_ref().is_some_and(|log| log.reached.load(Ordering::Relaxed) & (1 << milestone as u32) != 0)
    }
}

impl Log {
    fn write(&self, event: Event, ns: Option<u64>) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = stream.as_mut() else { return };
        // The clock is read under the lock, so that the lines are in order.
        let line = Line { event, ns: ns.unwrap_or_else(now_ns) };
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            open.write(line)
        });
        let path = self.path.display();
        match written {
            Ok(true) => {}
            Ok(false) => {
                devices::limited_warn!("the reader of the events file {path} is too slow; an event is lost");
            }
            Err(error) => {
                tracing::warn!("cannot write to the events file {path}: {error}; no more events follow");
                *stream = None;
            }
        }
    }
}

impl Stream {
    /// Writes a line, or none of it: then there is no room.
    fn write(&mut self, line: Vec<u8>) -> io::Result<bool> {
        // Lines of more than `PIPE_BUF` bytes may be written in part: pipe(7).
        if !self.flush()? {
            return Ok(false);
        }
        let length = line.len();
        self.rest = line;
        if !self.flush()? && self.rest.len() == length {
            self.rest.clear();
            return Ok(false);
        }
        Ok(true)
    }

    /// Writes what is left. Whether that is all.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.rest.is_empty() {
            match self.file.write(&self.rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.rest.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(&self.file, PollFlags::OUT)];
                    match poll(&mut fds, Some(&PATIENCE)) {
                        Ok(0) => return Ok(false),
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
