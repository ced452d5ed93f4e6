//! What a machine wants of the host's settings for the time of a run: which of them have to be changed, and what is in the
//! way of that, found without a change.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};
use vocabulary::CpuList;

use super::binding::bind::{BindError, Bound, Manager};
use super::binding::journal::Record;
use super::binding::setting::{GROUPS, Group, Line, Pool, Setting, policy_file};
use super::binding::step::{Host, Step};

/// The governor that keeps frequencies high, and the preference that goes with it.
const PERFORMANCE: &str = "performance";

/// What a machine wants of the host for the time of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedTuning {
    /// CPUs whose frequency is to be kept high.
    pub fast: Option<CpuList>,
    /// The CPUs that are left to all programs outside of the control groups of machines.
    pub for_others: Option<CpuList>,
    /// Huge pages that are to be had.
    pub pages: Option<WantedPages>,
}

/// Huge pages for a guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedPages {
    /// Where.
    pub pool: Pool,
    /// How many.
    pub count: u64,
}

impl WantedTuning {
    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a setting is not changed. Each message ends with what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotTuned {
    /// The key of `[host]` that asks for it.
    pub key: &'static str,
    message: String,
}

impl NotTuned {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into() }
    }
}

/// Other machines, as far as settings go.
#[derive(Debug, Default)]
pub(in crate::host) struct Others {
    /// What they have changed.
    pub(in crate::host) steps: Vec<Step>,
    /// The control groups that they are in.
    groups: BTreeSet<Group>,
}

impl Manager {
    /// Changes settings of the host as the machine of this name wants them, until what is returned is given back.
    ///
    /// `interrupted` is asked before each change: when it says so, what was changed is put back.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn tune(
        &self,
        machine: &str,
        wanted: &WantedTuning,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Bound, BindError> {
        if wanted.is_empty() {
            return Ok(Bound::none());
        }
        let lock = self.journals.lock_unless(interrupted)?.ok_or(BindError::Interrupted)?;
        let records = self.running(&lock);
        let others = Others {
            groups: records.iter().filter_map(|record| self.group_of(&record.pid.to_string())).collect(),
            steps: records.into_iter().flat_map(|record| record.steps).collect(),
        };
        let steps = self.tuning(wanted, &others).map_err(BindError::NotTuned)?;
        if steps.is_empty() {
            return Ok(Bound::none());
        }
        let record = Record::new(machine, self.boot(), Vec::new(), steps.clone());
        let journal = self.journals.create(&lock, record)?;
        // With the directory locked, so that nobody counts or puts back what is shared meanwhile.
        let taken = self.take_some(&steps, &others.steps, interrupted);
        drop(lock);
        self.taken(journal, taken)
    }

    /// Everything that would keep [`Self::tune`] from changing settings, as far as that is known without other machines.
    pub fn untunable(&self, wanted: &WantedTuning) -> Vec<NotTuned> {
        self.tuning(wanted, &Others::default()).err().unwrap_or_default()
    }

    /// The steps that bring about what is wanted; those that would change nothing are left out, unless another machine has
    /// taken them and may end first.
    fn tuning(&self, wanted: &WantedTuning, others: &Others) -> Result<Vec<Step>, Vec<NotTuned>> {
        let mut problems = Vec::new();
        let mut steps = Vec::new();
        // Without one nobody has looked which there are.
        let known = |cpus: &&CpuList| !cpus.is_empty();
        if let Some(cpus) = wanted.fast.as_ref().filter(known) {
            steps.extend(self.host.frequencies(cpus, &others.steps, &mut problems));
        }
        if let Some(cpus) = wanted.for_others.as_ref().filter(known) {
            steps.extend(self.isolation(cpus, others, &mut problems));
        }
        if let Some(pages) = wanted.pages {
            steps.extend(self.host.pool(pages, &others.steps, &mut problems));
        }
        if problems.is_empty() { Ok(steps) } else { Err(problems) }
    }

    /// The control group of a process.
    fn group_of(&self, pid: &str) -> Option<Group> {
        Group::of_process(&self.host.files.text(format!("proc/{pid}/cgroup")).ok()?)
    }

    /// The steps that leave all programs outside of this process's control group, and of those of other machines, the CPUs
    /// `cpus` only: each group beside the way from the root to one of these gets them. No process is moved.
    fn isolation(&self, cpus: &CpuList, others: &Others, problems: &mut Vec<NotTuned>) -> Vec<Step> {
        let mut problem = |message: &str| problems.push(NotTuned::new("isolate", message));
        let Ok(controllers) = self.host.files.text(Path::new(GROUPS).join("cgroup.controllers")) else {
            problem(
                "this host has no control groups of version 2 in /sys/fs/cgroup: boot it with \
                 `systemd.unified_cgroup_hierarchy=1`, or leave `isolate` out",
            );
            return Vec::new();
        };
        if !controllers.split_whitespace().any(|name| name == "cpuset") {
            problem(
                "the controller `cpuset` is not offered by /sys/fs/cgroup/cgroup.controllers: a container or a hierarchy of \
                 version 1 may have it; leave `isolate` out there",
            );
            return Vec::new();
        }
        let Some(own) = self.group_of("self") else {
            problem("/proc/self/cgroup does not tell the control group of this process: leave `isolate` out");
            return Vec::new();
        };
        let mut spared = others.groups.clone();
        spared.insert(own);
        let mut steps = Vec::new();
        self.host.confine(&Group::default(), cpus, &spared, &others.steps, &mut steps);
        if let Some(path) = steps.first().map(|step| match step {
            Step::Set { setting, .. } => setting.file(),
            _ => Group::default().file("cgroup.subtree_control"),
        }) {
            // A file of a controller that is not on yet is made when it is, and belongs to root as this one does.
            let path = self.host.files.path(path);
            let path = if path.exists() { path } else { self.host.files.path(GROUPS).join("cgroup.procs") };
            problems.extend(self.host.denied(&path, "isolate"));
        }
        steps
    }
}

impl Host {
    /// Whether this process may write a file: what to say if not.
    fn denied(&self, path: &Path, key: &'static str) -> Option<NotTuned> {
        let access = rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
        let error = std::io::Error::from(access.err()?);
        let path = path.display();
        Some(NotTuned::new(
            key,
            format!("{path} may not be written ({error}): run with `sudo`, or leave `{key}` out of [host]"),
        ))
    }

    /// The step that changes a setting, if it is not so, or if others have changed it.
    fn set_to(&self, setting: Setting, value: &str, others: &[Step]) -> Option<Step> {
        let line = |text: String| Line::try_from(text).ok();
        let now = line(self.files.text(setting.file()).ok()?)?;
        let theirs = others.iter().find_map(|other| match other {
            Step::Set { setting: same, former, .. } if *same == setting => Some(former.clone()),
            _ => None,
        });
        if theirs.is_none() && now.text() == value {
            return None;
        }
        Some(Step::Set { setting, former: theirs.unwrap_or(now), value: line(value.to_owned())? })
    }

    fn frequencies(&self, cpus: &CpuList, others: &[Step], problems: &mut Vec<NotTuned>) -> Vec<Step> {
        let policy = |cpu: u32| {
            let name = self.files.link_name(format!("sys/devices/system/cpu/cpu{cpu}/cpufreq"))?;
            name.strip_prefix("policy")?.parse::<u32>().ok()
        };
        let policies: BTreeSet<_> = cpus.iter().filter_map(policy).collect();
        if policies.is_empty() {
            problems.push(NotTuned::new(
                "governor",
                "the kernel does not choose the frequency of these CPUs (no cpufreq in /sys/devices/system/cpu/cpu*), as in a \
                 virtual machine: leave `governor` out",
            ));
        }
        let mut steps = Vec::new();
        for policy in policies {
            let has = |list: &str, word: &str| {
                let words = self.files.text(policy_file(policy, list)).unwrap_or_default();
                words.split_whitespace().any(|each| each == word)
            };
            if !has("scaling_available_governors", PERFORMANCE) {
                problems.push(NotTuned::new(
                    "governor",
                    format!(
                        "frequency policy {policy} has no governor `performance`: `sudo modprobe cpufreq_performance`, or \
                         leave `governor` out"
                    ),
                ));
                continue;
            }
            let governor = self.set_to(Setting::Governor { policy }, PERFORMANCE, others);
            // First: with that governor the preference is fixed. It is put back last, when the governor is the former one.
            if governor.is_some() && has("energy_performance_available_preferences", PERFORMANCE) {
                steps.extend(self.set_to(Setting::EnergyPreference { policy }, PERFORMANCE, others));
            }
            if governor.is_some() {
                let file = self.files.path(Setting::Governor { policy }.file());
                problems.extend(self.denied(&file, "governor"));
            }
            steps.extend(governor);
        }
        // One is enough to know who has to be asked.
        problems.dedup_by(|a, b| a.key == b.key);
        steps
    }

    /// Restricts groups below `group` that hold none of the `spared`, and looks into those that do.
    fn confine(
        &self,
        group: &Group,
        cpus: &CpuList,
        spared: &BTreeSet<Group>,
        others: &[Step],
        steps: &mut Vec<Step>,
    ) {
        let folder = group.file("");
        let below: Vec<_> = self
            .files
            .names(&folder)
            .into_iter()
            .filter(|name| self.files.path(folder.join(name)).is_dir())
            .filter_map(|name| group.child(&name))
            .filter(|child| self.is_populated(child))
            .collect();
        let (ways, alien): (Vec<_>, Vec<_>) =
            below.into_iter().partition(|child| spared.iter().any(|spared| child.holds(spared)));
        let mut inner = Vec::new();
        for child in ways.iter().filter(|child| !spared.contains(child)) {
            self.confine(child, cpus, spared, others, &mut inner);
        }
        // From the root downwards: a group can only hand on what it has.
        if !alien.is_empty() || !inner.is_empty() {
            let step = Step::CpusOfGroups { group: group.clone() };
            let control = self.files.text(group.file("cgroup.subtree_control")).unwrap_or_default();
            let on = control.split_whitespace().any(|name| name == "cpuset");
            if !on || others.iter().any(|other| other.is_like(&step)) {
                steps.push(step);
            }
        }
        for child in alien {
            let setting = Setting::Cpus { group: child };
            if self.files.path(setting.file()).exists() {
                let cpus = self.narrowed(&setting, cpus);
                steps.extend(self.set_to(setting, &cpus.to_string(), others));
            } else if let (Ok(former), Ok(value)) =
                (Line::try_from(String::new()), Line::try_from(cpus.to_string()))
            {
                // Where the controller is off no group has CPUs of its own.
                steps.push(Step::Set { setting, former, value });
            }
        }
        steps.append(&mut inner);
    }

    /// Those of `cpus` that a group has now, if it has some of them: the others are another machine's, or were taken from it by
    /// whoever looks after this host.
    fn narrowed(&self, setting: &Setting, cpus: &CpuList) -> CpuList {
        let now = self.files.text(setting.file()).ok().and_then(|now| CpuList::from_kernel(&now));
        let both = now.map(|now| cpus.within(&now)).filter(|both| !both.is_empty());
        both.unwrap_or_else(|| cpus.clone())
    }

    /// Whether a group has processes, or one below it has.
    fn is_populated(&self, group: &Group) -> bool {
        let events = self.files.text(group.file("cgroup.events")).unwrap_or_default();
        !events.lines().any(|line| line == "populated 0")
    }

    fn pool(&self, wanted: WantedPages, others: &[Step], problems: &mut Vec<NotTuned>) -> Option<Step> {
        let WantedPages { pool, count } = wanted;
        let file = self.files.path(pool.file("nr_hugepages"));
        if !file.exists() {
            problems.push(NotTuned::new(
                "hugepages",
                format!("there is no {}: use another size for `hugepages` in [machine]", file.display()),
            ));
            return None;
        }
        let theirs = others.iter().find_map(|other| match other {
            Step::HugePages { pool: same, former, .. } if *same == pool => Some(*former),
            _ => None,
        });
        // Pages of other machines may not be in use yet, so nothing of what is free is counted on beside them.
        let free = match theirs {
            Some(_) => 0,
            None => self.free_pages(pool),
        };
        let pages = count.saturating_sub(free);
        if pages == 0 {
            return None;
        }
        problems.extend(self.denied(&file, "hugepages"));
        Some(Step::HugePages { pool, former: theirs.unwrap_or_else(|| self.pages(pool)), pages })
    }

    /// Pages that nobody has, or will have because it was promised them.
    fn free_pages(&self, pool: Pool) -> u64 {
        let number = |pool: Pool, name: &str| {
            self.files.text(pool.file(name)).ok().and_then(|it| it.parse().ok()).unwrap_or(0u64)
        };
        // Pages are promised by the whole host alone, so each node's may be meant.
        let promised = number(Pool { node: None, ..pool }, "resv_hugepages");
        number(pool, "free_hugepages").saturating_sub(promised)
    }
}
