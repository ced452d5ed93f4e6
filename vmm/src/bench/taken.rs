//! A probe over the rounds of a course, and the measure that becomes of it.

use statistics::{Measure, Missing, Owner};

use super::guest::Reply;
use super::payload::layout::Kind;
use super::probe::{Clock, Probe, Setting};

/// A probe with what it has come to.
pub(super) struct Taken {
    pub(super) probe: Probe,
    measure: Measure,
    lost: u64,
    /// How often the vCPUs left the guest for this process.
    pub(super) exits: u64,
    pub(super) stolen: f64,
    pub(super) time: f64,
    /// Why it is not taken any more.
    pub(super) failed: Option<String>,
}

impl Taken {
    pub(super) fn new(probe: Probe) -> Self {
        let mut measure = Measure::new(probe.id, &probe.title, probe.owner, probe.figure);
        measure.note = probe.note.map(str::to_owned);
        Self { probe, measure, lost: 0, exits: 0, stolen: 0.0, time: 0.0, failed: None }
    }

    /// Takes in a round. `clock_reads`: what reading the clock takes, in ticks.
    pub(super) fn add(&mut self, reply: &Reply, clock: Clock, clock_reads: u64) {
        self.lost += reply.lost;
        self.stolen += clock.nanoseconds(reply.stolen);
        self.time += clock.nanoseconds(reply.elapsed);
        let less = if self.probe.less_clock { clock_reads } else { 0 };
        let times = reply.samples.iter().map(|ticks| clock.nanoseconds(ticks.saturating_sub(less)));
        self.measure.round_of(&times.collect::<Vec<_>>());
        if self.measure.histogram.samples() == 0 && reply.lost > 0 {
            let why = match self.probe.setting {
                Setting::Plain => "the device was not done within a second".to_owned(),
                _ if reply.lost == 1 => "the interrupt was lost: a write raised none within 100 ms".into(),
                _ => format!("the interrupt was lost: {} writes raised none within 100 ms each", reply.lost),
            };
            self.failed = Some(why);
        }
    }

    /// The measure, or why there is none.
    pub(super) fn finish(self) -> Result<Measure, Missing> {
        let Self { probe, mut measure, lost, exits, failed, .. } = self;
        let samples = measure.histogram.samples();
        if samples == 0 {
            let why = failed.unwrap_or_else(|| "the course ended before".into());
            return Err(Missing { id: probe.id.into(), title: probe.title, why });
        }
        let exits = exits as f64 / samples as f64;
        // An access that was thought to be the device's alone, to a page that traps.
        let one_access = matches!(probe.command.kind, Kind::Read | Kind::Write);
        if one_access && probe.tell_exits && exits >= 0.5 && measure.owner == Owner::Hardware {
            measure.owner = Owner::Monitor;
        }
        let trapped = probe.tell_exits.then(|| match exits {
            ..0.5 => "without an exit to optimus-vmm".to_owned(),
            _ => format!("{exits:.1} exits to optimus-vmm each"),
        });
        let lost = (lost > 0).then(|| format!("{lost} of {} were lost", lost + samples));
        let notes: Vec<String> = [measure.note.take(), trapped, lost, failed].into_iter().flatten().collect();
        measure.note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(measure)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::guest::{Command, Silence};
    use crate::bench::probe;

    const CLOCK: Clock = Clock { per_microsecond: 1000.0 };

    fn taken(setting: Setting) -> Taken {
        let mut probe = probe::of_exits(None).remove(0);
        probe.setting = setting;
        Taken::new(probe)
    }

    #[test]
    fn the_clock_is_taken_off_and_rounds_are_kept() {
        let mut taken = taken(Setting::Plain);
        for samples in [vec![120, 130, 140], vec![30, 150, 160]] {
            taken.add(&Reply { samples, ..Reply::default() }, CLOCK, 40);
        }
        let measure = taken.finish().unwrap();
        assert_eq!(measure.rounds, [90.0, 110.0]);
        let summary = measure.summary().unwrap();
        // Less than the clock itself takes is nothing.
        assert_eq!((summary.min, summary.max, summary.samples), (0.0, 120.0, 6));
    }

    #[test]
    fn interrupts_that_do_not_come_are_lost() {
        let mut all = taken(Setting::Msi);
        all.add(&Reply { lost: 7, ..Reply::default() }, CLOCK, 0);
        assert!(all.failed.is_some());
        let missing = all.finish().unwrap_err();
        assert!(missing.why.contains("the interrupt was lost: 7 writes"), "{missing:?}");
        let mut some = taken(Setting::Msi);
        some.add(&Reply { samples: vec![5, 6], lost: 1, ..Reply::default() }, CLOCK, 0);
        assert!(some.failed.is_none());
        assert_eq!(some.finish().unwrap().note.as_deref(), Some("1 of 3 were lost"));
    }

    #[test]
    fn who_answers_decides_whose_a_read_is() {
        for (exits, owner) in [(0, Owner::Hardware), (1, Owner::Monitor), (2, Owner::Monitor)] {
            let command = Command::new(Kind::Read);
            let probe =
                Probe { tell_exits: true, ..Probe::new("bar.read", "read", Owner::Hardware, command) };
            let mut taken = Taken::new(probe);
            taken.add(&Reply { samples: vec![50, 60], ..Reply::default() }, CLOCK, 0);
            taken.exits = exits;
            assert_eq!(taken.finish().unwrap().owner, owner, "{exits} exits for 2 reads");
        }
    }

    #[test]
    fn what_failed_later_keeps_what_it_has() {
        let mut taken = taken(Setting::Plain);
        taken.add(&Reply { samples: vec![50], ..Reply::default() }, CLOCK, 0);
        taken.failed = Some(Silence::Hung(Duration::from_secs(15)).to_string());
        let measure = taken.finish().unwrap();
        assert!(measure.note.is_some_and(|note| note.contains("did not answer within 15.0 seconds")));
    }
}
