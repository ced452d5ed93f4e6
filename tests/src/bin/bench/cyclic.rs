//! cyclictest in the small guest (`test_cyclictest` of `scripts/lab.d/guest-init`), from outside.

use std::time::Duration;

use crate::guests::Files;
use crate::monitor::{Machine, Monitor};
use crate::run::Run;
use crate::{Options, Result};

const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// Beyond the time for which it runs.
const SLACK: Duration = Duration::from_secs(120);

/// What the guest does: nothing, then timers.
pub(crate) struct Work {
    /// Seconds of idleness before.
    pub(crate) idle: u32,
    /// Seconds of timers.
    pub(crate) seconds: u32,
}

/// How late timers were, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lateness {
    /// How many timers there were, on all processors together.
    pub(crate) timers: f64,
    /// Half were no later.
    pub(crate) median: f64,
    /// 999 of 1000 were no later.
    pub(crate) p999: f64,
    /// The latest.
    pub(crate) most: f64,
}

/// The machine of a guest that does this work: a timer of 1 kHz on each processor.
pub(crate) fn machine(options: &Options, files: &Files, work: &Work) -> Machine {
    files.with_tools(options, &format!("test=cyclictest idle={} seconds={}", work.idle, work.seconds))
}

/// Starts it; comes back when the guest has become idle.
pub(crate) fn start(monitor: &Monitor, machine: &Machine) -> Result<Run> {
    let mut run = Run::start(monitor.command(machine)?, machine.directory.join("messages"))?;
    run.wait_for(b"CYCLIC-IDLE", BOOT_LIMIT)?;
    Ok(run)
}

/// Comes back when timers begin.
pub(crate) fn begun(run: &mut Run, work: &Work) -> Result<()> {
    run.wait_for(b"CYCLIC-BEGIN", Duration::from_secs(work.idle.into()) + SLACK).map(drop)
}

/// Waits for the end of the work.
pub(crate) fn result(run: &mut Run, work: &Work) -> Result<Lateness> {
    let mark = b"CYCLIC-END ";
    run.wait_for(mark, Duration::from_secs(work.seconds.into()) + SLACK)?;
    let line = run.line_after(mark, SLACK)?;
    parse(&line).ok_or_else(|| format!("the guest says of its timers: {line}").into())
}

fn parse(line: &str) -> Option<Lateness> {
    let value = |key: &str| {
        line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<f64>().ok())
    };
    Some(Lateness {
        timers: value("timers")?,
        median: value("p50")?,
        p999: value("p999")?,
        most: value("max")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_line_is_read() {
        let expected = Lateness { timers: 40_000.0, median: 12.0, p999: 340.0, most: 9001.0 };
        assert_eq!(parse("timers=40000 p50=12 p999=340 max=9001"), Some(expected));
        assert_eq!(parse("timers=40000 p50=12 max=9001"), None);
        assert_eq!(parse(""), None);
    }
}
