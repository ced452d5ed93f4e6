//! From the device to the host: order, back-pressure, release, errors and the terminal's modes.

use std::fs;
use std::sync::{MutexGuard, PoisonError, mpsc};

use rustix::pipe::pipe;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, OutputModes, Termios, tcgetattr};

use super::*;
use crate::testing::own_process;
use crate::watch::Verdict;

/// Repeats after 251 bytes, which divides no buffer's size.
fn text(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// All is over in a moment.
const SHORT: Delays = Delays { pause: Duration::from_millis(1), patience: Duration::from_millis(1) };

fn piped(watcher: Option<Watcher>) -> (Console, OwnedFd) {
    piped_with(watcher, Delays::default())
}

fn piped_with(watcher: Option<Watcher>, delays: Delays) -> (Console, OwnedFd) {
    let (reader, writer) = pipe().unwrap();
    let sink = Sink::Stream(writer);
    (Console::start("serial port", "a pipe".into(), sink, Input::None, watcher, delays).unwrap(), reader)
}

fn watcher(pattern: &str) -> Watcher {
    Watcher::new([pattern.parse().unwrap()], []).unwrap()
}

#[test]
fn a_file_is_replaced_and_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serial.log");
    fs::write(&path, "what was there before, and longer").unwrap();
    let watcher = watcher("end$");
    let observer = watcher.observer();
    let events = EventLog::disabled();
    let mut console =
        Console::open(&ConsoleSpec::File(path.clone()), true, "serial port", Some(watcher), &events).unwrap();
    assert!(console.subscriber(Arc::new(Discard), EventFd::new(0).unwrap(), |_| ()).unwrap().is_none());
    let mut output = console.output();
    for byte in b"one\r\nthe end" {
        assert_eq!(output.write(std::slice::from_ref(byte)).unwrap(), 1);
    }
    console.finish();
    assert_eq!(fs::read(&path).unwrap(), b"one\r\nthe end");
    assert_eq!(observer.verdict(), Verdict::AllSeen);
    // A device that outlives its console is no error.
    assert_eq!(output.write(b"x").unwrap(), 1);
}

#[test]
fn a_missing_folder_is_named() {
    let spec = ConsoleSpec::File("/nonexistent/serial.log".into());
    let error =
        Console::open(&spec, true, "debug port", None, &EventLog::disabled()).unwrap_err().to_string();
    assert!(error.contains("debug port") && error.contains("file:/nonexistent/serial.log"), "{error}");
}

#[test]
fn a_slow_reader_holds_up_the_device_and_loses_nothing() {
    let (console, reader) = piped(None);
    let mut output = console.output();
    let sent = text(3 * channel::CAPACITY);
    let (done, finished) = mpsc::channel();
    let all = sent.clone();
    let device = thread::spawn(move || {
        output.write_all(&all).unwrap();
        done.send(()).unwrap();
    });
    await_blocked(&console);
    assert!(finished.try_recv().is_err(), "three MiB went into one");
    assert!(read_exactly(&reader, sent.len()) == sent);
    finished.recv_timeout(LONG).unwrap();
    device.join().unwrap();
}

#[test]
fn release_frees_a_device_and_finish_does_not_wait_forever() {
    let watcher = watcher("never");
    let (console, _reader) = piped_with(Some(watcher), SHORT);
    let mut output = console.output();
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        output.write_all(&text(4 * channel::CAPACITY)).unwrap();
        done.send(()).unwrap();
    });
    await_blocked(&console);
    console.release();
    finished.recv_timeout(LONG).unwrap();
    assert_finishes(console);
}

/// As while a client keeps the machine paused.
#[test]
fn a_device_that_is_let_go_for_a_while_ends_no_output() {
    let (console, reader) = piped_with(None, SHORT);
    let (mut output, releaser) = (console.output(), console.releaser());
    let ((done, finished), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
    let device = thread::spawn(move || {
        output.write_all(&text(4 * channel::CAPACITY)).unwrap();
        done.send(()).unwrap();
        goes_on.recv().unwrap();
        output.write_all(&text(2 * channel::CAPACITY)).unwrap();
        output.write_all(b"the end").unwrap();
        done.send(()).unwrap();
    });
    await_blocked(&console);
    releaser.release();
    finished.recv_timeout(LONG).unwrap();
    // Longer than the end of the machine would wait for the reader.
    thread::sleep(10 * SHORT.patience);
    releaser.hold();
    go_on.send(()).unwrap();
    await_blocked(&console);
    let (mut seen, mut piece) = (Vec::new(), vec![0; channel::CAPACITY]);
    while !seen.ends_with(b"the end") {
        let count = rustix::io::read(&reader, &mut piece).unwrap();
        seen.extend(&piece[..count]);
    }
    finished.recv_timeout(LONG).unwrap();
    device.join().unwrap();
}

#[test]
fn a_host_that_takes_nothing_stops_neither_the_guest_nor_the_watcher() {
    for break_it in ["full", "closed"] {
        let watcher = watcher("login: ");
        let observer = watcher.observer();
        let console = if break_it == "full" {
            let spec = ConsoleSpec::File("/dev/full".into());
            Console::open(&spec, true, "serial port", Some(watcher), &EventLog::disabled()).unwrap()
        } else {
            let (console, reader) = piped(Some(watcher));
            drop(reader);
            console
        };
        let mut output = console.output();
        output.write_all(&text(2 * channel::CAPACITY)).unwrap();
        output.write_all(b"login: ").unwrap();
        let deadline = Instant::now() + LONG;
        while observer.verdict() != Verdict::AllSeen {
            assert!(Instant::now() < deadline, "{break_it}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn single_bytes_are_written_in_batches_without_being_held_back() {
    let (console, reader) = piped(None);
    let mut output = console.output();
    output.write_all(b"#").unwrap();
    assert_eq!(read_exactly(&reader, 1), b"#");
    for byte in text(10_000) {
        output.write_all(&[byte]).unwrap();
        if byte == 0 {
            assert_eq!(read_exactly(&reader, 1), [0]);
        } else if byte == 250 {
            assert_eq!(read_exactly(&reader, 250), text(251)[1..]);
        }
    }
}

/// A panic restores every terminal of the process: the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_prompt_is_recognised_by_the_silence_after_it() {
    let watcher = watcher("^# $");
    let observer = watcher.observer();
    let console =
        Console::start("serial port", "none".into(), Sink::Nowhere, Input::None, Some(watcher), SHORT)
            .unwrap();
    console.output().write_all(b"\n# ").unwrap();
    let deadline = Instant::now() + LONG;
    while observer.verdict() != Verdict::AllSeen {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(1));
    }
}

/// A pseudoterminal that stands for the user's terminal.
struct Tty {
    user: OwnedFd,
    slave: OwnedFd,
    _turn: MutexGuard<'static, ()>,
}

impl Tty {
    fn new() -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&user).unwrap();
        let slave = ioctl_tiocgptpeer(&user, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        Self { user, slave, _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    fn is_raw(&self) -> bool {
        !self.modes().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn console(&self) -> Console {
        let end = || self.slave.try_clone().unwrap();
        Console::with_stdio("serial port", Some(end()), end(), None).unwrap()
    }
}

#[test]
fn a_terminal_is_raw_from_the_subscriber_to_the_end_of_the_console() {
    let tty = Tty::new();
    let before = format!("{:?}", tty.modes());
    assert!(!tty.is_raw());
    for finish in [true, false] {
        let mut console = tty.console();
        console.output().write_all(b"the board is built").unwrap();
        assert_eq!(format!("{:?}", tty.modes()), before, "Ctrl-C is a signal until the guest starts");
        let attached = attach(&mut console, &Fifo::new());
        assert!(tty.is_raw());
        assert!(tty.modes().output_modes.contains(OutputModes::OPOST));
        drop(attached);
        assert!(tty.is_raw());
        if finish {
            console.finish()
        } else {
            drop(console)
        }
        assert_eq!(format!("{:?}", tty.modes()), before);
    }
}

/// As under `--headless`.
#[test]
fn an_unattended_console_leaves_the_terminal_alone() {
    const WITHIN: &str = "UNATTENDED_CONSOLE_TEST";
    if std::env::var_os(WITHIN).is_some() {
        let open = |attended| {
            Console::open(&ConsoleSpec::Stdio, attended, "serial port", None, &EventLog::disabled()).unwrap()
        };
        let take = |console: &mut Console| {
            console.subscriber(Arc::new(Discard), EventFd::new(0).unwrap(), |_| ()).unwrap()
        };
        let is_raw = || !tcgetattr(rustix::stdio::stdin()).unwrap().local_modes.contains(LocalModes::ICANON);
        let mut console = open(false);
        assert!(take(&mut console).is_none());
        assert!(!is_raw());
        console.finish();
        // What is typed is there for who comes next.
        assert_eq!(rustix::io::ioctl_fionread(rustix::stdio::stdin()), Ok(6));
        let mut console = open(true);
        assert!(take(&mut console).is_some());
        assert!(is_raw());
        return console.finish();
    }
    let tty = Tty::new();
    rustix::io::write(&tty.user, b"typed\n").unwrap();
    let mut again = own_process::command(module_path!(), "an_unattended_console_leaves_the_terminal_alone");
    own_process::pass(again.env(WITHIN, "1").stdin(tty.slave.try_clone().unwrap()));
}

#[test]
fn a_panic_restores_the_terminal() {
    let tty = Tty::new();
    let before = format!("{:?}", tty.modes());
    let raw = RawTerminal::enter(&tty.slave).unwrap();
    assert!(tty.is_raw());
    // The hook runs although nothing is dropped here, as in a program that aborts.
    thread::spawn(|| panic!("on purpose")).join().unwrap_err();
    assert_eq!(format!("{:?}", tty.modes()), before);
    drop(raw);
}

#[test]
fn keys_of_the_program_work_even_if_the_guest_reads_nothing() {
    let tty = Tty::new();
    let mut console = tty.console();
    let fifo = Fifo::new();
    let (mut manager, keys) = attach(&mut console, &fifo);
    rustix::io::write(&tty.user, &[b'a'; 100]).unwrap();
    rustix::io::write(&tty.user, b"\x03\x01x\x01p").unwrap();
    let mut pressed = Vec::new();
    run_until(&mut manager, "the keys", || {
        pressed.extend(keys.try_iter());
        pressed.len() == 2
    });
    assert_eq!(pressed, [Key::Quit, Key::PowerButton]);
    let mut expected = vec![b'a'; 100];
    expected.push(3);
    run_until(&mut manager, "the guest's part", || fifo.drain() == expected);

    rustix::io::write(&tty.user, b"\x01h").unwrap();
    run_until(&mut manager, "the help", || {
        rustix::io::ioctl_fionread(&tty.user).unwrap() >= keys::HELP.len() as u64
    });
    let help = read_exactly(&tty.user, keys::HELP.len());
    assert!(String::from_utf8_lossy(&help).contains("end the machine"));
}
