//! `optimus-vmm run`: builds the machine, then decides in one event loop all that is not a vCPU's or a worker's
//! business: resets, the end, signals, time-outs, alarms, console input.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use event_manager::EventManager;
use firmware::direct::entry::Entry;
use vmm_sys_util::eventfd::EventFd;

use super::consoles::Consoles;
use super::control::{self, Clients, Control};
use super::diagnose::{self, Looks};
use super::end::{self, End, Machine, conclude};
use super::heap;
use super::listen::{Sources, Subscriber, Wake, subscribe};
use super::passthrough::{HostBinding, Passthrough};
use super::refused;
use super::timers::TimerAlarm;
use crate::cli::RunOptions;
use crate::config::{self, Action};
use crate::console::{Console, Releaser};
use crate::control::Announcement;
use crate::cpu::conductor::{Request, gravest};
use crate::cpu::cpuid::Supported;
use crate::events::{Event, EventLog, Milestone, ProcessStart};
use crate::host::{BindError, HostFacts};
use crate::kvm::{self, probe, setup};
use crate::machine::assembly::build::{self, Board, Connections};
use crate::machine::assembly::cpuid;
use crate::machine::assembly::items;
use crate::machine::assembly::vcpus::{Vcpus, Waits};
use crate::machine::files::ends::Ends;
use crate::machine::files::flash;
use crate::machine::files::inputs::Inputs;
use crate::machine::files::shot::Shot;
use crate::memory;
use crate::outcome::{Failure, Outcome, PassthroughError};
use crate::plan::{self, MachinePlan};
use crate::privileges;
use crate::session::{self, Cause, Session, Trigger};
use crate::signals::SignalFd;
use crate::timer::Timer;
use crate::watch::{Verdict, Watcher};

/// Runs the machine to its end.
///
/// # Errors
/// The configuration is wrong or the host is not ready: nothing of the guest has run.
pub fn run(options: &RunOptions, start: ProcessStart) -> Result<Outcome, Failure> {
    match start_and_run(options, start) {
        // Everything that was taken is given back by now.
        Err(Failure::Signalled(signal)) => Ok(Outcome::Signalled(signal.number())),
        done => done,
    }
}

/// A signal that came during the start ends it.
fn check_signals(signals: &SignalFd) -> Result<(), Failure> {
    signals.ended().map_or(Ok(()), |signal| Err(Failure::Signalled(signal)))
}

fn start_and_run(options: &RunOptions, start: ProcessStart) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let config = config::load_with(&options.config, &options.overrides)?;
    let facts = HostFacts::gather(config.lent_devices());
    let plan = Arc::new(plan::plan(config, &facts)?);
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    // Before any thread starts, so that all inherit the mask. From here on it is for us to look at signals.
    let signals = SignalFd::block().map_err(refused("receive signals"))?;
    let inputs = Inputs::open(&plan)?;
    let mut ends = Ends::open(&plan, options, began)?;
    let kvm = kvm::open()?;
    kvm::check_vcpus(&plan.apic_ids, kvm.get_max_vcpus(), kvm.get_max_vcpu_id())?;
    let supported = Supported::query(&kvm).map_err(setup("ask KVM for the CPUID it supports"))?;
    cpuid::check(&plan, &supported)?;
    let smbios = items::smbios(&plan, &supported)?;
    let ram = memory::allocate(&plan.memory)?;
    let watcher = Watcher::scripted(options.script.0.iter().cloned(), options.fail_on.iter().cloned())
        .map_err(refused("watch the serial port"))?;
    let observer = watcher.observer();
    check_signals(&signals)?;
    // Nothing of the host has been changed up to here.
    let binding = match HostBinding::take(&plan, &|| signals.ended().is_some()) {
        Ok(binding) => Ok(binding),
        Err(PassthroughError::Bind(BindError::Interrupted)) => Err(BindError::Interrupted),
        // Of what could not be given back the user has to know.
        Err(error) => return Err(error.into()),
    };
    check_signals(&signals)?;
    let binding = binding.map_err(PassthroughError::from)?;
    // Threads that start from here on have no more privileges than this one.
    privileges::drop_unneeded();
    let events = ends.events(start)?;
    let Ends { control, serial, debug, mut shot, .. } = ends;
    let clients = control.as_ref().map(Control::clients);
    let mut consoles = Consoles::start(!options.headless, serial, debug, watcher, &events)?;
    let alarm = || TimerAlarm::new().map(Arc::new).map_err(refused("create a timer"));
    let (rtc_alarm, pm_alarm, flash_alarm) = (alarm()?, alarm()?, alarm()?);
    let room = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(refused("create an event"))?;
    let mut board = build::board(
        &kvm,
        &supported,
        &plan,
        ram,
        inputs,
        Connections {
            serial_output: consoles.serial.output(),
            serial_room: room.try_clone().map_err(refused("share an event"))?,
            debug_output: consoles.debug.as_ref().map(Console::output),
            rtc_alarm: Arc::clone(&rtc_alarm) as _,
            pm_alarm: Arc::clone(&pm_alarm) as _,
            flash_alarm: Arc::clone(&flash_alarm) as _,
            smbios,
            events: events.clone(),
        },
    )?;
    check_signals(&signals)?;
    let entry = start_directly(&board, &events)?;
    check_signals(&signals)?;
    let vcpus = Vcpus::create(&kvm, &supported, &plan, &board, entry, &events)?;

    let power = board.power.take();
    let (wake, woken) = channel();
    let grace = Timer::new().map_err(refused("create a timer"))?;
    let timeout = Timer::new().map_err(refused("create a timer"))?;
    let subscribers = subscribe(Sources {
        board: &board,
        vcpus: &vcpus,
        consoles: &mut consoles,
        room,
        observer: &observer,
        signals,
        alarms: [rtc_alarm, pm_alarm, flash_alarm],
        notices: board
            .passthrough
            .as_ref()
            .map_or(Ok(Vec::new()), Passthrough::notices)
            .map_err(refused("listen to devices"))?,
        grace: &grace,
        timeout: &timeout,
        power,
        control,
        vnc: control::vnc(&plan, &board),
        wake,
    })?;
    vcpus.resume();
    // The look into the firmware's image takes as long as all before it. The guest's first instructions need not wait: a
    // firmware that this machine cannot run has done nothing by then.
    if let Err(failure) = board.devices.flash.check_smm() {
        end::stop(vcpus, &consoles, board.passthrough.as_ref());
        return Err(flash::with_line(&plan, failure));
    }
    heap::give_back();
    if let Some(limit) = options.timeout {
        timeout.arm_in(Some(limit.saturating_sub(began.elapsed())));
    }
    let supervisor = Supervisor {
        kvm: &kvm,
        plan: &plan,
        options,
        board: &board,
        vcpus: &vcpus,
        releasers: consoles.releasers(),
        events: &events,
        clients,
        shot: &mut shot,
        grace: &grace,
        session: Session::new(),
        preserved: None,
        paused: false,
    };
    let end = supervisor.supervise(subscribers, &woken);
    shot.at_end(board.screen().as_deref());
    let machine = Machine { vcpus, consoles, board, binding };
    Ok(conclude(end, options, machine, &observer, &events))
}

/// Readies a kernel that starts without firmware, and tells where.
fn start_directly(board: &Board, events: &EventLog) -> Result<Option<Entry>, Failure> {
    let entry = board.direct.as_ref().map(|direct| direct.start(board)).transpose()?;
    if entry.is_some() {
        events.reach(Milestone::KernelHandedOver, || Event::KernelHandedOver);
    }
    Ok(entry)
}

struct Supervisor<'a> {
    kvm: &'a kvm_ioctls::Kvm,
    plan: &'a MachinePlan,
    options: &'a RunOptions,
    board: &'a Board,
    vcpus: &'a Vcpus,
    releasers: Vec<Releaser>,
    events: &'a EventLog,
    /// The clients of the control socket.
    clients: Option<Clients>,
    shot: &'a mut Shot,
    grace: &'a Timer,
    session: Session,
    /// The machine is kept stopped for inspection; how it came to that.
    preserved: Option<Outcome>,
    /// A client stopped the vCPUs.
    paused: bool,
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
    fn supervise(mut self, mut manager: EventManager<Subscriber>, woken: &Receiver<Wake>) -> End {
        let end = self.serve(&mut manager, woken);
        // Before the control socket goes with the loop.
        if let Some(clients) = &self.clients {
            clients.announcer.announce(&clients.ended(&end));
        }
        end
    }

    fn announce(&self, announcement: &Announcement) {
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
        let request = gravest(self.vcpus.requests(), self.preserved.is_some())?;
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
                (machine.on_crash, Outcome::Crashed(format!("the guest crashed: {what}{registers}")))
            }
            Request::GuestPanicked => {
                self.events.emit(Event::GuestPanic);
                self.announce(&control::panicked(machine.on_crash));
                let what = "the guest's kernel panicked; its last words are on its console".to_owned();
                (machine.on_crash, Outcome::Crashed(what))
            }
            Request::PowerOff => {
                self.events.emit(Event::GuestPoweroff);
                (machine.on_poweroff, Outcome::PoweredOff)
            }
            Request::ResetButton => {
                self.events.emit(Event::ResetButton);
                // A machine that is kept for inspection starts anew, too.
                self.preserved = None;
                return self.restart(false);
            }
            Request::Reset => {
                self.events.emit(Event::GuestReset);
                (machine.on_reboot, Outcome::Rebooted)
            }
        };
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
                self.preserved = Some(outcome);
                self.paused = false;
                None
            }
        }
    }

    /// Stops all vCPUs for a client. Whoever asks again has nothing more to stop.
    fn pause(&mut self) -> Result<(), String> {
        if self.paused || self.preserved.is_some() {
            return Ok(());
        }
        if let Err(why) = self.vcpus.pause(self) {
            // Devices wait for room again.
            self.releasers.iter().for_each(Releaser::hold);
            devices::limited_warn!("the machine is not paused: {why}");
            return Err(why);
        }
        self.paused = true;
        devices::limited_info!("the machine is paused");
        self.announce(&Announcement::Paused);
        Ok(())
    }

    /// Lets vCPUs go on that a client has stopped.
    fn go_on(&mut self) -> Result<(), String> {
        if self.preserved.is_some() {
            return Err("Resetting the Virtual Machine is required".into());
        }
        if std::mem::take(&mut self.paused) {
            devices::limited_info!("the machine goes on");
            self.announce(&Announcement::Resumed);
            self.releasers.iter().for_each(Releaser::hold);
            self.vcpus.resume();
        }
        Ok(())
    }

    /// Starts the machine anew, a paused one when it goes on. `guest`: because its guest wants it.
    fn restart(&mut self, guest: bool) -> Option<End> {
        devices::limited_info!("the machine is reset");
        self.board.devices.reset();
        self.releasers.iter().for_each(Releaser::hold);
        let runs = !self.paused;
        if let Err(error) = start_directly(self.board, self.events) {
            return Some(End::Itself(Outcome::Failed(error.to_string())));
        }
        match self.vcpus.restart(self.board, runs) {
            Ok(()) => {
                self.announce(&Announcement::Reset { guest, runs });
                None
            }
            Err(error) => Some(End::Itself(Outcome::Failed(error.to_string()))),
        }
    }

    fn trigger(&mut self, trigger: Trigger) -> Option<End> {
        if let Some(outcome) = self.preserved.take() {
            return match end::of_kept(trigger, outcome) {
                Ok(end) => Some(end),
                Err(outcome) => {
                    self.preserved = Some(outcome);
                    None
                }
            };
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
                    self.grace.arm_in(Some(self.plan.machine.grace_period()));
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
