//! A guest that has reported its crash by Hyper-V's crash registers: it reports first and writes its dump afterwards, so it
//! runs on until it resets, powers off or halts, or its time is over. Then `on_crash` decides.

use std::time::Duration;

use super::control;
use super::diagnose;
use super::end::End;
use super::supervisor::Supervisor;
use crate::control::Crash;
use crate::cpu::crash::GuestCrash;
use crate::cpu::report::CpuReport;
use crate::cpu::tally::Moment;
use crate::events::{Event, ReportedCrash};
use crate::outcome::Outcome;

/// From one look at the guest to the next.
const TURN: Duration = Duration::from_secs(1);

/// How long a guest may take for its dump. Windows writes what its kernel uses of memory, some GiB at most, and resets then.
/// A machine that a client has stopped uses none of it.
const LONGEST: Duration = Duration::from_secs(120);

/// A crash that was reported, and what was seen of the guest since.
#[derive(Debug)]
pub(super) struct Pending {
    crash: GuestCrash,
    /// What may have been the reason, as further lines; see [`diagnose::refused_msr`].
    reason: String,
    /// Time for the dump.
    left: Duration,
    /// Where the vCPUs were at the last look.
    seen: Vec<Moment>,
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The time is over.
    Over,
    /// No vCPU has left the guest since the last look, nor waits for a device: it may have halted.
    Still,
    /// It does something.
    Busy,
}

impl Pending {
    fn new(crash: GuestCrash, reason: String) -> Self {
        Self { crash, reason, left: LONGEST, seen: Vec::new() }
    }

    /// One turn later, the vCPUs are there.
    fn look(&mut self, moments: Vec<Moment>) -> Look {
        self.left = self.left.saturating_sub(TURN);
        let still = moments == self.seen && moments.iter().all(|moment| moment.access.is_none());
        self.seen = moments;
        match (self.left.is_zero(), still) {
            (true, _) => Look::Over,
            (false, true) => Look::Still,
            (false, false) => Look::Busy,
        }
    }

    /// What the machine comes to by it. `after`: what else has happened.
    pub(super) fn outcome(&self, after: Option<&str>) -> Outcome {
        let after = after.map(|after| format!("\nthen: {after}")).unwrap_or_default();
        Outcome::Crashed(format!("the guest crashed: {}{}{after}", self.crash, self.reason))
    }
}

/// Whether nothing but an NMI or a reset leads out of it; not if one of its `cpus` does not show what it does.
fn halted(reports: &[CpuReport], cpus: usize) -> bool {
    reports.len() == cpus
        && reports.iter().all(|report| report.waits_for_startup() || report.halted_for_good())
}

fn for_events(crash: &GuestCrash) -> ReportedCrash {
    ReportedCrash {
        system: crash.system.name().to_owned(),
        name: crash.bug_check().map(str::to_owned),
        parameters: crash.parameters.map(|parameter| format!("{parameter:#x}")),
    }
}

impl Supervisor<'_> {
    /// A guest reports its crash. What it reports after that, until a reset, is the same crash.
    pub(super) fn reported(&mut self, crash: GuestCrash) {
        if self.crash.is_some() || self.preserved.is_some() {
            devices::limited_debug!("the guest reports a crash again: {crash}");
            return;
        }
        let action = self.plan.machine.on_crash;
        devices::limited_warn!(
            "{crash}; the machine runs on until the guest resets, powers off or halts, for {} seconds at most, so that it can \
             write its dump",
            LONGEST.as_secs()
        );
        self.events.emit(Event::GuestPanic { crash: Some(for_events(&crash)) });
        let told = Crash { text: crash.to_string(), parameters: crash.parameters };
        self.announce(&control::panicked(action, Some(told)));
        self.crash = Some(Pending::new(crash, diagnose::refused_msr(self.vcpus.msrs())));
        self.dump.arm_in(Some(TURN));
    }

    /// Looks whether a guest that has crashed is done.
    pub(super) fn look_after_crash(&mut self) -> Option<End> {
        let moments = self.vcpus.moments();
        let cpus = moments.len();
        let pending = self.crash.as_mut()?;
        let done = match if self.paused { Look::Busy } else { pending.look(moments) } {
            Look::Over => self.vcpus.park(self).map(|_| true),
            Look::Still => self.vcpus.park(self).map(|reports| halted(&reports, cpus)),
            Look::Busy => {
                self.dump.arm_in(Some(TURN));
                return None;
            }
        };
        match done {
            Err(why) => Some(End::Itself(Outcome::Failed(why))),
            Ok(false) => {
                self.dump.arm_in(Some(TURN));
                self.hold_consoles();
                self.vcpus.resume();
                None
            }
            Ok(true) => {
                let outcome = self.crash.as_ref()?.outcome(None);
                self.decide(self.plan.machine.on_crash, outcome)
            }
        }
    }

    /// There is no such guest any more.
    pub(super) fn forget_crash(&mut self) {
        self.crash = None;
        self.dump.arm(None);
    }
}

#[cfg(test)]
mod tests {
    use kvm_bindings::{KVM_MP_STATE_HALTED, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED};

    use super::*;
    use crate::cpu::crash::System;
    use crate::cpu::tally::Access;

    fn pending() -> Pending {
        Pending::new(GuestCrash { system: System::Windows, parameters: [0xe2, 1, 2, 3, 4] }, String::new())
    }

    fn at(exits: &[u64]) -> Vec<Moment> {
        exits.iter().map(|&exits| Moment { exits, access: None }).collect()
    }

    #[test]
    fn a_guest_that_does_nothing_is_looked_at() {
        let mut pending = pending();
        for (moments, expected) in [
            (at(&[0, 0]), Look::Busy),
            (at(&[0, 0]), Look::Still),
            (at(&[0, 1]), Look::Busy),
            (at(&[1, 1]), Look::Busy),
            (vec![Moment { exits: 1, access: Some(Access::Port(0x80)) }], Look::Busy),
            // It waits for a device, such as a console that nobody reads.
            (vec![Moment { exits: 1, access: Some(Access::Port(0x80)) }], Look::Busy),
            (vec![Moment { exits: 1, access: None }], Look::Busy),
            (vec![Moment { exits: 1, access: None }], Look::Still),
        ] {
            assert_eq!(pending.look(moments.clone()), expected, "{moments:?}");
        }
    }

    #[test]
    fn a_guest_has_halted_when_each_of_its_processors_has() {
        let running = |index| CpuReport::of(index, KVM_MP_STATE_RUNNABLE, 2);
        let halted_for_good = |index| CpuReport::of(index, KVM_MP_STATE_HALTED, 2);
        let idle = |index| CpuReport::of(index, KVM_MP_STATE_HALTED, 2 | 1 << 9);
        let unstarted = |index| CpuReport::of(index, KVM_MP_STATE_UNINITIALIZED, 2);
        for (reports, cpus, expected) in [
            (vec![halted_for_good(0)], 1, true),
            (vec![halted_for_good(0), halted_for_good(1)], 2, true),
            (vec![halted_for_good(0), unstarted(1)], 2, true),
            (vec![halted_for_good(0), running(1)], 2, false),
            (vec![halted_for_good(0), idle(1)], 2, false),
            // KVM did not show the registers of one, or of all.
            (vec![halted_for_good(0)], 2, false),
            (vec![], 1, false),
        ] {
            assert_eq!(halted(&reports, cpus), expected, "{reports:?} of {cpus}");
        }
    }

    #[test]
    fn a_guest_that_never_ends_its_dump_has_two_minutes() {
        let mut pending = pending();
        let over = (1_u64..).find(|turn| pending.look(at(&[*turn])) == Look::Over);
        assert_eq!(over, Some(120));
    }

    #[test]
    fn the_end_tells_the_crash() {
        let said = |after| match pending().outcome(after) {
            Outcome::Crashed(said) => said,
            other => panic!("{other:?}"),
        };
        let crash =
            "the guest crashed: Windows stopped: 0x000000e2 (MANUALLY_INITIATED_CRASH), 0x1 0x2 0x3 0x4";
        assert_eq!(said(None), crash);
        assert_eq!(said(Some("triple fault")), format!("{crash}\nthen: triple fault"));
    }

    #[test]
    fn scripts_are_told_the_registers() {
        let GuestCrash { system, .. } = pending().crash;
        let told = for_events(&GuestCrash { system, parameters: [0x116, u64::MAX, 0, 0x10, 1] });
        assert_eq!((told.system.as_str(), told.name.as_deref()), ("windows", Some("VIDEO_TDR_FAILURE")));
        assert_eq!(told.parameters, ["0x116", "0xffffffffffffffff", "0x0", "0x10", "0x1"]);
    }
}
