//! The end of a run: stopping everything in order, and judging how it went.

use std::collections::BTreeMap;

use super::consoles::Consoles;
use super::passthrough::{HostBinding, Passthrough};
use super::tuning::HostTuning;
use crate::cli::RunOptions;
use crate::config::Action;
use crate::events::{Event, EventLog, ExitCounts};
use crate::kvm::HostError;
use crate::machine::assembly::build::Board;
use crate::machine::assembly::vcpus::Vcpus;
use crate::outcome::{Outcome, status};
use crate::session::{Cause, Trigger};
use crate::watch::{Observer, Verdict};

/// Why the loop ended.
#[cfg_attr(test, derive(Debug))]
pub(super) enum End {
    /// The guest's own doing, or the host's.
    Itself(Outcome),
    /// Somebody ended it; for a time-out, what the guest was doing.
    Ended(Cause, Option<String>),
    /// This host turns out not to run firmware.
    Unfit(HostError),
}

/// Everything that ends with a run.
pub(super) struct Machine {
    pub(super) vcpus: Vcpus,
    pub(super) consoles: Consoles,
    pub(super) board: Board,
    pub(super) binding: HostBinding,
    pub(super) tuning: HostTuning,
}

/// Whether what the guest came to is its end, whose `action` was to be taken. `ending`: somebody is ending the machine.
pub(super) fn is_final(outcome: &Outcome, action: Action, ending: bool) -> bool {
    match action {
        Action::Destroy => true,
        // Whatever the guest does to stop is its end then, but a reset is not stopping.
        Action::Restart => ending && *outcome != Outcome::Rebooted,
        // Nobody is to inspect a machine that is to end.
        Action::Preserve => ending,
    }
}

/// What a trigger means for a machine that is kept for inspection since it came to `outcome`: its end, or else nothing. It
/// hears no power button. A verdict may come late, since the output that led to it was on its way when the guest stopped.
pub(super) fn of_kept(trigger: Trigger, outcome: Outcome) -> Result<End, Outcome> {
    Ok(match trigger {
        Trigger::Signal(signal) => End::Ended(Cause::Signal(signal), None),
        Trigger::Quit => End::Ended(Cause::Quit, None),
        Trigger::DeviceWanted(device) => End::Ended(Cause::DeviceWanted(device), None),
        Trigger::DeviceFailed(why) => End::Ended(Cause::DeviceFailed(why), None),
        Trigger::Verdict(Verdict::Failed { pattern, line }) => {
            End::Ended(Cause::Forbidden { pattern, line }, None)
        }
        Trigger::TimedOut | Trigger::Verdict(Verdict::AllSeen) => End::Itself(outcome),
        Trigger::PowerKey | Trigger::GraceOver | Trigger::Verdict(Verdict::Pending { .. }) => {
            return Err(outcome);
        }
    })
}

/// Ends the vCPUs, whatever they wait for, and what devices do. What the vCPUs counted.
pub(super) fn stop(vcpus: Vcpus, consoles: &Consoles, passthrough: Option<&Passthrough>) -> ExitCounts {
    consoles.release();
    if let Some(passthrough) = passthrough {
        passthrough.release();
    }
    let counts = vcpus.end();
    if let Some(passthrough) = passthrough {
        passthrough.shut_down();
    }
    counts
}

/// Ends the machine in order and says how it went.
pub(super) fn conclude(
    end: End,
    options: &RunOptions,
    machine: Machine,
    observer: &Observer,
    events: &EventLog,
) -> Outcome {
    let Machine { vcpus, consoles, mut board, binding, tuning } = machine;
    // Nobody looks at a machine that is taken apart, and nobody types into it.
    drop(board.vnc.take());
    drop(board.evdev.take());
    let counts = stop(vcpus, &consoles, board.passthrough.as_ref());
    // The guest sees no device go.
    drop(board.usb.take());
    let flushed = board.devices.flash.flush();
    let slot_switches = board.devices.flash.slot_switches();
    // That these end now is no news for anybody.
    board.programs.clear();
    // Workers stop and disks are closed before the console says its last.
    drop(board);
    let given_back = [binding.give_back(), tuning.give_back()];
    consoles.finish();
    let mut outcome = match end {
        End::Unfit(error) => Outcome::HostUnfit(error.to_string()),
        End::Ended(cause, doing) => match cause {
            Cause::Expected => Outcome::ExpectationMet,
            Cause::Signal(signal) => Outcome::Signalled(signal.number()),
            Cause::Quit => Outcome::Quit,
            Cause::Forbidden { pattern, line } => Outcome::FailPatternSeen(format!("`{pattern}` in: {line}")),
            Cause::DeviceWanted(device) => Outcome::Failed(format!(
                "the host wanted {device} back, and the guest did not power off within its grace period"
            )),
            Cause::DeviceFailed(why) => Outcome::Failed(why),
            Cause::TimedOut => Outcome::TimedOut(missing(observer, doing.unwrap_or_default())),
        },
        End::Itself(outcome) => judge(outcome, options, observer),
    };
    if let Err(error) = flushed
        && outcome.status() == status::SUCCESS
    {
        outcome =
            Outcome::Failed(format!("the firmware's variables could not be written to their file: {error}"));
    }
    for error in given_back.into_iter().filter_map(Result::err) {
        if outcome.status() == status::SUCCESS {
            outcome = Outcome::Failed(error.to_string());
        } else {
            tracing::error!("{error}");
        }
    }
    match devices::log_limit::left_out() {
        0 => {}
        count => tracing::warn!("{count} messages of kinds that came too often were left out of the log"),
    }
    let counters = BTreeMap::from([("flash_slot_switches".to_owned(), slot_switches)]);
    events.emit(Event::Exit {
        reason: outcome.reason().into(),
        status: outcome.status(),
        exits: counts,
        counters,
    });
    outcome
}

/// The guest's own end in the light of what was expected of it.
fn judge(outcome: Outcome, options: &RunOptions, observer: &Observer) -> Outcome {
    if !matches!(outcome, Outcome::PoweredOff | Outcome::Rebooted) {
        return outcome;
    }
    match observer.verdict() {
        Verdict::Failed { pattern, line } => Outcome::FailPatternSeen(format!("`{pattern}` in: {line}")),
        Verdict::AllSeen => Outcome::ExpectationMet,
        Verdict::Pending { next: Some(pattern) } if !options.script.0.is_empty() => {
            Outcome::ExpectationMissed(pattern)
        }
        Verdict::Pending { .. } => outcome,
    }
}

fn missing(observer: &Observer, doing: String) -> String {
    match observer.verdict() {
        Verdict::Pending { next: Some(pattern) } => format!("{doing}\nstill expected: {pattern}"),
        _ => doing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::Signal;

    fn crashed() -> Outcome {
        Outcome::Crashed("the guest crashed".into())
    }

    #[test]
    fn a_machine_that_is_being_ended_is_not_kept() {
        use Action::{Destroy, Preserve, Restart};
        for (outcome, action, ending, expected) in [
            (Outcome::PoweredOff, Destroy, false, true),
            (Outcome::PoweredOff, Restart, false, false),
            (Outcome::PoweredOff, Preserve, false, false),
            (Outcome::PoweredOff, Restart, true, true),
            (Outcome::PoweredOff, Preserve, true, true),
            (crashed(), Restart, true, true),
            (crashed(), Preserve, false, false),
            (crashed(), Preserve, true, true),
            (Outcome::Rebooted, Destroy, false, true),
            // It goes on until its grace is over.
            (Outcome::Rebooted, Restart, true, false),
            (Outcome::Rebooted, Preserve, false, false),
            (Outcome::Rebooted, Preserve, true, true),
        ] {
            assert_eq!(is_final(&outcome, action, ending), expected, "{outcome:?} {action:?} {ending}");
        }
    }

    #[test]
    fn a_kept_machine_ends_as_it_would_have_if_the_trigger_had_come_first() {
        let failed = || Verdict::Failed { pattern: "panic".into(), line: "Kernel panic".into() };
        let of = |trigger| of_kept(trigger, crashed());
        assert!(matches!(of(Trigger::Verdict(failed())), Ok(End::Ended(Cause::Forbidden { .. }, None))));
        for trigger in [Trigger::Verdict(Verdict::AllSeen), Trigger::TimedOut] {
            assert!(matches!(of(trigger), Ok(End::Itself(Outcome::Crashed(_)))));
        }
        assert!(matches!(
            of(Trigger::Signal(Signal::Terminate)),
            Ok(End::Ended(Cause::Signal(Signal::Terminate), None))
        ));
        assert!(matches!(of(Trigger::Quit), Ok(End::Ended(Cause::Quit, None))));
        assert!(matches!(
            of(Trigger::DeviceWanted("x".into())),
            Ok(End::Ended(Cause::DeviceWanted(_), None))
        ));
        assert!(matches!(
            of(Trigger::DeviceFailed("x".into())),
            Ok(End::Ended(Cause::DeviceFailed(_), None))
        ));
        for trigger in
            [Trigger::PowerKey, Trigger::GraceOver, Trigger::Verdict(Verdict::Pending { next: None })]
        {
            assert!(of(trigger).is_err_and(|kept| kept == crashed()));
        }
    }
}
