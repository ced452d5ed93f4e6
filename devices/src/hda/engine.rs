//! Streams in time: at each look, what is due is moved, then positions follow, then interrupts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audio::{Frame, Monitor, Sink, Source};
use crate::pci::dma::Dma;

use super::clock::{LinkClock, Pace};
use super::codec::Direction;
use super::controller::Controller;
use super::registers as r;
use super::stream::Stream;

/// How often a look is needed while streams run: a guest that reads positions from its memory is to find them no
/// coarser, and a sink is to be fed.
const TICK_OF_POSITIONS: u64 = 1_000_000;
const TICK: u64 = 5_000_000;
/// The least that is slept, lest buffers of a few frames keep a CPU busy.
const LEAST_REST: u64 = 100_000;
/// How often the pace is decided upon.
const PACE: u64 = 100_000_000;

/// How long a stream waits at most until its sound would be heard.
const MOST_WAIT: Duration = Duration::from_secs(1);
/// Linux (since 6.5) calls a stream dead that has not gone on by a period, half of its buffers at most, within 1.1 times the time of these all, or
/// within 0.1 s if that is longer: so a stream waits for half of its buffers' time, or this.
const SHORT_WAIT: Duration = Duration::from_millis(40);

/// What is connected to a converter.
struct Connection {
    /// Frames per second, while a stream runs to or from it.
    rate: Option<u32>,
    pace: Pace,
    /// Until then it waits for who hears it.
    waits: Option<Instant>,
}

impl Connection {
    fn new() -> Self {
        Self { rate: None, pace: Pace::default(), waits: None }
    }
}

/// The controller at work.
pub(super) struct Engine {
    pub(super) controller: Controller,
    clock: LinkClock,
    sink: Box<dyn Sink>,
    source: Box<dyn Source>,
    monitor: Arc<Monitor>,
    dma: Dma,
    out: Connection,
    into: Connection,
    /// The link's time of the last decision upon the pace.
    paced: u64,
    paused: bool,
    /// Kept for its room.
    frames: Vec<Frame>,
}

impl Engine {
    pub(super) fn new(
        controller: Controller,
        ends: (Box<dyn Sink>, Box<dyn Source>),
        monitor: Arc<Monitor>,
        dma: Dma,
        now: Instant,
    ) -> Self {
        let (sink, source) = ends;
        Self {
            controller,
            clock: LinkClock::new(now),
            sink,
            source,
            monitor,
            dma,
            out: Connection::new(),
            into: Connection::new(),
            paced: 0,
            paused: false,
            frames: Vec::new(),
        }
    }

    /// The wall clock counter, as of the last look.
    pub(super) fn wall(&self) -> u32 {
        self.clock.wall()
    }

    /// Moves what is due.
    pub(super) fn look(&mut self, now: Instant) {
        if self.paused {
            return;
        }
        let running = self.controller.streams.iter().filter(|stream| stream.running());
        let most = running.map(|stream| stream.most()).min();
        // What cannot be moved is not made up for, either.
        if most.is_some() && (!self.dma.enabled() || self.waits(now)) {
            self.clock.resume(now);
        }
        let lost = self.clock.advance(now, most.unwrap_or(u64::MAX));
        if lost > 0 {
            self.monitor.lost(lost);
        }
        if most.is_some() {
            self.move_all();
            self.write_positions();
            self.follow_pace();
        }
    }

    /// Whether the sound that begins waits for who hears it. That is not so while something is recorded, which follows the same clock.
    fn waits(&mut self, now: Instant) -> bool {
        let waits =
            self.out.waits.is_some_and(|end| now < end && self.into.rate.is_none() && !self.sink.ready());
        if !waits {
            self.out.waits = None;
        }
        waits
    }

    fn move_all(&mut self) {
        let Self { controller, clock, sink, source, monitor, dma, frames, .. } = self;
        let (out, into) = (connected(controller, Direction::Out), connected(controller, Direction::In));
        let Controller { streams, codec, .. } = controller;
        for (index, stream) in streams.iter_mut().enumerate().filter(|(_, stream)| stream.running()) {
            frames.clear();
            match stream.direction() {
                Direction::Out => {
                    stream.play(clock.passed(), dma, frames);
                    if out == Some(index) {
                        codec.amplify(Direction::Out, frames);
                        let peak = frames.iter().flatten().map(|sample| sample.unsigned_abs()).max();
                        monitor.heard(peak.unwrap_or(0));
                        sink.write(frames);
                    }
                }
                Direction::In => {
                    frames.resize(stream.frames_due(clock.passed()), [0, 0]);
                    if into == Some(index) {
                        source.read(frames);
                        codec.amplify(Direction::In, frames);
                    }
                    stream.record(clock.passed(), dma, frames);
                }
            }
        }
        // A list that cannot be read has stopped its stream.
        self.connect();
    }

    /// Positions in guest memory: 8 bytes for each stream, of which the upper half is reserved.
    fn write_positions(&self) {
        let Some(base) = self.controller.positions() else { return };
        for (stream, index) in
            self.controller.streams.iter().zip(0_u64..).filter(|(stream, _)| stream.running())
        {
            // The guest that gives no memory gets no positions.
            let _ = self.dma.write(base.wrapping_add(8 * index), &stream.position.to_le_bytes());
        }
    }

    fn follow_pace(&mut self) {
        let passed = self.clock.passed().wrapping_sub(self.paced);
        if passed < PACE {
            return;
        }
        self.paced = self.clock.passed();
        let seconds = Duration::from_nanos(passed.min(10 * PACE)).as_secs_f64();
        let played = self.out.rate.and_then(|_| self.sink.surplus());
        let recorded = self.into.rate.and_then(|_| self.source.surplus());
        // Both directions have one clock, and who listens hears more than who records.
        let ppm = match (played, recorded) {
            (Some(surplus), _) => self.out.pace.follow(surplus, seconds),
            (None, Some(surplus)) => self.into.pace.follow(surplus.saturating_neg(), seconds),
            (None, None) => 0,
        };
        self.clock.set_ppm(ppm);
    }

    /// Writes the bits `mask` of a dword of the registers. Returns whether streams may have begun or ended.
    pub(super) fn write(&mut self, offset: u64, value: u32, mask: u32) -> bool {
        let asked = self.controller.write(offset, value, mask, &self.dma);
        if asked {
            self.settle();
        }
        asked
    }

    /// Bus mastering may be on again: performs the verbs that wait.
    pub(super) fn kick(&mut self) {
        let Controller { rings, codec, .. } = &mut self.controller;
        rings.run(codec, &self.dma);
        self.settle();
    }

    /// Streams begin and end.
    fn settle(&mut self) {
        let now = self.clock.passed();
        let held = self.controller.held;
        for (stream, bit) in self.controller.streams.iter_mut().zip(0..) {
            let running = stream.wanted() && held & 1 << bit == 0;
            stream.set_running(running, now);
        }
        self.connect();
    }

    /// Tells sink and source of streams that have come or gone.
    fn connect(&mut self) {
        let rate = |direction| {
            let index = connected(&self.controller, direction)?;
            Some(self.controller.streams.get(index)?.rate())
        };
        let (out, into) = (rate(Direction::Out), rate(Direction::In));
        if self.out.rate != out {
            if self.out.rate.is_some() {
                self.sink.stop();
            }
            if let Some(rate) = out {
                self.sink.start(rate);
            }
            let stream = connected(&self.controller, Direction::Out)
                .and_then(|index| self.controller.streams.get(index));
            self.out.waits = stream.and_then(|stream| {
                let half = Duration::from_nanos(stream.lasts() / 2);
                self.clock.at().checked_add(half.clamp(SHORT_WAIT, MOST_WAIT))
            });
            self.out.rate = out;
            self.monitor.set_playing(out);
        }
        if self.into.rate != into {
            if self.into.rate.is_some() {
                self.source.stop();
            }
            if let Some(rate) = into {
                self.source.start(rate);
            }
            self.into.rate = into;
            self.monitor.set_recording(into);
        }
    }

    /// How long nobody has to look; `None` for as long as nothing runs.
    pub(super) fn rest(&self) -> Option<Duration> {
        if self.paused {
            return None;
        }
        let now = self.clock.passed();
        let tick = if self.controller.positions().is_some() { TICK_OF_POSITIONS } else { TICK };
        let running = self.controller.streams.iter().filter(|stream| stream.running());
        // Twice as often as a look may be late: what is not made up for is lost to the ear.
        let look = |stream: &Stream| tick.min((stream.most() / 2).max(TICK_OF_POSITIONS / 2));
        let next = running
            .map(|stream| stream.next_interrupt(now).map_or(look(stream), |due| due.min(look(stream))))
            .min()?;
        Some(self.clock.host_time(next.max(LEAST_REST)))
    }

    /// The machine stands still, or goes on: meanwhile no time passes for the guest.
    pub(super) fn pause(&mut self, paused: bool, now: Instant) {
        if self.paused == paused {
            return;
        }
        if paused {
            self.look(now);
        } else {
            self.clock.resume(now);
        }
        self.paused = paused;
    }

    /// Power-on state: of the machine, or after D3.
    pub(super) fn reset(&mut self, now: Instant) {
        self.controller.power_on();
        self.clock = LinkClock::new(now);
        self.paced = 0;
        self.connect();
    }
}

/// The running stream that a converter takes or gives.
fn connected(controller: &Controller, direction: Direction) -> Option<usize> {
    let tag = controller.codec.stream(direction);
    let fits = |index: &usize| {
        controller
            .streams
            .get(*index)
            .is_some_and(|stream| stream.direction() == direction && stream.running() && stream.tag() == tag)
    };
    (0..r::STREAMS).find(fits).filter(|_| tag != 0)
}
