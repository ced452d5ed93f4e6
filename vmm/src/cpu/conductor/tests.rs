//! vCPU threads without vCPUs.

use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use super::*;
use crate::cpu::crash::System;

/// Longer than a busy machine takes for anything here.
const LONG: Duration = Duration::from_secs(30);

/// A thread that parks, with what it was told to do then, until it is to go on.
struct Cpu {
    thread: JoinHandle<()>,
    told: Receiver<Next>,
}

/// Starts a thread that asks for something, if it does, and parks.
fn cpu(conductor: &Arc<Conductor>, request: Option<Request>) -> Cpu {
    let (tell, told) = channel();
    let conductor = Arc::clone(conductor);
    let thread = thread::spawn(move || {
        if let Some(request) = request {
            conductor.request(request);
        }
        let mut resets = 0;
        loop {
            let next = conductor.park(None, resets);
            tell.send(next).unwrap();
            let Next::Reset { resets: now } = next else { break };
            resets = now;
            conductor.has_reset();
        }
        conductor.ended(ExitCounts::default());
    });
    Cpu { thread, told }
}

impl Cpu {
    fn is_told(&self, expected: Next) {
        assert_eq!(self.told.recv_timeout(LONG).unwrap(), expected);
    }

    fn goes_on(self) {
        self.is_told(Next::Resume);
        self.thread.join().unwrap();
    }
}

fn parked(conductor: &Conductor) -> bool {
    conductor.park_all(&|| (), LONG)
}

/// As when a client's `cont` comes between a guest's power-off and its answer.
#[test]
fn nobody_goes_past_an_unanswered_request() {
    let conductor = Conductor::new(1).unwrap();
    let waiting = cpu(&conductor, Some(Request::PowerOff));
    assert!(parked(&conductor));
    conductor.resume();
    assert!(conductor.wants_attention());
    assert!(waiting.told.try_recv().is_err());
    assert!(matches!(conductor.take_requests()[..], [Request::PowerOff]));
    conductor.resume();
    waiting.goes_on();
}

/// As when another vCPU has powered off while a reset was under way.
#[test]
fn a_reset_makes_requests_moot_but_failures_of_the_host() {
    for (request, stays) in [
        (Request::Reset, false),
        (Request::PowerOff, false),
        (Request::GuestPanicked, false),
        (Request::ResetButton, false),
        (Request::Failed("no memory".into()), true),
    ] {
        let conductor = Conductor::new(1).unwrap();
        let waiting = cpu(&conductor, Some(request));
        assert!(parked(&conductor));
        assert!(conductor.reset(LONG));
        waiting.is_told(Next::Reset { resets: 1 });
        conductor.restart(true);
        assert_eq!(conductor.wants_attention(), stays);
        assert_eq!(conductor.take_requests().len(), usize::from(stays));
        conductor.resume();
        waiting.goes_on();
    }
}

/// Else one that is late would undo what the first has set up for all, or miss its interrupt.
#[test]
fn nobody_runs_before_all_are_reset() {
    let conductor = Conductor::new(2).unwrap();
    let quick = cpu(&conductor, None);
    let (go, wait) = channel();
    let slow = thread::spawn({
        let conductor = Arc::clone(&conductor);
        move || {
            assert_eq!(conductor.park(None, 0), Next::Reset { resets: 1 });
            wait.recv().unwrap();
            conductor.has_reset();
            assert_eq!(conductor.park(None, 1), Next::Resume);
            conductor.ended(ExitCounts::default());
        }
    });
    assert!(parked(&conductor));
    assert!(!conductor.reset(Duration::from_millis(50)), "one is not reset yet");
    quick.is_told(Next::Reset { resets: 1 });
    assert!(quick.told.recv_timeout(Duration::from_millis(20)).is_err(), "it waits for the other");
    go.send(()).unwrap();
    assert!(parked(&conductor));
    conductor.restart(true);
    quick.goes_on();
    slow.join().unwrap();
}

#[test]
fn a_guest_that_reports_crashes_goes_on() {
    let conductor = Conductor::new(1).unwrap();
    let running = cpu(&conductor, None);
    assert!(parked(&conductor));
    conductor.resume();
    running.goes_on();
    let crash = |code| GuestCrash { system: System::Windows, parameters: [code, 0, 0, 0, 0] };
    (0..1000).for_each(|code| conductor.crashed(crash(code)));
    assert!(!conductor.wants_attention(), "nobody parks for it");
    assert_eq!(conductor.requested().read().unwrap(), 1000);
    let crashes = conductor.take_crashes();
    assert_eq!((crashes.len(), crashes[0], crashes[15]), (16, crash(0), crash(15)));
    assert!(conductor.take_crashes().is_empty());
    // One of the boot before.
    conductor.crashed(crash(1));
    conductor.restart(true);
    assert!(conductor.take_crashes().is_empty());
}

/// A machine that is paused is reset, and stays paused.
#[test]
fn a_reset_machine_may_wait() {
    let conductor = Conductor::new(1).unwrap();
    let waiting = cpu(&conductor, None);
    assert!(parked(&conductor));
    for resets in 1..4 {
        assert!(conductor.reset(LONG));
        waiting.is_told(Next::Reset { resets });
        conductor.restart(false);
        assert!(conductor.wants_attention());
        assert!(waiting.told.try_recv().is_err());
        assert!(parked(&conductor));
    }
    conductor.resume();
    waiting.goes_on();
}

#[test]
fn the_gravest_request_is_answered() {
    let failed = || Request::Failed("no memory".into());
    let name = |requests: Vec<Request>, kept| gravest(requests, kept).map(|request| format!("{request:?}"));
    for (requests, kept, expected) in [
        (vec![], false, None),
        (vec![Request::Reset, Request::PowerOff, Request::ResetButton], false, Some("PowerOff")),
        (vec![Request::PowerOff, failed()], false, Some("Failed(\"no memory\")")),
        // A kept machine only starts anew by its button.
        (vec![Request::Reset, Request::PowerOff], true, None),
        (vec![Request::PowerOff, Request::ResetButton], true, Some("ResetButton")),
        (vec![failed(), Request::ResetButton], true, Some("Failed(\"no memory\")")),
    ] {
        assert_eq!(name(requests, kept).as_deref(), expected);
    }
}
