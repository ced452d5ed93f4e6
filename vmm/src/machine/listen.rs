//! What the run loop listens to: requests of vCPUs, signals, timers, the console, and what became of it.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use devices::chipset::MirroredBattery;
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::eventfd::EventFd;

use super::clocks::Clocks;
use super::consoles::Consoles;
use super::control::Control;
use super::refused;
use super::sleep::HostSleep;
use super::timers::TimerAlarm;
use crate::console::{Discard, Feed, InputSink, Key};
use crate::control::Vnc;
use crate::machine::assembly::build::Board;
use crate::machine::assembly::vcpus::Vcpus;
use crate::outcome::Failure;
use crate::power_supply::{Follower, PowerSupplies};
use crate::session::Trigger;
use crate::signals::{Received, SignalFd};
use crate::terminal;
use crate::timer::{ClockChange, Timer};
use crate::watch::Observer;

pub(super) type Subscriber = Arc<Mutex<dyn MutEventSubscriber + Send>>;

/// What wakes the loop.
pub(super) enum Wake {
    /// vCPUs ask for something.
    Requests,
    /// Something may end the run.
    Trigger(Trigger),
    /// A guest that has reported a crash is to be looked at.
    AfterCrash,
    /// The host is about to sleep, or is awake again.
    HostSleeps(bool),
    /// Disks cannot go on.
    DiskTrouble,
    /// A client wants the vCPUs stopped, or to go on.
    Run {
        /// They are to go on.
        run: bool,
        /// Hears when that is done, or why it cannot be.
        done: Sender<Result<(), String>>,
    },
}

/// COM1 as a console's sink.
pub(super) struct SerialInput(pub(super) Arc<devices::serial::SerialPort>);

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

/// Something that the host tells about a passed-through device.
pub(super) struct Notice {
    /// Signalled when there is something to tell.
    pub(super) event: EventFd,
    /// What it means.
    pub(super) trigger: Box<dyn FnMut() -> Option<Trigger> + Send>,
}

/// Everything that the loop listens to.
pub(super) struct Sources<'a> {
    pub(super) board: &'a Board,
    pub(super) vcpus: &'a Vcpus,
    pub(super) consoles: &'a mut Consoles,
    pub(super) room: EventFd,
    pub(super) observer: &'a Observer,
    pub(super) signals: SignalFd,
    pub(super) alarms: [Arc<TimerAlarm>; 3],
    pub(super) clocks: Clocks,
    pub(super) sleep: &'a HostSleep,
    pub(super) notices: Vec<Notice>,
    pub(super) grace: &'a Timer,
    pub(super) dump: &'a Timer,
    pub(super) timeout: &'a Timer,
    pub(super) power: Option<(PowerSupplies, Arc<MirroredBattery>)>,
    pub(super) control: Option<Control>,
    pub(super) vnc: Option<Vnc>,
    pub(super) wake: Sender<Wake>,
}

pub(super) fn subscribe(sources: Sources<'_>) -> Result<EventManager<Subscriber>, Failure> {
    let Sources {
        board,
        vcpus,
        consoles,
        room,
        observer,
        signals,
        alarms,
        clocks,
        sleep,
        notices,
        grace,
        dump,
        timeout,
        power,
        control,
        vnc,
        wake,
    } = sources;
    let mut manager: EventManager<Subscriber> = EventManager::new()
        .map_err(|error| refused("create the event loop")(std::io::Error::other(error.to_string())))?;
    let mut add = |subscriber: Subscriber| {
        manager.add_subscriber(subscriber);
    };
    let share = |event: &EventFd| event.try_clone().map_err(refused("share an event"));
    // Three offer input to COM1: each is told when there is room.
    let rooms = [new_event()?, new_event()?, new_event()?];
    let [for_console, for_script, for_socket] = &rooms;
    let (for_console, for_script, for_socket) = (share(for_console)?, share(for_script)?, share(for_socket)?);
    let signalled = move || rooms.iter().for_each(|room| drop(room.write(1)));
    add(Arc::new(Mutex::new(OnEvent { event: room, signalled })));
    if let Some(control) = control {
        let server = control.serve(board, vcpus, consoles, vnc, for_socket, wake.clone())?;
        add(Arc::new(Mutex::new(server)));
    }
    let sink = Arc::new(SerialInput(Arc::clone(&board.devices.serial)));
    let answers = Answers { feed: Feed::new(Arc::clone(&sink) as _, for_script), observer: observer.clone() };
    add(Arc::new(Mutex::new(answers)));
    // The receiver lives as long as the loop, so sending cannot fail while it matters.
    let send = move |event: Wake| {
        let _ = wake.send(event);
    };
    let trigger = |send: &(dyn Fn(Wake) + Sync), trigger: Trigger| send(Wake::Trigger(trigger));

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
    let trouble = share(board.trouble.event())?;
    add(Arc::new(Mutex::new(OnEvent { event: trouble, signalled: move || to(Wake::DiskTrouble) })));
    for Notice { event, trigger: mut means } in notices {
        let to = send.clone();
        let signalled = move || {
            if let Some(meant) = means() {
                trigger(&to, meant);
            }
        };
        add(Arc::new(Mutex::new(OnEvent { event, signalled })));
    }
    let to = send.clone();
    let received = move |received| match received {
        Received::End(signal) => trigger(&to, Trigger::Signal(signal)),
        Received::Stop => terminal::stop(),
        Received::Continue => terminal::continued(),
    };
    add(Arc::new(Mutex::new(signals.subscriber(received))));
    let to = send.clone();
    add(Arc::new(Mutex::new(grace.subscriber(move || trigger(&to, Trigger::GraceOver)))));
    let to = send.clone();
    add(Arc::new(Mutex::new(dump.subscriber(move || to(Wake::AfterCrash)))));
    let to = send.clone();
    add(Arc::new(Mutex::new(timeout.subscriber(move || trigger(&to, Trigger::TimedOut)))));
    let [rtc_alarm, pm_alarm, flash_alarm] = alarms;
    let rtc = Arc::clone(&board.devices.rtc);
    add(Arc::new(Mutex::new(rtc_alarm.timer().subscriber(move || rtc.expired(Instant::now())))));
    let pm = Arc::clone(&board.devices.pm);
    add(Arc::new(Mutex::new(pm_alarm.timer().subscriber(move || pm.expired(Instant::now())))));

    let timer = clocks.timer().clone();
    let clocks = Arc::new(Mutex::new(clocks));
    let looking = Arc::clone(&clocks);
    let look = move || looking.lock().unwrap_or_else(PoisonError::into_inner).look();
    add(Arc::new(Mutex::new(timer.subscriber(look))));
    let changed = move || clocks.lock().unwrap_or_else(PoisonError::into_inner).changed();
    let change = ClockChange::new(changed).map_err(refused("watch the host's clock"))?;
    add(Arc::new(Mutex::new(change)));

    let to = send.clone();
    if let Some(listener) = sleep.subscriber(move |sleeps| to(Wake::HostSleeps(sleeps))) {
        add(Arc::new(Mutex::new(listener)));
    }

    if let Some((supplies, battery)) = power {
        let timer = Timer::new().map_err(refused("create a timer"))?;
        let mut follower = Follower::new(supplies, battery, timer.clone());
        add(Arc::new(Mutex::new(timer.subscriber(move || follower.follow()))));
    }

    let flash = board.devices.flash.flusher();
    add(Arc::new(Mutex::new(flash_alarm.timer().subscriber(move || flash.flush()))));

    // The terminal may be either console's.
    let pressed = || {
        let to = send.clone();
        move |key: Key| match key {
            Key::Quit => trigger(&to, Trigger::Quit),
            Key::PowerButton => trigger(&to, Trigger::PowerKey),
            Key::Help => {}
        }
    };
    let input =
        consoles.serial.subscriber(sink, for_console, pressed()).map_err(refused("read the console"))?;
    if let Some(debug) = &mut consoles.debug
        && let Some(subscriber) = debug
            .subscriber(Arc::new(Discard), new_event()?, pressed())
            .map_err(refused("read the debug port's console"))?
    {
        add(Arc::new(Mutex::new(Boxed(subscriber))));
    }
    if let Some(subscriber) = input {
        add(Arc::new(Mutex::new(Boxed(subscriber))));
    }
    Ok(manager)
}

fn new_event() -> Result<EventFd, Failure> {
    EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(refused("create an event"))
}

/// What `--send` writes, on its way to COM1.
struct Answers {
    feed: Feed,
    observer: Observer,
}

impl MutEventSubscriber for Answers {
    fn process(&mut self, event: Events, _: &mut EventOps<'_>) {
        if !self.feed.process(&event) {
            // Reading it first: what comes later signals anew.
            let _ = self.observer.answered().read();
            self.feed.give(&self.observer.take_answer());
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        self.feed.init(ops);
        if let Err(error) = ops.add(Events::new(self.observer.answered(), EventSet::IN)) {
            tracing::error!(%error, "cannot wait for what a script sends");
        }
    }
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
