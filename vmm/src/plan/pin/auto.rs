//! `pin = "auto"`: cores of the host for the cores of the guest.
//!
//! - A guest's core has a core of the host for itself; its two threads have one thread each, and a single thread has the whole
//!   core, which nobody else uses then.
//! - On a hybrid processor only fast cores count. KVM shows a guest one kind of core, and a guest that finds its processors
//!   equal shares its work out as if they were. Where vCPUs outnumber the fast CPUs, they share all:
//!   a slow CPU is better than none.
//! - The cores lie below one L3 cache where that has enough of them.
//! - The core of CPU 0, which serves most of the host's interrupts, is the last to be taken.

use vocabulary::{CpuList, Topology};

use super::{Choice, CpuPlacement, left_over};
use crate::host::{HostCpu, HostCpus};

/// A core is slow if its highest frequency is below this share of the fastest one's, in percent. Cores of one kind differ by a
/// few percent, by how well each came out of the fab.
const SLOW: u64 = 80;

/// Why vCPUs share CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shortage {
    topology: Topology,
    /// How many cores there are that would do.
    cores: usize,
    shared: CpuList,
    /// CPUs of slow cores are among them.
    slow: bool,
}

impl Shortage {
    fn guest_cores(&self) -> u32 {
        self.topology.sockets.saturating_mul(self.topology.cores)
    }

    pub(super) fn message(&self) -> String {
        let Self { topology: Topology { threads, .. }, cores, shared, slow } = self;
        let kind = if *threads > 1 { format!(" of {threads} threads") } else { String::new() };
        let slow = if *slow { ", slow ones among them as there are more vCPUs than fast ones," } else { "" };
        format!(
            "`auto` finds {cores} core(s) of the host for the guest's {}{kind}: the vCPUs are not pinned one by one, but share the \
             CPUs {shared}{slow} and may wait for each other",
            self.guest_cores()
        )
    }

    pub(super) fn help(&self) -> &'static str {
        match (self.cores, self.topology.threads) {
            (0, threads) if threads > 1 => {
                "write `threads = 1` in `topology`: none of the host's cores has more threads for this process"
            }
            _ => "ask for no more cores than that, and for one less to leave one to the host",
        }
    }
}

/// A core of the host.
#[derive(Debug)]
struct Core<'a> {
    /// Those of its threads that this process may use.
    cpus: CpuList,
    l3: &'a CpuList,
    slow: bool,
    /// CPU 0 is one of its threads.
    boots: bool,
}

/// The cores of which this process was given a thread, in the order of their first ones.
fn cores(host: &HostCpus) -> Vec<Core<'_>> {
    let given = || host.online.iter().filter(|cpu| host.given.contains(cpu.number));
    let fastest = given().filter_map(|cpu| cpu.max_khz).max().unwrap_or_default();
    let slow = |cpu: &HostCpu| {
        cpu.efficient || cpu.max_khz.is_some_and(|khz| khz.saturating_mul(100) < fastest.saturating_mul(SLOW))
    };
    let mut cores: Vec<Core<'_>> = Vec::new();
    for cpu in given() {
        if cores.iter().any(|core| core.cpus.contains(cpu.number)) {
            continue;
        }
        let cpus = cpu.core.within(&host.given);
        cores.push(Core { cpus, l3: &cpu.l3, slow: slow(cpu), boots: cpu.core.contains(0) });
    }
    // Where only slow ones are given, there is one kind.
    if cores.iter().any(|core| !core.slow) {
        cores.retain(|core| !core.slow);
    }
    cores
}

/// `count` of `cores`, below as few L3 caches as possible.
fn choose<'c, 'a>(cores: &[&'c Core<'a>], count: usize) -> Option<Vec<&'c Core<'a>>> {
    if cores.len() < count {
        return None;
    }
    let mut domains: Vec<Vec<&Core<'_>>> = Vec::new();
    for core in cores {
        match domains.iter_mut().find(|domain| domain.first().is_some_and(|first| first.l3 == core.l3)) {
            Some(domain) => domain.push(core),
            None => domains.push(vec![core]),
        }
    }
    let spare = |domain: &[&Core<'_>]| domain.iter().filter(|core| !core.boots).count();
    // In this order: another cache than that of CPU 0, its cache without its core, its cache; else the largest ones together.
    let enough = [
        |domain: &[&Core<'_>], spare: usize, count: usize| spare >= count && spare == domain.len(),
        |_: &[&Core<'_>], spare: usize, count: usize| spare >= count,
        |domain: &[&Core<'_>], _: usize, count: usize| domain.len() >= count,
    ];
    let alone = enough
        .into_iter()
        .find_map(|enough| domains.iter().find(|domain| enough(domain, spare(domain), count)));
    let mut chosen = match alone {
        Some(domain) => domain.clone(),
        None => {
            domains.sort_by_key(|domain| std::cmp::Reverse(spare(domain)));
            domains.concat()
        }
    };
    // Sorting keeps the order of the others.
    chosen.sort_by_key(|core| core.boots);
    chosen.truncate(count);
    Some(chosen)
}

/// Places the vCPUs of `topology` on `host`, and says what it lacks if they have to share.
pub(super) fn place(topology: Topology, host: &HostCpus) -> (CpuPlacement, Option<Shortage>) {
    let all = cores(host);
    let threads = topology.threads.max(1) as usize;
    let count = topology.sockets.saturating_mul(topology.cores) as usize;
    let fit: Vec<&Core<'_>> = all.iter().filter(|core| core.cpus.len() >= threads).collect();
    let Some(chosen) = choose(&fit, count) else {
        let fast: CpuList = all.iter().map(|core| &core.cpus).collect();
        let vcpus = topology.count() as usize;
        let shared = if vcpus > fast.len() { host.given.clone() } else { fast.clone() };
        let vcpus = vec![shared.clone(); vcpus];
        let shortage = Shortage { topology, cores: fit.len(), slow: shared != fast, shared };
        return (CpuPlacement::new(vcpus, Choice::Shared, Some(host)), Some(shortage));
    };
    let singly = || chosen.iter().flat_map(|core| core.cpus.iter().take(threads).map(CpuList::of)).collect();
    let whole: Vec<CpuList> = chosen.iter().map(|core| core.cpus.clone()).collect();
    // Others are better off on second threads than in the way of vCPUs.
    let free = left_over(&host.given, &whole.iter().collect(), Some(host)).is_some();
    let vcpus = if threads == 1 && free { whole } else { singly() };
    (CpuPlacement::new(vcpus, Choice::Cores, Some(host)), None)
}
