//! When a queue's worker lets the driver go on before it takes what is there.
//!
//! Where driver and worker share a processor of the host, the first doorbell of several requests puts the worker in the driver's place: it finds one
//! request, does it, interrupts for it and sleeps, and so on for each, although the driver was about to make many available. If the worker yields
//! first, they come together, and share doorbell, switch of threads and interrupt. A driver with one request at a time would have to stop its
//! processor and be woken for each instead, and where both have processors of their own, there is nothing to yield to.
//!
//! None of that can be known, so it is measured: the time for a request as they come, then for some with yields before them. Whichever is the
//! faster remains, until the next comparison; one that yields did not win is repeated after twice as many requests. The scheduler is free to give the
//! driver no turn, or a short one, so that single yields which bring nothing say little.

use std::time::{Duration, Instant};

/// Requests over which the time for one is measured.
const WINDOW: u32 = 64;
/// Requests between comparisons: at most, and after one that yields have won.
const MOST_APART: u32 = 1024;
const AFTER_SUCCESS: u32 = 8192;
/// A driver that was silent for so long has had nothing to do; after so long, it does something else.
const LULL: Duration = Duration::from_millis(20);
const BREAK: Duration = Duration::from_secs(1);
/// Most times that a worker yields before it takes something, each of which has brought requests.
const MOST_YIELDS: u32 = 16;
/// What a yield in vain counts, one that was not takes off, and how much is too much: that many in a row, or one of three.
const IN_VAIN: u32 = 2;
const WORTH: u32 = 1;
const TOO_MUCH: u32 = 16;

/// What a worker does about requests that are there, as a [`Gather`] goes on from one to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It takes them, until the next comparison.
    Taking,
    /// The same, while it is measured.
    Measured,
    /// It yields first, while that is measured.
    Trial,
    /// It yields first: that was the faster.
    Yielding,
}

/// What the worker of one queue has learnt about its driver.
#[derive(Debug)]
pub(crate) struct Gather {
    phase: Phase,
    /// Requests that were taken in this phase, and when it began, or went on after a lull.
    taken: u32,
    began: Option<Instant>,
    latest: Option<Instant>,
    /// What a request took without yields.
    pace: Duration,
    /// Requests until the next comparison.
    apart: u32,
    /// How many yields of late have brought nothing.
    in_vain: u32,
}

impl Default for Gather {
    fn default() -> Self {
        Self {
            phase: Phase::Measured,
            taken: 0,
            began: None,
            latest: None,
            pace: Duration::ZERO,
            apart: WINDOW,
            in_vain: 0,
        }
    }
}

impl Gather {
    /// To be asked before requests are taken, of which `waiting` are there: whether to have the driver go on first.
    pub(crate) fn wants_more(&mut self, waiting: u32) -> bool {
        waiting > 0 && self.begins(Instant::now())
    }

    /// Has the driver go on, as long as it makes requests available; it rings for none of them, and has been told of all that have ended. `before` were
    /// there before, and `waiting` tells how many there are.
    pub(crate) fn let_driver_go_on(&mut self, before: u32, mut waiting: impl FnMut() -> u32) {
        let began = Instant::now();
        let mut known = before;
        for _ in 0..MOST_YIELDS {
            // The scheduler gives the driver a turn, which may end before it has nothing more to do.
            std::thread::yield_now();
            let now = waiting();
            if now <= known {
                break;
            }
            known = now;
        }
        self.yielded(began.elapsed(), known - before, known);
    }

    /// Takes note of requests that were taken.
    pub(crate) fn taken(&mut self, count: u32) {
        self.taken = self.taken.saturating_add(count);
    }

    /// There are requests. Returns whether to yield.
    fn begins(&mut self, now: Instant) -> bool {
        let silent = self.latest.map_or(Duration::MAX, |latest| now.duration_since(latest));
        if silent > BREAK {
            *self = Self::default();
        } else if silent > LULL {
            self.began = None;
            if matches!(self.phase, Phase::Measured | Phase::Trial) {
                self.taken = 0;
            }
        }
        self.latest = Some(now);
        let began = *self.began.get_or_insert(now);
        match self.phase {
            Phase::Taking if self.taken >= self.apart => self.enter(Phase::Measured, now),
            Phase::Measured if self.taken >= WINDOW => {
                self.pace = now.duration_since(began) / self.taken;
                self.in_vain = 0;
                self.enter(Phase::Trial, now);
            }
            Phase::Trial if self.taken >= WINDOW => {
                // Equal paces, as of a slow disk, are no reason.
                if now.duration_since(began) / self.taken < self.pace * 15 / 16 {
                    self.apart = WINDOW;
                    self.enter(Phase::Yielding, now);
                } else {
                    self.lost(now);
                }
            }
            Phase::Yielding if self.taken >= AFTER_SUCCESS => self.enter(Phase::Measured, now),
            _ => {}
        }
        matches!(self.phase, Phase::Trial | Phase::Yielding)
    }

    /// The driver went on for `time`, which brought `gained` requests: `waiting` are there now.
    fn yielded(&mut self, time: Duration, gained: u32, waiting: u32) {
        if gained > 0 && time <= self.pace * waiting {
            self.in_vain = self.in_vain.saturating_sub(WORTH);
            return;
        }
        self.in_vain += IN_VAIN;
        if self.in_vain >= TOO_MUCH
            && let Some(now) = self.latest
        {
            self.lost(now);
        }
    }

    fn lost(&mut self, now: Instant) {
        self.apart = self.apart.saturating_mul(2).min(MOST_APART);
        self.enter(Phase::Taking, now);
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.taken, self.began) = (phase, 0, Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What driver, worker and switches between them take, in microseconds.
    #[derive(Clone, Copy)]
    struct Machine {
        /// Requests that the driver keeps under way.
        depth: u32,
        /// A doorbell, the switches to the worker and back, and the interrupt.
        round: u64,
        /// The driver makes a request available; the worker does one.
        made: u64,
        done: u64,
        /// The driver has nothing left to do: its processor stops and is woken.
        rest: u64,
        /// The driver's processor has other work, and is not left before this.
        busy_for: u64,
        /// There is another processor for the worker.
        apart: bool,
        /// Requests that are there when the worker looks.
        there: u32,
    }

    const SHARED: Machine =
        Machine { depth: 32, round: 200, made: 90, done: 30, rest: 150, busy_for: 0, apart: false, there: 1 };

    /// Microseconds for each of so many requests, and for how many of them the worker has yielded.
    fn run(machine: Machine, requests: u32) -> (u64, u32) {
        let Machine { depth, round, made, done, rest, busy_for, apart, there } = machine;
        let start = Instant::now();
        let mut gather = Gather::default();
        let (mut at, mut total, mut with_yields) = (0, 0, 0);
        while total < requests {
            at += made + round;
            let yields = gather.begins(start + Duration::from_micros(at));
            let mut waiting = there;
            if yields {
                let before = at;
                if apart {
                    at += 1;
                } else {
                    waiting = depth;
                    at += (u64::from(depth - there) * made + rest).max(busy_for);
                }
                gather.yielded(Duration::from_micros(at - before), waiting - there, waiting);
                with_yields += waiting;
            }
            gather.taken(waiting);
            at += done * u64::from(waiting);
            total += waiting;
        }
        (at / u64::from(total), with_yields)
    }

    #[test]
    fn who_has_many_requests_has_them_taken_together() {
        let (each, with_yields) = run(SHARED, 50_000);
        assert!(with_yields > 49_000, "{with_yields}");
        // A round for each would make it 320.
        assert!(each < 140, "{each}");
    }

    #[test]
    fn who_has_one_request_is_not_kept_waiting() {
        let (each, with_yields) = run(Machine { depth: 1, ..SHARED }, 50_000);
        assert!((320..323).contains(&each), "{each}");
        assert!(with_yields < 500, "{with_yields}");
    }

    #[test]
    fn a_driver_beside_the_worker_is_not_yielded_to() {
        let (each, with_yields) = run(Machine { apart: true, ..SHARED }, 50_000);
        assert_eq!(each, 320);
        assert!(with_yields < 500, "{with_yields}");
    }

    #[test]
    fn nor_is_one_with_several_requests_at_a_time() {
        for there in [2, 4, 8] {
            let (_, with_yields) = run(Machine { apart: true, there, ..SHARED }, 50_000);
            // It is tried some fifty times, and is in vain each time.
            assert!(with_yields < 60 * there * TOO_MUCH / IN_VAIN, "{there}: {with_yields}");
        }
    }

    #[test]
    fn nor_is_one_whose_processor_does_not_come_back() {
        // 4 ms for 8 requests, which would take 2.6 ms one by one.
        let (each, with_yields) = run(Machine { depth: 8, busy_for: 4000, ..SHARED }, 50_000);
        assert!((320..345).contains(&each), "{each}");
        assert!(with_yields < 4000, "{with_yields}");
    }

    #[test]
    fn what_gathers_requests_and_is_no_faster_does_not_stay() {
        // The time of a yield is worth it, and what follows is not.
        let slow = Machine { rest: 5000, ..SHARED };
        let fast = Machine { round: 20, ..slow };
        let (each, with_yields) = run(fast, 50_000);
        assert!((140..150).contains(&each), "{each}");
        assert!(with_yields < 5000, "{with_yields}");
        assert!(run(slow, 50_000).1 > 49_000);
    }

    #[test]
    fn silence_is_no_pace() {
        for silence in [LULL, BREAK] {
            let mut gather = Gather::default();
            let mut at = Instant::now();
            for turn in 0..10 * WINDOW {
                let pause = if turn % (WINDOW / 2) == 0 { silence } else { Duration::ZERO };
                at += Duration::from_micros(300) + pause;
                assert!(!gather.begins(at), "{turn}");
                gather.taken(1);
            }
            assert_eq!(gather.pace, Duration::ZERO, "nothing was measured");
        }
    }

    #[test]
    fn after_a_break_everything_is_measured_anew() {
        let mut at = Instant::now();
        let mut gather =
            Gather { apart: MOST_APART, phase: Phase::Taking, latest: Some(at), ..Gather::default() };
        let turns_before_yield = |gather: &mut Gather, at: &mut Instant| {
            let more = |_: &u32| {
                *at += Duration::from_micros(300);
                gather.taken(1);
                !gather.begins(*at)
            };
            (0..).take_while(more).count()
        };
        assert_eq!(turns_before_yield(&mut gather, &mut at), (MOST_APART + WINDOW) as usize - 1);
        gather.enter(Phase::Taking, at);
        at += BREAK;
        assert_eq!(turns_before_yield(&mut gather, &mut at), WINDOW as usize);
    }

    #[test]
    fn no_requests_are_nothing_to_wait_for() {
        let mut gather = Gather { phase: Phase::Yielding, latest: Some(Instant::now()), ..Gather::default() };
        assert!(!gather.wants_more(0));
        assert!(gather.wants_more(1));
        gather.pace = Duration::from_secs(3600);
        gather.let_driver_go_on(1, || 7);
        assert_eq!(gather.in_vain, 0);
        for there in [1, 8] {
            (gather.phase, gather.in_vain) = (Phase::Yielding, 0);
            let in_a_row = (1..100).find(|_| {
                gather.latest = Some(Instant::now());
                gather.let_driver_go_on(there, || there);
                gather.phase == Phase::Taking
            });
            assert_eq!(in_a_row, Some(TOO_MUCH / IN_VAIN), "{there}");
        }
    }
}
