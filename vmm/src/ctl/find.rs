//! The machines that run, by name.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::connection::Connection;
use super::{CtlError, show};
use crate::control::place;

/// A machine's socket by its name or path.
pub(super) fn path_of(machine: &str) -> Result<PathBuf, CtlError> {
    if machine.contains('/') {
        return Ok(machine.into());
    }
    if machine.is_empty() {
        return Err(CtlError::Words("the machine's name is empty".into()));
    }
    find_in(&safe_folders(), machine)
}

fn find_in(folders: &[PathBuf], machine: &str) -> Result<PathBuf, CtlError> {
    let file = format!("{machine}{}", place::SUFFIX);
    if let Some(path) = folders.iter().map(|folder| folder.join(&file)).find(|path| is_live(path)) {
        return Ok(path);
    }
    let running: Vec<String> =
        sockets(folders).into_iter().filter(|path| is_live(path)).map(|path| name(&path)).collect();
    let similar = running
        .iter()
        .map(|name| (strsim::jaro_winkler(machine, name), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    let help = match similar {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None if running.is_empty() => "no machine of this user runs".into(),
        None => format!("these run: {}", running.join(", ")),
    };
    Err(CtlError::NotRunning(format!("no machine `{machine}` runs: {help}")))
}

/// Which machines run, for people or as JSON.
pub(super) fn list(json: bool) -> String {
    let found: Vec<Value> =
        sockets(&safe_folders()).iter().filter(|path| is_live(path)).map(|path| look(path)).collect();
    if json { format!("{}\n", Value::from(found)) } else { show::list(&found) }
}

/// The machines to choose from, for the end of a message.
pub(super) fn running_hint() -> String {
    let running: Vec<_> =
        sockets(&safe_folders()).into_iter().filter(|path| is_live(path)).map(|path| name(&path)).collect();
    if running.is_empty() { "; none runs now".into() } else { format!("; these run: {}", running.join(", ")) }
}

/// The folders that exist and that only we write to.
fn safe_folders() -> Vec<PathBuf> {
    place::folders()
        .into_iter()
        .filter(|folder| match place::check(folder) {
            Ok(()) => true,
            Err(place::PlaceError::Unsafe { .. }) => {
                tracing::warn!("{} is not private, so it is not looked at", folder.display());
                false
            }
            Err(_) => false,
        })
        .collect()
}

fn sockets(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(place::SUFFIX)))
        .collect();
    found.sort();
    found
}

fn name(socket: &Path) -> String {
    socket.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether somebody listens, without talking to them.
fn is_live(path: &Path) -> bool {
    crate::socket::is_live(path)
}

/// What a machine says of itself.
fn look(path: &Path) -> Value {
    let answer = Connection::open(path).and_then(|mut connection| {
        let status = connection.execute("query-status", json!({}))?;
        Ok((connection.name().to_owned(), connection.process(), status))
    });
    match answer {
        Ok((name, pid, status)) => {
            json!({ "name": name, "pid": pid, "status": status["status"], "uptime": status["uptime"], "socket": path })
        }
        Err(error) => json!({ "name": name(path), "error": error.to_string(), "socket": path }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn machines_are_found_by_name_and_others_suggested() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [one.path().to_owned(), other.path().to_owned()];
        let error = find_in(&folders, "x").unwrap_err().to_string();
        assert_eq!(error, "no machine `x` runs: no machine of this user runs");
        drop(UnixListener::bind(one.path().join("work.sock")).unwrap());
        let error = find_in(&folders, "work").unwrap_err();
        assert_eq!(error.status(), 3);
        let path = other.path().join("work.sock");
        let _live = UnixListener::bind(&path).unwrap();
        assert_eq!(find_in(&folders, "work").unwrap(), path);
        let error = find_in(&folders, "wrok").unwrap_err().to_string();
        assert_eq!(error, "no machine `wrok` runs: did you mean `work`?");
        let error = find_in(&folders, "gaming").unwrap_err().to_string();
        assert_eq!(error, "no machine `gaming` runs: these run: work");
        assert_eq!(path_of("./work").unwrap(), Path::new("./work"));
    }
}
