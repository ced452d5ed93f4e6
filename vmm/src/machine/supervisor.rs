//! The run loop: decides all that is not a vCPU's or a worker's business: resets, the end, signals, time-outs, alarms, console
//! input.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use event_manager::EventManager;

use super::control::{self, Clients};
use super::crash::Pending;
use super::diagnose::{self, Looks};
use super::end::{self, End};
use super::listen::{Subscriber, Wake};
use super::passthrough::Passthrough;
use super::sleep::HostSleep;
use crate::cli::RunOptions;
use crate::config::Action;
use crate::console::Releaser;
use crate::control::Announcement;
use crate::cpu::conductor::{Request, gravest};
use crate::events::{Event, EventLog};
use crate::kvm::probe;
use crate::machine::assembly::build::Board;
use crate::machine::assembly::vcpus::{Vcpus, Waits};
use crate::machine::files::shot::Shot;
use crate::outcome::Outcome;
use crate::plan::MachinePlan;
use crate::service::ServiceManager;
use crate::session::{self, Cause, Session, Trigger};
use crate::timer::Timer;
use crate::watch::Verdict;

/// What the loop acts on.
pub(super) struct Supervisor<'a> {
    pub(super) kvm: &'a kvm_ioctls::Kvm,
    pub(super) plan: &'a MachinePlan,
    pub(super) options: &'a RunOptions,
    pub(super) board: &'a Board,
    pub(super) vcpus: &'a Vcpus,
    pub(super) releasers: Vec<Releaser>,
    pub(super) events: &'a EventLog,
    /// The clients of the control socket.
    pub(super) clients: Option<Clients>,
    pub(super) service: &'a ServiceManager,
    pub(super) shot: &'a mut Shot,
    pub(super) grace: &'a Timer,
    /// Rings when a guest that has reported a crash is to be looked at.
    pub(super) dump: &'a Timer,
    pub(super) session: Session,
    /// The machine is kept stopped for inspection; how it came to that.
    pub(super) preserved: Option<Outcome>,
    /// The guest has reported a crash, and may still write a dump of it.
    pub(super) crash: Option<Pending>,
    /// A client stopped the vCPUs.
    pub(super) paused: bool,
    /// They were stopped because the host was about to sleep.
    pub(super) asleep: bool,
    /// What logind holds for the machine.
    pub(super) sleep: &'a HostSleep,
}

impl Waits for Supervisor<'_> {
    /// At the price of output that finds no room.
    fn release(&self) {
        self.releasers.iter().for_each(Releaser::release);
    }

    fn progress(&self) -> Option<u64> {
        self.board.passthrough.as_ref().and_then(Passthrough::progress)
    }
}

impl Supervisor<'_> {
    pub(super) fn supervise(mut self, mut manager: EventManager<Subscriber>, woken: &Receiver<Wake>) -> End {
        let end = self.serve(&mut manager, woken);
        self.service.stopping(Duration::ZERO);
        // Before the control socket goes with the loop.
        if let Some(clients) = &self.clients {
            clients.announcer.announce(&clients.ended(&end));
        }
        end
    }

    pub(super) fn announce(&self, announcement: &Announcement) {
        if let Some(status) = control::in_words(announcement) {
            self.service.status(&status);
        }
        if let Some(clients) = &self.clients {
            clients.announcer.announce(announcement);
        }
    }

    fn serve(&mut self, manager: &mut EventManager<Subscriber>, woken: &Receiver<Wake>) -> End {
        loop {
            if let Err(error) = manager.run() {
                return End::Itself(Outcome::Failed(format!("the event loop failed: {error}")));
            }
            while let Ok(wake) = woken.try_recv() {
                let end = match wake {
                    Wake::Requests => self.requests(),
                    Wake::Trigger(trigger) => self.trigger(trigger),
                    Wake::AfterCrash => self.look_after_crash(),
                    Wake::HostSleeps(sleeps) => self.host_sleeps(sleeps),
                    Wake::DiskTrouble => {
                        self.stop_for_disks();
                        None
                    }
                    Wake::Run { run, done } => {
                        let result = if run { self.go_on() } else { self.pause() };
                        // The client may have left.
                        let _ = done.send(result);
                        None
                    }
                };
                if let Some(end) = end {
                    return end;
                }
            }
        }
    }

    fn requests(&mut self) -> Option<End> {
        let mut requests = self.vcpus.requests();
        // Looked at behind the requests, for a guest reports before it resets.
        self.vcpus.crashes().into_iter().for_each(|crash| self.reported(crash));
        if self.crash.is_some() {
            // The same crash again, by another device, before the dump is written.
            let others = |request: &Request| !matches!(request, Request::GuestPanicked);
            if !requests.is_empty() && !requests.iter().any(others) && !self.paused {
                self.vcpus.resume();
            }
            requests.retain(others);
        }
        let request = gravest(requests, self.preserved.is_some())?;
        if let Err(why) = self.vcpus.park(self) {
            return Some(End::Itself(Outcome::Failed(why)));
        }
        let machine = &self.plan.machine;
        let (action, outcome) = match request {
            Request::Failed(why) => return Some(End::Itself(Outcome::Failed(why))),
            Request::Crashed { what, suspect_host, report } => {
                if suspect_host && let Err(error) = probe::can_run_firmware(self.kvm) {
                    return Some(End::Unfit(error));
                }
                let registers = report.map(|report| format!("\n{report}")).unwrap_or_default();
                let outcome = match &self.crash {
                    Some(pending) => pending.outcome(Some(&format!("{what}{registers}"))),
                    None => {
                        let msr = diagnose::refused_msr(self.vcpus.msrs());
                        Outcome::Crashed(format!("the guest crashed: {what}{msr}{registers}"))
                    }
                };
                (machine.on_crash, outcome)
            }
            Request::GuestPanicked => {
                self.events.emit(Event::GuestPanic { crash: None });
                self.announce(&control::panicked(machine.on_crash, None));
                let msr = diagnose::refused_msr(self.vcpus.msrs());
                let what = format!("the guest's kernel panicked; its last words are on its console{msr}");
                (machine.on_crash, Outcome::Crashed(what))
            }
            Request::PowerOff => {
                self.events.emit(Event::GuestPoweroff);
                self.or_crashed(machine.on_poweroff, Outcome::PoweredOff)
            }
            Request::ResetButton => {
                self.events.emit(Event::ResetButton);
                // A machine that is kept for inspection starts anew, too.
                self.preserved = None;
                return self.restart(false);
            }
            Request::Reset => {
                self.events.emit(Event::GuestReset);
                self.or_crashed(machine.on_reboot, Outcome::Rebooted)
            }
        };
        self.decide(action, outcome)
    }

    /// What the guest came to, and what is to be done about it: `outcome` by `action`, unless it has reported a crash before.
    fn or_crashed(&self, action: Action, outcome: Outcome) -> (Action, Outcome) {
        match &self.crash {
            Some(pending) => (self.plan.machine.on_crash, pending.outcome(None)),
            None => (action, outcome),
        }
    }

    /// Does what is to be done about what the guest came to. The vCPUs are parked.
    pub(super) fn decide(&mut self, action: Action, outcome: Outcome) -> Option<End> {
        if end::is_final(&outcome, action, self.session.cause().is_some()) {
            return Some(End::Itself(outcome));
        }
        match action {
            Action::Destroy => Some(End::Itself(outcome)),
            Action::Restart => self.restart(true),
            Action::Preserve => {
                devices::limited_warn!(
                    "{}; the machine is kept as it is until it is reset or ended (`optimus-vmm ctl`, a signal)",
                    outcome.reason()
                );
                self.announce(&control::stopped(&outcome));
                self.forget_crash();
                self.hold_sound(true);
                self.preserved = Some(outcome);
                self.paused = false;
                None
            }
        }
    }

    /// Stops all vCPUs for a client. Whoever asks again has nothing more to stop.
    pub(super) fn pause(&mut self) -> Result<(), String> {
        if self.paused || self.preserved.is_some() {
            return Ok(());
        }
        if let Err(why) = self.vcpus.pause(self) {
            self.hold_consoles();
            devices::limited_warn!("the machine is not paused: {why}");
            return Err(why);
        }
        self.paused = true;
        self.hold_sound(true);
        devices::limited_info!("the machine is paused");
        self.announce(&Announcement::Paused);
        Ok(())
    }

    /// Stops the machine before its guest learns of what is wrong with a disk. What has failed is done again when it goes on.
    fn stop_for_disks(&mut self) {
        let kept = self.preserved.is_some();
        let failed = self.board.trouble.hear();
        // Before the pause is announced, so that who asks why is told.
        if let Some(clients) = &self.clients {
            clients.announcer.disks_failed(&failed);
        }
        let paused = self.pause();
        let becomes = what_becomes_of_it(&self.plan.name, kept, paused.is_ok());
        for what in failed {
            devices::limited_error!("{what}; the guest does not know: {becomes}");
        }
    }

    /// Lets devices wait for room on consoles again, which stopping the vCPUs may have ended.
    pub(super) fn hold_consoles(&self) {
        self.releasers.iter().for_each(Releaser::hold);
    }

    /// No time passes for the sound card while the guest does not fill its buffers: they would be played over and over.
    fn hold_sound(&self, held: bool) {
        if let Some(audio) = &self.board.audio {
            audio.pause.set(held);
        }
    }

    /// Lets vCPUs go on that a client has stopped.
    pub(super) fn go_on(&mut self) -> Result<(), String> {
        if self.preserved.is_some() {
            return Err("Resetting the Virtual Machine is required".into());
        }
        self.board.disk_failures.iter().for_each(|failures| failures.resumed());
        if std::mem::take(&mut self.paused) {
            devices::limited_info!("the machine goes on");
            self.hold_sound(false);
            self.announce(&Announcement::Resumed);
            self.hold_consoles();
            self.vcpus.resume();
        }
        Ok(())
    }

    /// Starts the machine anew, a paused one when it goes on. `guest`: because its guest wants it.
    fn restart(&mut self, guest: bool) -> Option<End> {
        devices::limited_info!("the machine is reset");
        self.forget_crash();
        self.board.devices.reset();
        self.hold_consoles();
        let runs = !self.paused;
        self.hold_sound(!runs);
        if let Err(why) = self.vcpus.reset(self.board) {
            return Some(End::Itself(Outcome::Failed(why)));
        }
        // Only now: a timer of the guest's that KVM keeps would write into what is loaded here.
        if let Err(error) = self.board.start_directly(self.events) {
            return Some(End::Itself(Outcome::Failed(error.to_string())));
        }
        self.vcpus.restart(runs);
        self.announce(&Announcement::Reset { guest, runs });
        None
    }

    pub(super) fn trigger(&mut self, trigger: Trigger) -> Option<End> {
        if let Some(outcome) = self.preserved.take() {
            return match end::of_kept(trigger, outcome) {
                Ok(end) => Some(end),
                Err(outcome) => {
                    self.preserved = Some(outcome);
                    None
                }
            };
        }
        if trigger == Trigger::TimedOut
            && self.session.cause().is_none()
            && let Some(pending) = &self.crash
        {
            return Some(End::Itself(pending.outcome(None)));
        }
        if trigger == Trigger::Verdict(Verdict::AllSeen) {
            self.shot.now(self.board.screen().as_deref());
        }
        match self.session.on(trigger, Instant::now())? {
            session::Request::PowerButton { grace } => {
                self.events.emit(Event::PowerButton);
                self.announce(&Announcement::PowerButton);
                self.board.devices.pm.power_button();
                if grace {
                    // A stopped guest could not write what it has to.
                    if let Err(why) = self.go_on() {
                        tracing::debug!("the guest does not go on: {why}");
                    }
                    let period = self.plan.machine.grace_period();
                    self.service.stopping(period);
                    if period.is_zero() {
                        // At once: what the guest still comes to is not to become the reason.
                        return self.trigger(Trigger::GraceOver);
                    }
                    self.grace.arm_in(Some(period));
                }
                None
            }
            session::Request::End => {
                let cause = self.session.cause()?.clone();
                let doing = (cause == Cause::TimedOut).then(|| self.look());
                Some(End::Ended(cause, doing))
            }
        }
    }

    /// What the guest is doing, from two looks at its vCPUs.
    fn look(&self) -> String {
        let limit = self.options.timeout.unwrap_or_default().as_secs_f64();
        if self.paused {
            return format!("{limit} s are over; the machine is paused");
        }
        // While they run: who waits for us would be stopped only when it need not wait any more, if ever.
        let before = self.vcpus.moments();
        std::thread::sleep(diagnose::BETWEEN);
        if let Some(waits) = diagnose::waiting(&before, &self.vcpus.moments(), self.progress().is_some()) {
            return format!("{limit} s are over; {waits}");
        }
        let looks = self.vcpus.park(self).and_then(|before| {
            self.vcpus.resume();
            std::thread::sleep(diagnose::BETWEEN);
            Ok(Looks { before, after: self.vcpus.park(self)? })
        });
        match looks {
            Ok(looks) => format!("{limit} s are over; {}", diagnose::describe(&looks)),
            Err(why) => format!("{limit} s are over; {why}"),
        }
    }
}

/// What becomes of a request of a disk that has failed, on a machine that is kept as it was, that was paused for it, or that could not be.
fn what_becomes_of_it(name: &str, kept: bool, paused: bool) -> String {
    match (kept, paused) {
        (true, _) => "the machine has ended and is kept as it is, and the request waits for its reset".into(),
        (false, true) => {
            format!("the machine is paused, and `optimus-vmm ctl {name} resume` tries the request again")
        }
        (false, false) => format!(
            "the machine runs on, for it could not be paused; the request waits until `optimus-vmm ctl {name} resume` tries it again"
        ),
    }
}
