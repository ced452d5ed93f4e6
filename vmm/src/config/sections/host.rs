//! `[host]`: what is changed on the host for the time of a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::Hugepages;

use super::super::Machine;
use super::machine::Action;
use super::scheduling::Scheduling;
use crate::finding::{Resolver, Section};

/// What optimus-vmm changes on the host for the time of a run, besides devices. Everything is put back at the end, and after a
/// kill by the next start. All of it but `on_sleep` needs root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostSection {
    /// `"performance"`: the CPUs that `pin` gives to vCPUs, or all where there is no `pin`, keep their frequency high (governor
    /// and energy preference of cpufreq). Costs battery.
    #[schemars(extend("x-default" = "as the host has it"))]
    pub governor: Option<Governor>,
    /// Keep programs of the host off the cores that `pin` gives to vCPUs, by the CPUs that control groups may use: all groups
    /// but the one that optimus-vmm runs in. Needs `pin`.
    pub isolate: bool,
    /// Where the pages of `hugepages` in `[machine]` come from: `"reserved"` are those that the host has; with `"allocate"`
    /// those that it lacks are added to its pool at the start and given back at the end.
    pub hugepages: PageSource,
    /// What becomes of the machine when the host is to sleep, through systemd-logind: `"refuse"` keeps the host awake, also when
    /// its lid is closed; `"pause"` stops the guest before and lets it go on after; `"shutdown"` presses its power button;
    /// `"ignore"` does nothing. See docs/host.md.
    #[schemars(extend("x-default" = "`\"refuse\"` while a device of the host is lent, otherwise `\"ignore\"`"))]
    pub on_sleep: Option<OnSleep>,
}

/// Who chooses the frequency of CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Governor {
    /// The highest one.
    Performance,
}

/// Where huge pages come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum PageSource {
    /// The host has them.
    #[default]
    Reserved,
    /// They are made for the time of a run.
    Allocate,
}

/// What becomes of the machine when the host is to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum OnSleep {
    /// The host is kept awake.
    Refuse,
    /// The guest is stopped meanwhile.
    Pause,
    /// The guest is to power off.
    Shutdown,
    /// Nothing.
    Ignore,
}

impl Resolver {
    /// Complains about what other sections do not allow.
    pub fn check_host(&mut self, host: &HostSection, machine: &Machine, scheduling: &Scheduling) {
        if host.isolate && scheduling.pin.is_none() {
            self.problem_with_help(
                Section::Host.key("isolate"),
                "`isolate` keeps programs off the CPUs of vCPUs, and these may run on all CPUs",
                "add `pin = \"auto\"` to [cpu]",
            );
        }
        if host.hugepages == PageSource::Allocate && machine.hugepages == Hugepages::Off {
            self.problem_with_help(
                Section::Host.key("hugepages"),
                "huge pages are to be allocated, and the guest's memory is in none",
                "add `hugepages = \"2M\"` to [machine]",
            );
        }
        if host.on_sleep == Some(OnSleep::Shutdown) && machine.on_poweroff != Action::Destroy {
            self.problem_with_help(
                Section::Host.key("on_sleep"),
                "the host would wait for the machine's end before it sleeps, and with this `on_poweroff` a guest that powers off \
                 does not end it",
                "write `on_poweroff = \"destroy\"` in [machine], or leave it out",
            );
        }
    }
}
