//! The thread that reads the devices, takes them, and finds those that come.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use devices::input::Input;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::Source;
use super::abi::descriptor;
use super::arrivals::{Arrivals, DATA, Identity};
use super::choice::{Choice, FOLDER, Known, Unavailable, find, nodes};
use super::device::{Device, Holder, Settled};
use super::grab::{Shared, Status};
use super::hands::Hands;

/// What happens to nodes and links when a device comes. A node is made first, and given to its group then.
const CHANGES: WatchFlags = WatchFlags::CREATE.union(WatchFlags::ATTRIB).union(WatchFlags::MOVED_TO);

/// A section, and what was found out about it.
struct Watched {
    source: Source,
    known: Known,
    /// Its device is there and cannot be used, which was told.
    told: bool,
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    sources: Vec<Watched>,
    devices: Vec<Device>,
    hands: Hands,
    /// Changes of the folders in which devices come.
    folders: OwnedFd,
    /// Devices that udev has not done with, while a section with a path has none.
    arrivals: Arrivals,
    /// The watch of udev's files, as long as there are such devices.
    udev: Option<i32>,
    /// The guest sets LEDs.
    leds: Arc<EventFd>,
    /// What others were told last: each device, who has it, and who is to have it.
    told: Vec<(u64, Holder, bool)>,
}

/// What has woken the thread.
#[derive(Default)]
struct Woken {
    folders: bool,
    leds: bool,
    /// The devices that have something to say, by their places in the list.
    devices: Vec<usize>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, sources: Vec<Source>, input: Arc<dyn Input>) -> io::Result<Self> {
        let leds = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        input.signal_leds(&leds);
        let watched = |source| Watched { source, known: Known::default(), told: false };
        Ok(Self {
            shared,
            sources: sources.into_iter().map(watched).collect(),
            devices: Vec::new(),
            hands: Hands::new(input),
            folders: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            arrivals: Arrivals::default(),
            udev: None,
            leds,
            told: Vec::new(),
        })
    }

    pub(super) fn run(mut self) {
        self.discover(Instant::now());
        loop {
            self.settle(Instant::now());
            self.tell();
            let woken = match self.wait() {
                Ok(woken) => woken,
                Err(error) => {
                    tracing::error!(
                        "the guest loses the host's input devices: cannot wait for them: {error}"
                    );
                    break;
                }
            };
            if self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
            self.serve(&woken, Instant::now());
        }
        // Before what is down is let go of.
        let now = Instant::now();
        for device in &mut self.devices {
            device.give_back(&mut self.hands, now);
        }
        self.devices.clear();
        self.tell();
    }

    /// Sleeps until there is something to do.
    fn wait(&mut self) -> io::Result<Woken> {
        let room = self.hands.way().room();
        let due = self.devices.iter().filter_map(Device::due).chain(self.hands.way().due());
        let due = due.chain(self.arrivals.due()).min();
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let event = |event| PollFd::from_borrowed_fd(descriptor(event), PollFlags::IN);
        let mut fds = vec![
            event(&self.shared.wake),
            event(&self.leds),
            PollFd::from_borrowed_fd(self.folders.as_fd(), PollFlags::IN),
        ];
        let others = fds.len();
        fds.extend(self.devices.iter().map(|device| PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN)));
        if let Some(room) = &room {
            fds.push(event(room));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Woken::default()),
            Err(error) => return Err(error.into()),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let woken = Woken {
            leds: ready(1),
            folders: ready(2),
            devices: (0..self.devices.len()).filter(|index| ready(others + index)).collect(),
        };
        if ready(0) {
            // Fails when it was not signalled.
            let _ = self.shared.wake.read();
        }
        Ok(woken)
    }

    fn serve(&mut self, woken: &Woken, now: Instant) {
        // From the last on, so that those before keep their places.
        for index in woken.devices.iter().rev() {
            let Some(device) = self.devices.get_mut(*index) else { continue };
            match device.read(&mut self.hands, now) {
                Ok(false) => {}
                Ok(true) => {
                    self.shared.want(None);
                }
                Err(error) => self.lose(*index, &error, now),
            }
        }
        for device in self.devices.iter_mut().filter(|device| device.due().is_some_and(|due| now >= due)) {
            device.expire(&mut self.hands, now);
        }
        self.hands.way().advance(now);
        if woken.leds {
            let _ = self.leds.read();
            let leds = self.hands.leds();
            self.devices.iter_mut().for_each(|device| device.light(leds));
        }
        if woken.folders {
            // What has changed is found by looking.
            let mut changes = [0; 4096];
            while rustix::io::read(&self.folders, &mut changes).is_ok_and(|length| length > 0) {}
        }
        if woken.folders || self.arrivals.due().is_some_and(|due| now >= due) {
            self.discover(now);
        }
    }

    /// A device is gone.
    fn lose(&mut self, index: usize, error: &io::Error, now: Instant) {
        let device = self.devices.remove(index);
        self.hands.leave(device.number(), now);
        let reason = match Errno::from_io_error(error) {
            Some(Errno::NODEV) => String::new(),
            _ => format!(" ({error})"),
        };
        tracing::info!(
            "evdev[{}]: {} ({}) is gone{reason}; it is used again when it is back",
            device.index,
            device.path.display(),
            device.name
        );
    }

    /// Looks for devices that are meant and not open.
    fn discover(&mut self, now: Instant) {
        self.watch();
        // Looked for once: one that comes meanwhile is for the next time.
        let mut nodes = nodes();
        self.await_udev(&nodes, now);
        nodes.retain(|(_, identity)| !self.arrivals.has(*identity));
        for at in 0..self.sources.len() {
            let held: Vec<u64> = self.devices.iter().map(Device::number).collect();
            let Some(watched) = self.sources.get_mut(at) else { continue };
            let Watched { source, known, told } = watched;
            // One path is one device.
            let is_path = matches!(source.choice, Choice::Path(_));
            if is_path && self.devices.iter().any(|device| device.index == source.index) {
                continue;
            }
            match find(source, &held, known, &nodes) {
                Ok(found) => {
                    *told = false;
                    for each in found {
                        let (path, name) = (each.path.clone(), each.name.clone());
                        match Device::new(each, source) {
                            Ok(device) => {
                                let (index, kinds) = (device.index, device.kinds);
                                tracing::info!("evdev[{index}]: {} ({name}), a {kinds}", path.display());
                                self.devices.push(device);
                            }
                            Err(error) => tracing::debug!("{} has gone at once: {error}", path.display()),
                        }
                    }
                }
                // It may come, or be given to its group in a moment.
                Err(Unavailable::Missing(_)) => *told = false,
                Err(error @ Unavailable::Denied(_)) => tracing::debug!("evdev[{}]: {error}", source.index),
                Err(error) if !*told => {
                    *told = true;
                    tracing::warn!("evdev[{}]: {error}", source.index);
                }
                Err(_) => {}
            }
        }
        self.settle(now);
    }

    /// Finds the devices that udev has not done with, if one of them may be that of a section with a path.
    fn await_udev(&mut self, nodes: &[(PathBuf, Identity)], now: Instant) {
        let lacks = |watched: &Watched| {
            matches!(watched.source.choice, Choice::Path(_))
                && !self.devices.iter().any(|device| device.index == watched.source.index)
        };
        let identities = || nodes.iter().map(|(_, identity)| *identity);
        let mut arrivals = Arrivals::default();
        if self.sources.iter().any(lacks) {
            arrivals = std::mem::take(&mut self.arrivals);
            arrivals.look(identities(), now);
            if arrivals.due().is_some() && self.udev.is_none() {
                self.udev = inotify::add_watch(&self.folders, DATA, CHANGES).ok();
                // One may have been done with before.
                arrivals.look(identities(), now);
            }
        }
        if arrivals.due().is_none()
            && let Some(udev) = self.udev.take()
        {
            // Fails when the folder itself is gone.
            let _ = inotify::remove_watch(&self.folders, udev);
        }
        self.arrivals = arrivals;
    }

    /// Watches the folders in which devices come. Those of links are removed with the last link, and made with the first.
    fn watch(&self) {
        let parent = |watched: &Watched| match &watched.source.choice {
            Choice::Path(path) => path.parent().map(Path::to_owned),
            Choice::All { .. } => None,
        };
        for folder in self.sources.iter().filter_map(parent).chain([FOLDER.into()]) {
            // To watch one again changes nothing.
            if let Err(error) = inotify::add_watch(&self.folders, &folder, CHANGES) {
                tracing::debug!("cannot watch {}: {error}", folder.display());
            }
        }
    }

    /// Lets devices change hands that are to and can.
    fn settle(&mut self, now: Instant) {
        let wanted = self.shared.wanted();
        for index in (0..self.devices.len()).rev() {
            let Some(device) = self.devices.get_mut(index) else { continue };
            match device.settle(wanted || device.always, &mut self.hands, now) {
                Ok(Settled::AsItWas | Settled::Waits) => {}
                Ok(Settled::Chord) => {
                    self.shared.want(None);
                    // The thread is not to sleep before all devices were settled by it.
                    self.shared.wake();
                }
                Ok(Settled::Changed) => {
                    let holder = if device.holder == Holder::Guest { "guest" } else { "host" };
                    devices::limited_debug!("evdev[{}]: {} is the {holder}'s", device.index, device.name);
                }
                Ok(Settled::Refused) => devices::limited_warn!(
                    "evdev[{}]: {} ({}) stays the host's: another program keeps it for itself; end that, or leave it out",
                    device.index,
                    device.path.display(),
                    device.name
                ),
                Err(error) => self.lose(index, &error, now),
            }
        }
    }

    /// Tells others what there is, if that has changed.
    fn tell(&mut self) {
        let wanted = self.shared.wanted();
        let key = |device: &Device| (device.number(), device.holder, wanted || device.always);
        let told: Vec<_> = self.devices.iter().map(key).collect();
        if told == self.told {
            return;
        }
        self.told = told;
        let status = |device: &Device| {
            let (holder, for_guest) = (device.holder, wanted || device.always);
            Status {
                index: device.index,
                path: device.path.clone(),
                name: device.name.clone(),
                kind: device.kinds.to_string(),
                holder: match holder {
                    Holder::Host => "host",
                    Holder::Guest => "guest",
                    Holder::Other => "other",
                },
                waits: holder != Holder::Other && (holder == Holder::Guest) != for_guest,
            }
        };
        self.shared.tell(self.devices.iter().map(status).collect());
    }
}
