//! The machine's control socket: what it acts on, and what the run loop tells it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use devices::virtio::blk::Handle;
use vmm_sys_util::eventfd::EventFd;
use vocabulary::{ConsoleSpec, DiskFormat};

use super::consoles::Consoles;
use super::end::End;
use super::listen::{SerialInput, Wake};
use super::refused;

use crate::code43;
use crate::config::Action;
use crate::console::Console;
use crate::control::{
    Announcement, Announcer, CdDrive, CharDevice, Crash, Disk, Facts, Machine, MachineRequest, MsrAccess,
    Msrs, NetworkCard, PanicAction, PassedDevice, Reserved, Schedule, Server, Shape, ShutdownCause, Sound,
    Vnc,
};
use crate::cpu::conductor::Request;
use crate::cpu::msr::Count;
use crate::cpu::schedule;
use crate::device::Display;
use crate::device::cdrom::CdromFacts;
use crate::device::disk::DiskFacts;
use crate::device::net::NetFacts;
use crate::evdev;
use crate::finding::{Findings, Section};
use crate::machine::assembly::build::Board;
use crate::machine::assembly::vcpus::Vcpus;
use crate::outcome::{Failure, Outcome};
use crate::plan::MachinePlan;
use crate::screenshot::MachineFile;
use crate::session::{Cause, Trigger};
use crate::usb;

/// A control socket that is open and not served yet.
pub(super) struct Control {
    reserved: Reserved,
    clients: Clients,
    facts: Facts,
    files: Arc<[MachineFile]>,
    began: Instant,
}

/// The run loop's ends of a control socket.
#[derive(Clone)]
pub(super) struct Clients {
    /// What it tells of itself to.
    pub(super) announcer: Announcer,
    /// A client asked it to end.
    quit: Arc<AtomicBool>,
}

impl Control {
    /// Opens the socket, before anything of the host is taken for the machine, which is made from `files`.
    pub(super) fn open(
        plan: &MachinePlan,
        files: &[MachineFile],
        began: Instant,
    ) -> Result<Option<Self>, Failure> {
        let reserved = Reserved::open(&plan.machine.control, &plan.name).map_err(|error| {
            let key = Section::Machine.key("control");
            Findings::from(plan.problem(key, error.to_string()).about_host())
        })?;
        let Some(reserved) = reserved else { return Ok(None) };
        let announcer = Announcer::new().map_err(refused("create an event"))?;
        let lent = |device: &crate::plan::PlannedPassthrough| PassedDevice {
            key: device.section.to_string(),
            host: device.host.to_string(),
        };
        let cpu = plan.topology;
        let facts = Facts {
            name: plan.name.clone(),
            uuid: plan.uuid,
            cpu: Shape {
                sockets: cpu.sockets as usize,
                cores: cpu.cores as usize,
                threads: cpu.threads as usize,
            },
            memory: plan.memory.size,
            devices: plan.passthrough.iter().map(lent).collect(),
            disks: Vec::new(),
            cdroms: Vec::new(),
            sound: None,
            nets: Vec::new(),
            chardevs: chardevs(plan, reserved.path()),
            vnc: None,
            evdev: None,
            usb: None,
            dgpu: code43::planned::facts(plan),
        };
        let files = files.into();
        Ok(Some(Self { reserved, clients: Clients { announcer, quit: Arc::default() }, facts, files, began }))
    }

    /// What the run loop needs of it.
    pub(super) fn clients(&self) -> Clients {
        self.clients.clone()
    }

    /// What serves the socket in the run loop. `room` is signalled when COM1 takes more input.
    pub(super) fn serve(
        self,
        board: &Board,
        vcpus: &Vcpus,
        consoles: &Consoles,
        vnc: Option<Vnc>,
        room: EventFd,
        wake: Sender<Wake>,
    ) -> Result<Server, Failure> {
        let Self { reserved, clients: Clients { announcer, quit }, mut facts, files, began } = self;
        facts.vnc = vnc;
        facts.evdev = board.evdev.as_ref().map(evdev::Server::grab);
        facts.usb = board.usb.as_ref().map(usb::Server::attachments);
        if let Some(image) = &board.vbios {
            code43::planned::loaded(&mut facts.dgpu, image);
        }
        facts.disks =
            (0..).zip(&board.disks).map(|(index, disk)| told(disk, board.disk_handles.get(&index))).collect();
        facts.cdroms = board.cdroms.iter().map(drive).collect();
        facts.sound = board
            .audio
            .as_ref()
            .map(|audio| Sound { backend: audio.backend.clone(), monitor: Arc::clone(&audio.monitor) });
        facts.nets = board.nets.iter().map(card).collect();
        let terminals = [Some(&consoles.serial), consoles.debug.as_ref()];
        for (console, device) in terminals.into_iter().zip(&mut facts.chardevs) {
            if let Some(path) = console.and_then(Console::terminal_path) {
                device.filename = format!("pty:{}", path.display());
            }
        }
        let conductor = Arc::clone(vcpus.conductor());
        let run_wake = wake.clone();
        let ask = move |what| {
            // The receiver lives as long as the loop.
            let _ = match what {
                MachineRequest::PowerButton => wake.send(Wake::Trigger(Trigger::PowerKey)),
                MachineRequest::Quit => {
                    quit.store(true, Ordering::Relaxed);
                    wake.send(Wake::Trigger(Trigger::Quit))
                }
                MachineRequest::Reset => {
                    conductor.request(Request::ResetButton);
                    Ok(())
                }
            };
        };
        // The loop looks when the event that its server waits for has been served: the announcer wakes it.
        let waker = announcer.clone();
        let run = move |run, done| {
            let _ = run_wake.send(Wake::Run { run, done });
            waker.wake();
        };
        let root = Arc::clone(&board.devices.root);
        let machine = Machine {
            facts,
            began,
            exits: Box::new(vcpus.exits()),
            msrs: Box::new(msrs(vcpus)),
            threads: Box::new(vcpus.thread_ids()),
            schedules: Box::new(schedules(vcpus.thread_ids())),
            functions: Arc::new(move || root.placed()),
            ask: Box::new(ask),
            run: Arc::new(run),
            output: consoles.serial.tee(),
            sink: Arc::new(SerialInput(Arc::clone(&board.devices.serial))),
            room,
            screen: board.screen(),
            input: Some(board.input()),
            files,
        };
        reserved.serve(machine, announcer).map_err(refused("serve the control socket"))
    }
}

/// What clients are told of registers that KVM does not know.
fn msrs(vcpus: &Vcpus) -> impl Fn() -> Msrs + Send + use<> {
    let ledger = Arc::clone(vcpus.msrs());
    move || {
        let told = |count: Count| MsrAccess {
            index: count.accessed.index,
            name: count.accessed.name,
            access: count.accessed.access.word(),
            answered: count.answered,
            ignored: count.ignored,
            refused: count.refused,
        };
        Msrs { accesses: ledger.counts().into_iter().map(told).collect(), beyond: ledger.beyond() }
    }
}

/// What clients are told of a network card.
fn card(net: &NetFacts) -> NetworkCard {
    NetworkCard {
        name: net.key.clone(),
        mac: net.mac,
        carrier: net.carrier.clone(),
        cable: Arc::clone(&net.cable),
    }
}

/// What clients are told of a CD drive.
fn drive(cdrom: &CdromFacts) -> CdDrive {
    CdDrive { name: cdrom.key.clone(), drive: Arc::clone(&cdrom.drive) }
}

/// What clients are told of a disk.
fn told(disk: &DiskFacts, handle: Option<&Handle>) -> Disk {
    Disk {
        path: disk.path.clone(),
        format: match disk.format {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        },
        size: disk.size,
        read_only: disk.read_only,
        direct: disk.direct,
        handle: handle.cloned(),
    }
}

/// The serial port, the debug port and the control socket, called as QEMU calls them.
fn chardevs(plan: &MachinePlan, socket: &Path) -> Vec<CharDevice> {
    let device = |label: &str, filename| CharDevice { label: label.into(), filename, frontend_open: true };
    let filename = |spec: &ConsoleSpec| match spec {
        ConsoleSpec::Stdio => "stdio".to_owned(),
        ConsoleSpec::File(_) => "file".to_owned(),
        ConsoleSpec::Unix(path) => format!("unix:{},server=on", path.display()),
        ConsoleSpec::Pty => "pty".to_owned(),
        ConsoleSpec::None => "null".to_owned(),
    };
    vec![
        device("serial0", filename(&plan.serial)),
        device("debugcon", filename(&plan.debugcon)),
        device("compat_monitor0", format!("unix:{},server=on", socket.display())),
    ]
}

/// How the host schedules the vCPUs with these threads.
fn schedules(threads: impl Fn() -> Vec<i32> + Send) -> impl Fn() -> Vec<Schedule> + Send {
    // A thread that has just ended is on no CPU.
    let of = |id| match schedule::of_thread(id) {
        Some(now) => {
            let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let (ran_ns, waited_ns) = now.times.map(|(ran, waited)| (ns(ran), ns(waited))).unzip();
            Schedule { cpus: now.cpus.to_string(), ran_ns, waited_ns }
        }
        None => Schedule { cpus: String::new(), ran_ns: None, waited_ns: None },
    };
    move || threads().into_iter().map(of).collect()
}

/// What the control socket tells of the VNC server.
pub(super) fn vnc(plan: &MachinePlan, board: &Board) -> Option<Vnc> {
    let password = plan.devices.one::<Display>().is_some_and(|display| display.password_file.is_some());
    board.vnc.as_ref().map(|server| Vnc { address: server.address().clone(), password })
}

/// What a kept machine's state is called, as in QMP.
pub(super) fn stopped(outcome: &Outcome) -> Announcement {
    Announcement::Stopped(match outcome {
        Outcome::PoweredOff | Outcome::Rebooted => "shutdown",
        _ => "guest-panicked",
    })
}

/// What a service manager shows of the machine since an announcement, if that changes anything.
pub(super) fn in_words(announcement: &Announcement) -> Option<String> {
    match announcement {
        Announcement::Resumed | Announcement::Reset { runs: true, .. } => Some("running".into()),
        Announcement::Paused | Announcement::Reset { runs: false, .. } => Some("paused".into()),
        Announcement::Panicked { .. } => Some("the guest has crashed".into()),
        Announcement::Stopped(why) => Some(format!("kept as it is, stopped ({why})")),
        Announcement::PowerButton | Announcement::Ended(_) => None,
    }
}

/// What is done about a panic, and told of it, in QMP's words.
pub(super) fn panicked(action: Action, crash: Option<Crash>) -> Announcement {
    let action = match action {
        Action::Destroy => PanicAction::Poweroff,
        Action::Restart => PanicAction::Run,
        Action::Preserve => PanicAction::Pause,
    };
    Announcement::Panicked { action, crash }
}

impl Clients {
    /// The end, in QMP's words as far as it has any.
    pub(super) fn ended(&self, end: &End) -> Announcement {
        Announcement::Ended(cause(end, self.quit.load(Ordering::Relaxed)))
    }
}

/// Why a machine ends. `quit`: a client asked for it.
fn cause(end: &End, quit: bool) -> ShutdownCause {
    match end {
        End::Itself(Outcome::PoweredOff) => ShutdownCause::GuestShutdown,
        End::Itself(Outcome::Rebooted) => ShutdownCause::GuestReset,
        End::Itself(Outcome::Crashed(_)) => ShutdownCause::GuestPanic,
        End::Ended(Cause::Quit, _) if quit => ShutdownCause::HostQmpQuit,
        End::Ended(Cause::Signal(_), _) => ShutdownCause::HostSignal,
        // The words of `run` on its command line are the user's, as are the keys of its terminal.
        End::Ended(Cause::Quit | Cause::Expected | Cause::Forbidden { .. } | Cause::TimedOut, _) => {
            ShutdownCause::HostUi
        }
        End::Itself(_) | End::Unfit(_) | End::Ended(Cause::DeviceFailed(_) | Cause::DeviceWanted(_), _) => {
            ShutdownCause::HostError
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::host::HostFacts;
    use crate::outcome::status;
    use crate::plan::plan;
    use crate::signals::Signal;

    #[test]
    fn a_socket_that_cannot_be_had_is_told_with_its_line() {
        let text = "[firmware]\ncode = \"c.fd\"\n[machine]\ncontrol = \"unix:/none/at/all\"\n";
        let config = config::parse(text, Path::new("/vm/test.toml")).unwrap();
        let plan = plan(config, &HostFacts::default()).unwrap();
        let failure = Control::open(&plan, &[], Instant::now()).err().unwrap();
        let said = failure.to_string();
        assert!(said.starts_with("/vm/test.toml:4:11: cannot open the control socket: "), "{said}");
        assert_eq!(failure.status(), status::HOST);
    }

    #[test]
    fn ends_have_the_reason_that_they_have() {
        let ended = |cause| End::Ended(cause, None);
        for (end, quit, expected) in [
            (End::Itself(Outcome::PoweredOff), false, ShutdownCause::GuestShutdown),
            (End::Itself(Outcome::Rebooted), false, ShutdownCause::GuestReset),
            (End::Itself(Outcome::Crashed("x".into())), false, ShutdownCause::GuestPanic),
            (End::Itself(Outcome::Failed("x".into())), false, ShutdownCause::HostError),
            (ended(Cause::Quit), true, ShutdownCause::HostQmpQuit),
            (ended(Cause::Quit), false, ShutdownCause::HostUi),
            (ended(Cause::Signal(Signal::Terminate)), true, ShutdownCause::HostSignal),
            (ended(Cause::TimedOut), false, ShutdownCause::HostUi),
            (ended(Cause::Expected), false, ShutdownCause::HostUi),
            (ended(Cause::Forbidden { pattern: "x".into(), line: "x".into() }), false, ShutdownCause::HostUi),
            (ended(Cause::DeviceFailed("x".into())), false, ShutdownCause::HostError),
            (ended(Cause::DeviceWanted("x".into())), false, ShutdownCause::HostError),
        ] {
            assert_eq!(cause(&end, quit), expected);
        }
    }
}
