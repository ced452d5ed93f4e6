//! The machine's vCPUs: created from the plan, one thread each, stopped and reset together.

use std::sync::Arc;
use std::time::Duration;

use kvm_ioctls::Kvm;

use super::acpi::CpuFacts;
use super::build::Board;
use crate::config::Config;
use crate::cpu::conductor::{Conductor, Request};
use crate::cpu::cpuid::{Profile, Supported};
use crate::cpu::exit::Dispatcher;
use crate::cpu::report::CpuReport;
use crate::cpu::thread::{ExitTally, VcpuParts, VcpuThread, install_kick_handler};
use crate::events::{Event, EventLog, ExitCounts, Milestone};
use crate::kvm::chips::Chips;
use crate::kvm::{HostError, setup};
use crate::outcome::Failure;
use crate::plan::MachinePlan;

/// How long a vCPU may take to leave the guest before something is wrong with it.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it commonly takes at most, on a slow and busy host.
const BRIEF: Duration = Duration::from_secs(2);

/// All vCPUs of a machine.
pub(super) struct Vcpus {
    conductor: Arc<Conductor>,
    threads: Vec<VcpuThread>,
    tallies: Vec<Arc<ExitTally>>,
    chips: Chips,
}

impl Vcpus {
    /// Creates them, parked before their first instruction.
    pub(super) fn create(
        kvm: &Kvm,
        supported: &Supported,
        config: &Config,
        plan: &MachinePlan,
        board: &Board,
        events: &EventLog,
    ) -> Result<Self, Failure> {
        let limit = kvm.get_max_vcpus();
        let highest = plan.apic_ids.iter().max().map_or(0, |id| *id as usize);
        if plan.apic_ids.len() > limit || highest >= kvm.get_max_vcpu_id() {
            let wanted = plan.apic_ids.len() as u32;
            return Err(HostError::TooManyCpus { wanted, limit: limit.min(kvm.get_max_vcpu_id()) }.into());
        }
        let thread_setup =
            |source| Failure::Host(HostError::Setup { what: "start the vCPU threads", source });
        install_kick_handler().map_err(thread_setup)?;
        let profile = Profile {
            topology: plan.topology,
            physical_bits: CpuFacts::new(supported, config).physical_bits,
        };
        let msrs = Arc::new(kvm.get_msr_index_list().map_err(setup("list the MSRs of a vCPU"))?);
        let conductor = Conductor::new(plan.apic_ids.len()).map_err(thread_setup)?;
        let chips = Chips::take(&board.vm)?;
        let mut threads = Vec::with_capacity(plan.apic_ids.len());
        let tallies: Vec<Arc<ExitTally>> = plan.apic_ids.iter().map(|_| Arc::default()).collect();
        for (index, (&apic_id, tally)) in plan.apic_ids.iter().zip(&tallies).enumerate() {
            let vcpu = board.vm.create_vcpu(u64::from(apic_id)).map_err(setup("create a vCPU"))?;
            let cpuid = supported.for_vcpu(&profile, apic_id).ok_or_else(|| {
                Failure::Refused("KVM does not take as many CPUID leaves as this CPU has".into())
            })?;
            vcpu.set_cpuid2(&cpuid).map_err(setup("set the CPUID of a vCPU"))?;
            let events = events.clone();
            threads.push(
                VcpuThread::spawn(VcpuParts {
                    index,
                    vcpu,
                    dispatcher: Dispatcher {
                        io: board.io.view(),
                        memory: board.memory.view(),
                        counts: ExitCounts::default(),
                    },
                    ram: board.ram.clone(),
                    conductor: Arc::clone(&conductor),
                    msrs: Arc::clone(&msrs),
                    exits: Arc::clone(tally),
                    before_first_entry: (index == 0).then(|| -> Box<dyn FnOnce() + Send> {
                        Box::new(move || {
                            events.reach(Milestone::FirstInstruction, || Event::FirstInstruction)
                        })
                    }),
                })
                .map_err(thread_setup)?,
            );
        }
        Ok(Self { conductor, threads, tallies, chips })
    }

    /// Where their requests arrive.
    pub(super) fn conductor(&self) -> &Arc<Conductor> {
        &self.conductor
    }

    /// Counts how often they have left the guest so far, all together.
    pub(super) fn exits(&self) -> impl Fn() -> u64 + Send + use<> {
        let tallies = self.tallies.clone();
        move || tallies.iter().fold(0, |sum, tally| sum.wrapping_add(tally.exits()))
    }

    /// What they ask.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.conductor.take_requests()
    }

    fn kick(&self) {
        self.threads.iter().for_each(VcpuThread::kick);
    }

    /// Stops all of them where they are; what each was doing. `release` is called when one of them seems to wait for a
    /// console that nobody reads. An error names the failure.
    pub(super) fn park(&self, release: &dyn Fn()) -> Result<Vec<CpuReport>, String> {
        let kick = || self.kick();
        let parked = self.conductor.park_all(&kick, BRIEF) || {
            release();
            self.conductor.park_all(&kick, PATIENCE)
        };
        if parked {
            Ok(self.conductor.reports())
        } else {
            Err(format!("a vCPU thread did not stop within {} seconds", PATIENCE.as_secs()))
        }
    }

    /// Lets them go on.
    pub(super) fn resume(&self) {
        self.conductor.resume();
    }

    /// Resets the interrupt controllers and lets all vCPUs start again from their power-on state. They are parked, and
    /// the devices are reset.
    pub(super) fn restart(&self, board: &Board) -> Result<(), HostError> {
        self.chips.restore(&board.vm)?;
        self.conductor.restart();
        Ok(())
    }

    /// Ends the threads; what they counted.
    pub(super) fn end(self) -> ExitCounts {
        if self.conductor.end_all(&|| self.kick(), PATIENCE) {
            self.threads.into_iter().for_each(VcpuThread::join);
        } else {
            tracing::error!("a vCPU thread did not end within {} seconds", PATIENCE.as_secs());
        }
        self.conductor.counts()
    }
}
