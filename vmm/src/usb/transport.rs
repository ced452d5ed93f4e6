//! A USB device of the host as one at the guest's controller: its transfers are made by the host's kernel (Linux, `Documentation/driver-api/usb/usb.rst`,
//! "The USB character device nodes"), through nusb.
//!
//! | module | what it is |
//! |---|---|
//! | `end` | an endpoint, and the one transfer that the guest may have there |
//! | `request` | control transfers: what is the kernel's to do, what is answered here, and what the device is asked |
//! | `worker` | the thread of a device, for all that may wait |
//! | `host` | what is asked of the host |
//! | `usbfs` | how that is done |
//!
//! The controller calls with its lock held, so nothing here waits in such a call. A transfer of an endpoint is given to the kernel in the call itself, and
//! its end comes in nusb's thread. Whatever the kernel may wait for the device in, and lets nobody else to the device meanwhile, is done by
//! the worker: withdrawing a transfer, clearing a halt, changing a setting or the configuration, a reset. What the guest begins meanwhile is begun after that.
//!
//! The address is the host's, and never forwarded. So is the link with its power states, and waking the host: requests about them succeed and do nothing. A
//! reset of the guest's port resets a device that was used since the last one, and no other, since some devices do not come back from it.

mod abi;
mod end;
mod host;
mod request;
#[cfg(test)]
mod tests;
mod usbfs;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use devices::usb::device::{Bus, Completion, Outcome, Speed, Transfer, Upstream, UsbDevice};

use end::End;
use host::{Host, Pipes};
use request::Control;
use worker::Job;

pub use usbfs::OpenError;

/// How long the end of a loan may take: withdrawing the last transfers is the longest, and a host controller in trouble takes seconds for it.
const CLOSE: Duration = Duration::from_secs(10);

/// A device of the host that the guest has.
pub struct HostDevice {
    shared: Arc<Shared>,
    speed: Speed,
}

/// What the device's callers, nusb's thread and the worker share.
struct Shared {
    state: Mutex<State>,
    /// Something for the worker, or the end of it.
    changed: Condvar,
    /// What it is called in messages.
    name: String,
}

#[derive(Default)]
struct State {
    upstream: Option<Arc<dyn Upstream>>,
    /// The guest's control transfer.
    control: Control,
    /// bConfigurationValue, as the guest has set it.
    configuration: u8,
    /// Endpoints of that configuration, by address.
    ends: BTreeMap<u8, End>,
    /// Those of before, which the worker ends.
    retired: Vec<End>,
    jobs: VecDeque<Job>,
    /// Control transfers so far.
    number: u64,
    /// Endpoints whose transfers the worker is to withdraw.
    withdrawals: Vec<u8>,
    /// The worker makes a request during which nobody else gets to the device.
    busy: bool,
    /// The control transfer that the worker waits for may have ended.
    woken: bool,
    /// Something was asked of the device, since its reset or since the host has set it up, that may make a difference to the next driver.
    used: bool,
    gone: bool,
    closing: bool,
    closed: bool,
}

impl HostDevice {
    /// Takes a device from its drivers: its node below `/dev/bus/usb`, and what it is called in messages. `on_gone` is called, once and by a thread of the
    /// device's, when the device turns out to be gone.
    ///
    /// # Errors
    /// See [`OpenError`]. The drivers have been given back what was taken.
    pub fn open(
        node: &Path,
        name: &str,
        on_gone: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Arc<Self>, OpenError> {
        let (host, speed) = usbfs::Usbfs::open(node, name)?;
        Self::with(Box::new(host), speed, name, on_gone).map_err(OpenError::Thread)
    }

    fn with(
        host: Box<dyn Host>,
        speed: Speed,
        name: &str,
        on_gone: Box<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Arc<Self>> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), name: name.to_owned() });
        let its = Arc::clone(&shared);
        thread::Builder::new().name("usb-device".into()).spawn(move || worker::run(&its, host, on_gone))?;
        Ok(Arc::new(Self { shared, speed }))
    }

    /// Ends the guest's use of it: withdraws what is under way, and gives it back to the host's drivers. The device is to be unplugged from the controller
    /// before. Waits for that, at most ten seconds, unless the device itself calls. Whether it is done; if not, it goes on.
    pub fn close(&self) -> bool {
        self.close_within(CLOSE)
    }

    /// Has the thread of the device look whether the host's drivers have taken it, as they do when its port has lost power while the host slept.
    /// Then it is gone. Does not wait.
    pub fn check(&self) {
        let mut state = self.shared.lock();
        // One look answers for all that was told before.
        if !state.jobs.iter().any(|job| matches!(job, Job::Check)) {
            state.jobs.push_back(Job::Check);
        }
        self.shared.changed.notify_all();
    }

    fn close_within(&self, limit: Duration) -> bool {
        let mut state = self.shared.lock();
        if !state.closing {
            state.closing = true;
            state.upstream = None;
            self.shared.changed.notify_all();
        }
        if worker::is_current(&self.shared) {
            return state.closed;
        }
        let deadline = Instant::now() + limit;
        while !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(
                    "USB device {} does not let go of its last transfers: its drivers on the host get it back when it does, \
                     when it is plugged in again, or at the next start of a machine",
                    self.shared.name
                );
                return false;
            }
            (state, _) =
                self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

impl Drop for HostDevice {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What is under way: a panicking holder left nothing that a reset would not mend.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transfer of an endpoint may have ended: in nusb's thread.
    fn woken(&self, endpoint: u8) {
        let mut state = self.lock();
        let Some(end) = state.ends.get_mut(&endpoint) else { return };
        let news = end.is_active() || end.withdrawn();
        let upstream = state.upstream.clone().filter(|_| news);
        let ended = state.begin_deferred();
        drop(state);
        self.tell(upstream, ended.into_iter().chain([endpoint]));
    }

    /// Tells the controller, without any lock.
    fn tell(&self, upstream: Option<Arc<dyn Upstream>>, endpoints: impl IntoIterator<Item = u8>) {
        if let Some(upstream) = upstream {
            endpoints.into_iter().for_each(|endpoint| upstream.finished(endpoint));
        }
    }
}

impl State {
    /// New endpoints.
    fn add(&mut self, shared: &Arc<Shared>, pipes: Pipes) {
        self.ends.extend(
            pipes.into_iter().map(|(address, pipe)| (address, End::new(pipe, end::waker(shared, address)))),
        );
    }

    /// Begins the guest's transfer of an endpoint.
    fn begin(&mut self, endpoint: u8, transfer: Transfer) -> Option<Completion> {
        let Some(end) = self.ends.get_mut(&endpoint) else {
            return Some(Completion::failed(Outcome::Stall));
        };
        self.used = true;
        let completion = end.begin(transfer, self.busy);
        self.gone |= end.is_gone();
        completion
    }

    /// Begins what has waited for the worker: the endpoints at which it has ended at once.
    fn begin_deferred(&mut self) -> Vec<u8> {
        if self.busy {
            return Vec::new();
        }
        let ended = self
            .ends
            .iter_mut()
            .filter_map(|(address, end)| end.begin_deferred().then_some(*address))
            .collect();
        self.gone |= self.ends.values().any(End::is_gone);
        ended
    }

    /// Withdraws the transfer of an endpoint.
    fn cancel(&mut self, endpoint: u8) {
        if self.ends.get_mut(&endpoint).is_some_and(End::cancel) {
            self.withdrawals.push(endpoint);
        }
    }

    /// The endpoints of before go; the worker ends what they have under way.
    fn retire(&mut self, which: impl Fn(&End) -> bool) {
        let gone: Vec<u8> =
            self.ends.iter().filter(|(_, end)| which(end)).map(|(address, _)| *address).collect();
        self.retired.extend(gone.iter().filter_map(|address| self.ends.remove(address)));
        self.withdrawals.retain(|address| !gone.contains(address));
    }

    /// Withdraws everything.
    fn cancel_all(&mut self) {
        self.cancel_control();
        let all: Vec<u8> = self.ends.keys().copied().collect();
        all.into_iter().for_each(|endpoint| self.cancel(endpoint));
    }
}

impl UsbDevice for HostDevice {
    fn speed(&self) -> Speed {
        self.speed
    }

    fn connect(&self, upstream: Arc<dyn Upstream>) {
        self.shared.lock().upstream = Some(upstream);
    }

    fn disconnect(&self) {
        let mut state = self.shared.lock();
        state.upstream = None;
        state.cancel_all();
        self.shared.changed.notify_all();
    }

    fn reset(&self) {
        let mut state = self.shared.lock();
        state.cancel_control();
        state.retire(|_| true);
        state.configuration = 0;
        state.jobs.clear();
        state.jobs.push_back(Job::Reset);
        self.shared.changed.notify_all();
    }

    /// The host's bus is the host's.
    fn set_bus(&self, _: Bus) {}

    fn submit(&self, endpoint: u8, transfer: Transfer) -> Option<Completion> {
        let mut state = self.shared.lock();
        if state.gone || state.closing {
            return Some(Completion::failed(Outcome::NoAnswer));
        }
        let completion = match transfer {
            Transfer::Control { setup, data } if endpoint == 0 => state.request(setup, data),
            Transfer::Control { .. } => Some(Completion::failed(Outcome::Stall)),
            transfer => state.begin(endpoint, transfer),
        };
        if endpoint == 0 || state.gone {
            self.shared.changed.notify_all();
        }
        completion
    }

    fn take(&self, endpoint: u8) -> Option<Completion> {
        let mut state = self.shared.lock();
        if endpoint == 0 {
            return state.take_control();
        }
        let end = state.ends.get_mut(&endpoint)?;
        let completion = end.take();
        if end.is_gone() {
            state.gone = true;
            self.shared.changed.notify_all();
        }
        completion
    }

    fn cancel(&self, endpoint: u8) {
        let mut state = self.shared.lock();
        if endpoint == 0 {
            state.cancel_control();
        } else {
            state.cancel(endpoint);
        }
        self.shared.changed.notify_all();
    }
}
