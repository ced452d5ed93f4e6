//! What is changed on the host while the machine runs, in the report.

use std::fmt::Write as _;

use serde::Serialize;
use vocabulary::CpuList;

use crate::config::OnSleep;
use crate::plan::MachinePlan;

/// Settings of the host for the time of a run; what is left as it is has no entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The CPUs whose frequency is kept high; empty if nobody has looked which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performance: Option<String>,
    /// The CPUs that are left to the host's programs; empty if nobody has looked which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<String>,
    /// Huge pages that are allocated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pages>,
    /// What becomes of the machine when the host is to sleep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_sleep: Option<OnSleep>,
}

/// Huge pages that the host is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pages {
    /// How many.
    pub count: u64,
    /// Where.
    pub pool: String,
}

impl From<&MachinePlan> for Host {
    fn from(plan: &MachinePlan) -> Self {
        let text = |cpus: &Option<CpuList>| cpus.as_ref().map(CpuList::to_string);
        Self {
            performance: text(&plan.tuning.fast),
            programs: text(&plan.tuning.for_others),
            pages: plan.tuning.pages.map(|pages| Pages { count: pages.count, pool: pages.pool.to_string() }),
            on_sleep: Some(plan.on_sleep).filter(|on_sleep| *on_sleep != OnSleep::Ignore),
        }
    }
}

impl Host {
    /// Whether nothing is changed.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Its part of the text.
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nThe host, while the machine runs")?;
        let known =
            |cpus: &str| if cpus.is_empty() { "that the host has".to_owned() } else { cpus.to_owned() };
        if let Some(cpus) = &self.performance {
            writeln!(out, "  the governor is `performance` on the CPUs {}", known(cpus))?;
        }
        if let Some(cpus) = &self.programs {
            writeln!(out, "  other programs have the CPUs {} only", known(cpus))?;
        }
        if let Some(Pages { count, pool }) = &self.pages {
            writeln!(out, "  {pool} has {count} for the guest")?;
        }
        match self.on_sleep {
            Some(OnSleep::Refuse) => writeln!(out, "  it is kept awake, also when the lid is closed"),
            Some(OnSleep::Pause) => writeln!(out, "  before it sleeps, the guest is paused"),
            Some(OnSleep::Shutdown) => {
                writeln!(out, "  before it sleeps, the guest's power button is pressed")
            }
            Some(OnSleep::Ignore) | None => Ok(()),
        }
    }
}
