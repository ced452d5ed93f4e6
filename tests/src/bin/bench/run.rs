//! One run of a monitor: started with a clock, watched on its standard output, ended for good.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::Result;

/// A running monitor. It is killed when this is dropped.
pub(crate) struct Run {
    child: Child,
    began: Instant,
    output: Receiver<(Instant, Vec<u8>)>,
    /// What came so far and when each part did.
    seen: Vec<(Instant, Vec<u8>)>,
    log: PathBuf,
}

impl Run {
    /// Starts the command. The clock (`CLOCK_MONOTONIC`) starts right before the process is made.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let began = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let mut pipe = child.stdout.take().ok_or("the monitor has no standard output")?;
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let now = Instant::now();
                let part = buffer.get(..count).unwrap_or_default().to_vec();
                if sender.send((now, part)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, began, output, seen: Vec::new(), log })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How the process ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What the process has said on its standard error.
    pub(crate) fn messages(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a text on the standard output; gives the time from the start to its arrival.
    pub(crate) fn wait_for(&mut self, text: &[u8], limit: Duration) -> Result<Duration> {
        let deadline = Instant::now() + limit;
        loop {
            let all: Vec<u8> = self.seen.iter().flat_map(|(_, part)| part).copied().collect();
            if let Some(at) = all.windows(text.len()).position(|window| window == text) {
                let mut end = at + text.len();
                for (when, part) in &self.seen {
                    match end.checked_sub(part.len()).filter(|rest| *rest > 0) {
                        Some(rest) => end = rest,
                        None => return Ok(when.duration_since(self.began)),
                    }
                }
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(part) => self.seen.push(part),
                Err(why) => return Err(self.failure(text, why, &all).into()),
            }
        }
    }

    /// The rest of the line that begins with a text.
    pub(crate) fn line_after(&mut self, text: &[u8], limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let all: Vec<u8> = self.seen.iter().flat_map(|(_, part)| part).copied().collect();
            let at = all.windows(text.len()).position(|window| window == text).map(|at| at + text.len());
            let rest = at.and_then(|at| all.get(at..)).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                return Ok(String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).trim().into());
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(part) => self.seen.push(part),
                Err(why) => return Err(self.failure(text, why, &all).into()),
            }
        }
    }

    /// When the first `count` bytes of this value came.
    pub(crate) fn arrivals(&mut self, byte: u8, count: usize, limit: Duration) -> Result<Vec<Instant>> {
        let deadline = Instant::now() + limit;
        loop {
            let times: Vec<Instant> = self
                .seen
                .iter()
                .flat_map(|(when, part)| part.iter().filter(|one| **one == byte).map(|_| *when))
                .take(count)
                .collect();
            if times.len() == count {
                return Ok(times);
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(part) => self.seen.push(part),
                Err(why) => {
                    let all: Vec<u8> = self.seen.iter().flat_map(|(_, part)| part).copied().collect();
                    return Err(self.failure(&[byte], why, &all).into());
                }
            }
        }
    }

    fn failure(&self, text: &[u8], why: RecvTimeoutError, all: &[u8]) -> String {
        let happened = match why {
            RecvTimeoutError::Timeout => "did not come in time",
            RecvTimeoutError::Disconnected => "did not come before the monitor ended",
        };
        let messages = self.messages();
        let tail = all.get(all.len().saturating_sub(2000)..).unwrap_or_default();
        format!(
            "{:?} {happened}; the end of the guest's output:\n{}\nand the monitor's messages:\n{messages}",
            String::from_utf8_lossy(text),
            String::from_utf8_lossy(tail)
        )
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
