//! A client's thread: its socket, the event of its view, and its end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vmm_sys_util::eventfd::EventFd;

use super::events::signalled;
use crate::vnc::session::{End, Session, Stage};

/// Read at once.
const CHUNK: usize = 4096;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Over {
    /// The client has gone.
    #[error("it has gone")]
    Gone,
    /// Another client wants the screen for itself, or the machine ends.
    #[error("it was told to go")]
    Dismissed,
    /// See [`End`].
    #[error(transparent)]
    End(#[from] End),
    /// The kernel refuses something.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for Over {
    fn from(error: Errno) -> Self {
        match error {
            Errno::CONNRESET | Errno::PIPE => Self::Gone,
            error => Self::Io(error.into()),
        }
    }
}

/// What a poll has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ready {
    dismissed: bool,
    readable: bool,
}

/// Serves a client until it goes or has to. `socket` does not block; `dismiss` ends it; `report` hears how far the client is.
pub(super) fn serve(
    mut session: Session,
    socket: &OwnedFd,
    dismiss: &EventFd,
    mut report: impl FnMut(Stage, Instant),
) -> Over {
    let mut reported = Stage::Silent;
    loop {
        // Reported before anything is sent: a client that was asked is known to be safe when it hears the question.
        let report = |session: &Session| {
            let stage = session.stage();
            if std::mem::replace(&mut reported, stage) != stage {
                report(stage, session.heard());
            }
        };
        if let Err(over) = turn(&mut session, socket, dismiss, report) {
            return over;
        }
    }
}

fn turn(
    session: &mut Session,
    socket: &OwnedFd,
    dismiss: &EventFd,
    mut report: impl FnMut(&Session),
) -> Result<(), Over> {
    loop {
        session.advance(Instant::now())?;
        report(session);
        // What was sent entirely may have been waited for.
        if !send(session, socket)? {
            break;
        }
    }
    let ready = wait(session, socket, dismiss)?;
    if ready.dismissed {
        return Err(Over::Dismissed);
    }
    if ready.readable {
        receive(session, socket)?;
    }
    Ok(())
}

/// Sends what there is; whether that was something and all of it.
fn send(session: &mut Session, socket: &OwnedFd) -> Result<bool, Over> {
    let mut some = false;
    while !session.output().is_empty() {
        match rustix::net::send(socket, session.output(), rustix::net::SendFlags::NOSIGNAL) {
            Ok(count) => session.was_sent(count, Instant::now()),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        some = true;
    }
    Ok(some)
}

fn receive(session: &mut Session, socket: &OwnedFd) -> Result<(), Over> {
    let mut buffer = [0; CHUNK];
    let room = session.room().min(CHUNK);
    let Some(buffer) = buffer.get_mut(..room).filter(|buffer| !buffer.is_empty()) else { return Ok(()) };
    match rustix::io::read(socket, &mut *buffer) {
        Ok(0) => Err(Over::Gone),
        Ok(count) => {
            session.receive(buffer.get(..count).unwrap_or_default(), Instant::now());
            Ok(())
        }
        Err(Errno::INTR | Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn wait(session: &mut Session, socket: &OwnedFd, dismiss: &EventFd) -> Result<Ready, Over> {
    let timeout = session.due().map(|due| timespec(due.saturating_duration_since(Instant::now())));
    let mut interest = PollFlags::empty();
    if session.room() > 0 {
        interest |= PollFlags::IN;
    }
    if !session.output().is_empty() {
        interest |= PollFlags::OUT;
    }
    let socket = PollFd::from_borrowed_fd(socket.as_fd(), interest);
    let dismiss = signalled(dismiss);
    let room = session.input_room();
    let room = room.as_deref().map(signalled);
    let changed = session.awaited().map(signalled);
    let mut fds: Vec<PollFd<'_>> =
        [Some(socket), Some(dismiss), changed, room].into_iter().flatten().collect();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    let found = |index: usize| fds.get(index).map_or(PollFlags::empty(), PollFd::revents);
    let socket = found(0);
    if socket.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) && !socket.contains(PollFlags::IN)
    {
        return Err(Over::Gone);
    }
    Ok(Ready { readable: socket.contains(PollFlags::IN), dismissed: !found(1).is_empty() })
}

/// Rounded up to a millisecond: a turn that comes too early would be a turn too many.
fn timespec(duration: Duration) -> Timespec {
    let duration = duration + Duration::from_millis(1);
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
