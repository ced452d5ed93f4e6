//! From the host to the device, and clients that come and go.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::pipe::pipe;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;
use crate::testing::own_process;

fn stdio(input: OwnedFd) -> Console {
    let null: OwnedFd = File::options().write(true).open("/dev/null").unwrap().into();
    Console::with_stdio("serial port", Some(input), null, None).unwrap()
}

#[test]
fn a_pipe_and_a_file_arrive_whole_at_the_pace_of_the_guest() {
    let text: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &text).unwrap();
    let (reader, writer) = pipe().unwrap();
    let sent = text.clone();
    let feeder = thread::spawn(move || File::from(writer).write_all(&sent).unwrap());
    for input in [file.reopen().unwrap().into(), reader] {
        let mut console = stdio(input);
        let fifo = Fifo::new();
        let (mut manager, keys) = attach(&mut console, &fifo);
        let mut rounds = 0;
        run_until(&mut manager, "all the bytes", || {
            rounds += 1;
            // Ctrl-A is nothing special in a script's input.
            fifo.drain().len() == text.len()
        });
        assert!(fifo.drain() == text && rounds > 1000);
        assert!(keys.try_recv().is_err());
        settle(&mut manager);
    }
    feeder.join().unwrap();
}

#[test]
fn the_end_of_standard_input_is_silent() {
    let mut console = stdio(File::open("/dev/null").unwrap().into());
    let fifo = Fifo::new();
    let (mut manager, _keys) = attach(&mut console, &fifo);
    settle(&mut manager);
    assert!(fifo.drain().is_empty());
}

#[test]
fn a_socket_serves_one_client_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serial.sock");
    let mut console = open(&ConsoleSpec::Unix(path.clone()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut output = console.output();
    let fifo = Fifo::new();
    let (mut manager, _keys) = attach(&mut console, &fifo);

    // Nobody is there: the last 64 KiB are kept.
    output.write_all(&vec![b'x'; writer::SCROLLBACK]).unwrap();
    output.write_all(b"kept").unwrap();
    let mut first = UnixStream::connect(&path).unwrap();
    first.set_read_timeout(Some(LONG)).unwrap();
    settle(&mut manager);
    let mut got = vec![0; writer::SCROLLBACK];
    first.read_exact(&mut got).unwrap();
    // All of it if the client was there before the console's thread had taken it.
    let mut rest = [0; 4];
    while !got.ends_with(b"xxkept") {
        let count = first.read(&mut rest).unwrap();
        got.extend(&rest[..count]);
        assert!(count > 0 && got.len() <= writer::SCROLLBACK + 4);
    }

    // The second waits until the first has left.
    let mut second = UnixStream::connect(&path).unwrap();
    second.set_read_timeout(Some(LONG)).unwrap();
    second.write_all(b"two").unwrap();
    first.write_all(b"one").unwrap();
    output.write_all(b"for one").unwrap();
    let mut got = [0; 7];
    first.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"for one");
    settle(&mut manager);
    assert_eq!(fifo.drain(), b"one");

    // More than fits the FIFO, and then gone: all of it arrives.
    first.write_all(&[b'1'; 40]).unwrap();
    drop(first);
    run_until(&mut manager, "both clients' bytes", || fifo.drain().len() == 46);
    assert!(fifo.drain().ends_with(b"1two"));

    // Who has sent everything may still read.
    second.shutdown(Shutdown::Write).unwrap();
    settle(&mut manager);
    output.write_all(b"for two").unwrap();
    second.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"for two");
    drop(second);
    settle(&mut manager);

    drop(manager);
    console.finish();
    assert!(!path.exists());
}

/// The limit is the whole process's, so this needs one of its own.
#[test]
fn a_client_is_taken_when_there_are_descriptors_again() {
    const WITHIN: &str = "EXHAUSTED_CONSOLE_TEST";
    if std::env::var_os(WITHIN).is_none() {
        let test = "a_client_is_taken_when_there_are_descriptors_again";
        return own_process::pass(own_process::command(module_path!(), test).env(WITHIN, "1"));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serial.sock");
    let acceptor =
        Acceptor::new(Listener::bind(&path, 1).unwrap(), "a console", Duration::from_millis(5)).unwrap();
    let (sink, input) = (Sink::Peer(VecDeque::new()), Input::Peer(PeerListener::Socket(acceptor)));
    let mut console =
        Console::start("serial port", "unix".into(), sink, input, None, Delays::default()).unwrap();
    let (mut manager, _keys) = attach(&mut console, &Fifo::new());
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut hoard: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // The client's end takes the only descriptor.
    hoard.pop();
    let client = UnixStream::connect(&path).unwrap();
    // The loop does not try again at once and for ever.
    settle(&mut manager);
    drop(hoard);
    console.output().write_all(b"x").unwrap();
    run_until(&mut manager, "the client", || rustix::io::ioctl_fionread(&client).unwrap() == 1);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not_disturbed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serial.sock");
    let spec = ConsoleSpec::Unix(path.clone());
    drop(UnixListener::bind(&path).unwrap());
    let console = open(&spec);

    let error =
        Console::open(&spec, true, "serial port", None, &EventLog::disabled()).unwrap_err().to_string();
    assert!(error.contains("already running"), "{error}");
    assert!(path.exists());
    // The refused one did not connect: the first to be accepted is this client.
    let _client = UnixStream::connect(&path).unwrap();
    let Input::Peer(PeerListener::Socket(acceptor)) = &console.input else { panic!() };
    acceptor.listener().accept().unwrap();
    acceptor.listener().accept().unwrap_err();
    drop(console);
    assert!(!path.exists());

    fs::write(&path, "a file").unwrap();
    let error =
        Console::open(&spec, true, "serial port", None, &EventLog::disabled()).unwrap_err().to_string();
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"a file");

    let long = ConsoleSpec::Unix(folder.path().join("x".repeat(120)));
    let error =
        Console::open(&long, true, "serial port", None, &EventLog::disabled()).unwrap_err().to_string();
    assert!(error.contains("too long"), "{error}");
}

#[test]
fn a_socket_that_somebody_else_made_meanwhile_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serial.sock");
    let console = open(&ConsoleSpec::Unix(path.clone()));
    fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(console);
    assert!(path.exists());
}

fn open_terminal(path: &Path) -> OwnedFd {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap()
}

#[test]
fn a_pseudoterminal_serves_who_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("events");
    let events = EventLog::create(&log).unwrap();
    let mut console = Console::open(&ConsoleSpec::Pty, true, "serial port", None, &events).unwrap();
    let path = console.terminal_path().unwrap().to_owned();
    assert!(fs::read_to_string(&log).unwrap().contains(path.to_str().unwrap()));
    let mut output = console.output();
    let fifo = Fifo::new();
    let (mut manager, _keys) = attach(&mut console, &fifo);
    settle(&mut manager);

    let mut sent = Vec::new();
    for round in 0..3_u8 {
        // More than a terminal's buffer holds: it must not be written before somebody reads.
        output.write_all(&[b'x'; 10_000]).unwrap();
        thread::sleep(Duration::from_millis(2));
        let terminal = open_terminal(&path);
        settle(&mut manager);
        assert_eq!(read_exactly(&terminal, 10_000), [b'x'; 10_000]);
        // No echo, and nothing is translated.
        output.write_all(b"\r\n\x03").unwrap();
        assert_eq!(read_exactly(&terminal, 3), b"\r\n\x03");
        let typed = [b'\n', 3, round];
        rustix::io::write(&terminal, &typed).unwrap();
        sent.extend_from_slice(&typed);
        run_until(&mut manager, "what was typed", || fifo.drain() == sent);
        drop(terminal);
        settle(&mut manager);
    }
}

#[test]
fn a_pseudoterminal_without_a_reader_holds_up_nobody() {
    let (sink, input) = (Sink::Peer(VecDeque::new()), Input::Peer(PeerListener::Pty(Pty::new().unwrap())));
    // A reader would be given more time than this test has.
    let delays = Delays { patience: 2 * LONG, ..Delays::default() };
    let mut console = Console::start("serial port", "pty".into(), sink, input, None, delays).unwrap();
    let fifo = Fifo::new();
    let (mut manager, _keys) = attach(&mut console, &fifo);
    let mut output = console.output();
    output.write_all(&vec![b'x'; 3 * channel::CAPACITY]).unwrap();
    settle(&mut manager);
    assert_finishes(console);
}
