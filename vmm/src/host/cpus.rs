//! The host's CPUs as sysfs shows them: Linux `Documentation/admin-guide/cputopology.rst` and
//! `Documentation/ABI/testing/sysfs-devices-system-cpu`.
//!
//! Numbers of CPUs tell nothing: threads of a core are neighbours on one host and half of all CPUs apart on another, and
//! numbers have gaps where CPUs are offline.

use vocabulary::CpuList;

use super::HostFiles;
use super::files::{names, text};
use crate::affinity;

/// A CPU of the host that is online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCpu {
    /// Its number.
    pub number: u32,
    /// The threads of its core that are online, itself among them.
    pub core: CpuList,
    /// Who shares its last cache of level 3, itself among them; its package where there is no such cache.
    pub l3: CpuList,
    /// It is of a hybrid processor's E cores.
    pub efficient: bool,
    /// Its highest frequency in kHz, where the kernel tells it.
    pub max_khz: Option<u64>,
}

/// The CPUs of the host, and which of them are for this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostCpus {
    /// Those that are online, in the order of their numbers.
    pub online: Vec<HostCpu>,
    /// All that exist, also those that are offline.
    pub present: CpuList,
    /// Those that this process was started with: its affinity mask.
    pub given: CpuList,
    /// Those that its cpuset permits, whatever the mask is.
    pub permitted: CpuList,
    /// NUMA nodes with their CPUs, where the kernel knows of any.
    pub nodes: Vec<(u32, CpuList)>,
}

/// What is known of the host's CPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KnownCpus {
    /// Nobody has looked.
    #[default]
    NotAsked,
    /// The host does not tell.
    NotTold,
    /// What it has.
    Told(HostCpus),
}

impl KnownCpus {
    /// What the host has told.
    pub fn told(&self) -> Option<&HostCpus> {
        match self {
            Self::Told(cpus) => Some(cpus),
            Self::NotAsked | Self::NotTold => None,
        }
    }
}

impl From<Option<HostCpus>> for KnownCpus {
    /// The answer of a host that was asked.
    fn from(told: Option<HostCpus>) -> Self {
        told.map_or(Self::NotTold, Self::Told)
    }
}

impl HostCpus {
    /// Reads what this host has. `None` if it does not tell, which no kernel of ours does.
    pub fn gather() -> Option<Self> {
        let told = affinity::current().and_then(|given| Ok((given, affinity::permitted()?)));
        let (given, permitted) =
            told.inspect_err(|error| tracing::debug!("no affinity mask: {error}")).ok()?;
        HostFiles::default().cpus(given, permitted)
    }
}

impl HostFiles {
    /// The CPUs, of which a process was `given` some and may have those that are `permitted`.
    pub fn cpus(&self, given: CpuList, permitted: CpuList) -> Option<HostCpus> {
        let list = |file: &str| CpuList::from_kernel(&self.text(file).ok()?);
        let online = list("sys/devices/system/cpu/online").filter(|online| !online.is_empty())?;
        let present = list("sys/devices/system/cpu/present").unwrap_or_else(|| online.clone());
        // Performance counters of their own are what tells E cores from P cores.
        let efficient = list("sys/devices/cpu_atom/cpus").unwrap_or_default();
        let cpu = |number| self.cpu(number, &online, efficient.contains(number));
        let node = |name: String| {
            let node = name.strip_prefix("node")?.parse().ok()?;
            Some((node, list(&format!("sys/devices/system/node/{name}/cpulist"))?))
        };
        let nodes = self.names("sys/devices/system/node").into_iter().filter_map(node).collect();
        Some(HostCpus { online: online.iter().map(cpu).collect(), present, given, permitted, nodes })
    }

    fn cpu(&self, number: u32, online: &CpuList, efficient: bool) -> HostCpu {
        let folder = self.path(format!("sys/devices/system/cpu/cpu{number}"));
        let list = |file: &str| {
            let list = CpuList::from_kernel(&text(&folder.join(file)).ok()?)?;
            list.contains(number).then(|| list.within(online))
        };
        // Before Linux 5.4 the first of each two had the second name alone.
        let core = list("topology/core_cpus_list").or_else(|| list("topology/thread_siblings_list"));
        let package = || list("topology/package_cpus_list").or_else(|| list("topology/core_siblings_list"));
        let caches = names(&folder.join("cache")).into_iter().map(|name| format!("cache/{name}"));
        let level = |cache: &String| text(&folder.join(cache).join("level")).is_ok_and(|level| level == "3");
        let l3 = caches.filter(level).find_map(|cache| list(&format!("{cache}/shared_cpu_list")));
        let max_khz = text(&folder.join("cpufreq/cpuinfo_max_freq")).ok().and_then(|khz| khz.parse().ok());
        HostCpu {
            number,
            core: core.unwrap_or_else(|| CpuList::of(number)),
            l3: l3.or_else(package).unwrap_or_else(|| online.clone()),
            efficient,
            max_khz,
        }
    }
}
