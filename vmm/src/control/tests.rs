//! A server in an event loop of its own, with a machine that only notes what is asked of it.

mod clients;
mod console;
mod ctl;
mod devices;
mod monitor;
mod pci;
mod peers;
mod protocol;
mod schema;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::devices::atapi::{Drive, Identity};
use ::devices::display::Screen;
use ::devices::input::Input;
use event_manager::{EventManager, MutEventSubscriber, SubscriberOps};
use serde_json::{Value, json};
use tempfile::TempDir;
use vmm_sys_util::eventfd::EventFd;

use super::place::listen_in;
use super::work::Delays;
use super::{
    Announcement, Announcer, CdDrive, CharDevice, Disk, Facts, Machine, MachineRequest, MsrAccess, Msrs,
    NetworkCard, PassedDevice, Schedule, Server, Shape, ShutdownCause, Sound, Vnc,
};
use crate::code43;
use crate::console::{InputSink, Tee};
use crate::evdev::{Grab, Status};
use crate::host::usb::HostUsbDevice;
use crate::socket::Acceptor;
use crate::usb;
use crate::usb::testing::{Both, device, receiver};

/// A guest that takes what it is given at once, or when a test lets it: commands are tried again soon and are not given up.
const DELAYS: Delays = Delays {
    pace: Duration::ZERO,
    again: Duration::from_millis(1),
    patience: Duration::from_secs(3600),
    nap: Duration::from_millis(1),
    end: Duration::from_secs(3600),
};
/// How long nobody is accepted when there is no descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(5);

/// COM1 with a FIFO of so many bytes.
#[derive(Default)]
struct Port {
    taken: Mutex<Vec<u8>>,
    room: AtomicUsize,
}

impl InputSink for Port {
    fn accept(&self, data: &[u8]) -> usize {
        let count = data.len().min(self.room.load(Ordering::SeqCst));
        self.room.fetch_sub(count, Ordering::SeqCst);
        self.taken.lock().unwrap().extend(&data[..count]);
        count
    }
}

/// A machine's control socket and what is behind it.
struct Rig {
    path: PathBuf,
    announcer: Announcer,
    asked: Arc<Mutex<Vec<MachineRequest>>>,
    output: Arc<Tee>,
    port: Arc<Port>,
    room: EventFd,
    drive: Arc<Drive>,
    ending: Arc<AtomicBool>,
    /// Gives its devices back at the end.
    usb: Option<usb::Server>,
    server: Option<JoinHandle<()>>,
    _folder: TempDir,
}

/// An empty drive.
fn drive() -> Arc<Drive> {
    let identity = Identity { model: "A B".into(), revision: "1".into(), serial: "2".into() };
    Drive::new(identity, None)
}

/// A disk that the host uses.
fn stick() -> HostUsbDevice {
    device("1-5.2", "0781:5567", Some("4C53"), "usb-storage")
}

/// A network card, nobody at whose other end says anything.
fn card() -> NetworkCard {
    let (ours, _) = UnixStream::pair().unwrap();
    let peer = ::devices::net::stream::StreamPeer::new(ours, 1518).unwrap();
    NetworkCard {
        name: "net[0]".into(),
        mac: "52:54:00:12:34:56".parse().unwrap(),
        carrier: "passt".into(),
        cable: ::devices::net::cable::Cable::new(Box::new(peer), true).unwrap(),
    }
}

/// A disk of 10 MiB that no guest uses.
fn disk(folder: &std::path::Path) -> ::devices::virtio::blk::Handle {
    use ::devices::disk::{DiskOptions, engine, open_disk};
    use ::devices::virtio::blk::{Options, VirtioBlk};
    let path = folder.join("disk.img");
    std::fs::File::create(&path).unwrap().set_len(10 << 20).unwrap();
    let image = open_disk(&DiskOptions::new(path)).unwrap();
    VirtioBlk::new(engine::Disk::new(image), Options::default()).handle()
}

impl Rig {
    fn new() -> Self {
        Self::with(None, None)
    }

    fn with(screen: Option<Arc<dyn Screen>>, input: Option<Arc<dyn Input>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (listener, path) = listen_in(&folder.path().join("optimus-vmm"), "vm").unwrap();
        let announcer = Announcer::new().unwrap();
        let (asked, output) = (Arc::<Mutex<Vec<MachineRequest>>>::default(), Arc::<Tee>::default());
        let port = Arc::new(Port { room: AtomicUsize::new(usize::MAX / 2), ..Port::default() });
        let room = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let (notes, pauses) = (Arc::clone(&asked), announcer.clone());
        let drive = drive();
        let usb = Both::with(&[receiver(), stick()]).start(Vec::new(), folder.path()).unwrap();
        let machine = Machine {
            facts: Facts {
                name: "vm".into(),
                uuid: uuid::Uuid::from_u128(0x1234),
                cpu: Shape { sockets: 1, cores: 1, threads: 2 },
                memory: 1 << 30,
                devices: vec![PassedDevice { key: "dgpu".into(), host: "0000:01:00.0".into() }],
                nets: vec![card()],
                cdroms: vec![CdDrive { name: "cdrom[0]".into(), drive: Arc::clone(&drive) }],
                sound: Some(Sound { backend: "pulse".into(), monitor: Arc::default() }),
                disks: vec![Disk {
                    path: "/images/a.qcow2".into(),
                    format: "qcow2",
                    read_only: false,
                    direct: true,
                    size: 10 << 20,
                    handle: Some(disk(folder.path())),
                }],
                chardevs: vec![CharDevice {
                    label: "serial0".into(),
                    filename: "pty:/dev/pts/7".into(),
                    frontend_open: true,
                }],
                vnc: Some(Vnc {
                    address: vocabulary::VncAddress::Tcp(([127, 0, 0, 1], 5901).into()),
                    password: true,
                }),
                evdev: Some(Grab::alone(vec![Status {
                    index: 0,
                    path: "/dev/input/event3".into(),
                    name: "AT Translated Set 2 keyboard".into(),
                    kind: "keyboard".into(),
                    holder: "host",
                    waits: false,
                }])),
                usb: Some(usb.attachments()),
                dgpu: code43::Facts {
                    gpu: Some(code43::Gpu {
                        host: "0000:01:00.0".into(),
                        bus: 1,
                        port: Some(code43::Slot { device: 1, function: 0 }),
                        ..code43::Gpu::default()
                    }),
                    ..code43::Facts::default()
                },
            },
            began: Instant::now(),
            exits: Box::new(|| 42),
            msrs: Box::new(|| Msrs {
                accesses: vec![MsrAccess {
                    index: 0x1a2,
                    name: Some("TEMPERATURE_TARGET"),
                    access: "read",
                    answered: 3,
                    ignored: 0,
                    refused: 0,
                }],
                beyond: 1,
            }),
            threads: Box::new(|| vec![7001, 7002]),
            schedules: Box::new(|| {
                let schedule =
                    |cpus: &str, ran_ns, waited_ns| Schedule { cpus: cpus.into(), ran_ns, waited_ns };
                vec![schedule("2-3", Some(5_000_000_000), Some(1000)), schedule("0", None, None)]
            }),
            functions: Arc::new(pci::functions),
            run: Arc::new(move |run, done| {
                pauses.announce(if run { &Announcement::Resumed } else { &Announcement::Paused });
                done.send(Ok(())).unwrap();
            }),
            ask: Box::new(move |what| notes.lock().unwrap().push(what)),
            output: Arc::clone(&output),
            sink: Arc::clone(&port) as _,
            room: room.try_clone().unwrap(),
            screen,
            input,
            files: Arc::new([("the configuration".into(), folder.path().join("vm.toml"))]),
        };
        let ending = Arc::new(AtomicBool::new(false));
        let (end, heard) = (Arc::clone(&ending), announcer.clone());
        let server = std::thread::spawn(move || {
            let acceptor = Acceptor::new(listener, "the control socket", EXHAUSTED).unwrap();
            let server = Server::new(acceptor, machine, heard, DELAYS).unwrap();
            let mut manager: EventManager<Box<dyn MutEventSubscriber>> = EventManager::new().unwrap();
            manager.add_subscriber(Box::new(server));
            while !end.load(Ordering::SeqCst) {
                manager.run_with_timeout(10).unwrap();
            }
        });
        Self {
            path,
            announcer,
            asked,
            output,
            port,
            room,
            drive,
            ending,
            usb: Some(usb),
            server: Some(server),
            _folder: folder,
        }
    }

    /// A client that heard the greeting and has negotiated.
    fn client(&self) -> Client {
        let mut client = self.visitor();
        let greeting = client.line();
        assert_eq!(greeting["optimus-vmm"]["name"], "vm", "{greeting}");
        assert_eq!(client.ask("qmp_capabilities", json!({})), json!({ "return": {} }));
        client
    }

    /// Somebody who connects.
    fn visitor(&self) -> Client {
        let stream = UnixStream::connect(&self.path).unwrap();
        // No test takes as long, unless an answer is missing.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        Client(BufReader::new(stream))
    }

    fn end(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        self.announcer.wake();
        if let Some(server) = self.server.take() {
            until(|| server.is_finished());
            server.join().unwrap();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn try_line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn line(&mut self) -> Value {
        self.try_line().expect("the connection has ended")
    }

    /// The answer to a command; events before it are passed over.
    fn ask(&mut self, execute: &str, arguments: Value) -> Value {
        self.send(format!("{}\n", json!({ "execute": execute, "arguments": arguments })).as_bytes());
        loop {
            let message = self.line();
            if message.get("event").is_none() {
                return message;
            }
        }
    }

    fn refusal(&mut self, execute: &str, arguments: Value) -> String {
        let answer = self.ask(execute, arguments);
        answer["error"]["desc"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

/// Waits until something is so.
fn until(mut what: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < deadline, "it never came to be");
        std::thread::sleep(Duration::from_millis(1));
    }
}
