//! What the machine changes of the host's settings while it runs, and what becomes of it when the host sleeps.

use vocabulary::CpuList;

use super::CpuPlacement;
use super::pin::left_over;
use crate::config::{Config, OnSleep, PageSource};
use crate::finding::{Finding, Section};
use crate::host::{HostCpus, HostFacts, KnownCpus, Pool, WantedPages, WantedTuning};

/// The settings, by what is known of the host's CPUs: of those nobody has asked for, there are none in the lists.
pub(super) fn plan(
    config: &Config,
    facts: &HostFacts,
    placement: Option<&CpuPlacement>,
    problems: &mut Vec<Finding>,
) -> WantedTuning {
    let wanted = config.host;
    let host = facts.cpus.told();
    let online: CpuList = host.into_iter().flat_map(|host| &host.online).map(|cpu| cpu.number).collect();
    let used: CpuList = placement.map(|placement| placement.vcpus.iter().collect()).unwrap_or_default();
    let for_others = wanted.isolate.then(|| left_over(&online, &used, host).unwrap_or_default());
    if host.is_some() && for_others.as_ref().is_some_and(CpuList::is_empty) {
        let message = "the vCPUs have all CPUs of the host, and `isolate` would leave none to its programs";
        let help = "leave one core at least out of `pin`";
        problems.push(config.problem(Section::Host.key("isolate"), message).with_help(help).about_host());
    }
    if wanted.governor.is_some() && facts.cpus == KnownCpus::NotTold {
        let message = "cannot tell whose frequency to keep high: /sys/devices/system/cpu does not tell which CPUs the host has";
        let help = "mount sysfs, or leave `governor` out";
        problems.push(config.problem(Section::Host.key("governor"), message).with_help(help).about_host());
    }
    if wanted.isolate && facts.cpus == KnownCpus::NotTold {
        let message = "cannot tell which CPUs to leave to programs: /sys/devices/system/cpu does not tell which CPUs the host has";
        let help = "mount sysfs, or leave `isolate` out";
        problems.push(config.problem(Section::Host.key("isolate"), message).with_help(help).about_host());
    }
    let page = config.machine.hugepages.page_size().filter(|_| wanted.hugepages == PageSource::Allocate);
    let cpus = if used.is_empty() { online } else { used };
    let pages = page.map(|page| WantedPages {
        pool: Pool { kib: page.bytes() >> 10, node: host.and_then(|host| node_of(host, &cpus)) },
        count: config.machine.memory.bytes().div_ceil(page.bytes().max(1)),
    });
    WantedTuning { fast: wanted.governor.map(|_| cpus), for_others, pages }
}

/// The NUMA node that all of these CPUs are of, on a host with several.
fn node_of(host: &HostCpus, cpus: &CpuList) -> Option<u32> {
    let [_, _, ..] = host.nodes[..] else { return None };
    host.nodes.iter().find(|(_, of)| !cpus.is_empty() && cpus.without(of).is_empty()).map(|(node, _)| *node)
}

/// What becomes of the machine when the host is to sleep: a lent device seldom survives that.
pub(super) fn on_sleep(config: &Config, warnings: &mut Vec<Finding>) -> OnSleep {
    let lent = !config.passthrough.is_empty();
    let chosen = config.host.on_sleep;
    if lent && matches!(chosen, Some(OnSleep::Pause | OnSleep::Ignore)) {
        let message = "the host may sleep while the guest has one of its devices: most GPUs do not answer the guest afterwards, \
                       and some hosts do not wake up";
        let help = "leave `on_sleep` out, or write \"refuse\" or \"shutdown\"";
        warnings.push(config.problem(Section::Host.key("on_sleep"), message).with_help(help));
    }
    chosen.unwrap_or(if lent { OnSleep::Refuse } else { OnSleep::Ignore })
}
