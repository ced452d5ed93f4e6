//! Outputs keep what is not theirs, and never wait.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

#[test]
fn contents_stay_until_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serial.log");
    let output = Output::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    output.begin().unwrap().write_all(b"first").unwrap();
    let second = Output::open(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
    second.begin().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
    append(&path).unwrap().write_all(b"a").unwrap();
    append(&path).unwrap().write_all(b"b").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ab");
}

#[test]
fn one_file_has_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serial.log");
    let mut first = Output::open(&path).unwrap().begin().unwrap();
    first.write_all(b"running").unwrap();
    let error = Output::open(&path).unwrap_err().to_string();
    assert!(error.contains("another program writes to it"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"running");
    drop(first);
    Output::open(&path).unwrap();
    for _ in 0..2 {
        let _both =
            (Output::open(Path::new("/dev/null")).unwrap(), Output::open(Path::new("/dev/null")).unwrap());
    }
}

/// A look says what opening says, and leaves everything as it is.
#[test]
fn a_look_says_what_would_be_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("free"), "mine").unwrap();
    fs::write(at("taken"), "theirs").unwrap();
    let _running = Output::open(&at("taken")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for (name, refused) in [
        ("new", None),
        ("free", None),
        ("taken", Some("another program writes to it")),
        ("folder", Some("directory")),
        ("none/new", Some("there is no folder")),
        ("free/new", Some("directory")),
        ("socket", Some("it is a socket")),
        ("/dev/null", None),
    ] {
        let path = at(name);
        let before = fs::metadata(&path).is_ok();
        match (look(&path), refused) {
            (Ok(()), None) => {}
            (Err(error), Some(words)) => assert!(error.to_string().contains(words), "{name}: {error}"),
            (looked, _) => panic!("{name}: {looked:?}"),
        }
        assert_eq!(fs::metadata(&path).is_ok(), before, "{name}");
        assert_eq!(Output::open(&path).is_err(), refused.is_some(), "{name}");
    }
    assert_eq!(fs::read(at("free")).unwrap(), b"mine");
}

/// The reader of a FIFO does not learn that somebody has looked.
#[test]
fn a_look_is_no_end_of_a_fifo() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    look(&path).unwrap();
    let mut reader = File::options().read(true).custom_flags(FLAGS).open(&path).unwrap();
    look(&path).unwrap();
    let mut output = Output::open(&path).unwrap().begin().unwrap();
    output.write_all(b"told").unwrap();
    let mut bytes = [0; 8];
    assert_eq!(reader.read(&mut bytes).unwrap(), 4);
}

#[test]
fn a_fifo_without_a_reader_is_refused_and_one_with_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let (sender, refused) = mpsc::channel();
    let at = path.clone();
    thread::spawn(move || sender.send(Output::open(&at).unwrap_err().to_string()));
    let error = refused.recv_timeout(Duration::from_secs(60)).expect("it waits for a reader");
    assert!(error.contains("nobody reads this FIFO"), "{error}");

    let at = path.clone();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        File::open(at).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    let output = loop {
        match Output::open(&path) {
            Ok(output) => break output,
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    };
    assert_eq!(output.identity(), None);
    output.begin().unwrap().write_all(b"text").unwrap();
    assert_eq!(reader.join().unwrap(), "text");
}

#[test]
fn sockets_and_directories_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(Output::open(&socket).unwrap_err().to_string().contains("it is a socket"));
    assert_eq!(Output::open(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
}
