//! Changing settings of the host and putting them back. Several machines may have changed the same one: each record has what
//! was there before the first of them, the last one brings that back, and whoever ends before leaves what another wants.

use std::fs;
use std::time::Duration;

use super::setting::{Group, Line, Pool, Setting};
use super::step::{ATTRIBUTE, Host, Step, StepError};
use crate::host::WriteError;
use crate::host::files::text;

/// How long the kernel may look for huge pages: it moves what lies in between.
const PAGES: Duration = Duration::from_secs(60);

impl Host {
    pub(super) fn change(&self, setting: &Setting, value: &Line) -> Result<(), StepError> {
        let path = self.files.path(setting.file());
        if text(&path).is_ok_and(|now| now == value.text()) {
            return Ok(());
        }
        let doing = format!("setting {setting} to \"{}\"", value.text());
        let written = self.write(&path, value.to_write(), ATTRIBUTE, doing, cure);
        if let Setting::Cpus { group } = setting
            && written.is_err()
            && self.has_ended(group)
        {
            return Ok(());
        }
        written.map_err(|error| allowed(error, setting.key()))
    }

    /// Only what a machine of ours has set is undone: another text got there by somebody else since.
    pub(super) fn put_back(&self, setting: &Setting, to: &Line, ours: &Line) -> Result<(), StepError> {
        let path = self.files.path(setting.file());
        match text(&path) {
            Ok(now) if now == ours.text() => match (self.change(setting, to), setting) {
                // Linux before 6.12 does not let a group with processes have no CPUs written. Those of the group above mean the
                // same; and if the controller was ours, it is turned off next, and all of this goes with it.
                (Err(StepError::Refused { source: WriteError::Said(why), .. }), Setting::Cpus { group })
                    if to.text().is_empty() && why.contains("No space left") =>
                {
                    let above = self.files.text(group.above().file("cpuset.cpus.effective"));
                    let above = above.ok().and_then(|above| Line::try_from(above).ok());
                    above.map_or(Ok(()), |above| self.change(setting, &above))
                }
                (done, _) => done,
            },
            // The group has ended, the CPU was taken offline.
            _ => Ok(()),
        }
    }

    /// Whether a control group has ended: such have nobody to be kept off CPUs.
    fn has_ended(&self, group: &Group) -> bool {
        !self.files.path(group.file("")).exists()
    }

    /// Gives the groups below `group` CPUs of their own, or no longer.
    pub(super) fn control_cpus(&self, group: &Group, on: bool) -> Result<(), StepError> {
        let path = self.files.path(group.file("cgroup.subtree_control"));
        let Ok(now) = text(&path) else { return Ok(()) };
        if now.split_whitespace().any(|name| name == "cpuset") == on {
            return Ok(());
        }
        let (sign, what) = if on { ("+", "giving") } else { ("-", "no longer giving") };
        let doing = format!("{what} the groups below {group} CPUs of their own");
        match self.write(&path, &format!("{sign}cpuset"), ATTRIBUTE, doing, cure) {
            // Somebody has begun to use it further down since.
            Err(StepError::Refused { source: WriteError::Said(why), .. }) if !on && why.contains("busy") => {
                tracing::debug!("{group} keeps its controller for CPUs, which is in use: {why}");
                Ok(())
            }
            Err(_) if self.has_ended(group) => Ok(()),
            written => written.map_err(|error| allowed(error, "isolate")),
        }
    }

    pub(super) fn add_pages(
        &self,
        pool: Pool,
        former: u64,
        pages: u64,
        others: &[Step],
    ) -> Result<(), StepError> {
        let wanted = former.saturating_add(added(pool, others)).saturating_add(pages);
        let mut now = self.pages(pool);
        // Twice: after the first time the kernel has put the pieces of free memory together.
        for again in [false, true] {
            if now >= wanted {
                return Ok(());
            }
            if again {
                let compact = self.files.path("proc/sys/vm/compact_memory");
                if let Err(error) = self.kernel.write(&compact, "1", PAGES) {
                    tracing::debug!("memory is not compacted: {error}");
                }
            }
            match self.set_pages(pool, wanted) {
                // It is over with the process that has written, and what was found by then stays: too few pages, which can be put
                // back, as nothing hangs for good.
                Err(StepError::Hung { .. }) => {}
                done => done?,
            }
            now = self.pages(pool);
        }
        if now >= wanted {
            return Ok(());
        }
        let got = pages.saturating_sub(wanted.saturating_sub(now));
        Err(StepError::FewPages { pool, pages, got, size: if pool.kib > 2048 { "1G" } else { "2M" } })
    }

    pub(super) fn remove_pages(
        &self,
        pool: Pool,
        former: u64,
        pages: u64,
        others: &[Step],
    ) -> Result<(), StepError> {
        let now = self.pages(pool);
        let left = former.saturating_add(added(pool, others));
        // More than all of ours: somebody else has added some since, which stay.
        let of_others = now.saturating_sub(left.saturating_add(pages));
        if now <= left {
            return Ok(());
        }
        self.set_pages(pool, left.saturating_add(of_others))
    }

    fn set_pages(&self, pool: Pool, pages: u64) -> Result<(), StepError> {
        let doing = format!("setting {pool} to {pages} pages");
        let path = self.files.path(pool.file("nr_hugepages"));
        let written = self.write(&path, &pages.to_string(), PAGES, doing, cure);
        written.map_err(|error| allowed(error, "hugepages"))
    }

    /// How many pages a pool has; 0 if it does not tell.
    pub(in crate::host) fn pages(&self, pool: Pool) -> u64 {
        let count = fs::read_to_string(self.files.path(pool.file("nr_hugepages")));
        count.ok().and_then(|count| count.trim().parse().ok()).unwrap_or_default()
    }
}

/// How many pages other machines have added to a pool.
fn added(pool: Pool, others: &[Step]) -> u64 {
    let theirs = others.iter().map(|other| match other {
        Step::HugePages { pool: same, pages, .. } if *same == pool => *pages,
        _ => 0,
    });
    theirs.fold(0, u64::saturating_add)
}

/// What is denied here is no device.
fn allowed(error: StepError, key: &'static str) -> StepError {
    match error {
        StepError::Denied { doing, source } => StepError::NotAllowed { doing, source, key },
        error => error,
    }
}

fn cure() -> String {
    "`sudo dmesg | tail` may tell why, and only a reboot helps if that does not end".into()
}
