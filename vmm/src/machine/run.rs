//! `optimus-vmm run`: starts the machine in order, so that what can be refused is refused before anything is changed, has it
//! supervised, and ends it.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use vmm_sys_util::eventfd::EventFd;

use super::clocks::Clocks;
use super::consoles::Consoles;
use super::control::{self, Control};
use super::end::{self, End, Machine, conclude};
use super::inside::{Companion, Working};
use super::listen::{Sources, subscribe};
use super::passthrough::{HostBinding, Passthrough};
use super::sleep::HostSleep;
use super::spare;
use super::supervisor::Supervisor;
use super::timers::TimerAlarm;
use super::tuning::HostTuning;
use super::{plan_of, refused};
use crate::affinity;
use crate::cli::RunOptions;
use crate::console::Console;
use crate::cpu::cpuid::Supported;
use crate::cpu::slice;
use crate::descriptors;
use crate::detach::{Caller, Waiting};
use crate::events::ProcessStart;
use crate::finding::Findings;
use crate::host::{self, BindError};
use crate::kvm::{self, setup};
use crate::machine::assembly::build::{self, Connections};
use crate::machine::assembly::lacking::Lacking;
use crate::machine::assembly::smbios;
use crate::machine::assembly::vcpus::Vcpus;
use crate::machine::files::ends::Ends;
use crate::machine::files::flash;
use crate::machine::files::inputs::Inputs;
use crate::memory;
use crate::outcome::{Failure, Outcome, PassthroughError};
use crate::plan::CpuPlacement;
use crate::privileges;
use crate::service::ServiceManager;
use crate::session::Session;
use crate::signals::SignalFd;
use crate::timer::Timer;
use crate::watch::Watcher;

/// Runs the machine to its end. `caller`: who waits until it runs, and is then left.
///
/// # Errors
/// The configuration is wrong or the host is not ready: nothing of the guest has run.
pub fn run(options: &RunOptions, start: ProcessStart, caller: Option<Caller>) -> Result<Outcome, Failure> {
    signalled(start_and_run(options, start, caller, None))
}

/// Runs the machine for as long as `companion` works on it, or as its guest lets it.
///
/// # Errors
/// As [`run`].
pub fn run_with(options: &RunOptions, start: ProcessStart, companion: Companion) -> Result<Outcome, Failure> {
    signalled(start_and_run(options, start, None, Some(companion)))
}

fn signalled(done: Result<Outcome, Failure>) -> Result<Outcome, Failure> {
    match done {
        // Everything that was taken is given back by now.
        Err(Failure::Signalled(signal)) => Ok(Outcome::Signalled(signal.number())),
        done => done,
    }
}

/// A signal that came during the start ends it.
fn check_signals(signals: &SignalFd) -> Result<(), Failure> {
    signals.ended().map_or(Ok(()), |signal| Err(Failure::Signalled(signal)))
}

fn start_and_run(
    options: &RunOptions,
    start: ProcessStart,
    caller: Option<Caller>,
    companion: Option<Companion>,
) -> Result<Outcome, Failure> {
    let began = Instant::now();
    descriptors::raise_limit();
    let mut plan = plan_of(&options.config, &options.overrides)?;
    if companion.is_some() {
        plan.machine.end_with_guest();
    }
    let plan = Arc::new(plan);
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    // A service that leaves its process is none.
    let service = if caller.is_some() { ServiceManager::default() } else { ServiceManager::of_environment() };
    let logs = || host::state_folder().map(|folder| folder.join("log"));
    let caller = caller.map(|caller| caller.prepare(&plan.name, logs())).transpose()?;
    // Before any thread starts, so that all inherit the mask. From here on it is for us to look at signals.
    let signals = SignalFd::block().map_err(refused("receive signals"))?;
    // Whoever starts a thread from here on shares its CPUs with it.
    if let Some(others) = plan.placement.as_ref().and_then(|placement| placement.others.clone())
        && let Err(error) = affinity::bind(&others)
    {
        tracing::warn!("cannot keep the machine's other threads off the CPUs of its vCPUs: {error}");
    }
    let others = plan.placement.as_ref().and_then(|placement| placement.others.clone());
    // Those that begin in the thread of a vCPU.
    devices::threads::prepare_with(move || {
        if let Some(Err(error)) = others.as_ref().map(affinity::bind) {
            tracing::debug!("a thread stays on the CPUs of a vCPU: {error}");
        }
        if let Err(error) = slice::usual() {
            tracing::debug!("a device's thread keeps the short time slice of a vCPU: {error}");
        }
    });
    let inputs = Inputs::open(&plan)?;
    let mut ends = Ends::open(&plan, options, began)?;
    let kvm = kvm::open()?;
    let supported = Supported::query(&kvm, plan.placement.as_ref().and_then(CpuPlacement::first))
        .map_err(setup("ask KVM for the CPUID it supports"))?;
    let lacking = Lacking::of(&plan, &kvm, Some(&supported));
    for warning in &lacking.warnings {
        tracing::warn!("{warning}");
    }
    Findings::check(lacking.problems)?;
    let smbios = smbios::tables(&plan, &supported)?;
    let watcher = Watcher::scripted(options.script.0.iter().cloned(), options.fail_on.iter().cloned())
        .map_err(refused("watch the serial port"))?;
    let observer = watcher.observer();
    check_signals(&signals)?;
    // Nothing of the host has been changed up to here. The first to be changed is the last to be put back: memory may be in
    // huge pages that are given back.
    let tuning = match HostTuning::take(&plan, &|| signals.ended().is_some()) {
        Err(PassthroughError::Bind(BindError::Interrupted)) => {
            return check_signals(&signals).and(Err(PassthroughError::from(BindError::Interrupted).into()));
        }
        taken => taken?,
    };
    let ram = memory::allocate(&plan.memory)?;
    // Before devices are taken, and held until they are given back.
    let sleep = HostSleep::watch(&plan)?;
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
    let events = match &companion {
        Some(companion) => {
            companion.events.process_start(start);
            companion.events.clone()
        }
        None => ends.events(start)?,
    };
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
    let entry = board.start_directly(&events)?;
    check_signals(&signals)?;
    board.chips.settle(&board.vm)?;
    let counted = companion.is_some();
    let mut vcpus = Vcpus::create(&kvm, &supported, &plan, &board, entry, &events, counted)?;

    let power = board.power.take();
    let (wake, woken) = channel();
    let grace = Timer::new().map_err(refused("create a timer"))?;
    let dump = Timer::new().map_err(refused("create a timer"))?;
    let timeout = Timer::new().map_err(refused("create a timer"))?;
    let (rtc, exits) = (Arc::clone(&board.devices.rtc), vcpus.exits());
    let conductor = Arc::clone(vcpus.conductor());
    let run = move || !conductor.wants_attention();
    let clocks = Clocks::new(Arc::clone(&board.vm), rtc, events.clone(), exits, run, plan.slow_clock)
        .map_err(refused("create a timer"))?;
    let mut notices = board
        .passthrough
        .as_ref()
        .map_or(Ok(Vec::new()), Passthrough::notices)
        .map_err(refused("listen to devices"))?;
    let working = companion.map(|companion| Working::new(companion, &plan, &board, &mut vcpus)).transpose();
    let working = working.map_err(refused("create an event"))?;
    if let Some(working) = &working {
        notices.push(working.notice().map_err(refused("share an event"))?);
    }
    let subscribers = subscribe(Sources {
        board: &board,
        vcpus: &vcpus,
        consoles: &mut consoles,
        room,
        observer: &observer,
        signals,
        alarms: [rtc_alarm, pm_alarm, flash_alarm],
        clocks,
        sleep: &sleep,
        notices,
        grace: &grace,
        dump: &dump,
        timeout: &timeout,
        power,
        control,
        vnc: control::vnc(&plan, &board),
        wake,
    })?;
    vcpus.resume();
    // The look into the firmware's image takes as long as all before it. The guest's first instructions need not wait: a
    // firmware that this machine cannot run has done nothing by then.
    if let Err(failure) = board.devices.flash.check() {
        end::stop(vcpus, &consoles, board.passthrough.as_ref());
        return Err(flash::with_line(&plan, failure));
    }
    spare::give_back();
    if let Err(error) = caller.map_or(Ok(()), Waiting::release) {
        end::stop(vcpus, &consoles, board.passthrough.as_ref());
        return Err(error.into());
    }
    service.ready();
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
        service: &service,
        shot: &mut shot,
        grace: &grace,
        dump: &dump,
        session: Session::new(),
        preserved: None,
        crash: None,
        paused: false,
        asleep: false,
        sleep: &sleep,
    };
    let started = working.map(Working::start).transpose();
    let end = match &started {
        Ok(_) => supervisor.supervise(subscribers, &woken),
        Err(why) => End::Itself(Outcome::Failed(format!("cannot start a thread: {why}"))),
    };
    // What a companion holds of devices is let go of before they are given back. It may wait until guest memory is open to them, which
    // takes seconds, and which nobody needs any more.
    if let (Ok(Some(_)), Some(passthrough)) = (&started, &board.passthrough) {
        passthrough.release();
    }
    drop(started);
    shot.at_end(board.screen().as_deref());
    let machine = Machine { vcpus, consoles, board, binding, tuning };
    Ok(conclude(end, options, machine, &observer, &events))
}
