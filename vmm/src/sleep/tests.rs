//! Beside a bus of our own, which makes its messages byte by byte, and by hand beside dbus-daemon with dbusmock's logind.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::io::IoSlice;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tempfile::TempDir;

use super::*;

const LOGINDS_NAME: &str = ":1.7";

/// A value of a header field, and of a body.
enum Value<'a> {
    Text(char, &'a str),
    Number(u32),
    Signature(&'a str),
}

/// A message: its kind, the header fields by their codes, and the body.
fn message(kind: u8, fields: &[(u8, Value<'_>)], body: &[u8]) -> Vec<u8> {
    ordered(b'l', kind, fields, body)
}

/// One in this byte order, which its body has as well.
fn ordered(order: u8, kind: u8, fields: &[(u8, Value<'_>)], body: &[u8]) -> Vec<u8> {
    let bytes_of = |number: u32| if order == b'B' { number.to_be_bytes() } else { number.to_le_bytes() };
    let length_of = |bytes: &[u8]| bytes_of(u32::try_from(bytes.len()).unwrap());
    let mut header = Vec::new();
    for (code, value) in fields {
        header.resize(header.len().next_multiple_of(8), 0);
        header.extend([*code, 1]);
        match value {
            Value::Text(kind, text) => {
                header.extend([*kind as u8, 0]);
                header.extend(length_of(text.as_bytes()));
                header.extend(text.bytes());
                header.push(0);
            }
            Value::Number(number) => {
                header.extend(b"u\0");
                header.extend(bytes_of(*number));
            }
            Value::Signature(text) => {
                header.extend(b"g\0");
                header.push(u8::try_from(text.len()).unwrap());
                header.extend(text.bytes());
                header.push(0);
            }
        }
    }
    let mut bytes = vec![order, kind, 1, 1];
    bytes.extend(length_of(body));
    bytes.extend(bytes_of(9));
    bytes.extend(length_of(&header));
    bytes.extend(&header);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

fn signal(sender: &str, member: &str, value: bool) -> Vec<u8> {
    let fields = [
        (1, Value::Text('o', PATH)),
        (2, Value::Text('s', MANAGER)),
        (3, Value::Text('s', member)),
        (7, Value::Text('s', sender)),
        (8, Value::Signature("b")),
    ];
    message(4, &fields, &u32::from(value).to_le_bytes())
}

/// Logind has got another name on the bus, as `sender` says.
fn new_owner(sender: &str, owner: &str) -> Vec<u8> {
    let fields = [
        (1, Value::Text('o', PATH_OF_BUS)),
        (2, Value::Text('s', BUS)),
        (3, Value::Text('s', "NameOwnerChanged")),
        (7, Value::Text('s', sender)),
        (8, Value::Signature("sss")),
    ];
    let mut body = Vec::new();
    for text in [LOGIND, LOGINDS_NAME, owner] {
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        body.extend(text.bytes());
        body.push(0);
    }
    message(4, &fields, &body)
}

/// What the bus does with `Inhibit`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Grant,
    /// Another process answers in logind's place.
    Usurp,
    Refuse,
    Silence,
}

/// A bus with logind; what it tells: the words of each call, and `closed` when a lock is closed.
struct FakeBus {
    dir: TempDir,
    heard: Receiver<String>,
    to_client: Sender<Vec<u8>>,
}

impl FakeBus {
    fn new(does: Does) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("bus")).unwrap();
        let ((tell, heard), (to_client, outgoing)) = (channel(), channel::<Vec<u8>>());
        thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else { return };
            let mut writer = stream.try_clone().unwrap();
            thread::spawn(move || outgoing.iter().for_each(|bytes| writer.write_all(&bytes).unwrap()));
            serve(stream, does, &tell);
        });
        Self { dir, heard, to_client }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("bus")
    }

    fn take(&self, kind: Lock) -> Result<SleepLock, SleepError> {
        SleepLock::take_at(&self.path(), kind, "vm", Duration::from_secs(20))
    }

    fn next(&self) -> String {
        self.heard.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

fn serve(mut stream: UnixStream, does: Does, tell: &Sender<String>) {
    let mut incoming = Vec::new();
    let more = |stream: &mut UnixStream, incoming: &mut Vec<u8>| {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap_or(0);
        incoming.extend(&bytes[..count]);
        count > 0
    };
    for answer in ["OK 0123\r\n", "AGREE_UNIX_FD\r\n", ""] {
        while !incoming.windows(2).any(|two| two == b"\r\n") {
            assert!(more(&mut stream, &mut incoming));
        }
        let end = incoming.windows(2).position(|two| two == b"\r\n").unwrap();
        let line: Vec<u8> = incoming.drain(..end + 2).collect();
        let _ = tell.send(String::from_utf8(line).unwrap().trim_end().into());
        stream.write_all(answer.as_bytes()).unwrap();
    }
    loop {
        let length = loop {
            match message::length(&incoming).unwrap() {
                Some(length) if length <= incoming.len() => break length,
                _ if more(&mut stream, &mut incoming) => {}
                _ => return,
            }
        };
        let call: Vec<u8> = incoming.drain(..length).collect();
        let serial = u32::from_le_bytes(call[8..12].try_into().unwrap());
        let words = String::from_utf8_lossy(&call).into_owned();
        let has = |word: &str| words.contains(word);
        let back_from = |sender, kind, more: Vec<(u8, Value<'_>)>, body: &[u8]| {
            let fields = [(5, Value::Number(serial)), (7, Value::Text('s', sender))];
            message(kind, &fields.into_iter().chain(more).collect::<Vec<_>>(), body)
        };
        let back = |kind, more, body: &[u8]| back_from(LOGINDS_NAME, kind, more, body);
        if has("InhibitDelayMaxUSec") {
            let mut body = b"\x01t\0\0\0\0\0\0".to_vec();
            body.truncate(8);
            body.extend(5_000_000u64.to_le_bytes());
            stream.write_all(&back(2, vec![(8, Value::Signature("v"))], &body)).unwrap();
        } else if has("GetNameOwner") {
            // A stranger would have it that it is logind.
            for (sender, owner) in [(":1.99", ":1.99"), (BUS, LOGINDS_NAME)] {
                let mut body = u32::try_from(owner.len()).unwrap().to_le_bytes().to_vec();
                body.extend(owner.bytes());
                body.push(0);
                let answer = back_from(sender, 2, vec![(8, Value::Signature("s"))], &body);
                stream.write_all(&answer).unwrap();
            }
        } else if !has("Inhibit") {
            // A signal before the answer is not lost, and is nobody's that counts.
            stream.write_all(&signal(":1.99", "PrepareForSleep", true)).unwrap();
            // Nor is one that says it were the answer.
            let fields = [(5, Value::Number(serial)), (7, Value::Text('s', ":1.99"))];
            stream.write_all(&message(4, &fields, &[])).unwrap();
            if has("GetId") {
                stream.write_all(&signal(LOGINDS_NAME, "PrepareForSleep", true).repeat(100)).unwrap();
            }
            stream.write_all(&back_from(BUS, 2, Vec::new(), &[])).unwrap();
        } else if does == Does::Refuse {
            let mut body = 9u32.to_le_bytes().to_vec();
            body.extend(b"not here!\0");
            let name = "org.freedesktop.DBus.Error.AccessDenied";
            let more = vec![(4, Value::Text('s', name)), (8, Value::Signature("s"))];
            stream.write_all(&back(3, more, &body)).unwrap();
        } else if matches!(does, Does::Grant | Does::Usurp) {
            let (mut ours, theirs) = std::io::pipe().unwrap();
            let fds = [theirs.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            let more = vec![(8, Value::Signature("h")), (9, Value::Number(1))];
            let sender = if does == Does::Grant { LOGINDS_NAME } else { ":1.99" };
            let answer = back_from(sender, 2, more, &0u32.to_le_bytes());
            sendmsg(&stream, &[IoSlice::new(&answer)], &mut control, SendFlags::empty()).unwrap();
            drop(theirs);
            let tell = tell.clone();
            thread::spawn(move || {
                let _ = ours.read(&mut [0]);
                let _ = tell.send("closed".into());
            });
        }
        let _ = tell.send(words);
    }
}

/// Until something is heard.
fn wait(lock: &mut SleepLock) -> Vec<bool> {
    for _ in 0..2000 {
        let heard = lock.heard().unwrap();
        if !heard.is_empty() {
            return heard;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing was heard");
}

#[test]
fn a_lock_blocks_sleep_and_the_lid_until_it_is_dropped() {
    let bus = FakeBus::new(Does::Grant);
    let lock = bus.take(Lock::Block).unwrap();
    let user = rustix::process::geteuid().as_raw().to_string();
    let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
    assert_eq!(bus.next(), format!("\0AUTH EXTERNAL {user}"));
    assert_eq!([bus.next(), bus.next()], ["NEGOTIATE_UNIX_FD", "BEGIN"]);
    assert!(bus.next().contains("Hello"));
    assert!(bus.next().contains(RULE));
    assert!(bus.next().contains(RULE_OF_OWNER));
    let asked = bus.next();
    for word in
        ["sleep:handle-lid-switch\0", "optimus-vmm\0", "the virtual machine vm has devices", "block\0"]
    {
        assert!(asked.contains(word), "{asked:?}");
    }
    assert!(bus.next().contains("GetNameOwner"));
    drop(lock);
    assert_eq!(bus.next(), "closed");
}

#[test]
fn only_logind_gives_locks() {
    let bus = FakeBus::new(Does::Usurp);
    let stranger = bus.take(Lock::Block).unwrap_err();
    assert!(matches!(stranger, SleepError::Stranger), "{stranger}");
    // Nor a new one, for which it was asked after its restart.
    let bus = FakeBus::new(Does::Grant);
    let mut lock = bus.take(Lock::Delay).unwrap();
    (0..9).for_each(|_| drop(bus.next()));
    lock.let_go();
    bus.to_client.send(new_owner(BUS, ":1.50")).unwrap();
    bus.to_client.send(signal(":1.50", "PrepareForSleep", true)).unwrap();
    assert_eq!(wait(&mut lock), [true]);
    lock.renew().unwrap();
    while !bus.next().contains("delay\0") {}
    for sender in [LOGINDS_NAME, ":1.50"] {
        bus.to_client.send(signal(sender, "PrepareForSleep", false)).unwrap();
    }
    assert_eq!(wait(&mut lock), [false]);
    assert!(lock.held.is_none() && lock.asked.is_some());
}

#[test]
fn a_lock_that_delays_is_let_go_and_taken_again() {
    let bus = FakeBus::new(Does::Grant);
    let mut lock = bus.take(Lock::Delay).unwrap();
    assert_eq!(lock.longest(), Some(Duration::from_secs(5)));
    let calls: Vec<_> = (0..9).map(|_| bus.next()).collect();
    assert!(calls[6].contains("delay\0") && !calls[6].contains("lid"), "{calls:?}");
    // Those of others, and other signals, mean nothing.
    bus.to_client.send(signal(":1.99", "PrepareForSleep", true)).unwrap();
    bus.to_client.send(signal(LOGINDS_NAME, "PrepareForShutdown", true)).unwrap();
    bus.to_client.send(signal(LOGINDS_NAME, "PrepareForSleep", true)).unwrap();
    assert_eq!(wait(&mut lock), [true]);
    lock.let_go();
    assert_eq!(bus.next(), "closed");
    bus.to_client.send(signal(LOGINDS_NAME, "PrepareForSleep", false)).unwrap();
    assert_eq!(wait(&mut lock), [false]);
    lock.renew().unwrap();
    // Once is enough.
    lock.renew().unwrap();
    assert!(bus.next().contains("delay\0"));
    bus.to_client.send(signal(LOGINDS_NAME, "PrepareForSleep", true)).unwrap();
    assert_eq!(wait(&mut lock), [true]);
    assert!(lock.held.is_some());
}

#[test]
fn logind_is_heard_after_its_restart() {
    let bus = FakeBus::new(Does::Grant);
    let mut lock = bus.take(Lock::Delay).unwrap();
    let new = ":1.50";
    // Only the bus knows, and a name that has gone leaves the former one.
    for told in [new_owner(":1.99", ":1.99"), new_owner(BUS, ""), signal(":1.99", "PrepareForSleep", true)] {
        bus.to_client.send(told).unwrap();
    }
    bus.to_client.send(signal(LOGINDS_NAME, "PrepareForSleep", false)).unwrap();
    assert_eq!(wait(&mut lock), [false]);
    bus.to_client.send(new_owner(BUS, new)).unwrap();
    bus.to_client.send(signal(LOGINDS_NAME, "PrepareForSleep", false)).unwrap();
    bus.to_client.send(signal(new, "PrepareForSleep", true)).unwrap();
    assert_eq!(wait(&mut lock), [true]);
    assert!(lock.held.is_some());
}

#[test]
fn messages_of_strangers_do_not_end_the_hearing() {
    let bus = FakeBus::new(Does::Grant);
    let mut lock = bus.take(Lock::Delay).unwrap();
    // Of a header field with a type that nobody has heard of.
    let mut unreadable = message(4, &[(200, Value::Number(1))], &[]);
    let at = unreadable.windows(2).position(|two| two == b"u\0").unwrap();
    unreadable[at] = b'd';
    bus.to_client.send(unreadable).unwrap();
    bus.to_client.send(message(1, &[], &vec![b'l'; 3 << 20])).unwrap();
    bus.to_client.send(message(77, &[], &[])).unwrap();
    let fields = [
        (1, Value::Text('o', PATH)),
        (2, Value::Text('s', MANAGER)),
        (3, Value::Text('s', "PrepareForSleep")),
        (7, Value::Text('s', LOGINDS_NAME)),
        (8, Value::Signature("b")),
    ];
    bus.to_client.send(ordered(b'B', 4, &fields, &1u32.to_be_bytes())).unwrap();
    assert_eq!(wait(&mut lock), [true]);
    bus.to_client.send(signal(LOGINDS_NAME, "PrepareForSleep", false)).unwrap();
    assert_eq!(wait(&mut lock), [false]);
}

#[test]
fn signals_before_an_answer_are_kept_up_to_a_limit() {
    let bus = FakeBus::new(Does::Grant);
    let mut lock = bus.take(Lock::Delay).unwrap();
    assert!(lock.heard().unwrap().is_empty());
    lock.bus.call(&Call::of_bus("GetId", &[]), Instant::now() + PATIENCE * 4).unwrap();
    // Two of the 64 are a stranger's.
    assert_eq!(lock.heard().unwrap(), [true; 62]);
    let late = lock.bus.call(&Call::of_bus("GetId", &[]), Instant::now());
    assert!(matches!(late, Err(BusError::Slow)), "{late:?}");
}

#[test]
fn what_goes_wrong_is_told_in_time() {
    let missing = SleepLock::take_at(Path::new("/nonexistent/bus"), Lock::Block, "vm", PATIENCE).unwrap_err();
    assert!(missing.to_string().contains("cannot be reached at /nonexistent/bus"), "{missing}");

    let bus = FakeBus::new(Does::Refuse);
    let refused = bus.take(Lock::Block).unwrap_err().to_string();
    assert_eq!(refused, "not here! (org.freedesktop.DBus.Error.AccessDenied)");

    let bus = FakeBus::new(Does::Silence);
    let start = Instant::now();
    let slow = SleepLock::take_at(&bus.path(), Lock::Block, "vm", Duration::from_millis(300)).unwrap_err();
    assert!(matches!(slow, SleepError::Bus(BusError::Slow)), "{slow}");
    assert!(start.elapsed() < Duration::from_secs(20));

    // A socket that nobody accepts at.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus");
    let _listener = UnixListener::bind(&path).unwrap();
    let slow = SleepLock::take_at(&path, Lock::Block, "vm", Duration::from_millis(300)).unwrap_err();
    assert!(matches!(slow, SleepError::Bus(BusError::Slow)), "{slow}");
}

#[test]
fn garbage_brings_nothing_down() {
    let sound = signal(LOGINDS_NAME, "PrepareForSleep", true);
    let read = |bytes: &[u8]| Message::read(bytes, &mut std::iter::empty());
    assert_eq!(message::length(&sound), Ok(Some(sound.len())));
    assert_eq!(read(&sound).unwrap().boolean(), Some(true));
    for at in 0..sound.len() {
        let _ = read(&sound[..at]);
        for with in [0, 1, 0x7f, 0xff] {
            let mut bytes = sound.clone();
            bytes[at] = with;
            let _ = message::length(&bytes);
            let _ = read(&bytes);
        }
    }
    for wrong in [&b"b\x01\0\x01"[..], &[b'l', 1, 0, 1, 0xff, 0xff, 0xff, 0xff]] {
        let mut bytes = wrong.to_vec();
        bytes.resize(16, 0);
        assert!(message::length(&bytes).is_err(), "{wrong:?}");
    }
}

/// By hand, beside the reference implementation: `SLEEP_TEST_BUS` is the socket of a dbus-daemon on which `python3 -m dbusmock
/// --system --template logind` runs, and `SLEEP_TEST_EMIT` a command that makes it emit `PrepareForSleep(true)`.
#[test]
#[ignore = "needs dbus-daemon and python3-dbusmock"]
fn dbusmock_gives_a_lock_and_tells() {
    // All that are ignored are run in the lab, which has neither.
    let Ok(bus) = std::env::var("SLEEP_TEST_BUS") else { return };
    let emit = std::env::var("SLEEP_TEST_EMIT").unwrap();
    let take = |kind| SleepLock::take_at(Path::new(&bus), kind, "vm", PATIENCE).unwrap();
    drop(take(Lock::Block));
    let mut lock = take(Lock::Delay);
    let emitted = std::process::Command::new("sh").args(["-c", &emit]).status().unwrap();
    assert!(emitted.success());
    assert_eq!(wait(&mut lock), [true]);
    lock.let_go();
    lock.renew().unwrap();
    for _ in 0..1000 {
        lock.heard().unwrap();
        if lock.held.is_some() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("there is no new lock");
}
