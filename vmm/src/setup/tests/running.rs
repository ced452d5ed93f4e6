//! Commands: time-outs, what they say, and the lock that they keep.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::fixture::SOON;
use crate::setup::hands::{self, Hands, RunError, SystemHands};
use crate::setup::root::{Content, Root};

fn run(script: &str, patience: Duration) -> Result<(), RunError> {
    let folder = tempfile::tempdir().unwrap();
    let lock = File::open(folder.path()).unwrap();
    let words = ["sh", "-c", script].map(str::to_owned);
    SystemHands.run(&Root::at("/"), &words, patience, &lock)
}

#[test]
fn a_command_that_fails_tells_its_last_lines() {
    run("exit 0", SOON).unwrap();
    let error = run("echo out; echo err >&2; exit 7", SOON).unwrap_err().to_string();
    assert!(error.contains("exit status: 7") && error.contains("out\nerr"), "{error}");
    let error = run("seq 1 5000; exit 1", SOON).unwrap_err().to_string();
    assert!(error.len() < 5000 && error.ends_with("4999\n5000") && error.contains("…\n"), "{error}");
    let error = run("exit 1", SOON).unwrap_err().to_string();
    assert!(error.contains("said nothing"), "{error}");
}

#[test]
fn a_command_that_hangs_is_ended_with_its_children() {
    let began = Instant::now();
    // Its child would keep it waiting, and does not mind being asked.
    let error =
        run("trap '' TERM; echo begun; sleep 600 & wait; sleep 600", Duration::from_millis(300)).unwrap_err();
    assert!(matches!(&error, RunError::TimedOut { output, .. } if output == "begun\n"), "{error}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn one_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let lock = File::open(folder.path()).unwrap();
    let error = SystemHands.run(&Root::at("/"), &["no-such-program".into()], SOON, &lock).unwrap_err();
    assert!(error.to_string().contains("`no-such-program` is not installed"), "{error}");
}

/// What a killed setup has left running keeps others from beginning.
#[test]
fn a_command_keeps_the_lock_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let lock = File::open(folder.path()).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let (begun, end) = (folder.path().join("begun"), folder.path().join("end"));
    let script = format!("touch {}; while ! [ -e {} ]; do sleep 0.05; done", begun.display(), end.display());
    let words = ["sh", "-c", &script].map(str::to_owned);
    let thread = std::thread::spawn(move || SystemHands.run(&Root::at("/"), &words, SOON, &lock));
    let taken = |path: &Path| {
        let again = File::open(path).unwrap();
        flock(&again, FlockOperation::NonBlockingLockExclusive).is_err()
    };
    let until = Instant::now() + SOON;
    while !begun.exists() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(taken(folder.path()));
    std::fs::write(end, "").unwrap();
    thread.join().unwrap().unwrap();
    // Other tests' children may have it for the moment before they are programs of their own.
    while taken(folder.path()) {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A file is made as a whole, with its permissions whatever the umask says, in place of what a crash has left aside.
#[test]
fn files_are_made_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.conf");
    std::fs::write(hands::aside(&path), "half").unwrap();
    for (text, mode) in [("one\n", 0o644), ("two\n", 0o775), ("three\n", 0o600)] {
        hands::replace(&SystemHands, &path, &Content::new(text, mode)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    hands::remove(&SystemHands, &path).unwrap();
    hands::remove(&SystemHands, &path).unwrap();
    let inner = folder.path().join("inner");
    SystemHands.make_folder(&inner, 0o777).unwrap();
    SystemHands.make_folder(&inner, 0o700).unwrap();
    assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o7777, 0o777);
    assert!(!SystemHands.remove_folder(folder.path()).unwrap());
    assert!(SystemHands.remove_folder(&inner).unwrap() && SystemHands.remove_folder(&inner).unwrap());
}
