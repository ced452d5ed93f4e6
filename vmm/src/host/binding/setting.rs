//! Settings of the host that a machine changes for the time of a run, each by what the kernel calls it.
//!
//! Frequencies: Linux `Documentation/admin-guide/pm/cpufreq.rst`, and `intel_pstate.rst` and `amd-pstate.rst` beside it.
//! Control groups: `Documentation/admin-guide/cgroup-v2.rst`, "Cpuset Interface Files". Huge pages:
//! `Documentation/admin-guide/mm/hugetlbpage.rst`. Names that come from a journal must not lead elsewhere when they
//! become parts of paths.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vocabulary::ByteSize;

/// Where control groups of version 2 are mounted.
pub(in crate::host) const GROUPS: &str = "sys/fs/cgroup";
/// Longest text of a setting: lists of CPUs of large hosts.
const LONGEST: usize = 4096;

/// A control group, by its path below the root of the hierarchy: empty for the root itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Group(String);

impl Group {
    /// A group below this one; `None` for a name that no file of sysfs can have.
    pub(in crate::host) fn child(&self, name: &str) -> Option<Self> {
        let path = if self.0.is_empty() { name.to_owned() } else { format!("{}/{name}", self.0) };
        Self::try_from(path).ok()
    }

    /// The group that this one is in.
    pub(in crate::host) fn above(&self) -> Self {
        Self(self.0.rsplit_once('/').map(|(above, _)| above.to_owned()).unwrap_or_default())
    }

    /// What `/proc/PID/cgroup` says (cgroups(7)): the line `0::/PATH`.
    pub(in crate::host) fn of_process(text: &str) -> Option<Self> {
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        Self::try_from(path.to_owned()).ok()
    }

    /// Whether `other` is this group or below it.
    pub(in crate::host) fn holds(&self, other: &Self) -> bool {
        self.0.is_empty()
            || other.0.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// One of its files.
    pub(in crate::host) fn file(&self, name: &str) -> PathBuf {
        Path::new(GROUPS).join(&self.0).join(name)
    }
}

impl TryFrom<String> for Group {
    type Error = &'static str;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        let leads_away = path.split('/').any(|name| matches!(name, "" | "." | ".."));
        if !path.is_empty() && leads_away || path.contains(char::is_control) || path.len() > LONGEST {
            return Err("not the path of a control group");
        }
        Ok(Self(path))
    }
}

impl From<Group> for String {
    fn from(group: Group) -> Self {
        group.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the control group /{}", self.0)
    }
}

/// The text of a setting: one line without its end, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::host) struct Line(String);

impl Line {
    /// What to write: nothing at all would not be written.
    pub(in crate::host) fn to_write(&self) -> &str {
        if self.0.is_empty() { "\n" } else { &self.0 }
    }

    /// As it is read.
    pub(in crate::host) fn text(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Line {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.contains(char::is_control) || text.len() > LONGEST {
            return Err("not the text of a setting");
        }
        Ok(Self(text))
    }
}

impl From<Line> for String {
    fn from(line: Line) -> Self {
        line.0
    }
}

/// A file of the kernel's whose text is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Setting {
    /// Who chooses the frequency of a policy's CPUs.
    Governor { policy: u32 },
    /// What the hardware prefers where it chooses by itself.
    EnergyPreference { policy: u32 },
    /// The CPUs that a control group may use; none written leaves it those of the group above.
    Cpus { group: Group },
}

impl Setting {
    /// Its file, below the root.
    pub(in crate::host) fn file(&self) -> PathBuf {
        match self {
            Self::Governor { policy } => policy_file(*policy, "scaling_governor"),
            Self::EnergyPreference { policy } => policy_file(*policy, "energy_performance_preference"),
            Self::Cpus { group } => group.file("cpuset.cpus"),
        }
    }

    /// The key of `[host]` that asks for it.
    pub(in crate::host) fn key(&self) -> &'static str {
        match self {
            Self::Governor { .. } | Self::EnergyPreference { .. } => "governor",
            Self::Cpus { .. } => "isolate",
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Governor { policy } => write!(f, "the governor of frequency policy {policy}"),
            Self::EnergyPreference { policy } => {
                write!(f, "the energy preference of frequency policy {policy}")
            }
            Self::Cpus { group } => write!(f, "the CPUs of {group}"),
        }
    }
}

/// A file of a frequency policy, below the root.
pub(in crate::host) fn policy_file(policy: u32, name: &str) -> PathBuf {
    format!("sys/devices/system/cpu/cpufreq/policy{policy}/{name}").into()
}

/// A pool of huge pages: those of one size, of the whole host or of a NUMA node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The size of a page in KiB.
    pub kib: u64,
    /// The node; `None` leaves that to the kernel.
    pub node: Option<u32>,
}

impl Pool {
    /// One of its files, below the root.
    pub(in crate::host) fn file(&self, name: &str) -> PathBuf {
        let folder = match self.node {
            Some(node) => format!("sys/devices/system/node/node{node}/hugepages"),
            None => "sys/kernel/mm/hugepages".into(),
        };
        format!("{folder}/hugepages-{}kB/{name}", self.kib).into()
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pool of {} pages", ByteSize::from_bytes(self.kib.saturating_mul(1024)))?;
        self.node.map_or(Ok(()), |node| write!(f, " of NUMA node {node}"))
    }
}
