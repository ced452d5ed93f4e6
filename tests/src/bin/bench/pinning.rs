//! How long guest memory takes to be pinned for a passed-through device: what a start with one waits for. The lab's `edu`, with real VFIO.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ::tests::vfio::{Lent, ids};
use statistics::abba;

use crate::guests::Files;
use crate::monitor::{Flash, Machine, Monitor};
use crate::run::Run;
use crate::stats::Comparison;
use crate::{Options, Part, Result, payload, procfs, tell};

/// Of guest memory, in MiB.
const MEMORY: u64 = 1024;
/// What need not be pinned of it, in KiB: QEMU puts what is below 1 MiB together from parts.
const SPARE: u64 = 4 << 10;
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks, which take a CPU's time from who pins.
const LOOK: Duration = Duration::from_millis(5);
/// The host's rule for huge pages.
const RULE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Measures small pages and huge ones, alternating.
pub(crate) fn measure(options: &Options) -> Result<Part> {
    let lent = Lent::take(&[ids::EDU]).map_err(|failed| failed.message().unwrap_or_default().to_owned())?;
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let ours = Monitor::Ours { program: files.program().into() };
    let peer = Monitor::find_qemu(&options.lab, "host")?;
    let mut part = Part::new("pinning", &ours, &peer)?;
    let mut machine = files.machine(options, Flash::Payload(files.payload().into()), "start");
    machine.memory = MEMORY;
    machine.device = lent.addresses().first().map(|address| (*address).to_owned());
    for (pages, rule) in [("4 KiB", "never"), ("2 MiB", "madvise")] {
        let _rule = Rule::set(rule)?;
        let title = |what: &str| format!("{what}, {} GiB in pages of {pages}", MEMORY >> 10);
        let mut all = Comparison::new(&title("exec until memory is pinned"), "ms", Some(0.5));
        let mut first = Comparison::new(&title("exec to first instruction"), "ms", None);
        // The first pair fills caches and does not count.
        for pair in 0..=options.pairs {
            for is_ours in abba(pair) {
                let monitor = if is_ours { &ours } else { &peer };
                let (pinned, began) = start(monitor, &machine)?;
                let name = if is_ours { "optimus-vmm" } else { "QEMU" };
                tell(&format!(
                    "pair {pair}, {name}, {pages}: pinned after {pinned:.1} ms, begun after {began:.1} ms"
                ));
                if pair > 0 {
                    all.add(is_ours, pinned);
                    first.add(is_ours, began);
                }
            }
        }
        part.comparisons.extend([all, first]);
    }
    Ok(part)
}

/// One start: milliseconds until all of guest memory is pinned, and until the guest's first instructions.
fn start(monitor: &Monitor, machine: &Machine) -> Result<(f64, f64)> {
    let wanted = (machine.memory << 10) - SPARE;
    let mut run = Run::start(monitor.command(machine)?, machine.directory.join("messages"))?;
    let deadline = Instant::now() + LIMIT;
    while procfs::pinned(run.pid())? < wanted {
        if let Some(status) = run.ended()? {
            let (who, said) = (monitor.program(), run.messages());
            return Err(format!("{who} ended before it pinned {wanted} KiB: {status}\n{said}").into());
        }
        if Instant::now() > deadline {
            let (who, said) = (monitor.program(), run.messages());
            return Err(format!("{who} has not pinned {wanted} KiB in {LIMIT:?}\n{said}").into());
        }
        std::thread::sleep(LOOK);
    }
    let pinned = run.elapsed();
    let first = run.wait_for(&[payload::BEGIN], LIMIT)?;
    Ok((pinned.as_secs_f64() * 1e3, first.as_secs_f64() * 1e3))
}

/// The host's rule for huge pages, which is put back when this is dropped.
struct Rule(String);

impl Rule {
    fn set(word: &str) -> Result<Self> {
        let all = fs::read_to_string(RULE)?;
        let before = chosen(&all).ok_or_else(|| format!("{RULE} has no rule: {all}"))?.to_owned();
        write(word)?;
        Ok(Self(before))
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        if let Err(error) = write(&self.0) {
            tell(&error.to_string());
        }
    }
}

fn write(word: &str) -> Result<()> {
    fs::write(Path::new(RULE), word).map_err(|error| format!("cannot write {word} to {RULE}: {error}").into())
}

/// The word in brackets.
fn chosen(all: &str) -> Option<&str> {
    Some(all.split_once('[')?.1.split_once(']')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_in_brackets() {
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("always madvise never"), None);
    }
}
