//! `ctl NAME wait` and `ctl NAME powerdown --wait`: until the machine has ended, and with it all that it held of the host.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::CtlError;
use super::connection::Connection;

/// As good as for ever, where nobody set a limit.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

/// Waits until the machine has ended, or is kept, stopped, as vm.toml wants it. Returns why, in the words of QMP.
pub(super) fn for_end(mut connection: Connection, limit: Option<Duration>) -> Result<Value, CtlError> {
    let limit = limit.unwrap_or(LONG).min(LONG);
    let deadline = Instant::now() + limit;
    let machine = connection.name().to_owned();
    let late = || CtlError::NotEnded { machine: machine.clone(), seconds: limit.as_secs_f64() };
    let process = connection.process_end();
    // Also the proof that the process has not been another one for long.
    let mut reason = kept(&mut connection)?;
    let mut ended = json!({});
    while reason.is_none() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        match connection.event(left) {
            Ok(None) => break,
            Ok(Some(event)) => match event["event"].as_str() {
                Some("SHUTDOWN") => ended = event["data"].clone(),
                Some("STOP") => reason = kept(&mut connection)?,
                _ => {}
            },
            Err(CtlError::Silent { .. }) => return Err(late()),
            Err(error) => return Err(error),
        }
    }
    if let Some(reason) = reason {
        return Ok(json!({ "ended": false, "reason": reason }));
    }
    // The connection ends before the machine does: disks and devices are still being closed.
    if let Some(process) = process {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::new(&process, PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            Ok(0) => return Err(late()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                return Err(CtlError::Own { what: "wait for a process", source: error.into() });
            }
        }
    }
    let reason = ended["reason"].as_str().unwrap_or("killed").to_owned();
    Ok(json!({ "ended": true, "reason": reason }))
}

/// The state of a machine that is kept although its guest has ended.
fn kept(connection: &mut Connection) -> Result<Option<String>, CtlError> {
    let status = connection.execute("query-status", json!({}))?;
    let word = status["status"].as_str().unwrap_or_default();
    Ok((!matches!(word, "running" | "paused" | "io-error")).then(|| word.to_owned()))
}
