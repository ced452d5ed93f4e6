//! When and how a run ends: signals, time-outs, patterns and keys, and what they ask of the machine.
//!
//! A guest is ended in two steps. Its power button is pressed, so that it can write what it has to; if it is
//! still there after a grace period, or if somebody insists, it is ended at once. This module decides and
//! does nothing: a caller feeds a [`Session`] with [`Trigger`]s, performs the [`Request`]s, and arms one
//! timer with the grace period after [`Request::PowerButton`], whose end is [`Trigger::GraceOver`].
//!
//! A signal insists only [`INSISTING`] after the end began: who ends a run often sends one request twice, as
//! timeout(1) does, which signals the program and then its process group, or a terminal's Ctrl-C that a shell's
//! trap passes on.

use std::time::{Duration, Instant};

use crate::signals::Signal;
use crate::watch::Verdict;

/// From the beginning of an end to the first signal that insists on it.
pub const INSISTING: Duration = Duration::from_secs(1);

/// Something that may end the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// The program received a signal.
    Signal(Signal),
    /// The user asked on the console to end the machine at once.
    Quit,
    /// The user asked on the console to press the power button. No reason to end by itself: a guest may do
    /// with its button what it likes.
    PowerKey,
    /// The output came to a final verdict.
    Verdict(Verdict),
    /// `--timeout` ran out.
    TimedOut,
    /// The grace period ran out.
    GraceOver,
    /// The host wants a passed-through device back; which.
    DeviceWanted(String),
    /// A passed-through device is of no use any more; why.
    DeviceFailed(String),
}

/// What a caller has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Press the guest's power button, and arm the grace period if `grace`.
    PowerButton {
        /// Whether the machine is to end with it.
        grace: bool,
    },
    /// End the machine now.
    End,
}

/// Why the program ends the machine. Without one, whatever happens is the guest's own doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A signal.
    Signal(Signal),
    /// The user, on the console.
    Quit,
    /// All that was expected appeared.
    Expected,
    /// Something forbidden appeared.
    Forbidden {
        /// The pattern.
        pattern: String,
        /// The line it was seen in.
        line: String,
    },
    /// `--timeout` ran out.
    TimedOut,
    /// The host wanted this device back.
    DeviceWanted(String),
    /// A device failed; why.
    DeviceFailed(String),
}

/// What has been decided about the end of a run.
#[derive(Debug, Default)]
pub struct Session {
    cause: Option<Cause>,
    /// When the first cause came.
    began: Option<Instant>,
    ending: bool,
}

impl Session {
    /// A session that goes on until something ends it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Why the machine is being ended: the first cause there was.
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Takes something in that happens `now`. Returns what is to be done about it.
    pub fn on(&mut self, trigger: Trigger, now: Instant) -> Option<Request> {
        let request = self.decide(trigger, now);
        if self.cause.is_some() {
            self.began.get_or_insert(now);
        }
        request
    }

    fn decide(&mut self, trigger: Trigger, now: Instant) -> Option<Request> {
        match trigger {
            Trigger::PowerKey => Some(Request::PowerButton { grace: false }),
            Trigger::Verdict(Verdict::Pending { .. }) => None,
            // The guest did what it was started for; it has time to shut down in order.
            Trigger::Verdict(Verdict::AllSeen) => self.end_gently(Cause::Expected),
            Trigger::Signal(signal) if self.cause.is_none() => self.end_gently(Cause::Signal(signal)),
            Trigger::Signal(signal) => {
                let insists =
                    self.began.is_none_or(|began| now.saturating_duration_since(began) >= INSISTING);
                if insists { self.end_now(Cause::Signal(signal)) } else { None }
            }
            Trigger::Quit => self.end_now(Cause::Quit),
            Trigger::Verdict(Verdict::Failed { pattern, line }) => {
                self.end_now(Cause::Forbidden { pattern, line })
            }
            Trigger::TimedOut => self.end_now(Cause::TimedOut),
            Trigger::DeviceWanted(device) => self.end_gently(Cause::DeviceWanted(device)),
            Trigger::DeviceFailed(why) => self.end_now(Cause::DeviceFailed(why)),
            Trigger::GraceOver => {
                // A timer that nobody should have armed ends nothing.
                self.cause.clone().and_then(|cause| self.end_now(cause))
            }
        }
    }

    fn end_gently(&mut self, cause: Cause) -> Option<Request> {
        if self.cause.is_some() {
            return None;
        }
        self.cause = Some(cause);
        Some(Request::PowerButton { grace: true })
    }

    fn end_now(&mut self, cause: Cause) -> Option<Request> {
        self.cause.get_or_insert(cause);
        let first = !self.ending;
        self.ending = true;
        first.then_some(Request::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUTTON: Option<Request> = Some(Request::PowerButton { grace: true });
    const END: Option<Request> = Some(Request::End);

    /// A session and its clock.
    struct Clocked {
        session: Session,
        now: Instant,
    }

    impl Clocked {
        fn new() -> Self {
            Self { session: Session::new(), now: Instant::now() }
        }

        fn on(&mut self, trigger: Trigger) -> Option<Request> {
            self.session.on(trigger, self.now)
        }

        fn later(&mut self, milliseconds: u64) {
            self.now += Duration::from_millis(milliseconds);
        }

        fn cause(&self) -> Option<&Cause> {
            self.session.cause()
        }
    }

    #[test]
    fn the_first_signal_asks_and_one_a_second_later_insists() {
        let mut session = Clocked::new();
        assert_eq!(session.on(Trigger::Signal(Signal::Interrupt)), BUTTON);
        session.later(1000);
        assert_eq!(session.on(Trigger::Signal(Signal::Terminate)), END);
        assert_eq!(session.on(Trigger::Signal(Signal::Terminate)), None);
        assert_eq!(session.cause(), Some(&Cause::Signal(Signal::Interrupt)));
    }

    #[test]
    fn signals_within_a_second_are_one_wish() {
        let mut session = Clocked::new();
        assert_eq!(session.on(Trigger::Signal(Signal::Terminate)), BUTTON);
        for later in [0, 0, 1, 400, 598] {
            session.later(later);
            assert_eq!(session.on(Trigger::Signal(Signal::Terminate)), None);
            assert_eq!(session.on(Trigger::Signal(Signal::HangUp)), None);
        }
        session.later(1);
        assert_eq!(session.on(Trigger::Signal(Signal::Terminate)), END);
    }

    #[test]
    fn a_signal_just_after_another_cause_does_not_insist() {
        for cause in [Trigger::Verdict(Verdict::AllSeen), Trigger::DeviceWanted("0000:01:00.0".into())] {
            let mut session = Clocked::new();
            assert_eq!(session.on(cause), BUTTON);
            session.later(999);
            assert_eq!(session.on(Trigger::Signal(Signal::Terminate)), None);
            session.later(1);
            assert_eq!(session.on(Trigger::Signal(Signal::Terminate)), END);
        }
    }

    #[test]
    fn all_but_signals_end_at_once_within_the_second() {
        let failed = Verdict::Failed { pattern: "panic".into(), line: "Kernel panic".into() };
        for trigger in [
            Trigger::Quit,
            Trigger::TimedOut,
            Trigger::GraceOver,
            Trigger::Verdict(failed),
            Trigger::DeviceFailed("bus error".into()),
        ] {
            let mut session = Clocked::new();
            assert_eq!(session.on(Trigger::Signal(Signal::Terminate)), BUTTON);
            assert_eq!(session.on(trigger), END);
        }
    }

    #[test]
    fn the_end_of_the_grace_period_ends_what_was_begun() {
        let mut session = Clocked::new();
        assert_eq!(session.on(Trigger::GraceOver), None);
        assert_eq!(session.on(Trigger::Verdict(Verdict::AllSeen)), BUTTON);
        assert_eq!(session.on(Trigger::GraceOver), END);
        assert_eq!(session.cause(), Some(&Cause::Expected));
    }

    #[test]
    fn success_stays_success_when_the_shutdown_takes_too_long() {
        let mut session = Clocked::new();
        session.on(Trigger::Verdict(Verdict::AllSeen));
        assert_eq!(session.on(Trigger::TimedOut), END);
        assert_eq!(session.cause(), Some(&Cause::Expected));
    }

    #[test]
    fn the_power_key_ends_nothing() {
        let mut session = Clocked::new();
        assert_eq!(session.on(Trigger::PowerKey), Some(Request::PowerButton { grace: false }));
        assert_eq!(session.cause(), None);
        assert_eq!(session.on(Trigger::Quit), END);
        assert_eq!(session.cause(), Some(&Cause::Quit));
    }

    #[test]
    fn a_wanted_device_is_given_back_in_order_and_a_failed_one_at_once() {
        let mut session = Clocked::new();
        assert_eq!(session.on(Trigger::DeviceWanted("0000:01:00.0".into())), BUTTON);
        assert_eq!(session.on(Trigger::DeviceWanted("0000:01:00.0".into())), None);
        assert_eq!(session.on(Trigger::DeviceFailed("bus error".into())), END);
        assert_eq!(session.cause(), Some(&Cause::DeviceWanted("0000:01:00.0".into())));
    }

    #[test]
    fn what_is_forbidden_ends_at_once() {
        let mut session = Clocked::new();
        let failed = Verdict::Failed { pattern: "panic".into(), line: "Kernel panic".into() };
        assert_eq!(session.on(Trigger::Verdict(failed)), END);
        let cause = Cause::Forbidden { pattern: "panic".into(), line: "Kernel panic".into() };
        assert_eq!(session.cause(), Some(&cause));
        assert_eq!(session.on(Trigger::Verdict(Verdict::AllSeen)), None);
    }
}
