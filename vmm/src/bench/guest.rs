//! The payload's other end: gives commands through the shared page, and takes the samples.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use devices::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use super::payload::layout::{Kind, MOST_SAMPLES, MOST_STEPS, PAGE, SAMPLES, WINDOW, WINDOW_PAGES, field};

/// How long an answer may be late before the guest counts as hung: a slow host that is busy with something else is no reason.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is looked whether the machine has ended meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// A write of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Where, in the payload's address space.
    pub(super) address: u64,
    /// What.
    pub(super) value: u64,
    /// Bytes, 4 or 8.
    pub(super) bytes: u8,
}

/// What the payload is to do; times are ticks of its time-stamp counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) kind: Kind,
    /// An address, a port, or a register.
    pub(super) address: u64,
    /// A value, a mask, or ticks.
    pub(super) value: u64,
    /// Samples at most.
    pub(super) count: u64,
    /// After that no sample begins.
    pub(super) limit: u64,
    /// How long one event is waited for.
    pub(super) patience: u64,
    /// What the interrupt's handler writes where.
    pub(super) acknowledge: Option<(u64, u32)>,
    /// What a script waits for.
    pub(super) expected: u32,
    /// What it writes before.
    pub(super) steps: Vec<Step>,
}

impl Command {
    /// One without an operand.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            address: 0,
            value: 0,
            count: 1,
            limit: u64::MAX / 4,
            patience: 0,
            acknowledge: None,
            expected: 0,
            steps: Vec::new(),
        }
    }
}

/// What it came to; times are ticks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// The samples.
    pub(super) samples: Vec<u64>,
    /// Events that did not come.
    pub(super) lost: u64,
    /// How long it took.
    pub(super) elapsed: u64,
    /// How much of that was taken by others.
    pub(super) stolen: u64,
    /// The last value that was read.
    pub(super) seen: u64,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Silence {
    /// It takes too long.
    #[error("the guest did not answer within {:.1} seconds: it hangs in this access", .0.as_secs_f64())]
    Hung(Duration),
    /// The machine has ended.
    #[error("the machine ended before")]
    Over,
    /// An exception.
    #[error("the access raised exception {vector} in the guest (address {address:#x})")]
    Fault {
        /// Its vector.
        vector: u64,
        /// CR2, for a page fault.
        address: u64,
    },
    /// The guest's clock does not go.
    #[error("the guest's time-stamp counter does not go as a clock does")]
    Clock,
    /// The guest's memory is not where the payload lies.
    #[error("guest memory has no place for the payload at {0:#x}")]
    Memory(u64),
}

impl Silence {
    /// Whether nothing else can be measured.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::Fault { .. })
    }
}

/// A running payload.
pub(super) struct Guest<'a> {
    ram: &'a GuestRam,
    /// Rung when a command is done.
    rung: Receiver<()>,
    is_over: &'a dyn Fn() -> bool,
    number: u64,
    patience: Duration,
}

impl<'a> Guest<'a> {
    /// Waits until the payload runs. `doorbell` is the port that rings `rung`.
    pub(super) fn wait(
        ram: &'a GuestRam,
        rung: Receiver<()>,
        doorbell: u16,
        is_over: &'a dyn Fn() -> bool,
    ) -> Result<Self, Silence> {
        let guest = Self { ram, rung, is_over, number: 0, patience: PATIENCE };
        guest.store(field::DOORBELL, doorbell.into())?;
        let began = Instant::now();
        while guest.load(field::UP)? != 1 {
            if is_over() {
                return Err(Silence::Over);
            }
            if began.elapsed() > PATIENCE {
                return Err(Silence::Hung(PATIENCE));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(guest)
    }

    fn load_at(&self, address: u64) -> Result<u64, Silence> {
        self.ram.load(GuestAddress(address), Ordering::Acquire).map_err(|_| Silence::Memory(address))
    }

    fn store_at(&self, address: u64, value: u64) -> Result<(), Silence> {
        self.ram.store(value, GuestAddress(address), Ordering::Release).map_err(|_| Silence::Memory(address))
    }

    fn load(&self, field: u64) -> Result<u64, Silence> {
        self.load_at(PAGE + field)
    }

    fn store(&self, field: u64, value: u64) -> Result<(), Silence> {
        self.store_at(PAGE + field, value)
    }

    /// ECX of CPUID's leaf 1.
    pub(super) fn features(&self) -> Result<u64, Silence> {
        self.load(field::FEATURES)
    }

    /// Shows guest-physical memory to the payload, one page for each index; where `address` is then.
    pub(super) fn show(&self, index: u64, address: u64) -> Result<u64, Silence> {
        /// Present, writable, and uncached whatever the memory types say (Intel SDM volume 3, 12.11.2, PAT's entry 3).
        const UNCACHED: u64 = 0x1b;
        const PAGE_MASK: u64 = 0xfff;
        /// The bits of a page's address.
        const ADDRESS: u64 = 0xf_ffff_ffff_f000;
        let index = index % 512;
        self.store_at(WINDOW_PAGES + index * 8, address & ADDRESS | UNCACHED)?;
        Ok(WINDOW + (index << 12) + (address & PAGE_MASK))
    }

    /// Has the payload do something. `time` is what it should take at most.
    pub(super) fn run(&mut self, command: &Command, time: Duration) -> Result<Reply, Silence> {
        let (acknowledge, acknowledgement) = command.acknowledge.unwrap_or_default();
        let count = command.count.clamp(1, MOST_SAMPLES);
        let steps: Vec<_> = command.steps.iter().take(MOST_STEPS).collect();
        for (field, value) in [
            (field::KIND, command.kind as u64),
            (field::ADDRESS, command.address),
            (field::VALUE, command.value),
            (field::COUNT, count),
            (field::LIMIT, command.limit),
            (field::PATIENCE, command.patience),
            (field::ACKNOWLEDGE, acknowledge),
            (field::ACKNOWLEDGEMENT, acknowledgement.into()),
            (field::EXPECTED, command.expected.into()),
            (field::STEP_COUNT, steps.len().max(1) as u64),
        ] {
            self.store(field, value)?;
        }
        for (index, step) in (0..).zip(steps) {
            let at = field::STEPS + index * 24;
            self.store(at, step.address)?;
            self.store(at + 8, step.value)?;
            self.store(at + 16, step.bytes.into())?;
        }
        self.number += 1;
        self.store(field::WANTED, self.number)?;
        self.await_done(time.saturating_add(self.patience))?;
        match self.load(field::FAULT)? {
            0 => {}
            vector => {
                let address = self.load(field::FAULT + 24)?;
                return Err(Silence::Fault { vector: vector - 1, address });
            }
        }
        let taken = self.load(field::TAKEN)?.min(MOST_SAMPLES);
        Ok(Reply {
            samples: (0..taken).map(|index| self.load_at(SAMPLES + index * 8)).collect::<Result<_, _>>()?,
            lost: self.load(field::LOST)?,
            elapsed: self.load(field::ELAPSED)?,
            stolen: self.load(field::STOLEN)?,
            seen: self.load(field::SEEN)?,
        })
    }

    fn await_done(&self, time: Duration) -> Result<(), Silence> {
        let began = Instant::now();
        loop {
            if self.load(field::DONE)? == self.number {
                return Ok(());
            }
            if (self.is_over)() {
                return Err(Silence::Over);
            }
            if began.elapsed() > time {
                return Err(Silence::Hung(time));
            }
            match self.rung.recv_timeout(LOOK) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Silence::Over),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    fn ram() -> GuestRam {
        GuestRam::from_ranges(&[(GuestAddress(0), 8 << 20)]).unwrap()
    }

    /// A payload that answers each command with its operands, or as it is told.
    fn play(
        ram: &GuestRam,
        commands: u64,
        answer: impl Fn(u64, &dyn Fn(u64, u64)) + Send + 'static,
    ) -> thread::JoinHandle<()> {
        let ram = ram.clone();
        thread::spawn(move || {
            let load = |at: u64| ram.load::<u64>(GuestAddress(PAGE + at), Ordering::Acquire).unwrap();
            let store =
                |at: u64, value: u64| ram.store(value, GuestAddress(PAGE + at), Ordering::Release).unwrap();
            store(field::UP, 1);
            for number in 1..=commands {
                while load(field::WANTED) != number {
                    thread::yield_now();
                }
                store(field::FAULT, 0);
                answer(load(field::VALUE), &store);
                store(field::DONE, number);
            }
        })
    }

    #[test]
    fn commands_arrive_and_samples_come_back() {
        let ram = ram();
        let player = play(&ram, 2, {
            let ram = ram.clone();
            move |value, store| {
                for index in 0..value {
                    ram.store(index * 3, GuestAddress(SAMPLES + index * 8), Ordering::Release).unwrap();
                }
                store(field::TAKEN, value);
                store(field::LOST, value + 1);
                store(field::SEEN, 0xabcd);
            }
        });
        let (_ring, rung) = channel();
        let mut guest = Guest::wait(&ram, rung, 0x5a0, &|| false).unwrap();
        for count in [5, 0] {
            let command = Command { value: count, count: 100, ..Command::new(Kind::Read) };
            let reply = guest.run(&command, Duration::from_secs(1)).unwrap();
            assert_eq!(reply.samples, (0..count).map(|index| index * 3).collect::<Vec<_>>());
            assert_eq!((reply.lost, reply.seen), (count + 1, 0xabcd));
        }
        player.join().unwrap();
    }

    #[test]
    fn exceptions_and_an_early_end_are_told() {
        let ram = ram();
        let player = play(&ram, 1, |_, store| {
            store(field::FAULT, 15);
            store(field::FAULT + 24, 0x1234);
        });
        let (_ring, rung) = channel();
        let mut guest = Guest::wait(&ram, rung, 0x5a0, &|| false).unwrap();
        let silence = guest.run(&Command::new(Kind::Read), Duration::from_secs(1)).unwrap_err();
        assert_eq!(silence, Silence::Fault { vector: 14, address: 0x1234 });
        assert!(!silence.is_final());
        player.join().unwrap();
        guest.is_over = &|| true;
        assert_eq!(guest.run(&Command::new(Kind::Read), Duration::ZERO), Err(Silence::Over));
    }

    #[test]
    fn a_guest_that_does_not_answer_hangs() {
        let ram = ram();
        let player = play(&ram, 0, |_, _| {});
        let (_ring, rung) = channel();
        let mut guest = Guest::wait(&ram, rung, 0, &|| false).unwrap();
        guest.patience = Duration::from_millis(100);
        let silence = guest.run(&Command::new(Kind::Read), Duration::from_millis(10)).unwrap_err();
        assert_eq!(silence, Silence::Hung(Duration::from_millis(110)));
        assert!(silence.is_final());
        player.join().unwrap();
    }

    #[test]
    fn an_absurd_count_is_cut_off() {
        let ram = ram();
        let player = play(&ram, 1, |_, store| store(field::TAKEN, u64::MAX));
        let (_ring, rung) = channel();
        let mut guest = Guest::wait(&ram, rung, 0x5a0, &|| false).unwrap();
        let reply = guest.run(&Command::new(Kind::Nothing), Duration::from_secs(1)).unwrap();
        assert_eq!(reply.samples.len() as u64, MOST_SAMPLES);
        player.join().unwrap();
    }

    #[test]
    fn the_window_shows_a_page_uncached() {
        let ram = ram();
        let player = play(&ram, 0, |_, _| {});
        let (_ring, rung) = channel();
        let guest = Guest::wait(&ram, rung, 0, &|| false).unwrap();
        assert_eq!(guest.show(3, 0x38_1234_5678).unwrap(), WINDOW + 0x3678);
        assert_eq!(guest.load_at(WINDOW_PAGES + 24).unwrap(), 0x38_1234_501b);
        player.join().unwrap();
    }
}
