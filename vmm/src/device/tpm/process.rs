//! The process of swtpm(8): it gets its control channel as standard input, says what it has to say on standard error, and ends with its
//! machine, however that ends: it is told to, it notices that the data channel is closed, and the kernel ends it with its parent.

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::error::TpmError;
use crate::programs;

/// How long one may take to end when it is told to.
const END: Duration = Duration::from_secs(2);
/// A line of its is cut off behind so many bytes.
const LONGEST_LINE: u64 = 1024;

/// How to start it.
#[derive(Debug)]
pub(super) struct Start {
    program: PathBuf,
    folder: PathBuf,
}

impl Start {
    /// Finds the program, for a state in `folder`.
    pub(super) fn find(folder: &Path) -> Result<Self, TpmError> {
        let program = programs::find("swtpm", &programs::system_path()).ok_or(TpmError::NoSwtpm)?;
        Ok(Self { program, folder: folder.into() })
    }

    /// Starts it; our end of its control channel.
    pub(super) fn start(&self) -> io::Result<(UnixStream, Child)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut state = std::ffi::OsString::from("dir=");
        // A comma would end the folder's name; the folder is where the process is. Keys are nobody else's to read, whatever the folder's mode.
        state.push(".,mode=0600");
        let mut command = programs::command(&self.program);
        command
            .args(["socket", "--tpm2", "--terminate", "--ctrl", "type=unixio,clientfd=0", "--tpmstate"])
            .arg(state)
            .current_dir(&self.folder)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // What a terminal or timeout(1) sends to our group is for the machine, whose guest needs its TPM until it is down.
            .process_group(0);
        programs::end_with_us(&mut command);
        let child = command.spawn()?;
        Ok((ours, child))
    }
}

#[derive(Debug, Default)]
struct State {
    /// The process that runs and has not been waited for.
    child: Option<Pid>,
    /// The last that it has said.
    said: String,
    over: bool,
}

/// The process that runs, if one does, in the hands of who uses it and of who ends it.
#[derive(Debug, Default)]
pub(super) struct Process {
    state: Mutex<State>,
    changed: Condvar,
}

impl Process {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a process that was just started, and reports what it says and its end.
    ///
    /// # Errors
    /// The machine ends already, or the host has no thread. The process has ended then.
    pub(super) fn take_over(self: &Arc<Self>, mut child: Child) -> io::Result<()> {
        let mut state = self.state();
        let process = Pid::from_child(&child);
        let ours = Arc::clone(self);
        let watched = match state.over {
            true => Err(io::Error::other("the machine ends")),
            false => {
                state.child = Some(process);
                state.said.clear();
                std::thread::Builder::new()
                    .name("swtpm".into())
                    .spawn(move || ours.watch(&mut child))
                    .map(drop)
            }
        };
        if watched.is_err() {
            state.child = None;
            // The thread that would wait for it is none of ours; nor is its number anybody else's before that.
            let _ = kill_process(process, Signal::KILL);
            let _ = waitid(WaitId::Pid(process), WaitIdOptions::EXITED);
        }
        watched
    }

    fn watch(&self, child: &mut Child) {
        if let Some(errors) = child.stderr.take() {
            let mut errors = BufReader::new(errors);
            let mut line = Vec::new();
            while matches!(errors.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line), Ok(1..)) {
                self.hear(String::from_utf8_lossy(&line).trim());
                line.clear();
            }
        }
        // Its number is its own until it is reaped, which is done while nobody can signal it.
        let process = Pid::from_child(child);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(process), options) {}
        let mut state = self.state();
        let status = child.wait();
        if state.child == Some(process) {
            state.child = None;
            if !state.over {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::warn!(
                    "tpm: swtpm has ended ({status}): the guest's TPM commands fail until the machine is reset, when another is started"
                );
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn hear(&self, line: &str) {
        let mut state = self.state();
        // That its machine has closed the channel is no news.
        if line.is_empty() || state.over || line.ends_with("client disconnected") {
            return;
        }
        state.said = line.to_owned();
        drop(state);
        devices::limited_warn!("tpm: swtpm: {line}");
    }

    /// Ends the process that runs, if one does, and waits for that; the last that it has said.
    pub(super) fn end(&self) -> String {
        let mut state = self.state();
        for signal in [Signal::TERM, Signal::KILL] {
            let Some(child) = state.child else { break };
            let _ = kill_process(child, signal);
            let waited = self.changed.wait_timeout_while(state, END, |state| state.child == Some(child));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        // One that even then is there hangs in the kernel.
        state.child = None;
        std::mem::take(&mut state.said)
    }
}

/// Ends swtpm with the machine.
#[derive(Debug)]
pub(super) struct Keeper(pub(super) Arc<Process>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.end();
    }
}
