//! A system bus with a logind that gives locks, tells when they are closed, and announces the host's sleep when it is told to:
//! the D-Bus Specification, "Message Protocol", and `org.freedesktop.login1`. One client at a time is served.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io, thread};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::Outcome;

/// Where the bus is.
const SOCKET: &str = "/run/dbus/system_bus_socket";
/// Its own name.
const BUS: &str = "org.freedesktop.DBus";
/// Logind's name on it.
const NAME: &str = ":1.7";

/// Something that a client does.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    /// It has a lock of this mode: `block` or `delay`.
    Locked(&'static str),
    /// A lock was closed.
    Closed,
}

/// The bus. Dropping it removes its socket.
pub struct Logind {
    done: Receiver<Done>,
    client: Arc<Mutex<Option<UnixStream>>>,
}

impl Logind {
    /// Starts it.
    pub fn start() -> Outcome<Self> {
        let socket = PathBuf::from(SOCKET);
        fs::create_dir_all(socket.parent().ok_or("no folder")?)?;
        let listener = UnixListener::bind(&socket)?;
        let (tell, done) = channel();
        let client = Arc::new(Mutex::new(None));
        let current = Arc::clone(&client);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *current.lock().unwrap_or_else(PoisonError::into_inner) = stream.try_clone().ok();
                // It has left.
                let _ = serve(stream, &tell);
            }
        });
        Ok(Self { done, client })
    }

    /// What the client does next, within half a minute.
    pub fn next(&self) -> Outcome<Done> {
        Ok(self.done.recv_timeout(Duration::from_secs(30))?)
    }

    /// Announces that the host is about to sleep, or is awake again.
    pub fn announce(&self, sleeps: bool) -> Outcome {
        let fields = [
            text(1, 'o', "/org/freedesktop/login1"),
            text(2, 's', "org.freedesktop.login1.Manager"),
            text(3, 's', "PrepareForSleep"),
            text(7, 's', NAME),
            signature("b"),
        ];
        let bytes = message(4, &fields, &u32::from(sleeps).to_le_bytes())?;
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(client.as_ref().ok_or("there is no client")?.write_all(&bytes)?)
    }
}

impl Drop for Logind {
    fn drop(&mut self) {
        let _ = fs::remove_file(SOCKET);
    }
}

/// A header field: its code, its type, and a string.
fn text(code: u8, kind: char, value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&[code, 1, kind as u8, 0], &length[..], value.as_bytes(), &[0]].concat()
}

/// The header field with the types of the body.
fn signature(types: &str) -> Vec<u8> {
    let length = u8::try_from(types.len()).unwrap_or(u8::MAX);
    [&[8, 1, b'g', 0, length], types.as_bytes(), &[0]].concat()
}

/// A header field with a number.
fn number(code: u8, value: u32) -> Vec<u8> {
    [&[code, 1, b'u', 0], &value.to_le_bytes()[..]].concat()
}

fn message(kind: u8, fields: &[Vec<u8>], body: &[u8]) -> Outcome<Vec<u8>> {
    let mut header = Vec::new();
    for field in fields {
        header.resize(header.len().next_multiple_of(8), 0);
        header.extend(field);
    }
    let mut bytes = vec![b'l', kind, 1, 1];
    for word in [u32::try_from(body.len())?, 1, u32::try_from(header.len())?] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(header);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    Ok(bytes)
}

fn serve(mut stream: UnixStream, tell: &Sender<Done>) -> Outcome {
    let mut incoming = Vec::new();
    for answer in ["OK 0123456789abcdef0123456789abcdef\r\n", "AGREE_UNIX_FD\r\n", ""] {
        while incoming.last() != Some(&b'\n') {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            incoming.extend(byte);
        }
        incoming.clear();
        stream.write_all(answer.as_bytes())?;
    }
    loop {
        let mut fixed = [0; 16];
        stream.read_exact(&mut fixed)?;
        let [_, body, serial, fields]: [usize; 4] = std::array::from_fn(|index| {
            let bytes = fixed.iter().skip(4 * index).take(4).rev();
            bytes.fold(0, |value, byte| value << 8 | usize::from(*byte))
        });
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        stream.read_exact(&mut rest)?;
        let words = String::from_utf8_lossy(&rest).into_owned();
        let reply_of =
            |sender| -> Outcome<_> { Ok([number(5, u32::try_from(serial)?), text(7, 's', sender)]) };
        let reply = reply_of(NAME)?;
        if words.contains("InhibitDelayMaxUSec") {
            let value = [&[1, b't', 0, 0, 0, 0, 0, 0][..], &60_000_000u64.to_le_bytes()].concat();
            stream.write_all(&message(2, &[&reply[..], &[signature("v")]].concat(), &value)?)?;
        } else if words.contains("Inhibit\0") {
            let mode = if words.contains("delay\0") { "delay" } else { "block" };
            let answer = message(2, &[&reply[..], &[signature("h"), number(9, 1)]].concat(), &[0; 4])?;
            let lock = give_lock(&stream, &answer)?;
            let _ = tell.send(Done::Locked(mode));
            let tell = tell.clone();
            thread::spawn(move || {
                let _ = (&lock).read(&mut [0]);
                let _ = tell.send(Done::Closed);
            });
        } else if words.contains("GetNameOwner") {
            let length = u32::try_from(NAME.len())?.to_le_bytes();
            let name = [&length[..], NAME.as_bytes(), &[0]].concat();
            stream.write_all(&message(2, &[&reply_of(BUS)?[..], &[signature("s")]].concat(), &name)?)?;
        } else {
            stream.write_all(&message(2, &reply_of(BUS)?, &[])?)?;
        }
    }
}

/// Sends an answer with a lock: the writing end of a pipe, whose other end this is.
fn give_lock(stream: &UnixStream, answer: &[u8]) -> Outcome<io::PipeReader> {
    let (reader, writer) = io::pipe()?;
    let fds = [writer.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(stream, &[IoSlice::new(answer)], &mut control, SendFlags::empty())?;
    Ok(reader)
}
