//! `optimus-vmm run`: builds the machine, then decides in one event loop all that is not a vCPU's or a worker's
//! business: resets, the end, signals, time-outs, alarms, console input.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::eventfd::EventFd;

use super::build::{self, Board, Connections};
use super::diagnose::{self, Looks};
use super::flash::FlashFiles;
use super::timers::TimerAlarm;
use super::vcpus::Vcpus;
use crate::cli::RunOptions;
use crate::config::{self, Action, Config, ConsoleSpec};
use crate::console::{Console, Discard, InputSink, Key};
use crate::cpu::conductor::Request;
use crate::cpu::cpuid::Supported;
use crate::events::{Event, EventLog, ProcessStart};
use crate::kvm::{self, HostError, probe, setup};
use crate::outcome::{Failure, Outcome};
use crate::plan;
use crate::session::{self, Cause, Session, Trigger};
use crate::signals::SignalFd;
use crate::timer::Timer;
use crate::watch::{Observer, Verdict, Watcher};

type Subscriber = Arc<Mutex<dyn MutEventSubscriber + Send>>;

/// What wakes the loop.
enum Wake {
    /// vCPUs ask for something.
    Requests,
    /// Something may end the run.
    Trigger(Trigger),
}

fn refused(what: &'static str) -> impl FnOnce(std::io::Error) -> Failure {
    move |source| Failure::Host(HostError::Setup { what, source })
}

/// Runs the machine to its end.
///
/// # Errors
/// The configuration is wrong or the host is not ready: nothing of the guest has run.
pub fn run(options: &RunOptions, start: ProcessStart) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let events = match &options.events {
        Some(path) => {
            EventLog::create(path).map_err(|source| Failure::Write { path: path.clone(), source })?
        }
        None => EventLog::disabled(),
    };
    events.process_start(start);
    let config = Arc::new(config::load_with(&options.config, &options.overrides)?);
    let plan = Arc::new(plan::plan(&config).map_err(config::ConfigError::from)?);
    // Before any thread starts, so that all inherit the mask.
    let signals = SignalFd::block().map_err(refused("receive signals"))?;
    let kvm = kvm::open()?;
    let files = FlashFiles::open(&config)?;
    let supported = Supported::query(&kvm).map_err(setup("ask KVM for the CPUID it supports"))?;

    let watcher = Watcher::new(options.expect.iter().cloned(), options.fail_on.iter().cloned())
        .map_err(refused("watch the serial port"))?;
    let observer = watcher.observer();
    let mut consoles = Consoles::open(&config, watcher, &events)?;
    let alarm = || TimerAlarm::new().map(Arc::new).map_err(refused("create a timer"));
    let (rtc_alarm, pm_alarm) = (alarm()?, alarm()?);
    let room = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(refused("create an event"))?;
    let mut board = build::board(
        &kvm,
        &supported,
        &config,
        &plan,
        files,
        Connections {
            serial_output: consoles.serial.output(),
            serial_room: room.try_clone().map_err(refused("share an event"))?,
            debug_output: consoles.debug.as_ref().map(Console::output),
            rtc_alarm: Arc::clone(&rtc_alarm) as _,
            pm_alarm: Arc::clone(&pm_alarm) as _,
            events: events.clone(),
        },
    )?;
    let vcpus = Vcpus::create(&kvm, &supported, &config, &plan, &board, &events)?;

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
        alarms: [rtc_alarm, pm_alarm],
        grace: &grace,
        timeout: &timeout,
        wake,
    })?;
    if let Err(failure) = board.devices.flash.check_smm() {
        vcpus.end();
        return Err(failure);
    }
    if let Some(limit) = options.timeout {
        timeout.arm_in(Some(limit.saturating_sub(began.elapsed())));
    }
    let supervisor = Supervisor {
        kvm: &kvm,
        config: &config,
        options,
        board: &board,
        vcpus: &vcpus,
        events: &events,
        grace: &grace,
        session: Session::new(),
        preserved: None,
    };
    let end = supervisor.supervise(subscribers, &woken);
    Ok(conclude(end, options, board, vcpus, consoles, &observer, &events))
}

/// The host's ends of the guest's character devices.
struct Consoles {
    serial: Console,
    debug: Option<Console>,
}

impl Consoles {
    fn open(config: &Config, watcher: Watcher, events: &EventLog) -> Result<Self, Failure> {
        let failed = |error: crate::console::ConsoleError| Failure::Refused(error.to_string());
        let serial = Console::open(&config.serial, "serial port", Some(watcher), events).map_err(failed)?;
        let debug = match &config.debugcon {
            ConsoleSpec::None => None,
            spec => Some(Console::open(spec, "debug port", None, events).map_err(failed)?),
        };
        Ok(Self { serial, debug })
    }

    fn release(&self) {
        self.serial.release();
        self.debug.iter().for_each(Console::release);
    }

    fn finish(self) {
        let Self { serial, debug } = self;
        serial.finish();
        debug.into_iter().for_each(Console::finish);
    }
}

/// COM1 as a console's sink.
struct SerialInput(Arc<devices::serial::SerialPort>);

impl InputSink for SerialInput {
    fn accept(&self, data: &[u8]) -> usize {
        self.0.input(data)
    }
}

/// Wakes the loop when an event is signalled.
struct OnEvent<F> {
    event: EventFd,
    signalled: F,
}

impl<F: FnMut() + Send> MutEventSubscriber for OnEvent<F> {
    fn process(&mut self, _: Events, ops: &mut EventOps<'_>) {
        // Some events stay signalled for good: one look is enough for those, and a counter is reset by reading it.
        if self.event.read().is_err() {
            let _ = ops.remove(Events::empty(&self.event));
        }
        (self.signalled)();
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(&self.event, EventSet::IN)) {
            tracing::error!(%error, "cannot wait for an event");
        }
    }
}

/// Everything that the loop listens to.
struct Sources<'a> {
    board: &'a Board,
    vcpus: &'a Vcpus,
    consoles: &'a mut Consoles,
    room: EventFd,
    observer: &'a Observer,
    signals: SignalFd,
    alarms: [Arc<TimerAlarm>; 2],
    grace: &'a Timer,
    timeout: &'a Timer,
    wake: Sender<Wake>,
}

fn subscribe(sources: Sources<'_>) -> Result<EventManager<Subscriber>, Failure> {
    let Sources { board, vcpus, consoles, room, observer, signals, alarms, grace, timeout, wake } = sources;
    let mut manager: EventManager<Subscriber> = EventManager::new()
        .map_err(|error| refused("create the event loop")(std::io::Error::other(error.to_string())))?;
    let mut add = |subscriber: Subscriber| {
        manager.add_subscriber(subscriber);
    };
    // The receiver lives as long as the loop, so sending cannot fail while it matters.
    let send = move |event: Wake| {
        let _ = wake.send(event);
    };
    let trigger = |send: &(dyn Fn(Wake) + Sync), trigger: Trigger| send(Wake::Trigger(trigger));
    let share = |event: &EventFd| event.try_clone().map_err(refused("share an event"));

    let to = send.clone();
    let requested = share(vcpus.conductor().requested())?;
    add(Arc::new(Mutex::new(OnEvent { event: requested, signalled: move || to(Wake::Requests) })));
    let (to, seen) = (send.clone(), observer.clone());
    let decided = share(observer.decided())?;
    add(Arc::new(Mutex::new(OnEvent {
        event: decided,
        signalled: move || trigger(&to, Trigger::Verdict(seen.verdict())),
    })));
    let to = send.clone();
    add(Arc::new(Mutex::new(signals.subscriber(move |signal| trigger(&to, Trigger::Signal(signal))))));
    let to = send.clone();
    add(Arc::new(Mutex::new(grace.subscriber(move || trigger(&to, Trigger::GraceOver)))));
    let to = send.clone();
    add(Arc::new(Mutex::new(timeout.subscriber(move || trigger(&to, Trigger::TimedOut)))));
    let [rtc_alarm, pm_alarm] = alarms;
    let rtc = Arc::clone(&board.devices.rtc);
    add(Arc::new(Mutex::new(rtc_alarm.timer().subscriber(move || rtc.expired(Instant::now())))));
    let pm = Arc::clone(&board.devices.pm);
    add(Arc::new(Mutex::new(pm_alarm.timer().subscriber(move || pm.expired(Instant::now())))));

    let sink = Arc::new(SerialInput(Arc::clone(&board.devices.serial)));
    let to = send.clone();
    let pressed = move |key: Key| match key {
        Key::Quit => trigger(&to, Trigger::Quit),
        Key::PowerButton => trigger(&to, Trigger::PowerKey),
        Key::Help => {}
    };
    let input = consoles.serial.subscriber(sink, room, pressed).map_err(refused("read the console"))?;
    if let Some(debug) = &mut consoles.debug {
        let never =
            EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(refused("create an event"))?;
        if let Some(subscriber) = debug
            .subscriber(Arc::new(Discard), never, |_| {})
            .map_err(refused("read the debug port's console"))?
        {
            add(Arc::new(Mutex::new(Boxed(subscriber))));
        }
    }
    if let Some(subscriber) = input {
        add(Arc::new(Mutex::new(Boxed(subscriber))));
    }
    Ok(manager)
}

/// A boxed subscriber among the others.
struct Boxed(Box<dyn MutEventSubscriber + Send>);

impl MutEventSubscriber for Boxed {
    fn process(&mut self, events: Events, ops: &mut EventOps<'_>) {
        self.0.process(events, ops);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        self.0.init(ops);
    }
}

/// Why the loop ended.
enum End {
    /// The guest's own doing, or the host's.
    Itself(Outcome),
    /// Somebody ended it; for a time-out, what the guest was doing.
    Ended(Cause, Option<String>),
    /// This host turns out not to run firmware.
    Unfit(HostError),
}

struct Supervisor<'a> {
    kvm: &'a kvm_ioctls::Kvm,
    config: &'a Config,
    options: &'a RunOptions,
    board: &'a Board,
    vcpus: &'a Vcpus,
    events: &'a EventLog,
    grace: &'a Timer,
    session: Session,
    /// The machine is kept stopped for inspection; how it came to that.
    preserved: Option<Outcome>,
}

impl Supervisor<'_> {
    fn supervise(mut self, mut manager: EventManager<Subscriber>, woken: &Receiver<Wake>) -> End {
        self.vcpus.resume();
        loop {
            if let Err(error) = manager.run() {
                return End::Itself(Outcome::Failed(format!("the event loop failed: {error}")));
            }
            while let Ok(wake) = woken.try_recv() {
                let end = match wake {
                    Wake::Requests => self.requests(),
                    Wake::Trigger(trigger) => self.trigger(trigger),
                };
                if let Some(end) = end {
                    return end;
                }
            }
        }
    }

    fn requests(&mut self) -> Option<End> {
        // The gravest first: a reset that another vCPU asked for at the same time is moot then.
        let mut requests = self.vcpus.requests();
        requests.sort_by_key(|request| match request {
            Request::Failed(_) => 0,
            Request::Crashed { .. } => 1,
            Request::GuestPanicked => 2,
            Request::PowerOff => 3,
            Request::Reset => 4,
        });
        let request = requests.into_iter().next()?;
        if let Err(why) = self.vcpus.park() {
            return Some(End::Itself(Outcome::Failed(why)));
        }
        let machine = &self.config.machine;
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
                let what = "the guest's kernel panicked; its last words are on its console".to_owned();
                (machine.on_crash, Outcome::Crashed(what))
            }
            Request::PowerOff => {
                self.events.emit(Event::GuestPoweroff);
                (machine.on_poweroff, Outcome::PoweredOff)
            }
            Request::Reset => {
                self.events.emit(Event::GuestReset);
                (machine.on_reboot, Outcome::Rebooted)
            }
        };
        // Somebody is ending the machine: whatever the guest does to stop is its end.
        if self.session.cause().is_some() && outcome != Outcome::Rebooted {
            return Some(End::Itself(outcome));
        }
        match action {
            Action::Destroy => Some(End::Itself(outcome)),
            Action::Restart => self.restart(),
            Action::Preserve => {
                tracing::warn!("{}; the machine is kept as it is until a signal ends it", outcome.reason());
                self.preserved = Some(outcome);
                None
            }
        }
    }

    fn restart(&mut self) -> Option<End> {
        tracing::info!("the machine is reset");
        self.board.devices.reset();
        match self.vcpus.restart(self.board) {
            Ok(()) => None,
            Err(error) => Some(End::Itself(Outcome::Failed(error.to_string()))),
        }
    }

    fn trigger(&mut self, trigger: Trigger) -> Option<End> {
        if let Some(outcome) = self.preserved.take() {
            // A stopped guest hears no power button.
            return match trigger {
                Trigger::Signal(signal) => Some(End::Ended(Cause::Signal(signal), None)),
                Trigger::Quit => Some(End::Ended(Cause::Quit, None)),
                Trigger::TimedOut => Some(End::Itself(outcome)),
                _ => {
                    self.preserved = Some(outcome);
                    None
                }
            };
        }
        match self.session.on(trigger)? {
            session::Request::PowerButton { grace } => {
                self.events.emit(Event::PowerButton);
                self.board.devices.pm.power_button();
                if grace {
                    self.grace.arm_in(Some(self.config.machine.grace_period()));
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
        let looks = self.vcpus.park().and_then(|before| {
            self.vcpus.resume();
            std::thread::sleep(Duration::from_millis(200));
            Ok(Looks { before, after: self.vcpus.park()? })
        });
        match looks {
            Ok(looks) => format!("{limit} s are over; {}", diagnose::describe(&looks)),
            Err(why) => format!("{limit} s are over; {why}"),
        }
    }
}

/// Ends the machine in order and says how it went.
fn conclude(
    end: End,
    options: &RunOptions,
    board: Board,
    vcpus: Vcpus,
    consoles: Consoles,
    observer: &Observer,
    events: &EventLog,
) -> Outcome {
    consoles.release();
    let counts = vcpus.end();
    let flushed = board.devices.flash.flush();
    let slot_switches = board.devices.flash.slot_switches();
    // Workers stop and disks are closed before the console says its last.
    drop(board);
    consoles.finish();
    let mut outcome = match end {
        End::Unfit(error) => Outcome::HostUnfit(error.to_string()),
        End::Ended(cause, doing) => match cause {
            Cause::Expected => Outcome::ExpectationMet,
            Cause::Signal(signal) => Outcome::Signalled(signal.number()),
            Cause::Quit => Outcome::Quit,
            Cause::Forbidden { pattern, line } => Outcome::FailPatternSeen(format!("`{pattern}` in: {line}")),
            Cause::TimedOut => Outcome::TimedOut(missing(observer, doing.unwrap_or_default())),
        },
        End::Itself(outcome) => judge(outcome, options, observer),
    };
    if let Err(error) = flushed
        && outcome.status() == crate::outcome::status::SUCCESS
    {
        outcome =
            Outcome::Failed(format!("the firmware's variables could not be written to their file: {error}"));
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
        Verdict::Pending { next: Some(pattern) } if !options.expect.is_empty() => {
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
