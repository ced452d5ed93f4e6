//! The devices that the guest has and is to have: brought to what is wanted whenever the host's have changed.

mod commands;
mod error;
mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use error::UsbError;
pub use status::{Absent, Status};
use vocabulary::UsbPort;

use super::choice::{Choice, Meant, assign, listed};
use super::host::{Host, Passed};
use super::server::Shared;
use super::wake::Wake;
use super::{Ports, Wanted};
use crate::host::usb::HostUsbDevice;

/// How long a device that was plugged in just now may be kept by what passes: udev, or the look for a file system.
const PATIENCE: Duration = Duration::from_secs(3);
/// A device that stops answering so soon does not work here. One that does so later was interrupted: the kernel ends all transfers when the host goes
/// to sleep (Linux, drivers/usb/core/driver.c, `usb_suspend_both`).
const SOON: Duration = Duration::from_secs(10);
/// What was unplugged answers no longer a moment before its node is gone: so long what was interrupted is left alone. The host's driver of disks looks at
/// one only later, so that no file system is mounted meanwhile.
const SETTLED: Duration = Duration::from_millis(300);
/// Between two looks at one that is kept so.
const AGAIN: Duration = Duration::from_millis(100);

/// A device that is wanted, and what has become of it.
#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    /// A command has taken it from the guest: it stays with the host until another command.
    held_back: bool,
    /// The device that cannot be had, since when, and whether that was told.
    kept: Option<(HostUsbDevice, Instant, bool)>,
    /// It was told that several are meant.
    told: bool,
    /// The device that has stopped answering without being unplugged, and when to take it again. Of one that did so soon after the guest had it that is
    /// never: it would go on for ever.
    lost: Option<(HostUsbDevice, Option<Instant>)>,
    attached: Option<Attached>,
}

impl Entry {
    fn new(wanted: Wanted) -> Self {
        Self { wanted, held_back: false, kept: None, told: false, lost: None, attached: None }
    }
}

/// A device that the guest has.
struct Attached {
    device: HostUsbDevice,
    passed: Arc<dyn Passed>,
    /// Its port at the guest's controller.
    port: usize,
    gone: Arc<AtomicBool>,
    since: Instant,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached")
            .field("device", &self.device)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// All of it.
pub(super) struct State {
    ports: Arc<dyn Ports>,
    host: Box<dyn Host>,
    /// Signalled when a device has gone.
    wake: Arc<Wake>,
    entries: Vec<Entry>,
    /// Those that commands have given to the host: no section takes them, whatever it means, as long as they are plugged in.
    given: Vec<HostUsbDevice>,
    /// The machine ends.
    ended: bool,
}

impl State {
    pub(super) fn new(
        ports: Arc<dyn Ports>,
        host: Box<dyn Host>,
        wake: Arc<Wake>,
        wanted: Vec<Wanted>,
    ) -> Self {
        let entries = wanted.into_iter().map(Entry::new).collect();
        Self { ports, host, wake, entries, given: Vec::new(), ended: false }
    }

    /// Whether there is anything to watch for.
    pub(super) fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives the guest what is there at the start.
    ///
    /// # Errors
    /// A device that must be there cannot be had.
    pub(super) fn start(&mut self) -> Result<(), UsbError> {
        let devices = self.host.devices();
        for (index, device) in self.arrivals(&devices, &mut |_, _| {}) {
            let Some(entry) = self.entries.get(index) else { continue };
            let (name, optional) = (entry.wanted.name.clone(), entry.wanted.optional);
            // Making the machine may have taken seconds since the plan: a disk may have been mounted meanwhile.
            let attached = match self.host.refusal(&device) {
                Some(refusal) => Err(refusal.to_string()),
                None => self.attach(index, &device),
            };
            match attached {
                Err(why) if optional => tracing::warn!("{name}: {why}"),
                attached => attached.map_err(|why| UsbError::Start { name, why })?,
            }
        }
        Ok(())
    }

    /// Takes from the guest what has gone, and gives it what has come. When to look again, if something is kept, or left alone, for a moment.
    pub(super) fn look(&mut self, now: Instant) -> Option<Instant> {
        if self.ended {
            return None;
        }
        self.depart(now);
        let devices = self.host.devices();
        self.given.retain(|device| devices.iter().any(|now| now.is_same(device)));
        for entry in &mut self.entries {
            let still = |device: &HostUsbDevice| devices.iter().any(|now| now.is_same(device));
            entry.kept = entry.kept.take().filter(|(device, ..)| still(device));
            let rests = |until: Option<Instant>| until.is_none_or(|until| now < until);
            entry.lost = entry.lost.take().filter(|(device, until)| still(device) && rests(*until));
        }
        let mut several = Vec::new();
        let arrivals = self.arrivals(&devices, &mut |index, found| several.push((index, listed(found))));
        for (index, found) in several {
            let Some(entry) = self.entries.get_mut(index) else { continue };
            if !std::mem::replace(&mut entry.told, true) {
                tracing::warn!(
                    "{}: {} is at {found} now: which of them is meant has to be said by `port` or `serial`",
                    entry.wanted.name,
                    entry.wanted.choice
                );
            }
        }
        let kept: Vec<_> =
            arrivals.into_iter().filter_map(|(index, device)| self.arrive(index, &device, now)).collect();
        let resting = self.entries.iter().filter_map(|entry| entry.lost.as_ref()?.1);
        resting.chain(kept).min()
    }

    /// Has the guest's devices at these ports, or at all, look whether the host's drivers have taken them.
    pub(super) fn check_kept(&self, ports: Option<&[UsbPort]>) {
        let attached = self.entries.iter().filter_map(|entry| entry.attached.as_ref());
        attached
            .filter(|attached| ports.is_none_or(|ports| ports.contains(&attached.device.port)))
            .for_each(|attached| attached.passed.check());
    }

    /// The devices that are there for those that are wanted and not attached. `several` is told of those for which nothing says which.
    fn arrivals(
        &self,
        devices: &[HostUsbDevice],
        several: &mut dyn FnMut(usize, &[&HostUsbDevice]),
    ) -> Vec<(usize, HostUsbDevice)> {
        let attached = self.entries.iter().filter_map(|entry| Some(&entry.attached.as_ref()?.device));
        let taken: Vec<&HostUsbDevice> = attached.chain(&self.given).collect();
        let free: Vec<_> = devices
            .iter()
            .filter(|device| !taken.iter().any(|other| other.is_same(device)))
            .cloned()
            .collect();
        let waiting: Vec<_> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.attached.is_none() && !entry.held_back)
            .collect();
        let choices: Vec<&Choice> = waiting.iter().map(|(_, entry)| &entry.wanted.choice).collect();
        let mut found = Vec::new();
        for ((index, entry), meant) in waiting.iter().zip(assign(&choices, &free)) {
            let is_lost =
                |device: &HostUsbDevice| entry.lost.as_ref().is_some_and(|(lost, _)| lost.is_same(device));
            match meant {
                Meant::One(device) if is_lost(device) => {}
                Meant::One(device) => found.push((*index, device.clone())),
                Meant::Several(devices) => several(*index, &devices),
                Meant::None => {}
            }
        }
        found
    }

    /// Attaches a device that was plugged in while the machine runs. When to try again, if what keeps it may pass.
    fn arrive(&mut self, index: usize, device: &HostUsbDevice, now: Instant) -> Option<Instant> {
        let refusal = self.host.refusal(device);
        let passing = refusal.as_ref().is_some_and(|refusal| refusal.is_passing());
        let why = match refusal {
            Some(refusal) => refusal.to_string(),
            None => match self.attach(index, device) {
                Ok(()) => return None,
                Err(why) => why,
            },
        };
        let entry = self.entries.get_mut(index)?;
        let (_, since, told) = entry.kept.get_or_insert_with(|| (device.clone(), now, false));
        if passing && now.saturating_duration_since(*since) < PATIENCE {
            return Some(now + AGAIN);
        }
        if !std::mem::replace(told, true) {
            tracing::warn!("{}: the guest does not get {device}: {why}", entry.wanted.name);
        }
        None
    }

    /// Gives a device to the guest.
    fn attach(&mut self, index: usize, device: &HostUsbDevice) -> Result<(), String> {
        let gone = Arc::new(AtomicBool::new(false));
        let (flag, wake) = (Arc::clone(&gone), Arc::clone(&self.wake));
        let passed = self.host.open(
            device,
            Box::new(move || {
                flag.store(true, Ordering::Release);
                wake.signal();
            }),
        )?;
        let plugged = self.ports.plug(Arc::clone(&passed) as _);
        let attached = match plugged {
            Ok(port) => Attached { device: device.clone(), passed, port, gone, since: Instant::now() },
            Err(why) => {
                if passed.close() {
                    self.give_back(device);
                }
                return Err(why);
            }
        };
        let Some(entry) = self.entries.get_mut(index) else { return Ok(()) };
        tracing::info!(
            "{}: the guest has {device}, at port {} of its USB controller",
            entry.wanted.name,
            attached.port
        );
        (entry.kept, entry.told, entry.lost) = (None, false, None);
        entry.attached = Some(attached);
        Ok(())
    }

    /// Takes from the guest what is no longer there.
    fn depart(&mut self, now: Instant) {
        for index in 0..self.entries.len() {
            let Some(entry) = self.entries.get_mut(index) else { continue };
            let left = |attached: &mut Attached| {
                attached.gone.load(Ordering::Acquire) || !self.host.is_there(&attached.device)
            };
            let Some(attached) = entry.attached.take_if(left) else { continue };
            let (name, device) = (entry.wanted.name.clone(), attached.device.clone());
            let is_there = self.host.is_there(&device);
            let closed = self.take(&attached);
            let Some(entry) = self.entries.get_mut(index) else { continue };
            if !is_there {
                tracing::info!("{name}: {device} is gone; the guest has it again when it is back");
            } else if closed && now.saturating_duration_since(attached.since) >= SOON {
                tracing::info!(
                    "{name}: {device} was interrupted, by the host's sleep for instance; it is given to the guest again"
                );
                entry.lost = Some((device, Some(now + SETTLED)));
            } else {
                // Or the kernel is not yet done with it, which is as well: it has another address when it is back.
                tracing::info!(
                    "{name}: {device} answers no longer; the guest has it again when it is plugged in again"
                );
                entry.lost = Some((device, None));
            }
        }
    }

    /// Takes a device from the guest, and gives it back to the host if it is still there. False if it does not let go: then it stays on record, from which
    /// the next start of a machine gives it back.
    fn take(&mut self, attached: &Attached) -> bool {
        self.ports.unplug(attached.port);
        let closed = attached.passed.close();
        if closed {
            self.give_back(&attached.device);
        }
        closed
    }

    fn give_back(&mut self, device: &HostUsbDevice) {
        if let Err(error) = self.host.give_back(&device.port) {
            tracing::warn!("{error}");
        }
    }

    /// The entry that has a device.
    fn holder(&self, device: &HostUsbDevice) -> Option<&Entry> {
        let has =
            |entry: &&Entry| entry.attached.as_ref().is_some_and(|attached| attached.device.is_same(device));
        self.entries.iter().find(has)
    }

    /// Gives everything back, for good.
    pub(super) fn end(&mut self) {
        self.ended = true;
        let all: Vec<_> = self.entries.iter_mut().filter_map(|entry| entry.attached.take()).collect();
        for attached in &all {
            self.take(attached);
        }
    }
}

/// By which commands see the devices, and change who has them.
#[derive(Clone)]
pub struct Attachments(pub(super) Arc<Shared>);

impl std::fmt::Debug for Attachments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attachments")
    }
}

impl PartialEq for Attachments {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Attachments {}

impl Attachments {
    /// The host's devices, and those that are wanted and not there.
    pub fn list(&self) -> (Vec<Status>, Vec<Absent>) {
        self.0.state().list()
    }

    /// Gives a device to the guest, now and whenever it is plugged in again. Takes as long as the host's drivers take to let go.
    ///
    /// # Errors
    /// See [`UsbError`].
    pub fn attach(&self, choice: Choice) -> Result<Status, UsbError> {
        Shared::watch(&self.0)?;
        self.0.state().attach_by_command(choice)
    }

    /// Gives a device back to the host, until a command attaches it. `None` if it is not there and is no longer waited for.
    ///
    /// # Errors
    /// See [`UsbError`].
    pub fn detach(&self, choice: &Choice) -> Result<Option<Status>, UsbError> {
        self.0.state().detach_by_command(choice)
    }
}
