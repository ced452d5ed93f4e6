//! The machine's vCPUs: created from the plan, one thread each, stopped and reset together.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use firmware::direct::entry::Entry;
use kvm_ioctls::Kvm;
use vocabulary::{CpuList, Enlightenment};

use super::build::Board;
use super::cpuid::profile;
use super::msrs::Registers;
use crate::affinity;
use crate::cpu::conductor::{Conductor, Request};
use crate::cpu::cpuid::Supported;
use crate::cpu::crash::{GuestCrash, allow_reports};
use crate::cpu::exit::Dispatcher;
use crate::cpu::msr::{Ledger, MsrExits};
use crate::cpu::report::CpuReport;
use crate::cpu::start::Start;
use crate::cpu::tally::{ExitTally, Moment};
use crate::cpu::thread::{VcpuParts, VcpuThread, install_kick_handler};
use crate::events::{Event, EventLog, ExitCounts, Milestone};
use crate::finding::{Findings, Section};
use crate::kvm::statistics::Statistics;
use crate::kvm::{HostError, hyperv, setup};
use crate::outcome::Failure;
use crate::plan::MachinePlan;

/// How long a vCPU may take to leave the guest before something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it commonly takes at most, on a slow and busy host.
const BRIEF: Duration = Duration::from_secs(2);

/// What may keep a vCPU from stopping, although nothing is wrong with it.
pub(in crate::machine) trait Waits {
    /// Lets it go on if it waits for a console that nobody reads.
    fn release(&self);
    /// How far the work is that it may wait for, the opening of guest memory to devices; `None` when there is none (any
    /// more). That work has no time limit, because it takes as long as there is memory.
    fn progress(&self) -> Option<u64>;
}

/// Repeats `attempt` for as long as a vCPU may wait for work that gets on.
fn patiently(mut attempt: impl FnMut() -> bool, waits: &dyn Waits) -> bool {
    loop {
        let before = waits.progress();
        if attempt() {
            return true;
        }
        // When the work has just come to its end, the vCPU has yet to notice.
        if before.is_none() || waits.progress() == before {
            return false;
        }
        devices::limited_info!("the guest waits for its memory to be opened to passed-through devices");
    }
}

/// Lets those that have parked go on if not all have.
fn or_go_on(parked: Result<Vec<CpuReport>, String>, conductor: &Conductor) -> Result<(), String> {
    parked.map(drop).map_err(|why| {
        conductor.resume();
        format!("{why}; the machine runs on")
    })
}

/// A vCPU cannot run where the plan says: the host has changed since.
fn unpinned(plan: &MachinePlan, index: usize, cpus: &CpuList, why: &io::Error) -> Findings {
    let message = format!("cannot run vCPU {index} on CPU {cpus} of the host: {why}");
    let help = "its CPUs or the cpuset of this process have just been changed: start the machine again";
    plan.problem(Section::Cpu.key("pin"), message).with_help(help).about_host().into()
}

/// All vCPUs of a machine.
pub(in crate::machine) struct Vcpus {
    conductor: Arc<Conductor>,
    threads: Vec<VcpuThread>,
    tallies: Vec<Arc<ExitTally>>,
    msrs: Arc<Ledger>,
    /// The first one's, if they are wanted.
    statistics: Option<Statistics>,
}

impl Vcpus {
    /// Creates them, parked before their first instruction, which is at `entry` where no firmware runs. `counted`: what KVM counts
    /// of the first is wanted.
    pub(in crate::machine) fn create(
        kvm: &Kvm,
        supported: &Supported,
        plan: &MachinePlan,
        board: &Board,
        entry: Option<Entry>,
        events: &EventLog,
        counted: bool,
    ) -> Result<Self, Failure> {
        let thread_setup =
            |source| Failure::Host(HostError::Setup { what: "start the vCPU threads", source });
        install_kick_handler().map_err(thread_setup)?;
        let profile = profile(plan, supported);
        let msrs = Arc::new(kvm.get_msr_index_list().map_err(setup("list the MSRs of a vCPU"))?);
        let conductor = Conductor::new(plan.apic_ids.len()).map_err(thread_setup)?;
        let registers = Registers::divert(&board.vm, kvm, supported, plan, &profile)?;
        let ledger = Arc::<Ledger>::default();
        let mut statistics = None;
        let mut threads = Vec::with_capacity(plan.apic_ids.len());
        let tallies: Vec<Arc<ExitTally>> = plan.apic_ids.iter().map(|_| Arc::default()).collect();
        for (index, (&apic_id, tally)) in plan.apic_ids.iter().zip(&tallies).enumerate() {
            let vcpu = board.vm.create_vcpu(u64::from(apic_id)).map_err(setup("create a vCPU"))?;
            if profile.enlightenments.contains(Enlightenment::Synic) {
                hyperv::enable_synic(&vcpu).map_err(setup("give a vCPU Hyper-V's interrupt controller"))?;
            }
            let table = supported.guest(&profile, apic_id);
            let cpuid = table.for_kvm().ok_or(HostError::TooManyLeaves)?;
            vcpu.set_cpuid2(&cpuid).map_err(setup("set the CPUID of a vCPU"))?;
            if index == 0 {
                allow_reports(&vcpu);
                // Kernels before 5.14 have none.
                statistics = counted.then(|| Statistics::of(&vcpu).ok()).flatten();
            }
            registers.preset.apply(&vcpu).map_err(setup("set the MSRs of a vCPU"))?;
            let events = events.clone();
            let start = || {
                VcpuThread::spawn(VcpuParts {
                    index,
                    vcpu,
                    dispatcher: Dispatcher {
                        io: board.io.view(),
                        memory: board.memory.view(),
                        counts: ExitCounts::default(),
                        tally: Arc::clone(tally),
                        msrs: MsrExits {
                            vcpu: index,
                            processor: registers.processor,
                            unknown: registers.unknown,
                            ledger: Arc::clone(&ledger),
                        },
                    },
                    ram: board.ram.clone(),
                    conductor: Arc::clone(&conductor),
                    msrs: Arc::clone(&msrs),
                    start: board.direct.as_ref().map(|direct| Start {
                        entry: entry.filter(|_| index == 0),
                        memory_types: direct.memory_types(),
                    }),
                    before_first_entry: (index == 0).then(|| -> Box<dyn FnOnce() + Send> {
                        Box::new(move || {
                            events.reach(Milestone::FirstInstruction, || Event::FirstInstruction)
                        })
                    }),
                })
            };
            let placement = plan.placement.as_ref().and_then(|placement| placement.vcpus.get(index));
            let thread = match placement {
                Some(cpus) => {
                    affinity::started_on(cpus, start).map_err(|why| unpinned(plan, index, cpus, &why))?
                }
                None => start(),
            };
            threads.push(thread.map_err(thread_setup)?);
        }
        Ok(Self { conductor, threads, tallies, msrs: ledger, statistics })
    }

    /// Where their requests arrive.
    pub(in crate::machine) fn conductor(&self) -> &Arc<Conductor> {
        &self.conductor
    }

    /// Counts how often they have left the guest so far, all together.
    pub(in crate::machine) fn exits(&self) -> impl Fn() -> u64 + Send + use<> {
        let tallies = self.tallies.clone();
        move || tallies.iter().fold(0, |sum, tally| sum.wrapping_add(tally.exits()))
    }

    /// Tells the numbers of their threads, in order.
    pub(in crate::machine) fn thread_ids(&self) -> impl Fn() -> Vec<i32> + Send + use<> {
        let tallies = self.tallies.clone();
        move || tallies.iter().map(|tally| tally.thread()).collect()
    }

    /// What KVM counts of the first, once, if it was wanted.
    pub(in crate::machine) fn first_statistics(&mut self) -> Option<Statistics> {
        self.statistics.take()
    }

    /// What they did to registers that KVM does not know.
    pub(in crate::machine) fn msrs(&self) -> &Arc<Ledger> {
        &self.msrs
    }

    /// Where they are now, in order. They run on.
    pub(in crate::machine) fn moments(&self) -> Vec<Moment> {
        self.tallies.iter().map(|tally| tally.moment()).collect()
    }

    /// What they ask.
    pub(in crate::machine) fn requests(&self) -> Vec<Request> {
        self.conductor.take_requests()
    }

    /// The crashes that their guest has reported.
    pub(in crate::machine) fn crashes(&self) -> Vec<GuestCrash> {
        self.conductor.take_crashes()
    }

    fn kick(&self) {
        self.threads.iter().for_each(VcpuThread::kick);
    }

    /// Stops all of them where they are; what each was doing. An error names the failure.
    pub(in crate::machine) fn park(&self, waits: &dyn Waits) -> Result<Vec<CpuReport>, String> {
        let parked = self.conductor.park_all(&|| self.kick(), BRIEF) || {
            waits.release();
            patiently(|| self.conductor.park_all(&|| self.kick(), PATIENCE), waits)
        };
        if parked {
            Ok(self.conductor.reports())
        } else {
            Err(format!("a vCPU thread did not stop within {} seconds", PATIENCE.as_secs()))
        }
    }

    /// Like [`Self::park`], but when one does not stop, the others go on.
    pub(in crate::machine) fn pause(&self, waits: &dyn Waits) -> Result<(), String> {
        or_go_on(self.park(waits), &self.conductor)
    }

    /// Lets them go on.
    pub(in crate::machine) fn resume(&self) {
        self.conductor.resume();
    }

    /// Puts the interrupt controllers and all vCPUs in their power-on state. They are parked, and the devices are reset. What
    /// KVM writes into guest memory for a vCPU by itself, such as messages of its timers, has stopped after that: memory can
    /// be loaded anew. An error names the failure.
    pub(in crate::machine) fn reset(&self, board: &Board) -> Result<(), String> {
        board.chips.restore(&board.vm).map_err(|error| error.to_string())?;
        self.msrs.reset();
        if !self.conductor.reset(PATIENCE) {
            return Err(format!("a vCPU was not reset within {} seconds", PATIENCE.as_secs()));
        }
        Ok(())
    }

    /// Lets all vCPUs run after [`Self::reset`], at once or when they are resumed.
    pub(in crate::machine) fn restart(&self, at_once: bool) {
        self.conductor.restart(at_once);
    }

    /// Ends the threads; what they counted.
    pub(in crate::machine) fn end(self) -> ExitCounts {
        if self.conductor.end_all(&|| self.kick(), PATIENCE) {
            self.threads.into_iter().for_each(VcpuThread::join);
        } else {
            tracing::error!("a vCPU thread did not end within {} seconds", PATIENCE.as_secs());
        }
        self.conductor.counts()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::thread;

    use super::*;
    use crate::cpu::conductor::Next;

    /// Work whose progress, as it is asked for, is this.
    struct Work(RefCell<std::vec::IntoIter<Option<u64>>>);

    impl Waits for Work {
        fn release(&self) {}
        fn progress(&self) -> Option<u64> {
            self.0.borrow_mut().next().flatten()
        }
    }

    /// As when a client's `stop` fails.
    #[test]
    fn those_that_have_stopped_go_on_when_another_does_not() {
        let conductor = Conductor::new(1).unwrap();
        let parked = thread::spawn({
            let conductor = Arc::clone(&conductor);
            move || conductor.park(None, 0)
        });
        assert!(conductor.park_all(&|| (), PATIENCE));
        assert_eq!(or_go_on(Ok(Vec::new()), &conductor), Ok(()));
        assert!(conductor.wants_attention(), "all have stopped");
        let why = or_go_on(Err("a vCPU thread did not stop".into()), &conductor).unwrap_err();
        assert_eq!(why, "a vCPU thread did not stop; the machine runs on");
        assert_eq!(parked.join().unwrap(), Next::Resume);
    }

    #[test]
    fn work_that_gets_on_is_waited_for() {
        for (progress, stops_at, parked, attempts) in [
            // Nobody works: one attempt.
            (vec![], 9, false, 1),
            (vec![], 1, true, 1),
            // It gets on three times, and then the vCPU stops.
            (vec![Some(0), Some(1), Some(1), Some(2), Some(2), Some(3), Some(3)], 4, true, 4),
            // It is done, and the vCPU stops.
            (vec![Some(7), None, None], 2, true, 2),
            // It is done, and the vCPU does not.
            (vec![Some(7), None, None], 9, false, 2),
            // It stands still.
            (vec![Some(0), Some(5), Some(5), Some(5)], 9, false, 2),
        ] {
            let made = Cell::new(0);
            let attempt = || {
                made.set(made.get() + 1);
                made.get() >= stops_at
            };
            let work = Work(RefCell::new(progress.clone().into_iter()));
            assert_eq!((patiently(attempt, &work), made.get()), (parked, attempts), "{progress:?}");
        }
    }
}
