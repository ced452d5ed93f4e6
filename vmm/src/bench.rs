//! `optimus-vmm bench`: latencies of a machine and of its passed-through device, measured from inside the guest.
//!
//! | module | what it does |
//! |---|---|
//! | [`payload`] | the guest: instructions that measure, and the file that starts them without firmware |
//! | [`guest`] | its other end: commands, and samples |
//! | [`registers`] | what its exits end at |
//! | [`probe`] | what is measured, and how |
//! | [`device`] | the device: its registers and interrupts, and descriptions of such |
//! | [`course`] | the order of it, in rounds |
//! | [`taken`] | what a probe comes to over the rounds |
//! | [`pinning`] | how long memory takes to be opened to devices |
//! | [`counters`] | what the host counts meanwhile |
//! | [`start`] | how long starts take |
//! | [`host`] | what of the host the numbers depend on |
//! | [`verdict`] | what they say |
//! | [`table`] | the report for a terminal |
//! | [`baseline`] | an earlier report beside it |
//! | [`files`] | the report and its plot as files |
//! | [`elsewhere`] | the same guest in another program's machine |
//!
//! The machine is that of the vm.toml. Only its kernel is another, its consoles and its control socket are left out, and whatever its guest
//! comes to ends it.

mod baseline;
mod counters;
mod course;
mod device;
pub mod elsewhere;
mod files;
mod guest;
mod host;
mod memory_file;
mod payload;
mod pinning;
mod probe;
mod registers;
pub mod start;
mod table;
mod taken;
#[cfg(test)]
mod testing;
mod verdict;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use statistics::{Advice, AdviceKind, Host, Report};

use crate::cli::{BenchArgs, RunOptions, Script, StartArgs};
use crate::config::{ControlSpec, Overrides};
use crate::events::{EventLog, ProcessStart};
use crate::host::HostFiles;
use crate::machine::{self, Companion, Inside};
use crate::outcome::{Failure, Outcome, status};
use baseline::BaselineError;
use course::{Found, Shared, Wishes};
use device::{DescriptionError, NotThere};
use files::Files;
use memory_file::MemoryFile;
use start::Starts;
use verdict::Choices;
use vocabulary::ConsoleSpec;

/// What a measurement came to.
#[derive(Debug)]
pub struct Answer {
    /// The report for people.
    pub text: String,
    /// Why not everything was measured, if so.
    pub complaint: Option<String>,
    /// The exit status.
    pub status: u8,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The machine cannot be started, or a file cannot be written.
    #[error(transparent)]
    Machine(#[from] Failure),
    /// The device that is named is not there.
    #[error(transparent)]
    Device(#[from] NotThere),
    /// The description of the device cannot be used.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The earlier report cannot be used.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
}

impl BenchError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Machine(failure) => failure.status(),
            Self::Device(_) | Self::Description(_) | Self::Baseline(_) => status::CONFIG,
        }
    }
}

const NOT_INVARIANT: &str = "the host's processor does not say that its time-stamp counter keeps its pace: it may follow the processor's \
                             frequency, and times are those of the pace at the beginning";

/// Who hears how far the measurement is.
pub type Tell = Box<dyn FnMut(&str) + Send>;

/// Measures.
///
/// # Errors
/// See [`BenchError`].
pub fn run(args: &BenchArgs, start: ProcessStart, mut tell: Tell) -> Result<Answer, BenchError> {
    let baseline = args.baseline.as_deref().map(baseline::read).transpose()?;
    let files = Files::open(args)?;
    let description = args.describe.as_deref().map(device::read).transpose()?;
    let began = (Instant::now(), SystemTime::now());
    let load = host::load(&HostFiles::default());
    let payload = MemoryFile::new("optimus-bench", &payload::image()).map_err(in_memory)?;
    let events = MemoryFile::new("optimus-events", &[]).map_err(in_memory)?;
    let log = EventLog::into_file(events.share().map_err(in_memory)?, events.path());
    let options = options(&args.config, payload.path());
    let plan = machine::plan_of(&options.config, &options.overrides)?;
    files.check(&plan, args.baseline.as_deref())?;
    let choices = Choices::of(&plan);
    let device = device::choose(&plan, args.device)?;
    let wishes = Wishes { duration: args.duration, delay: args.delay, device, description };
    let again = StartArgs { config: args.config.clone() };
    let starts = Starts::of(&again, &plan, args.duration, &mut *tell);
    let found = Shared::default();
    let to = found.clone();
    let work = move |inside: &Inside| course::run(inside, &wishes, &to, &mut tell);
    let outcome = machine::run_with(&options, start, Companion { work: Box::new(work), events: log })?;
    let mut found = std::mem::take(&mut *found.lock());
    found.measures.extend(starts.finish(&events.text().map_err(in_memory)?));
    let ended = judge(&outcome, found.end.take());
    let host = found.host.take().unwrap_or_else(|| host::facts(&HostFiles::default(), None));
    let report = report(found, Host { load, ..host }, began, choices);
    let (status, complaint) = with_unwritten(ended, &files.write(&report, baseline.as_ref()));
    let mut text = table::text(&report);
    if let (Some(before), Some(path)) = (&baseline, &args.baseline) {
        text.push_str(&baseline::text(&report, before, path));
    }
    Ok(Answer { text, complaint, status })
}

/// Why a file in memory cannot be had.
fn in_memory(source: io::Error) -> Failure {
    Failure::Write { path: "memory".into(), source }
}

/// The machine of the vm.toml with another guest, which nobody talks to.
fn options(config: &Path, payload: PathBuf) -> RunOptions {
    RunOptions {
        config: config.into(),
        overrides: Overrides {
            payload: Some(payload),
            serial: Some(ConsoleSpec::None),
            debugcon: Some(ConsoleSpec::None),
            control: Some(ControlSpec::Off),
            ..Overrides::default()
        },
        headless: true,
        timeout: None,
        script: Script::default(),
        fail_on: Vec::new(),
        screenshot: None,
        events: None,
    }
}

/// All that was found, and what it says.
fn report(found: Found, host: Host, began: (Instant, SystemTime), choices: Choices) -> Report {
    let mut report = Report {
        program: format!("optimus-vmm {}", env!("CARGO_PKG_VERSION")),
        unix_seconds: began.1.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        duration: began.0.elapsed().as_secs_f64(),
        host,
        machine: found.machine,
        measures: found.measures,
        missing: found.missing,
        counters: found.counters,
        advice: Vec::new(),
    };
    let steady = report.host.tsc.as_deref() == Some(host::INVARIANT);
    if let Some(frequency) = found.frequency {
        let pace = report.host.tsc.take().unwrap_or_else(|| "of unknown steadiness".into());
        report.host.tsc = Some(format!("{pace}, {frequency:.0} MHz in the guest"));
    }
    report.advice = verdict::advice(&report, choices);
    let remarks = (!steady).then(|| NOT_INVARIANT.to_owned()).into_iter().chain(found.remarks);
    report.advice.extend(remarks.map(|text| Advice { kind: AdviceKind::Hardware, text }));
    report
}

/// How the command ends. `end`: how the course did, if it did.
fn judge(outcome: &Outcome, end: Option<Result<(), String>>) -> (u8, Option<String>) {
    match (outcome, end) {
        (Outcome::Quit, Some(Ok(()))) => (status::SUCCESS, None),
        (Outcome::Quit, end) => {
            let why = end.and_then(Result::err).unwrap_or_else(|| "it ended by itself".into());
            (status::RUNTIME, Some(format!("not everything could be measured: {why}")))
        }
        (other, _) => (other.status().max(status::CONDITION), other.message()),
    }
}

/// That files could not be written is told beside how the command ends, and is why it fails if nothing else is.
fn with_unwritten((status, complaint): (u8, Option<String>), unwritten: &[Failure]) -> (u8, Option<String>) {
    let complaints: Vec<String> =
        complaint.into_iter().chain(unwritten.iter().map(Failure::to_string)).collect();
    let status = match (status, unwritten.first()) {
        (status::SUCCESS, Some(failure)) => failure.status(),
        (status, _) => status,
    };
    (status, (!complaints.is_empty()).then(|| complaints.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_written_are_told_beside_the_rest() {
        let full = || Failure::Write { path: "a.json".into(), source: io::ErrorKind::StorageFull.into() };
        assert_eq!(with_unwritten((status::SUCCESS, None), &[]), (status::SUCCESS, None));
        let (status, why) = with_unwritten((status::SUCCESS, None), &[full(), full()]);
        assert_eq!(status, full().status());
        assert!(why.is_some_and(|why| why.matches("a.json").count() == 2));
        let (status, why) = with_unwritten((status::CRASH, Some("triple fault".into())), &[full()]);
        assert_eq!(status, status::CRASH);
        assert!(why.is_some_and(|why| why.starts_with("triple fault\n") && why.contains("a.json")));
    }

    #[test]
    fn only_a_whole_course_is_a_success() {
        assert_eq!(judge(&Outcome::Quit, Some(Ok(()))), (status::SUCCESS, None));
        let (status, why) = judge(&Outcome::Quit, Some(Err("it hangs".into())));
        assert_eq!(
            (status, why.as_deref()),
            (status::RUNTIME, Some("not everything could be measured: it hangs"))
        );
        assert_eq!(judge(&Outcome::Quit, None).0, status::RUNTIME);
        // The payload never powers off: its end is none that was wanted.
        assert_eq!(judge(&Outcome::PoweredOff, None).0, status::CONDITION);
        assert_eq!(
            judge(&Outcome::Crashed("triple fault".into()), Some(Err("over".into()))),
            (status::CRASH, Some("triple fault".into()))
        );
        assert_eq!(judge(&Outcome::Signalled(2), None), (130, None));
    }

    #[test]
    fn a_clock_that_does_not_keep_its_pace_is_told() {
        for (tsc, told) in [(Some("invariant"), false), (Some("not invariant"), true), (None, true)] {
            let host = Host { tsc: tsc.map(str::to_owned), ..Host::default() };
            let found = Found { frequency: Some(2496.04), ..Found::default() };
            let report = report(
                found,
                host,
                (Instant::now(), SystemTime::now()),
                Choices { pinned: false, hugepages: false, governor: false },
            );
            assert_eq!(report.advice.iter().any(|advice| advice.text == NOT_INVARIANT), told, "{tsc:?}");
            assert!(report.host.tsc.is_some_and(|tsc| tsc.ends_with(", 2496 MHz in the guest")));
        }
    }
}
