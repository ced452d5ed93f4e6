//! Rings in the kernel's hands. The pair's thread sleeps meanwhile, and is woken by what the kernel knows nothing of: commands, the link, bus
//! mastering, and interrupts that take another way.
//!
//! Frames of a pair that the driver puts out of use, or whose link goes down, may go on until this pair's thread has taken the rings back: the
//! command is answered, and `ctl` returns, before that.
//!
//! The permit for DMA is held all the time. The virtual CPU that clears Bus Master Enable waits for it, and has this thread woken.

use std::io;
use std::sync::Arc;

use rustix::event::epoll::EventFlags;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::interrupt::MsiVector;
use crate::net::{KernelRing, KernelWorker, NotStarted, VhostError};
use crate::virtio::queue::HostRing;
use crate::virtio::worker::{Stop, Waiter};
use crate::virtio::{ActiveQueue, Interrupt, QueueError};

use super::{Broken, Card, Progress, Queues, RX_BELL, TX_BELL, Traffic, Which, of};

/// What wakes the thread while the kernel has the rings.
#[derive(Debug, Clone)]
pub(super) struct Bells {
    /// Bus mastering was disabled, or interrupts take another way.
    news: Arc<EventFd>,
    /// The kernel has used buffers of ring 0 or 1, and the driver is told by something else than a vector of MSI-X.
    relays: [Arc<EventFd>; 2],
    /// The kernel reports an error with a ring or the interface.
    error: Arc<EventFd>,
}

/// Their bits in what a wait returns: they follow those of the two queues.
const RELAYS: [u64; 2] = [1 << 3, 1 << 4];
const ERROR: u64 = 1 << 5;

impl Bells {
    pub(super) fn new() -> io::Result<Self> {
        let event = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Arc::new);
        Ok(Self { news: event()?, relays: [event()?, event()?], error: event()? })
    }

    /// In the order of the bits.
    pub(super) fn all(&self) -> [Arc<EventFd>; 4] {
        let Self { news, relays: [rx, tx], error } = self;
        [news, rx, tx, error].map(Arc::clone)
    }

    /// Has news come in.
    pub(super) fn listen(&self, card: &Card, interrupt: &Interrupt) {
        card.dma.signal_when_disabled(&self.news);
        interrupt.signal_when_rerouted(&self.news);
    }
}

/// How the driver is told that a ring's buffers were used.
type Way = Option<Arc<dyn MsiVector>>;

fn same(a: &Way, b: &Way) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// The event of a way.
fn event<'a>(way: &'a Way, relay: &'a EventFd) -> &'a EventFd {
    way.as_ref().map_or(relay, |vector| vector.event())
}

/// The ring's parts and events for the kernel.
fn for_kernel<'a>(
    ring: HostRing,
    queue: &'a ActiveQueue,
    call: &'a EventFd,
    error: &'a EventFd,
) -> KernelRing<'a> {
    let HostRing { size, next, descriptors, available, used } = ring;
    KernelRing { size, next, descriptors, available, used, kick: queue.event(), call, error }
}

impl Traffic<'_> {
    /// Hands the rings to the kernel and waits until they are to be taken back; `false` if they are not handed over now.
    pub(super) fn hand_over(
        &mut self,
        queues: &mut Queues,
        waiter: &Waiter,
        stop: &Stop,
    ) -> Result<bool, Broken> {
        let Some(bells) = self.bells.clone() else { return Ok(false) };
        if !self.is_for_kernel() {
            return Ok(false);
        }
        let Some(_permit) = self.card.dma.permit() else { return Ok(false) };
        self.put_back(queues);
        let mut ways = [&queues.rx, &queues.tx].map(|queue| queue.interrupt().vector_of(queue.index()));
        let served = match self.begin(queues, &ways, &bells, waiter) {
            Ok(()) => self.serve(queues, &mut ways, &bells, waiter, stop),
            Err(NotStarted { error, begun }) => {
                self.refused(&error);
                if !begun {
                    self.attend(waiter, true);
                    return Ok(true);
                }
                Ok(())
            }
        };
        self.attend(waiter, true);
        let next = self.worker().map_or(Ok([0; 2]), |worker| worker.stop());
        for (queue, relay) in [&queues.rx, &queues.tx].into_iter().zip(&bells.relays) {
            // The kernel's last word.
            if relay.read().is_ok() {
                queue.interrupt().used(queue.index());
            }
        }
        let ram = self.card.dma.ram();
        match next {
            Ok([rx, tx]) => {
                queues.rx.resume(ram, rx).map_err(of(Which::Rx))?;
                queues.tx.resume(ram, tx).map_err(of(Which::Tx))?;
            }
            Err(error) => {
                // Where it was, nobody knows: the driver has to begin anew.
                self.refused(&error);
                return Err((Which::Rx, QueueError::Chain));
            }
        }
        served.map(|()| true)
    }

    /// Whether the kernel is to move frames now. Without a link, they are dropped here.
    fn is_for_kernel(&mut self) -> bool {
        self.active && self.card.cable.is_up() && self.worker().is_some()
    }

    fn worker(&mut self) -> Option<&mut dyn KernelWorker> {
        self.peer.as_mut().and_then(|peer| peer.in_kernel())
    }

    /// From now on this program moves frames itself.
    fn refused(&mut self, error: &VhostError) {
        crate::limited_warn!(
            "a network card's frames go through this program and not the kernel alone: {error}"
        );
        self.bells = None;
        self.card.cable.set_given_up(true);
    }

    /// Chains that were taken and not used are the kernel's to take.
    fn put_back(&mut self, queues: &mut Queues) {
        queues.rx.put_back(self.room.give_back());
        queues.tx.put_back(self.outbox.give_back());
        if std::mem::take(&mut self.starved)
            && let Some(peer) = &mut self.peer
        {
            // Its way to the driver is the kernel's now.
            peer.consume();
            self.card.cable.received.drop_one();
        }
    }

    fn attend(&self, waiter: &Waiter, wanted: bool) {
        for bell in [RX_BELL, TX_BELL] {
            if let Err(error) = waiter.attend(bell, wanted) {
                crate::limited_warn!("a network card's worker cannot watch its doorbells: {error}");
            }
        }
    }

    fn begin(
        &mut self,
        queues: &Queues,
        ways: &[Way; 2],
        bells: &Bells,
        waiter: &Waiter,
    ) -> Result<(), NotStarted> {
        let (ram, features) = (self.card.dma.ram(), self.card.features);
        let rings = [queues.rx.host_ring(ram), queues.tx.host_ring(ram)];
        let [Some(rx), Some(tx)] = rings else { return Err(VhostError::Ring.into()) };
        // The kernel looks at these.
        self.attend(waiter, false);
        let _ = self.watch(waiter, EventFlags::empty());
        let [rx_way, tx_way] = ways;
        let [rx_relay, tx_relay] = &bells.relays;
        let rings = [
            for_kernel(rx, &queues.rx, event(rx_way, rx_relay), &bells.error),
            for_kernel(tx, &queues.tx, event(tx_way, tx_relay), &bells.error),
        ];
        self.worker().map_or(Err(VhostError::Ring.into()), |worker| worker.start(ram, features, rings))?;
        for queue in [&queues.rx, &queues.tx] {
            // What was rung before, and heard here.
            let _ = queue.event().write(1);
        }
        Ok(())
    }

    /// Does what is left to do while the kernel moves frames, until it is to stop.
    fn serve(
        &mut self,
        queues: &mut Queues,
        ways: &mut [Way; 2],
        bells: &Bells,
        waiter: &Waiter,
        stop: &Stop,
    ) -> Result<(), Broken> {
        loop {
            let mut more = false;
            if let Some(queue) = &mut queues.control {
                more = self.obey(queue).map_err(of(Which::Control))? == Progress::More;
            }
            let pairs = self.card.settings().pairs;
            let ended = stop.wanted() || !self.card.dma.enabled() || self.pair >= usize::from(pairs);
            if ended || !self.card.cable.is_up() || !self.reroute(queues, ways, bells) {
                return Ok(());
            }
            if more {
                continue;
            }
            let rung = match waiter.wait() {
                Ok(rung) => rung,
                Err(error) => {
                    self.refused(&VhostError::Request { request: "epoll_wait", source: error });
                    return Ok(());
                }
            };
            for (queue, relay) in [&queues.rx, &queues.tx].into_iter().zip(RELAYS) {
                if rung & relay != 0 {
                    queue.interrupt().used(queue.index());
                }
            }
            if rung & ERROR != 0 {
                // This program has the last word about rings, and says what is wrong with them.
                self.refused(&VhostError::Malformed);
                return Ok(());
            }
        }
    }

    /// Has interrupts take the way that the driver wants now; `false` if that cannot be.
    fn reroute(&mut self, queues: &Queues, ways: &mut [Way; 2], bells: &Bells) -> bool {
        for (ring, queue) in [&queues.rx, &queues.tx].into_iter().enumerate() {
            let (Some(way), Some(relay)) = (ways.get_mut(ring), bells.relays.get(ring)) else { continue };
            let now = queue.interrupt().vector_of(queue.index());
            if same(way, &now) {
                continue;
            }
            let set = self.worker().map_or(Ok(()), |worker| worker.set_call(ring, event(&now, relay)));
            if let Err(error) = set {
                self.refused(&error);
                return false;
            }
            *way = now;
            // What was signalled meanwhile may have gone where the driver does not look any more.
            queue.interrupt().used(queue.index());
        }
        true
    }
}
