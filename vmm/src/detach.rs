//! `run --detach`: the machine in a process of its own, and the caller that waits until it runs.
//!
//! The process is split before it has threads. The machine's half keeps the caller's terminal, session and standard error
//! while it starts, so that Ctrl-C and messages are those of any start; it leaves them ([`Caller::release`]) when the guest runs. The
//! caller's half passes on what it is sent, and returns with the machine's name, or with the exit status of a start that failed.
//! If the caller is gone by then, nobody knows of the machine, and it ends.
#![allow(unsafe_code, reason = "fork(2) has no safe wrapper")]

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, kill_process, setsid, waitpid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::output;
use crate::signals::{Received, Signal, SignalFd};
use crate::terminal;

/// Why a process cannot be detached.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// The kernel refuses a step.
    #[error("cannot {what}: {source}")]
    Step {
        /// The step, in the infinitive.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no folder for the log.
    #[error("cannot tell where the messages of the machine should go: name a file with --log, or set HOME")]
    NoLog,
    /// The log cannot be written.
    #[error("cannot write the messages of the machine to {path}: {source}")]
    Log {
        /// Its file or folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Nobody waits for the machine any more.
    #[error("the machine ends, because the program that has started it is gone")]
    CallerGone,
}

fn step(what: &'static str) -> impl FnOnce(Errno) -> DetachError {
    move |error| DetachError::Step { what, source: error.into() }
}

/// Which half of the split process this is.
#[derive(Debug)]
pub enum Half {
    /// The machine's.
    Machine(Caller),
    /// The caller's, when all is over: how it went.
    Caller(Start),
}

/// How the start of a detached machine went.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    /// It runs; what is to be told of it.
    Runs(String),
    /// It does not, and has said why; the exit status.
    Failed(u8),
    /// Its process was killed by this signal before it ran.
    Killed(i32),
}

/// The caller's half, as the machine's sees it.
#[derive(Debug)]
pub struct Caller {
    report: File,
    log: Option<PathBuf>,
}

/// A caller that can be released: the log is open.
#[derive(Debug)]
pub struct Waiting {
    report: File,
    name: String,
    log: File,
    path: PathBuf,
}

/// Splits the process. `log`: the file of `--log`. Only for a process with one thread.
///
/// # Errors
///
/// The kernel has no process or descriptor for it.
pub fn split(log: Option<&Path>) -> Result<Half, DetachError> {
    let log = log
        .map(std::path::absolute)
        .transpose()
        .map_err(|source| DetachError::Step { what: "find out the current folder", source })?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(step("make a pipe"))?;
    // SAFETY: this process has one thread, so that the child is a whole copy of it in which all may be done: no lock is held by a
    // thread that the child does not have.
    match unsafe { libc::fork() } {
        -1 => Err(DetachError::Step {
            what: "start a process for the machine",
            source: io::Error::last_os_error(),
        }),
        0 => {
            drop(reader);
            Ok(Half::Machine(Caller { report: writer.into(), log }))
        }
        child => {
            drop(writer);
            let child = Pid::from_raw(child).ok_or(DetachError::CallerGone)?;
            wait(child, reader).map(Half::Caller)
        }
    }
}

/// The caller's half: passes signals on until the machine runs or its process has ended.
fn wait(child: Pid, report: OwnedFd) -> Result<Start, DetachError> {
    let signals =
        SignalFd::block().map_err(|source| DetachError::Step { what: "receive signals", source })?;
    loop {
        let mut fds = [PollFd::new(&report, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(step("wait for the machine")(error)),
        }
        if !fds[0].revents().is_empty() {
            break;
        }
        while let Some(received) = signals.take() {
            match received {
                Received::End(signal) => {
                    // From a terminal it has had it already; two at once are one.
                    let _ = kill_process(child, raw(signal));
                }
                Received::Stop => terminal::stop(),
                Received::Continue => terminal::continued(),
            }
        }
    }
    let mut told = String::new();
    File::from(report)
        .read_to_string(&mut told)
        .map_err(|source| DetachError::Step { what: "hear of the machine", source })?;
    if let Some((name, log)) = told.split_once('\n') {
        let process = child.as_raw_nonzero();
        return Ok(Start::Runs(format!("{name} runs as process {process}; its messages go to {log}\n")));
    }
    let ended = loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            ended => break ended.map_err(step("wait for the machine"))?,
        }
    };
    let status = ended.map(|(_, status)| status);
    let exited = status.and_then(|status| status.exit_status());
    let killed = status.and_then(|status| status.terminating_signal());
    Ok(match (exited, killed) {
        (_, Some(signal)) => Start::Killed(signal),
        (status, None) => {
            Start::Failed(status.and_then(|status| u8::try_from(status).ok()).unwrap_or(u8::MAX))
        }
    })
}

fn raw(signal: Signal) -> rustix::process::Signal {
    match signal {
        Signal::Interrupt => rustix::process::Signal::INT,
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::HangUp => rustix::process::Signal::HUP,
    }
}

impl Caller {
    /// Opens the log of the machine `name`: before anything of the host is changed.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub fn prepare(self, name: &str, folder: Option<PathBuf>) -> Result<Waiting, DetachError> {
        let path = match (self.log, folder) {
            (Some(path), _) => path,
            (None, Some(folder)) => {
                let failed = |source| DetachError::Log { path: folder.clone(), source };
                DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
                folder.join(format!("{name}.log"))
            }
            (None, None) => return Err(DetachError::NoLog),
        };
        let log = output::append(&path).map_err(|source| DetachError::Log { path: path.clone(), source })?;
        Ok(Waiting { report: self.report, name: name.into(), log, path })
    }
}

impl Waiting {
    /// The machine runs: leaves the caller's session and terminal, and tells the caller so.
    ///
    /// # Errors
    ///
    /// The caller is gone, or the kernel refuses a step.
    pub fn release(self) -> Result<(), DetachError> {
        let Self { mut report, name, log, path } = self;
        let null =
            File::open("/dev/null").map_err(|source| DetachError::Step { what: "open /dev/null", source })?;
        // The process is a child, and so leads no group.
        setsid().map_err(step("leave the session of the terminal"))?;
        dup2_stdin(&null).map_err(step("leave standard input"))?;
        dup2_stdout(&log).map_err(step("leave standard output"))?;
        dup2_stderr(&log).map_err(step("leave standard error"))?;
        // The last step: whoever hears of it finds nothing of the machine on the terminal.
        let told = format!("{name}\n{}", path.display());
        report.write_all(told.as_bytes()).map_err(|_| DetachError::CallerGone)
    }
}
