//! Reading a host that may not answer: a child reads, and the parent waits for each probe only so long.
//!
//! A read in sysfs can wait in the kernel for ever, where no signal reaches: attributes of a device whose driver hangs wait for
//! the device's lock. A thread that waits there would keep this process from ending; a child can be left behind. Nothing of it is
//! shared but the pipe of its answers, so that nobody who waits for our own output waits for it.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::DoctorError;
use super::facts::{Context, Facts, Part, Probe, Unanswered};
use crate::programs;

/// This program, also if its file was replaced meanwhile.
const SELF: &str = "/proc/self/exe";

/// A line of the child's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    /// It is about to look.
    Begin(Probe),
    /// It has looked.
    Found(Box<Part>),
}

/// The child's side: looks, and says so line by line.
///
/// # Errors
/// Nobody listens.
pub(super) fn answer(context: &Context, probes: &[Probe], out: &mut dyn Write) -> io::Result<()> {
    let mut say = |line: &Line| {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        out.write_all(&line).and_then(|()| out.flush())
    };
    for probe in probes.iter().copied() {
        say(&Line::Begin(probe))?;
        say(&Line::Found(Box::new(probe.look(context))))?;
    }
    Ok(())
}

/// All facts of a host; each probe has `patience`.
///
/// # Errors
/// No child can be started.
pub(super) fn gather(context: &Context, patience: Duration) -> Result<Facts, DoctorError> {
    let mut facts = Facts { live: context.is_live(), ..Facts::default() };
    let mut context = context.clone();
    if context.config.is_some() {
        ask(&context, &[Probe::Machine], patience, &mut facts)?;
        context.dgpu = facts.machine.as_ref().and_then(|machine| machine.dgpu);
    }
    ask(&context, &Probe::OF_HOST, patience, &mut facts)?;
    Ok(facts)
}

/// Has children look until all `probes` are answered or given up.
///
/// # Errors
/// No child can be started.
pub(super) fn ask(
    context: &Context,
    probes: &[Probe],
    patience: Duration,
    facts: &mut Facts,
) -> Result<(), DoctorError> {
    let mut left = probes;
    while let [first, ..] = left {
        let mut child = start(context, left).map_err(DoctorError::Child)?;
        let heard = listen(&mut child, patience, facts);
        part_with(&mut child);
        let Some((probe, why)) = heard.map_err(DoctorError::Child)? else { break };
        // One that is lost before its first word has not looked at anything.
        let probe = probe.unwrap_or(*first);
        facts.unanswered.push(Unanswered { probe, why });
        let done = left.iter().position(|other| *other == probe).unwrap_or(0);
        left = left.get(done + 1..).unwrap_or_default();
    }
    Ok(())
}

fn start(context: &Context, probes: &[Probe]) -> io::Result<Child> {
    let names: Vec<_> = probes.iter().map(|probe| probe.name()).collect();
    let mut command = Command::new(SELF);
    command.arg("doctor").arg("--answer").arg(names.join(","));
    if let Some(dgpu) = context.dgpu {
        command.arg("--dgpu").arg(dgpu.to_string());
    }
    for (option, path) in [("--sysroot", &context.sysroot), ("--capture", &context.capture)] {
        if let Some(path) = path {
            command.arg(option).arg(path);
        }
    }
    if let Some(config) = &context.config {
        command.arg("--").arg(config);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// Takes in what the child says, until it has ended well; else the probe that is not answered, and why.
fn listen(
    child: &mut Child,
    patience: Duration,
    facts: &mut Facts,
) -> io::Result<Option<(Option<Probe>, String)>> {
    let Some(mut pipe) = child.stdout.take() else { return Ok(None) };
    let (mut said, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    let mut under_way = None;
    let mut deadline = Instant::now() + patience;
    loop {
        let time = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&time.map_err(io::Error::other)?)) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(0) => {
                let why = format!("has not answered within {} s", patience.as_secs_f32());
                return Ok(Some((under_way, why)));
            }
            Ok(_) => {}
        }
        let count = match pipe.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            let status = child.wait()?;
            let lost = under_way.is_some() || !status.success();
            return Ok(lost.then(|| (under_way, format!("was ended before it had an answer ({status})"))));
        }
        said.extend_from_slice(piece.get(..count).unwrap_or_default());
        while let Some(end) = said.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = said.drain(..=end).collect();
            match serde_json::from_slice(&line).map_err(io::Error::other)? {
                Line::Begin(probe) => under_way = Some(probe),
                Line::Found(part) => {
                    facts.add(*part);
                    under_way = None;
                }
            }
            deadline = Instant::now() + patience;
        }
    }
}

/// Ends the child, or leaves it to the kernel that it waits for.
fn part_with(child: &mut Child) {
    let _ = child.kill();
    let _ =
        programs::ends_within(Pid::from_child(child), Duration::from_millis(50)).map(|_| child.try_wait());
}
