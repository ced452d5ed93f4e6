//! How long the start of the machine takes, from what `--events` would tell. A process starts once: each further start is another process's, before
//! the machine that is measured.

use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use statistics::{Figure, Measure, Owner};

use super::course::ROUNDS;
use super::guest::Guest;
use super::memory_file::MemoryFile;
use super::{Answer, BenchError, in_memory, judge, options, payload};
use crate::cli::StartArgs;
use crate::events::{Event, EventLog, Line, ProcessStart};
use crate::machine::{self, Companion, Inside};
use crate::plan::MachinePlan;

/// The share of a measurement's duration that starts may take beside it.
const SHARE: u32 = 10;

/// Starts the machine of a measurement, ends it once its guest runs, and gives what happened when.
///
/// # Errors
/// The machine cannot be started.
pub fn run(args: &StartArgs, start: ProcessStart) -> Result<Answer, BenchError> {
    let payload = MemoryFile::new("optimus-bench", &payload::image()).map_err(in_memory)?;
    let events = MemoryFile::new("optimus-events", &[]).map_err(in_memory)?;
    let log = EventLog::into_file(events.share().map_err(in_memory)?, events.path());
    let (to, done) = channel();
    let work = move |inside: &Inside| {
        let (_ring, rung) = channel();
        let up = Guest::wait(&inside.ram, rung, 0, &|| inside.is_over()).map(drop);
        // Who does not wait for it has been told why.
        let _ = to.send(up.map_err(|silence| silence.to_string()));
    };
    let companion = Companion { work: Box::new(work), events: log };
    let outcome = machine::run_with(&options(&args.config, payload.path()), start, companion)?;
    let (status, complaint) = judge(&outcome, done.try_recv().ok());
    Ok(Answer { text: events.text().map_err(in_memory)?, complaint, status })
}

/// What a phase ends with.
fn phase(event: &Event) -> Option<(&'static str, &'static str)> {
    Some(match event {
        Event::MemoryReady { .. } => ("start.memory", "start: until memory is mapped"),
        Event::KernelHandedOver => ("start.devices", "start: devices, until the guest is loaded"),
        Event::FirstInstruction => ("start.vcpus", "start: vCPUs, until the first instruction"),
        _ => return None,
    })
}

/// The phases of starts.
#[derive(Default)]
pub(super) struct Starts {
    measures: Vec<Measure>,
    /// Why there are not more.
    why: Option<String>,
}

impl Starts {
    /// Starts the machine of `plan`, which a measurement of this duration has, as often as there is time for, but at least once. A device of the
    /// host, on PCI or USB, would be taken from its driver and given back each time: then there is none.
    pub(super) fn of(
        args: &StartArgs,
        plan: &MachinePlan,
        duration: Duration,
        tell: &mut dyn FnMut(&str),
    ) -> Self {
        let mut starts = Self::default();
        if plan.passthrough.is_empty() && plan.igpu.is_none() && plan.usb.is_empty() {
            starts.repeat(duration / SHARE, &mut |round| {
                tell(&format!("start {round} of {ROUNDS}"));
                once(args)
            });
        } else {
            starts.why =
                Some("one start: for more of them the device would be taken and given back each time".into());
        }
        starts
    }

    /// Takes in what `once` gives for each round, as long as the limit is not reached.
    fn repeat(&mut self, limit: Duration, once: &mut dyn FnMut(u32) -> Result<String, String>) {
        let began = Instant::now();
        for round in 1..=ROUNDS {
            match once(round) {
                Ok(events) => self.add(&events),
                Err(why) => self.why = Some(format!("a further start failed: {why}")),
            }
            if self.why.is_some() || began.elapsed() >= limit {
                return;
            }
        }
    }

    /// Takes in a start: its phases, each from the end of the one before, from `events`, lines of JSON.
    fn add(&mut self, events: &str) {
        let mut before = None;
        for line in events.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            if matches!(line.event, Event::ProcessStart { .. }) {
                before = Some(line.ns);
            }
            if let Some((id, title)) = phase(&line.event)
                && let Some(since) = before.replace(line.ns)
            {
                let time = [line.ns.saturating_sub(since) as f64];
                match self.measures.iter_mut().find(|measure| measure.id == id) {
                    Some(measure) => measure.round_of(&time),
                    None => {
                        let mut measure = Measure::new(id, title, Owner::Monitor, Figure::Median);
                        measure.round_of(&time);
                        self.measures.push(measure);
                    }
                }
            }
        }
    }

    /// The phases. `own`: the events of the start of the machine that was measured, which count where there are no others: it was made after
    /// them, and its process did other things before.
    pub(super) fn finish(mut self, own: &str) -> Vec<Measure> {
        if self.measures.is_empty() {
            self.add(own);
        }
        for measure in &mut self.measures {
            measure.note = self.why.clone();
        }
        self.measures
    }
}

/// Starts the machine in a process of its own. What happened when, or why it did not start.
fn once(args: &StartArgs) -> Result<String, String> {
    // The program that runs, even if its file has been replaced.
    let mut command = Command::new("/proc/self/exe");
    command.arg("bench-start").arg("--").arg(&args.config).stdin(Stdio::null());
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(reason(&String::from_utf8_lossy(&output.stderr)).unwrap_or_else(|| output.status.to_string()))
}

/// What a process has said on its standard error, in one line: what to do about a problem may stand after it, and be the last.
fn reason(said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A start that takes so much longer than the shortest in each of its phases.
    fn events(longer: u64) -> String {
        let at = |time: u64, phases: u64| 1000 + time + phases * longer;
        format!(
            "{{\"event\":\"process_start\",\"created_ns\":1,\"tick_ns\":2,\"ns\":1000}}\n\
             {{\"event\":\"memory_ready\",\"bytes\":5,\"ns\":{}}}\n\
             {{\"event\":\"kernel_handed_over\",\"ns\":{}}}\n\
             {{\"event\":\"console\",\"device\":\"serial\",\"path\":\"/x\",\"ns\":{}}}\n\
             {{\"event\":\"first_instruction\",\"ns\":{}}}\nnot a line\n",
            at(3000, 1),
            at(8000, 2),
            at(8500, 2),
            at(8600, 3)
        )
    }

    fn rounds(measures: &[Measure]) -> Vec<(&str, Vec<f64>)> {
        measures.iter().map(|measure| (measure.id.as_str(), measure.rounds.clone())).collect()
    }

    #[test]
    fn each_start_is_a_round_of_its_phases() {
        let mut starts = Starts::default();
        starts.repeat(Duration::MAX, &mut |round| Ok(events(u64::from(round - 1) * 10)));
        let measures = starts.finish(&events(1_000_000));
        let after = |first: f64| (0..ROUNDS).map(|round| first + f64::from(round) * 10.0).collect();
        let expected = [
            ("start.memory", after(3000.0)),
            ("start.devices", after(5000.0)),
            ("start.vcpus", after(600.0)),
        ];
        assert_eq!(rounds(&measures), expected);
        assert!(measures.iter().all(|measure| measure.note.is_none()));
        assert_eq!(measures[0].summary().unwrap().samples, u64::from(ROUNDS));
    }

    #[test]
    fn there_is_at_least_one_and_no_more_than_there_is_time_for() {
        let mut starts = Starts::default();
        starts.repeat(Duration::ZERO, &mut |_| Ok(events(0)));
        assert_eq!(rounds(&starts.measures)[0].1, [3000.0]);
    }

    #[test]
    fn what_failed_is_told_and_not_tried_again() {
        let mut starts = Starts::default();
        let mut tried = 0;
        starts.repeat(Duration::MAX, &mut |round| {
            tried = round;
            if round < 3 { Ok(events(0)) } else { Err("no room".into()) }
        });
        assert_eq!(tried, 3);
        let measures = starts.finish("");
        assert_eq!(rounds(&measures)[0].1, [3000.0, 3000.0]);
        assert_eq!(measures[0].note.as_deref(), Some("a further start failed: no room"));
    }

    #[test]
    fn a_reason_is_told_with_all_of_its_lines() {
        assert_eq!(
            reason("error: no room\n  at memory, line 3\n\nlower it\n").as_deref(),
            Some("error: no room; at memory, line 3; lower it")
        );
        assert_eq!(reason("\n"), None);
    }

    #[test]
    fn the_measured_machines_own_start_counts_where_there_is_no_other() {
        let starts = Starts { why: Some("one start".into()), ..Starts::default() };
        let measures = starts.finish(&events(5));
        assert_eq!(rounds(&measures)[2], ("start.vcpus", vec![605.0]));
        assert_eq!(measures[0].note.as_deref(), Some("one start"));
        assert!(Starts::default().finish("").is_empty());
    }
}
