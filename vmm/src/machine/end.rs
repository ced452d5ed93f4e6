//! The end of a run: stopping everything in order, and judging how it went.

use std::collections::BTreeMap;

use super::build::Board;
use super::consoles::Consoles;
use super::passthrough::Loan;
use super::vcpus::Vcpus;
use crate::cli::RunOptions;
use crate::events::{Event, EventLog};
use crate::kvm::HostError;
use crate::outcome::{Outcome, status};
use crate::session::Cause;
use crate::vnc::Server;
use crate::watch::{Observer, Verdict};

/// Why the loop ended.
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
    pub(super) loan: Loan,
    pub(super) vnc: Option<Server>,
}

/// Ends the machine in order and says how it went.
pub(super) fn conclude(
    end: End,
    options: &RunOptions,
    machine: Machine,
    observer: &Observer,
    events: &EventLog,
) -> Outcome {
    let Machine { vcpus, consoles, board, loan, vnc } = machine;
    // Nobody looks at a machine that is taken apart.
    drop(vnc);
    consoles.release();
    if let Some(passthrough) = &board.passthrough {
        passthrough.release();
    }
    let counts = vcpus.end();
    if let Some(passthrough) = &board.passthrough {
        passthrough.shut_down();
    }
    let flushed = board.devices.flash.flush();
    let slot_switches = board.devices.flash.slot_switches();
    // Workers stop and disks are closed before the console says its last.
    drop(board);
    let given_back = loan.give_back();
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
    if let Err(error) = given_back {
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
