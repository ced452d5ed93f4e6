//! The thread of a device: what may wait for the device, or for the kernel, is done here, one after the other.

use std::cell::Cell;
use std::ptr;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use devices::usb::device::{Completion, Outcome, Setup};

use super::end::End;
use super::host::{Ended, Failure, Host, HostError, Pipe};
use super::request::{Control, Kind, stall};
use super::{Shared, State};

/// How long a transfer that was withdrawn may still be under way before its endpoint is given up.
const DRAIN: Duration = Duration::from_secs(5);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// A control transfer.
    Control { number: u64, setup: Setup, data: Vec<u8> },
    /// The guest has reset the port.
    Reset,
    /// A driver may have taken it.
    Check,
}

enum Work {
    Withdraw,
    Do(Job),
    Gone,
    Close,
}

thread_local! {
    /// The device whose worker this thread is.
    static OF: Cell<*const Shared> = const { Cell::new(ptr::null()) };
}

/// Whether the caller is this device's worker.
pub(super) fn is_current(shared: &Arc<Shared>) -> bool {
    OF.get() == Arc::as_ptr(shared)
}

/// The thread.
pub(super) fn run(shared: &Arc<Shared>, host: Box<dyn Host>, on_gone: Box<dyn Fn() + Send + Sync>) {
    OF.set(Arc::as_ptr(shared));
    let waker = Waker::from(Arc::new(Wakes(Arc::downgrade(shared))));
    let mut worker = Worker { shared, host, waker };
    let mut told = false;
    loop {
        match worker.next(told) {
            Work::Withdraw => worker.withdraw(),
            Work::Do(Job::Control { number, setup, data }) => worker.control(number, setup, &data),
            Work::Do(Job::Reset) => worker.reset(),
            Work::Do(Job::Check) => worker.check(),
            Work::Gone => {
                told = true;
                on_gone();
            }
            Work::Close => break,
        }
    }
    worker.close();
}

struct Worker<'a> {
    shared: &'a Arc<Shared>,
    host: Box<dyn Host>,
    /// For control transfers.
    waker: Waker,
}

impl Worker<'_> {
    fn next(&self, told: bool) -> Work {
        let mut state = self.shared.lock();
        loop {
            if state.closing {
                return Work::Close;
            }
            if !state.withdrawals.is_empty() {
                return Work::Withdraw;
            }
            if state.gone && !told {
                return Work::Gone;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Work::Do(job);
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does what nobody else gets to the device meanwhile, and begins what has waited for that.
    fn alone<T>(
        &mut self,
        before: impl FnOnce(&mut State) -> Vec<(u8, Box<dyn Pipe>)>,
        act: impl FnOnce(&mut Self, &mut [(u8, Box<dyn Pipe>)]) -> T,
        after: impl FnOnce(&mut State, &T),
    ) -> T {
        let mut lent = {
            let mut state = self.shared.lock();
            state.busy = true;
            before(&mut state)
        };
        let result = act(self, &mut lent);
        let mut state = self.shared.lock();
        for (address, pipe) in lent {
            if let Some(end) = state.ends.get_mut(&address) {
                end.give_back(pipe);
            } else {
                // Reset meanwhile.
                state.retired.push(End::new(pipe, Waker::noop().clone()));
            }
        }
        state.busy = false;
        after(&mut state, &result);
        let State { ends, gone, .. } = &mut *state;
        // What has ended meanwhile found nobody to take it.
        let mut news: Vec<u8> = ends
            .iter_mut()
            .filter_map(|(address, end)| (end.withdrawn() || end.is_active()).then_some(*address))
            .collect();
        *gone |= ends.values().any(End::is_gone);
        news.extend(state.begin_deferred());
        let upstream = state.upstream.clone();
        drop(state);
        self.shared.tell(upstream, news);
        result
    }

    fn withdraw(&mut self) {
        self.alone(
            |state| {
                let which = std::mem::take(&mut state.withdrawals);
                let pipe = |address: u8| Some((address, state.ends.get_mut(&address)?.lend()?));
                which.into_iter().filter_map(pipe).collect()
            },
            |_, pipes| pipes.iter_mut().for_each(|(_, pipe)| pipe.cancel()),
            |_, ()| {},
        );
    }

    /// Ends the endpoints that the guest has no more.
    fn retire(&mut self) {
        let retired = std::mem::take(&mut self.shared.lock().retired);
        let mut pipes: Vec<_> = retired.into_iter().filter_map(|mut end| end.lend()).collect();
        pipes.iter_mut().for_each(|pipe| pipe.cancel());
        if !pipes.iter_mut().all(|pipe| pipe.drain(DRAIN)) {
            devices::limited_warn!(
                "USB device {}: the host's controller does not end a transfer that was withdrawn; unplug the device if the guest \
                 cannot use it any more",
                self.shared.name
            );
        }
    }

    /// As [`Self::alone`], after which endpoints that `which` tells are open no more.
    fn change(
        &mut self,
        which: impl Fn(&End) -> bool,
        act: impl FnOnce(&mut dyn Host, bool) -> Result<super::Pipes, HostError>,
        configuration: Option<u8>,
    ) -> Completion {
        let result = self.alone(
            |state| {
                state.retire(which);
                Vec::new()
            },
            |worker, _| {
                worker.retire();
                let fresh = !worker.shared.lock().used;
                act(worker.host.as_mut(), fresh)
            },
            |_, _| {},
        );
        let mut state = self.shared.lock();
        match result {
            Ok(pipes) => {
                state.used = true;
                // A reset may have come meanwhile: then there is no configuration.
                if !state.jobs.iter().any(|job| matches!(job, Job::Reset)) {
                    state.configuration = configuration.unwrap_or(state.configuration);
                    state.add(self.shared, pipes);
                }
                Completion::took(0)
            }
            Err(error) => {
                state.gone |= error == HostError::Gone;
                drop(state);
                devices::limited_warn!(
                    "USB device {}: the host refuses what the guest has asked: {error}",
                    self.shared.name
                );
                stall()
            }
        }
    }

    fn control(&mut self, number: u64, setup: Setup, data: &[u8]) {
        let completion = match Kind::of(setup) {
            Kind::Configure(0) => self.change(|_| true, |_, _| Ok(super::Pipes::new()), Some(0)),
            Kind::Configure(value) => {
                self.change(|_| true, |host, fresh| host.configure(value, fresh), Some(value))
            }
            Kind::Interface(interface, setting) => self.change(
                |end| end.interface() == interface,
                |host, _| host.set_interface(interface, setting),
                None,
            ),
            Kind::ClearHalt(endpoint) => self.clear_halt(endpoint),
            Kind::Nothing | Kind::Configuration | Kind::Device => {
                let Some(ended) = self.ask(number, setup, data) else { return };
                if let Err(Failure::Refused(error)) = ended.result {
                    super::end::refused(error);
                }
                self.shared.lock().gone |= ended.result == Err(Failure::Gone);
                ended.completion(usize::from(setup.length))
            }
        };
        let mut state = self.shared.lock();
        let upstream = state.end_control(number, completion).then(|| state.upstream.clone()).flatten();
        drop(state);
        self.shared.tell(upstream, [0]);
    }

    /// Asks the device. `None` if the guest does not want to know any more.
    fn ask(&mut self, number: u64, setup: Setup, data: &[u8]) -> Option<Ended> {
        self.shared.lock().note(setup);
        let mut request = self.host.control(setup, data);
        loop {
            let waker = self.waker.clone();
            if let Poll::Ready(ended) = request.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(ended);
            }
            let mut state = self.shared.lock();
            let withdraws = loop {
                if state.control != Control::Waiting(number) || state.closing {
                    return None;
                }
                if !state.withdrawals.is_empty() {
                    break true;
                }
                if std::mem::take(&mut state.woken) {
                    break false;
                }
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            if withdraws {
                self.withdraw();
            }
        }
    }

    fn clear_halt(&mut self, endpoint: u8) -> Completion {
        // The control endpoint's halt ends by itself.
        if endpoint & 0x7f == 0 {
            return Completion::took(0);
        }
        let result = self.alone(
            |state| {
                let end = state.ends.get_mut(&endpoint);
                let lent = end.and_then(|end| {
                    end.forget();
                    end.lend()
                });
                lent.into_iter().map(|pipe| (endpoint, pipe)).collect()
            },
            |_, pipes| pipes.first_mut().map(|(_, pipe)| pipe.clear_halt()),
            |state, result| state.gone |= *result == Some(Err(HostError::Gone)),
        );
        match result {
            Some(Ok(())) => Completion::took(0),
            Some(Err(HostError::Gone)) => Completion::failed(Outcome::NoAnswer),
            Some(Err(HostError::Other(_))) | None => stall(),
        }
    }

    fn reset(&mut self) {
        let result = self.alone(
            |_| Vec::new(),
            |worker, _| {
                worker.retire();
                let used = std::mem::take(&mut worker.shared.lock().used);
                if used { worker.host.reset() } else { Ok(()) }
            },
            |state, result| state.gone |= *result == Err(HostError::Gone),
        );
        if let Err(HostError::Other(why)) = result {
            devices::limited_warn!(
                "USB device {}: the guest's reset had no effect: {why}; unplug the device and plug it in again if the guest \
                 cannot use it",
                self.shared.name
            );
        }
    }

    /// In this thread, which alone lets go of interfaces for a moment.
    fn check(&mut self) {
        let kept = self.host.keeps();
        self.shared.lock().gone |= !kept;
    }

    fn close(&mut self) {
        let mut state = self.shared.lock();
        state.busy = true;
        state.retire(|_| true);
        drop(state);
        self.retire();
        self.host.release();
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

/// Called when the control transfer may have ended.
struct Wakes(Weak<Shared>);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.lock().woken = true;
            shared.changed.notify_all();
        }
    }
}
