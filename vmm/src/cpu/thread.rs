//! The thread of one vCPU.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use devices::GuestRam;
use devices::bus::Action;
use kvm_bindings::MsrList;
use kvm_ioctls::VcpuFd;
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use super::conductor::{Conductor, Next, Request};
use super::exit::{Dispatcher, Turn};
use super::report::CpuReport;
use super::slice;
use super::start::Start;
use super::state::PowerOnState;

/// What a thread needs.
pub struct VcpuParts {
    /// Index in the machine; 0 starts at reset.
    pub index: usize,
    /// The vCPU.
    pub vcpu: VcpuFd,
    /// Its end of the buses.
    pub dispatcher: Dispatcher,
    /// For reports.
    pub ram: GuestRam,
    /// Who it listens to.
    pub conductor: Arc<Conductor>,
    /// Registers that belong to the power-on state.
    pub msrs: Arc<MsrList>,
    /// Laid over the power-on state, where no firmware does it.
    pub start: Option<Start>,
    /// Called right before the first instruction of vCPU 0.
    pub before_first_entry: Option<Box<dyn FnOnce() + Send>>,
}

/// The signal that makes a thread leave the guest.
pub fn kick_signal() -> i32 {
    SIGRTMIN()
}

extern "C" fn on_kick(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // Its arrival is all: KVM_RUN returns EINTR.
}

/// Installs the handler of [`kick_signal`] for the process.
pub fn install_kick_handler() -> io::Result<()> {
    register_signal_handler(kick_signal(), on_kick)
        .map_err(|error| io::Error::from_raw_os_error(error.errno()))
}

/// A running thread.
pub struct VcpuThread {
    handle: JoinHandle<()>,
    done: Arc<AtomicBool>,
}

impl VcpuThread {
    /// Starts the thread, parked.
    pub fn spawn(parts: VcpuParts) -> io::Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        let handle = Builder::new().name(format!("vcpu{}", parts.index)).spawn(move || {
            let conductor = Arc::clone(&parts.conductor);
            slice::shorten();
            let counts = run(parts);
            flag.store(true, Ordering::SeqCst);
            conductor.ended(counts);
        })?;
        Ok(Self { handle, done })
    }

    /// Makes the thread leave the guest, if it is there.
    pub fn kick(&self) {
        if self.done.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.handle.kill(kick_signal()) {
            devices::limited_debug!(%error, "vCPU thread could not be signalled");
        }
    }

    /// Waits for the end of a thread that was told to end.
    pub fn join(self) {
        if self.handle.join().is_err() {
            tracing::error!("a vCPU thread ended by a panic");
        }
    }
}

fn run(parts: VcpuParts) -> crate::events::ExitCounts {
    let VcpuParts { index, mut vcpu, mut dispatcher, ram, conductor, msrs, start, mut before_first_entry } =
        parts;
    let apply = |vcpu: &VcpuFd| start.as_ref().map_or(Ok(()), |start| start.apply(vcpu));
    dispatcher.tally.started();
    let taken = PowerOnState::take(&vcpu, &msrs);
    let power_on = match taken.and_then(|state| apply(&vcpu).map(|()| state)) {
        Ok(state) => state,
        Err(error) => {
            let why = crate::kvm::io_error(error);
            conductor
                .request(Request::Failed(format!("cannot set up the power-on state of vCPU {index}: {why}")));
            conductor.park(None, 0);
            return dispatcher.counts;
        }
    };
    let mut resets = 0;
    let mut entered = false;
    loop {
        if conductor.wants_attention() {
            let report = if entered {
                finish_exit(&mut vcpu);
                CpuReport::take(index, &vcpu, &ram, &mut dispatcher.memory)
            } else {
                None
            };
            let mut next = conductor.park(report, resets);
            let mut fresh = !entered;
            while let Next::Reset { resets: now } = next {
                resets = now;
                fresh = true;
                if let Err(error) = power_on.restore(&vcpu).and_then(|()| apply(&vcpu)) {
                    let why = crate::kvm::io_error(error);
                    conductor.request(Request::Failed(format!("cannot reset vCPU {index}: {why}")));
                }
                conductor.has_reset();
                next = conductor.park(None, resets);
            }
            if next == Next::Exit {
                return dispatcher.counts;
            }
            if !fresh {
                // A guest with KVM's clock does not take the stop for a lockup of its own (kvm/api.rst,
                // KVM_KVMCLOCK_CTRL). One without it has no such flag, which is the error.
                let _ = vcpu.kvmclock_ctrl();
            }
        }
        if let Some(first) = before_first_entry.take() {
            first();
        }
        entered = true;
        let turn = dispatcher.turn(&mut vcpu);
        dispatcher.tally.handled();
        match turn {
            Turn::Continue | Turn::Interrupted => {}
            Turn::Act(Action::None) => {}
            Turn::Act(Action::Reset) => conductor.request(Request::Reset),
            Turn::Act(Action::PowerOff) => conductor.request(Request::PowerOff),
            Turn::Act(Action::GuestPanicked) => conductor.request(Request::GuestPanicked),
            Turn::Reported(crash) => conductor.crashed(crash),
            Turn::Failed(why) => conductor.request(Request::Failed(why)),
            stop => {
                let report = CpuReport::take(index, &vcpu, &ram, &mut dispatcher.memory).map(Box::new);
                let (what, suspect_host) = describe(&stop, report.as_deref());
                conductor.request(Request::Crashed { what, suspect_host, report });
            }
        }
    }
}

/// Completes the instruction whose exit was handled last, without entering the guest: only then are the registers those
/// between two instructions.
fn finish_exit(vcpu: &mut VcpuFd) {
    vcpu.set_kvm_immediate_exit(1);
    // Returns EINTR by design.
    let _ = vcpu.run();
    vcpu.set_kvm_immediate_exit(0);
}

/// Words for a stop, and whether the host may be to blame.
fn describe(stop: &Turn, report: Option<&CpuReport>) -> (String, bool) {
    match stop {
        Turn::TripleFault => {
            let lost = report.is_some_and(CpuReport::was_reset);
            let note =
                if lost { "; the CPU has reset itself, so its registers at the fault are lost" } else { "" };
            (
                format!(
                    "triple fault: an exception could not be delivered, nor the double fault that followed{note}"
                ),
                false,
            )
        }
        // Sub-errors of KVM_EXIT_INTERNAL_ERROR: 1 emulation, 3 delivery (linux/kvm.h).
        Turn::InternalError(1) => ("KVM cannot emulate the instruction that the guest is at".into(), true),
        Turn::InternalError(code) => (format!("KVM reports an internal error (sub-error {code})"), true),
        Turn::FailedEntry(reason) => {
            (format!("the CPU refuses to enter the guest (hardware reason {reason:#x})"), true)
        }
        _ => ("the vCPU stopped for an unknown reason".into(), true),
    }
}
