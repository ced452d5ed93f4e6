//! When and how a run ends: signals, time-outs, patterns and keys, and what they ask of the machine.
//!
//! A guest is ended in two steps. Its power button is pressed, so that it can write what it has to; if it is
//! still there after a grace period, or if somebody insists, it is ended at once. This module decides and
//! does nothing: a caller feeds a [`Session`] with [`Trigger`]s, performs the [`Request`]s, and arms one
//! timer with the grace period after [`Request::PowerButton`], whose end is [`Trigger::GraceOver`].

use crate::signals::Signal;
use crate::watch::Verdict;

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

    /// Takes something in. Returns what is to be done about it.
    pub fn on(&mut self, trigger: Trigger) -> Option<Request> {
        match trigger {
            Trigger::PowerKey => Some(Request::PowerButton { grace: false }),
            Trigger::Verdict(Verdict::Pending { .. }) => None,
            // The guest did what it was started for; it has time to shut down in order.
            Trigger::Verdict(Verdict::AllSeen) => self.end_gently(Cause::Expected),
            Trigger::Signal(signal) if self.cause.is_none() => self.end_gently(Cause::Signal(signal)),
            Trigger::Signal(signal) => self.end_now(Cause::Signal(signal)),
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

    #[test]
    fn the_first_signal_asks_and_the_second_insists() {
        let mut session = Session::new();
        assert_eq!(session.on(Trigger::Signal(Signal::Interrupt)), BUTTON);
        assert_eq!(session.on(Trigger::Signal(Signal::Terminate)), END);
        assert_eq!(session.on(Trigger::Signal(Signal::Terminate)), None);
        assert_eq!(session.cause(), Some(&Cause::Signal(Signal::Interrupt)));
    }

    #[test]
    fn the_end_of_the_grace_period_ends_what_was_begun() {
        let mut session = Session::new();
        assert_eq!(session.on(Trigger::GraceOver), None);
        assert_eq!(session.on(Trigger::Verdict(Verdict::AllSeen)), BUTTON);
        assert_eq!(session.on(Trigger::GraceOver), END);
        assert_eq!(session.cause(), Some(&Cause::Expected));
    }

    #[test]
    fn success_stays_success_when_the_shutdown_takes_too_long() {
        let mut session = Session::new();
        session.on(Trigger::Verdict(Verdict::AllSeen));
        assert_eq!(session.on(Trigger::TimedOut), END);
        assert_eq!(session.cause(), Some(&Cause::Expected));
    }

    #[test]
    fn the_power_key_ends_nothing() {
        let mut session = Session::new();
        assert_eq!(session.on(Trigger::PowerKey), Some(Request::PowerButton { grace: false }));
        assert_eq!(session.cause(), None);
        assert_eq!(session.on(Trigger::Quit), END);
        assert_eq!(session.cause(), Some(&Cause::Quit));
    }

    #[test]
    fn a_wanted_device_is_given_back_in_order_and_a_failed_one_at_once() {
        let mut session = Session::new();
        assert_eq!(session.on(Trigger::DeviceWanted("0000:01:00.0".into())), BUTTON);
        assert_eq!(session.on(Trigger::DeviceWanted("0000:01:00.0".into())), None);
        assert_eq!(session.on(Trigger::DeviceFailed("bus error".into())), END);
        assert_eq!(session.cause(), Some(&Cause::DeviceWanted("0000:01:00.0".into())));
    }

    #[test]
    fn what_is_forbidden_ends_at_once() {
        let mut session = Session::new();
        let failed = Verdict::Failed { pattern: "panic".into(), line: "Kernel panic".into() };
        assert_eq!(session.on(Trigger::Verdict(failed)), END);
        let cause = Cause::Forbidden { pattern: "panic".into(), line: "Kernel panic".into() };
        assert_eq!(session.cause(), Some(&cause));
        assert_eq!(session.on(Trigger::Verdict(Verdict::AllSeen)), None);
    }
}
