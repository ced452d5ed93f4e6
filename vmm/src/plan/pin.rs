//! Which of the host's CPUs the threads of a machine run on.
//!
//! A vCPU that has to wait for a CPU is a processor that stops for the guest, so vCPUs and the machine's other threads are kept
//! apart: these get what the vCPUs' cores leave over.

mod auto;
#[cfg(test)]
mod tests;

use vocabulary::{CpuList, Topology};

use crate::config::{Config, Pin};
use crate::finding::{Finding, Section};
use crate::host::{HostCpus, HostFacts, KnownCpus};

/// Where the threads of a machine run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuPlacement {
    /// The CPUs of each vCPU, in order; none if the host decides and was not asked.
    pub vcpus: Vec<CpuList>,
    /// Those of all other threads. `None` leaves them where they are, as no CPU is left for them alone or none is known.
    pub others: Option<CpuList>,
    /// Those that the process was started with; none if the host was not asked or does not tell.
    pub given: CpuList,
    /// How it was decided.
    pub choice: Choice,
}

/// How a placement was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// By vm.toml.
    Written,
    /// By the host's topology: each core of the guest has a core of its own.
    Cores,
    /// By the host's topology, which has too few cores: all vCPUs share some.
    Shared,
    /// By the host's topology, which nobody has looked at.
    Open,
}

/// What is left of `given` for others: whole cores if there are any.
pub(super) fn left_over(given: &CpuList, used: &CpuList, host: Option<&HostCpus>) -> Option<CpuList> {
    let cores = host.into_iter().flat_map(|host| &host.online);
    let busy = cores.filter(|cpu| used.contains(cpu.number)).map(|cpu| &cpu.core).collect();
    [given.without(used).without(&busy), given.without(used)].into_iter().find(|left| !left.is_empty())
}

impl CpuPlacement {
    /// A CPU that the first vCPU runs on.
    pub fn first(&self) -> Option<u32> {
        self.vcpus.first().and_then(CpuList::first)
    }

    fn new(vcpus: Vec<CpuList>, choice: Choice, host: Option<&HostCpus>) -> Self {
        let given = host.map(|host| host.given.clone()).unwrap_or_default();
        let others = left_over(&given, &vcpus.iter().collect(), host);
        Self { vcpus, others, given, choice }
    }
}

pub(super) fn plan(
    config: &Config,
    topology: Topology,
    facts: &HostFacts,
    problems: &mut Vec<Finding>,
    warnings: &mut Vec<Finding>,
) -> Option<CpuPlacement> {
    let host = facts.cpus.told();
    let key = Section::Cpu.key("pin");
    let placement = match (config.scheduling.pin.as_ref()?, &facts.cpus) {
        (Pin::Cpus(lists), _) => {
            if let Some(host) = host {
                check(config, lists, host, problems);
            }
            CpuPlacement::new(lists.clone(), Choice::Written, host)
        }
        (Pin::Auto, KnownCpus::Told(host)) => {
            let (placement, shortage) = auto::place(topology, host);
            warnings.extend(
                shortage.map(|shortage| config.problem(key, shortage.message()).with_help(shortage.help())),
            );
            placement
        }
        (Pin::Auto, KnownCpus::NotAsked) => CpuPlacement::new(Vec::new(), Choice::Open, None),
        (Pin::Auto, KnownCpus::NotTold) => {
            let message = "cannot choose CPUs: /sys/devices/system/cpu does not tell which ones the host has";
            let help = "mount sysfs, write a list of CPUs, or leave `pin` out";
            problems.push(config.problem(key, message).with_help(help).about_host());
            return None;
        }
    };
    // Who shares knows already. Of a host that says nothing there is nothing to say.
    if host.is_some() && placement.others.is_none() && placement.choice != Choice::Shared {
        let message = "the vCPUs have all CPUs that this process may use: the machine's other threads, which serve disks, \
                       network and screen, take time from them";
        let help = "leave one core of the host out";
        warnings.push(config.problem(key, message).with_help(help));
    }
    Some(placement)
}

/// Whether the kernel can run vCPUs on the CPUs that are written.
fn check(config: &Config, lists: &[CpuList], host: &HostCpus, problems: &mut Vec<Finding>) {
    let wanted: CpuList = lists.iter().collect();
    let online: CpuList = host.online.iter().map(|cpu| cpu.number).collect();
    let absent = wanted.without(&host.present);
    let offline = wanted.within(&host.present).without(&online);
    let forbidden = wanted.within(&online).without(&host.permitted);
    let HostCpus { present, permitted, .. } = host;
    let mut problem = |message: String, help: String| {
        let problem = config.problem(Section::Cpu.key("pin"), message).with_help(help);
        problems.push(problem.about_host());
    };
    if !absent.is_empty() {
        problem(
            format!("the host has no CPU {absent}: its CPUs are {present}"),
            "`lscpu -e` shows them with their cores and caches".into(),
        );
    }
    if let Some(first) = offline.first() {
        problem(
            format!("CPU {offline} of the host is offline"),
            format!(
                "bring it back with `echo 1 | sudo tee /sys/devices/system/cpu/cpu{first}/online`, or take another one"
            ),
        );
    }
    if !forbidden.is_empty() {
        problem(
            format!("this process's cpuset does not permit CPU {forbidden} of the host, but {permitted}"),
            "take others, or start it elsewhere: `AllowedCPUs=` of a systemd unit or slice, `--cpuset-cpus` of a container".into(),
        );
    }
}
