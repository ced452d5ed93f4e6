//! The host's sleep while a machine runs: what logind is asked for, and what becomes of the guest.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use super::end::End;
use super::supervisor::Supervisor;
use crate::config::OnSleep;
use crate::finding::{Findings, Section};
use crate::plan::MachinePlan;
use crate::session::Trigger;
use crate::sleep::{Lock, SleepLock};

/// The lock that a machine has at logind, if it has one.
pub(super) struct HostSleep(Option<Arc<Mutex<SleepLock>>>);

impl HostSleep {
    /// Takes the lock that the plan asks for.
    ///
    /// # Errors
    /// There is none, and vm.toml asks for it in so many words. Otherwise there is a warning.
    pub(super) fn watch(plan: &MachinePlan) -> Result<Self, Findings> {
        let kind = match plan.on_sleep {
            OnSleep::Refuse => Lock::Block,
            OnSleep::Pause | OnSleep::Shutdown => Lock::Delay,
            OnSleep::Ignore => return Ok(Self(None)),
        };
        let key = Section::Host.key("on_sleep");
        match SleepLock::take(kind, &plan.name) {
            Ok(lock) => {
                warn_of_haste(plan, &lock);
                Ok(Self(Some(Arc::new(Mutex::new(lock)))))
            }
            Err(error) if plan.origin.line_of(key).is_some() => {
                let message = format!("nobody can be asked about the host's sleep: {error}");
                let help = "write \"ignore\" where something else sees to it";
                Err(plan.problem(key, message).with_help(help).about_host().into())
            }
            Err(error) => {
                tracing::warn!(
                    "the host may sleep while its devices are lent, which few of them survive: {error}; `on_sleep = \"ignore\"` \
                     in [host] ends this warning"
                );
                Ok(Self(None))
            }
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, SleepLock>> {
        Some(self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What calls `told` in the thread of the event loop: before the host sleeps, and when it is awake.
    pub(super) fn subscriber<F: FnMut(bool) + Send>(&self, told: F) -> Option<Listener<F>> {
        let lock = Arc::clone(self.0.as_ref()?);
        let fd = self.lock()?.as_raw_fd();
        Some(Listener { lock, fd, told })
    }
}

/// A guest that is told to power off needs more than the five seconds that logind waits by default.
fn warn_of_haste(plan: &MachinePlan, lock: &SleepLock) {
    let grace = plan.machine.grace_period();
    let Some(longest) =
        lock.longest().filter(|longest| plan.on_sleep == OnSleep::Shutdown && *longest < grace)
    else {
        return;
    };
    let message = format!(
        "systemd-logind puts the host to sleep {} s after it was asked to, whether or not the guest has powered off",
        longest.as_secs()
    );
    let help = format!(
        "write `InhibitDelayMaxSec={}` below `[Login]` in /etc/systemd/logind.conf.d/optimus-vmm.conf, then `sudo systemctl \
         kill -s HUP systemd-logind`",
        grace.as_secs()
    );
    tracing::warn!("{}", plan.problem(Section::Host.key("on_sleep"), message).with_help(help));
}

/// Waits for what logind tells.
pub(super) struct Listener<F> {
    lock: Arc<Mutex<SleepLock>>,
    fd: RawFd,
    told: F,
}

impl<F: FnMut(bool) + Send> Listener<F> {
    /// Whether there will be more.
    fn listen(&mut self) -> bool {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        match lock.heard() {
            Ok(heard) => {
                drop(lock);
                heard.into_iter().for_each(&mut self.told);
                true
            }
            Err(error) => {
                tracing::warn!("the host's sleep is not heard of any longer: {error}");
                // Nobody would let go of it when the host is to sleep, or tell a guest that was stopped to go on.
                lock.let_go_of_delay();
                drop(lock);
                (self.told)(false);
                false
            }
        }
    }
}

impl<F: FnMut(bool) + Send> MutEventSubscriber for Listener<F> {
    fn process(&mut self, _: Events, ops: &mut EventOps<'_>) {
        if !self.listen() {
            let _ = ops.remove(Events::empty_raw(self.fd));
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new_raw(self.fd, EventSet::IN)) {
            tracing::error!("cannot wait for the host's sleep: {error}");
        }
        // What came with the answers at the start wakes nobody.
        self.listen();
    }
}

impl Supervisor<'_> {
    /// The host is about to sleep, or is awake again.
    pub(super) fn host_sleeps(&mut self, sleeps: bool) -> Option<End> {
        match (self.plan.on_sleep, sleeps) {
            (OnSleep::Pause, true) => {
                let paused = self.paused;
                if let Err(why) = self.pause() {
                    tracing::warn!("the host sleeps, and the guest could not be paused before: {why}");
                }
                // It may be told twice, and has to go on all the same.
                self.asleep |= !paused && self.paused;
                if let Some(mut lock) = self.sleep.lock() {
                    lock.let_go();
                }
                None
            }
            (OnSleep::Pause, false) => {
                if std::mem::take(&mut self.asleep)
                    && let Err(why) = self.go_on()
                {
                    tracing::warn!("the host is awake, and the guest does not go on: {why}");
                }
                self.renew();
                None
            }
            // The lock is held until the guest has powered off, and with it this process ends; or until logind loses patience.
            (OnSleep::Shutdown, true) => {
                tracing::info!("the host is to sleep: the guest is to power off before");
                // A stopped guest could not.
                if let Err(why) = self.go_on() {
                    tracing::debug!("the guest does not go on: {why}");
                }
                self.trigger(Trigger::PowerKey)
            }
            (OnSleep::Shutdown, false) => {
                self.renew();
                None
            }
            (OnSleep::Refuse, true) => {
                tracing::warn!(
                    "the host goes to sleep although it was to stay awake (`systemctl suspend -i` and the like do so): devices \
                     that the guest has may be lost to it"
                );
                None
            }
            (OnSleep::Refuse, false) | (OnSleep::Ignore, _) => None,
        }
    }

    /// Asks to be waited for the next time, too.
    fn renew(&self) {
        if let Some(mut lock) = self.sleep.lock()
            && let Err(error) = lock.renew()
        {
            tracing::warn!("the host will not wait for the guest when it sleeps again: {error}");
        }
    }
}
