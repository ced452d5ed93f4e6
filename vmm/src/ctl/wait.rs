//! `ctl NAME wait` and `ctl NAME powerdown --wait`: until the machine is in a state, until something happens to it, or until
//! it has ended, and with it all that it held of the host.
//!
//! A state that is there already is not waited for. An event is one that happens from now on.

use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::connection::Connection;
use super::{CtlError, find};
use crate::cli::Awaited;

/// As good as for ever, where nobody set a limit.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);
/// How often it is looked whether a machine has started.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is waited for, and how long.
struct Wait<'a> {
    awaited: &'a [Awaited],
    limit: Duration,
    deadline: Instant,
}

/// Waits for the first of `awaited` that comes to a machine, by its name or the path of its socket. Returns which it is, whether the machine has
/// ended, and why, in the words of QMP.
pub(super) fn wait(machine: &str, awaited: &[Awaited], limit: Option<Duration>) -> Result<Value, CtlError> {
    let wait = Wait::new(awaited, limit);
    let connection = match awaited.contains(&Awaited::Running) {
        true => wait.start(machine)?,
        false => Connection::open(&find::path_of(machine)?)?,
    };
    wait.on(connection)
}

/// As [`wait`], over a connection that is there already.
pub(super) fn on(
    connection: Connection,
    awaited: &[Awaited],
    limit: Option<Duration>,
) -> Result<Value, CtlError> {
    Wait::new(awaited, limit).on(connection)
}

impl<'a> Wait<'a> {
    fn new(awaited: &'a [Awaited], limit: Option<Duration>) -> Self {
        let limit = limit.unwrap_or(LONG).min(LONG);
        Self { awaited, limit, deadline: Instant::now() + limit }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What has not happened, for messages.
    fn what(&self) -> String {
        let did = self.awaited.iter().map(|awaited| match awaited {
            Awaited::Running => "run",
            Awaited::Stopped => "stopped",
            Awaited::Shutdown => "ended",
            Awaited::Reset => "been reset",
            Awaited::Powerdown => "had its power button pressed",
            Awaited::Panicked => "crashed",
        });
        did.collect::<Vec<_>>().join(" or ")
    }

    fn late(&self, machine: &str) -> CtlError {
        CtlError::Late { machine: machine.into(), what: self.what(), seconds: self.limit.as_secs_f64() }
    }

    fn has(&self, awaited: Awaited) -> bool {
        self.awaited.contains(&awaited)
    }

    /// The machine, as soon as it is there. It listens before it runs, and is silent until then.
    fn start(&self, machine: &str) -> Result<Connection, CtlError> {
        loop {
            let left = self.left();
            if left.is_zero() {
                return Err(self.late(machine));
            }
            let opened = find::path_of(machine).and_then(|path| Connection::open_within(&path, left));
            match opened {
                // Its start may have been refused, or it may be the end of one before it.
                Err(CtlError::NotRunning(_) | CtlError::Silent { .. } | CtlError::Talk { .. }) => {
                    thread::sleep(LOOK_AGAIN.min(left));
                }
                opened => return opened,
            }
        }
    }

    fn on(&self, mut connection: Connection) -> Result<Value, CtlError> {
        let machine = connection.name().to_owned();
        let process = connection.process_end();
        // Also the proof that the process has not been another one for long.
        if let Some(state) = self.state(&mut connection)? {
            return Ok(state);
        }
        let mut reason = "killed".to_owned();
        loop {
            let left = self.left();
            if left.is_zero() {
                return Err(self.late(&machine));
            }
            let event = match connection.event(left) {
                Ok(None) => break,
                Ok(Some(event)) => event,
                Err(CtlError::Silent { .. }) => return Err(self.late(&machine)),
                Err(error) => return Err(error),
            };
            let cause = || event["data"]["reason"].as_str().unwrap_or("unknown").to_owned();
            let (awaited, word) = match event["event"].as_str() {
                Some("SHUTDOWN") => {
                    reason = cause();
                    continue;
                }
                Some("STOP") => {
                    // Paused, or kept; which may be over by the time that it answers.
                    if let Some(state) = self.state(&mut connection)? {
                        return Ok(state);
                    }
                    (Awaited::Stopped, "paused".to_owned())
                }
                Some("RESUME") => (Awaited::Running, Awaited::Running.word().to_owned()),
                Some("POWERDOWN") => (Awaited::Powerdown, Awaited::Powerdown.word().to_owned()),
                Some("GUEST_PANICKED") => (Awaited::Panicked, Awaited::Panicked.word().to_owned()),
                Some("RESET") if self.has(Awaited::Reset) => (Awaited::Reset, cause()),
                // It starts a machine anew that was kept.
                Some("RESET") => match self.state(&mut connection)? {
                    Some(state) => return Ok(state),
                    None => continue,
                },
                _ => continue,
            };
            if self.has(awaited) {
                return Ok(came(awaited, false, &word));
            }
        }
        // The connection ends before the machine does: disks and devices are still being closed.
        if let Some(process) = process {
            let left = self.left();
            let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut fds = [PollFd::new(&process, PollFlags::IN)];
            match poll(&mut fds, Some(&limit)) {
                Ok(0) => return Err(self.late(&machine)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    return Err(CtlError::Own { what: "wait for a process", source: error.into() });
                }
            }
        }
        match self.has(Awaited::Shutdown) {
            true => Ok(came(Awaited::Shutdown, true, &reason)),
            false => Err(CtlError::Ended { machine, reason, what: self.what() }),
        }
    }

    /// What of the awaited is so already. Of a machine that has just ended nothing is: what it said before is still to be read.
    fn state(&self, connection: &mut Connection) -> Result<Option<Value>, CtlError> {
        let status = match connection.execute("query-status", json!({})) {
            Err(CtlError::Talk { .. }) => return Ok(None),
            status => status?,
        };
        let word = status["status"].as_str().unwrap_or_default();
        let is = |awaited: &&Awaited| match awaited {
            Awaited::Running => word == "running",
            Awaited::Stopped => word != "running",
            // Of a machine that is kept although its guest has ended.
            Awaited::Shutdown => !matches!(word, "running" | "paused" | "io-error"),
            Awaited::Panicked => word == "guest-panicked" || !status["crash"].is_null(),
            Awaited::Reset | Awaited::Powerdown => false,
        };
        let found = self.awaited.iter().find(is);
        Ok(found.map(|found| match found {
            Awaited::Panicked => came(*found, false, found.word()),
            _ => came(*found, false, word),
        }))
    }
}

fn came(awaited: Awaited, ended: bool, reason: &str) -> Value {
    json!({ "for": awaited.word(), "ended": ended, "reason": reason })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;

    /// A machine whose status is `states`, one after the other, that sends `events` behind the first.
    fn machine(socket: &Path, states: &'static [&'static str], events: &'static [&'static str]) {
        let listener = UnixListener::bind(socket).unwrap();
        thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            writeln!(client, "{{\"optimus-vmm\": {{\"name\": \"made\", \"pid\": 1}}}}").unwrap();
            let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
            lines.next().unwrap().unwrap();
            writeln!(client, "{{\"return\": {{}}}}").unwrap();
            for (index, state) in states.iter().enumerate() {
                if lines.next().is_none_or(|line| line.is_err()) {
                    return;
                }
                writeln!(client, "{{\"return\": {{\"status\": \"{state}\", \"crash\": null}}}}").unwrap();
                for event in events.iter().filter(|_| index == 0) {
                    writeln!(client, "{event}").unwrap();
                }
            }
            // Until the other end leaves.
            drop(lines.next());
        });
    }

    fn waited(
        states: &'static [&'static str],
        events: &'static [&'static str],
        awaited: &[Awaited],
        limit: f64,
    ) -> Result<Value, CtlError> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("made.sock");
        machine(&socket, states, events);
        wait(socket.to_str().unwrap(), awaited, Some(Duration::from_secs_f64(limit)))
    }

    const RESET: &str = r#"{"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}"#;
    const STOP: &str = r#"{"event": "STOP"}"#;
    const RESUME: &str = r#"{"event": "RESUME"}"#;
    const POWERDOWN: &str = r#"{"event": "POWERDOWN"}"#;
    const PANICKED: &str = r#"{"event": "GUEST_PANICKED", "data": {"action": "run"}}"#;

    #[test]
    fn what_is_so_already_is_not_waited_for() {
        for (state, awaited, reason) in [
            ("running", Awaited::Running, "running"),
            ("paused", Awaited::Stopped, "paused"),
            ("shutdown", Awaited::Stopped, "shutdown"),
            ("shutdown", Awaited::Shutdown, "shutdown"),
            ("guest-panicked", Awaited::Shutdown, "guest-panicked"),
            ("guest-panicked", Awaited::Panicked, "panicked"),
        ] {
            let states: &'static [&'static str] = Box::leak(Box::new([state]));
            let answer = waited(states, &[], &[Awaited::Reset, awaited], 60.0).unwrap();
            assert_eq!(answer, came(awaited, false, reason), "{state}");
        }
    }

    #[test]
    fn the_first_event_that_is_awaited_counts() {
        let all = &[RESET, STOP, RESUME, POWERDOWN, PANICKED];
        for (awaited, answer) in [
            (vec![Awaited::Reset], came(Awaited::Reset, false, "guest-reset")),
            (vec![Awaited::Panicked, Awaited::Powerdown], came(Awaited::Powerdown, false, "powerdown")),
            (vec![Awaited::Panicked], came(Awaited::Panicked, false, "panicked")),
            (vec![Awaited::Stopped], came(Awaited::Stopped, false, "paused")),
        ] {
            assert_eq!(waited(&["running", "running", "running"], all, &awaited, 60.0).unwrap(), answer);
        }
        let answer = waited(&["paused"], &[RESUME], &[Awaited::Running], 60.0).unwrap();
        assert_eq!(answer, came(Awaited::Running, false, "running"));
        let answer = waited(&["shutdown", "running"], &[RESET], &[Awaited::Running], 60.0).unwrap();
        assert_eq!(answer, came(Awaited::Running, false, "running"));
    }

    #[test]
    fn an_end_before_the_answer_is_an_end_and_no_fault() {
        // The fake ends at the question that STOP leads to, and then at the first one.
        let answer = waited(&["running"], &[STOP], &[Awaited::Stopped], 60.0).unwrap();
        assert_eq!(answer, came(Awaited::Stopped, false, "paused"));
        for states in [&["running"] as &[_], &[]] {
            // It is a thread of this process, whose end is then waited for.
            let error = waited(states, &[STOP], &[Awaited::Shutdown], 0.3).unwrap_err();
            assert_eq!(error.to_string(), "made has not ended within 0.3 s");
        }
    }

    #[test]
    fn an_end_or_a_time_out_says_what_did_not_happen() {
        let error =
            waited(&["running"], &[POWERDOWN], &[Awaited::Reset, Awaited::Panicked], 0.1).unwrap_err();
        assert_eq!(error.to_string(), "made has not been reset or crashed within 0.1 s");
        assert_eq!(error.status(), 4);
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("none.sock");
        let started = wait(socket.to_str().unwrap(), &[Awaited::Running], Some(Duration::from_millis(120)));
        let error = started.unwrap_err();
        assert!(error.to_string().ends_with("none.sock has not run within 0.12 s"), "{error}");
        assert_eq!(error.status(), 4);
        // Without it, who does not run is not waited for.
        let error = wait(socket.to_str().unwrap(), &[Awaited::Reset], None).unwrap_err();
        assert_eq!(error.status(), 3);
    }

    #[test]
    fn a_machine_may_still_start() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("made.sock");
        let started = {
            let socket = socket.clone();
            thread::spawn(move || wait(socket.to_str().unwrap(), &[Awaited::Running], None))
        };
        thread::sleep(LOOK_AGAIN * 3);
        machine(&socket, &["running"], &[]);
        assert_eq!(started.join().unwrap().unwrap()["reason"], "running");
    }
}
