//! The thread that has the connection: what the device plays goes to the server as that asks for it.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pulseaudio::protocol::{
    AuthParams, Command, MAX_VERSION, MIN_VERSION, ProtocolError, PulseError, Request,
};
use rtrb::Producer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::audio::Frame;
use crate::audio::queue::{Piece, Reader};
use crate::event::borrow;

use super::buffers::FRAME;
use super::connection::{Answer, Broken, Connection, Message};
use super::playback::{self, cross_fade, fade_frames, properties};
use super::recording;
use super::{Options, Shared, UNKNOWN};

/// Between two tries.
const RETRY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(2) };
/// A server that is asked something has answered by then.
/// Tests have a server whose thread may wait for others on a busy host.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 2 });
/// A stream that plays and is not asked for sound for so long has a server that is asked whether it lives.
const QUIET: Duration = Duration::from_secs(1);
/// A stream stays open for so long after the last sound, since guests often go on at once.
pub(super) const IDLE: Duration = Duration::from_secs(2);
/// Most bytes of one message with sound.
const PIECE: usize = 32 << 10;

/// What an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Leave,
    Name,
    /// A stream of so many frames per second.
    Playback(u32),
    Recording(u32),
    /// A sign of life.
    Life,
}

/// A connection, and what is on it.
struct Session {
    connection: Connection,
    awaited: VecDeque<(u32, Awaited, Instant)>,
    /// The server knows who this is.
    ready: bool,
    playback: Option<playback::Stream>,
    recording: Option<recording::Stream>,
    /// The server has refused a stream for playing, or has ended it: it is asked again then.
    refused: Option<Instant>,
    refused_recording: Option<Instant>,
    /// When the server has last sent something.
    heard: Instant,
    /// A sound has ended since the server got the last of it.
    short: bool,
}

pub(super) struct Client {
    options: Options,
    shared: Arc<Shared>,
    reader: Reader,
    recorded: Producer<Frame>,
    session: Option<Session>,
    /// When the next try is due.
    retry: Instant,
    /// Frames per second that the device plays.
    playing: Option<u32>,
    /// Of the sound that is next in the queue.
    rate: u32,
    /// When the device has stopped.
    idle: Instant,
    /// Taken from the queue, and not sent.
    pending: VecDeque<Frame>,
    /// What was told last of trouble.
    trouble: Option<String>,
    /// It was told that the server does not record.
    told_of_recording: bool,
    /// The first try tells who starts the machine.
    tried: bool,
}

impl Client {
    pub(super) fn new(
        options: Options,
        shared: Arc<Shared>,
        reader: Reader,
        recorded: Producer<Frame>,
    ) -> Self {
        let now = Instant::now();
        Self {
            options,
            shared,
            reader,
            recorded,
            session: None,
            retry: now,
            playing: None,
            rate: 0,
            idle: now,
            pending: VecDeque::new(),
            trouble: None,
            told_of_recording: false,
            tried: false,
        }
    }

    pub(super) fn work(&mut self) {
        while !self.shared.over.load(Ordering::Acquire) {
            let now = Instant::now();
            self.listen(now);
            if let Err(broken) = self.converse(now) {
                self.give_up(&broken, now);
            }
            self.tell_ahead();
            // What is behind the frames that were sent may be taken already.
            if matches!(self.reader.pieces.peek(), Ok(Piece::Start(_) | Piece::Stop))
                && self.pending.is_empty()
            {
                continue;
            }
            let deadline = self.deadline();
            self.sleep(deadline.map(|deadline| deadline.saturating_duration_since(now)));
        }
    }

    fn wanted(&self) -> bool {
        self.playing.is_some() || self.shared.recorded.load(Ordering::Acquire) != 0
    }

    /// Takes changes of the device's from the queue. Frames wait there, as long as somebody will have them.
    fn listen(&mut self, now: Instant) {
        let heard = self.session.as_ref().is_some_and(|session| session.refused.is_none());
        while let Ok(piece) = self.reader.pieces.peek().copied() {
            match piece {
                Piece::Frame(_) if heard => return,
                Piece::Frame(_) => {}
                // The stream of another rate has to have its last frames first.
                Piece::Start(rate) if rate != self.rate && !self.pending.is_empty() => return,
                Piece::Start(rate) => {
                    (self.playing, self.rate) = (Some(rate), rate);
                    if let Some(session) = &mut self.session {
                        // It had nothing to say before.
                        session.heard = now;
                    }
                }
                Piece::Stop => {
                    (self.playing, self.idle) = (None, now);
                    if let Some(session) = &mut self.session {
                        session.short = true;
                    }
                }
            }
            let _ = self.reader.pieces.pop();
        }
    }

    fn give_up(&mut self, broken: &Broken, now: Instant) {
        self.session = None;
        self.pending.clear();
        self.retry = now + RETRY;
        let place = &self.options.place;
        let mut why = format!("the sound server at {}: {broken}", place.socket.display());
        if let (Broken::Io(_), Some(help)) = (broken, &place.help) {
            why = format!("{why}; {help}");
        }
        self.tell(Some(why));
    }

    /// Notes trouble, or that there is none any more. What is known already is not told again.
    fn tell(&mut self, trouble: Option<String>) {
        if self.trouble == trouble {
            return;
        }
        match &trouble {
            Some(why) => crate::limited_warn!("the machine is not heard: {why}"),
            None => crate::limited_info!("the machine is heard again"),
        }
        self.shared.monitor.set_trouble(trouble.clone());
        self.trouble = trouble;
    }

    fn tell_ahead(&self) {
        let playing = self.session.as_ref().and_then(|session| session.playback).filter(|stream| {
            stream.started && !stream.corked && !stream.suspended && Some(stream.rate) == self.playing
        });
        let ahead = playing.map_or(UNKNOWN, |stream| stream.ahead() + self.pending.len() as i64);
        self.shared.ahead.store(ahead, Ordering::Release);
    }

    /// When something is due without an event.
    fn deadline(&self) -> Option<Instant> {
        let Some(session) = &self.session else {
            return (self.wanted() || !self.tried).then_some(self.retry);
        };
        let answer = session.awaited.front().map(|(_, _, at)| *at + PATIENCE);
        let records = self.shared.recorded.load(Ordering::Acquire) != 0;
        let refused = [
            session.refused.filter(|_| self.playing.is_some()),
            session.refused_recording.filter(|_| records),
        ];
        let again = refused.into_iter().flatten().map(|at| at + RETRY);
        let asks = self.playing.is_some() && session.ready && !session.awaits(Awaited::Life);
        let quiet = asks.then(|| session.heard + QUIET);
        let idle = self.playing.is_none() && self.pending.is_empty();
        let cork = session.playback.filter(|stream| idle && !stream.corked).map(|_| self.idle + IDLE);
        answer.into_iter().chain(again).chain(quiet).chain(cork).min()
    }

    fn sleep(&self, most: Option<Duration>) {
        let mut watched = vec![PollFd::from_borrowed_fd(borrow(&self.reader.ready), PollFlags::IN)];
        if let Some(session) = &self.session {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, session.connection.is_full());
            watched.push(PollFd::from_borrowed_fd(session.connection.socket.as_fd(), flags));
        }
        let most = most.and_then(|most| Timespec::try_from(most).ok());
        // Interrupted by a signal, it looks at everything once more.
        let _ = poll(&mut watched, most.as_ref());
        // Fails when it is silent.
        let _ = self.reader.ready.read();
    }

    /// What is to be said and heard now.
    fn converse(&mut self, now: Instant) -> Result<(), Broken> {
        if self.session.is_none() {
            if (!self.wanted() && self.tried) || now < self.retry {
                return Ok(());
            }
            self.tried = true;
            self.session = Some(Session::new(&self.options, now)?);
        }
        let Some(mut session) = self.session.take() else { return Ok(()) };
        let result = self.talk(&mut session, now);
        if result.is_ok() {
            self.session = Some(session);
        }
        result
    }

    fn talk(&mut self, session: &mut Session, now: Instant) -> Result<(), Broken> {
        session.connection.send()?;
        for message in session.connection.receive()? {
            session.heard = now;
            self.hear(session, message, now)?;
        }
        if session.awaited.front().is_some_and(|(_, _, at)| now.saturating_duration_since(*at) >= PATIENCE) {
            return Err(Broken::Silent);
        }
        if !session.ready {
            return Ok(());
        }
        self.open_streams(session, now)?;
        self.feed(session)?;
        if let Some(stream) = session.playback {
            let idle = self.playing.is_none() && self.pending.is_empty();
            if idle && !stream.corked && now >= self.idle + IDLE {
                session.cork(true)?;
            } else if !idle && stream.corked {
                session.cork(false)?;
            }
            if self.playing.is_some() && !session.awaits(Awaited::Life) && now >= session.heard + QUIET {
                session.ask(&Command::Stat, Awaited::Life, now)?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, session: &mut Session, message: Message, now: Instant) -> Result<(), Broken> {
        match message {
            Message::Answer(number, mut answer) => {
                if let Some(what) = session.answered(number) {
                    self.answered(session, what, &mut answer, now)?;
                }
            }
            Message::Error(number, error) => match session.answered(number) {
                Some(Awaited::Leave | Awaited::Name) => return Err(Broken::Refused(refusal(error))),
                Some(Awaited::Playback(_)) => {
                    session.refused = Some(now);
                    let device = self.options.device.as_deref().map_or_else(
                        || "the default device".to_owned(),
                        |name| format!("its device \"{name}\" (`pactl list short sinks` shows their names)"),
                    );
                    self.tell(Some(format!(
                        "the sound server does not play on {device}: {}",
                        refusal(error)
                    )));
                }
                Some(Awaited::Recording(_)) => {
                    session.refused_recording = Some(now);
                    // It is asked again and again.
                    if !std::mem::replace(&mut self.told_of_recording, true) {
                        crate::limited_warn!(
                            "the guest's microphone is silent: the sound server does not record from its default source: {}; `pactl list short sources` shows what there is",
                            refusal(error)
                        );
                    }
                }
                Some(Awaited::Life) | None => {}
            },
            Message::Sound(channel, data) => {
                if session.recording.is_some_and(|stream| stream.channel == channel) {
                    // What there is no room for is older than what is there: nobody reads.
                    recording::frames(&data)
                        .take_while(|frame| self.recorded.push(*frame).is_ok())
                        .for_each(drop);
                }
            }
            Message::Event(event) => self.happened(session, &event, now),
        }
        Ok(())
    }

    fn answered(
        &mut self,
        session: &mut Session,
        what: Awaited,
        answer: &mut Answer,
        now: Instant,
    ) -> Result<(), Broken> {
        match what {
            Awaited::Leave => {
                let [version] = answer.numbers()?;
                // The upper half has flags for shared memory.
                let version = version as u16;
                if version < MIN_VERSION {
                    return Err(ProtocolError::UnsupportedVersion(version).into());
                }
                session.connection.version = version.min(MAX_VERSION);
                let name = Command::SetClientName(properties(&self.options.name));
                session.ask(&name, Awaited::Name, now)?;
            }
            Awaited::Name => {
                session.ready = true;
                self.tell(None);
            }
            Awaited::Playback(rate) => {
                session.playback = Some(playback::Stream::made(answer, rate)?);
                session.refused = None;
                self.tell(None);
            }
            Awaited::Recording(rate) => {
                session.recording = Some(recording::Stream::made(answer, rate)?);
                session.refused_recording = None;
                self.told_of_recording = false;
            }
            Awaited::Life => {}
        }
        Ok(())
    }

    fn happened(&self, session: &mut Session, event: &Command, now: Instant) {
        let Session { playback, recording, refused, refused_recording, .. } = session;
        let of = |channel: u32| move |stream: &&mut playback::Stream| stream.channel == channel;
        let numbered = |index: u32| move |stream: &&mut playback::Stream| stream.index == index;
        match event {
            Command::Request(Request { channel, length }) => {
                if let Some(stream) = playback.as_mut().filter(of(*channel)) {
                    stream.credit = stream.credit.saturating_add(*length);
                    // Who asks for more has played some: not every server says that it begins again.
                    stream.started |= stream.fed;
                }
            }
            Command::Started(channel) => {
                if let Some(stream) = playback.as_mut().filter(of(*channel)) {
                    stream.started = true;
                }
            }
            Command::Underflow(underflow) => {
                if let Some(stream) = playback.as_mut().filter(of(underflow.channel)) {
                    if stream.started && self.playing == Some(stream.rate) {
                        self.shared.monitor.underrun();
                    }
                    (stream.started, stream.fed) = (false, false);
                }
            }
            Command::PlaybackStreamKilled(channel)
                if playback.is_some_and(|stream| stream.channel == *channel) =>
            {
                (*playback, *refused) = (None, Some(now));
            }
            Command::RecordStreamKilled(channel)
                if recording.is_some_and(|stream| stream.channel == *channel) =>
            {
                (*recording, *refused_recording) = (None, Some(now));
            }
            Command::PlaybackStreamSuspended(told) => {
                if let Some(stream) = playback.as_mut().filter(numbered(told.stream_index)) {
                    stream.suspended = told.suspended;
                }
            }
            Command::PlaybackStreamMoved(told) => {
                if let Some(stream) = playback.as_mut().filter(numbered(told.stream_index)) {
                    stream.suspended = told.device_suspended;
                    stream.target = told.buffer_attr.target_length.max(FRAME);
                }
            }
            Command::PlaybackBufferAttrChanged(told) => {
                if let Some(stream) = playback.as_mut().filter(numbered(told.stream_index)) {
                    stream.target = told.buffer_attr.target_length.max(FRAME);
                }
            }
            _ => {}
        }
    }

    /// Has streams where there is sound, and none of another rate.
    fn open_streams(&mut self, session: &mut Session, now: Instant) -> Result<(), Broken> {
        let due = |refused: Option<Instant>| refused.is_none_or(|at| now >= at + RETRY);
        let buffers = self.shared.buffers;
        if let Some(stream) =
            session.playback.filter(|stream| stream.rate != self.rate && self.pending.is_empty())
        {
            session.tell(&Command::DeletePlaybackStream(stream.channel))?;
            session.playback = None;
        }
        if let Some(rate) = self.playing.filter(|_| due(session.refused))
            && session.playback.is_none()
            && !session.opens()
        {
            session.refused = None;
            let request = playback::Stream::request(&self.options, buffers, rate);
            session.ask(&request, Awaited::Playback(rate), now)?;
        }
        let wanted = self.shared.recorded.load(Ordering::Acquire);
        if let Some(stream) = session.recording.filter(|stream| stream.rate != wanted) {
            // Nobody is listened to any longer than the guest records.
            session.tell(&Command::DeleteRecordStream(stream.channel))?;
            session.recording = None;
        }
        let opens = session.awaited.iter().any(|(_, what, _)| matches!(what, Awaited::Recording(_)));
        if wanted != 0 && session.recording.is_none() && !opens && due(session.refused_recording) {
            session.refused_recording = None;
            let request = recording::Stream::request(&self.options, buffers, wanted);
            session.ask(&request, Awaited::Recording(wanted), now)?;
        }
        Ok(())
    }

    /// Gives the server what it has asked for.
    fn feed(&mut self, session: &mut Session) -> Result<(), Broken> {
        let Some(mut stream) = session.playback.filter(|stream| stream.rate == self.rate) else {
            return Ok(());
        };
        self.take(&stream);
        while stream.room() > 0 && !self.pending.is_empty() {
            let count = stream.room().min(self.pending.len()).min(PIECE / FRAME as usize);
            let data: Vec<u8> = self.pending.drain(..count).flatten().flat_map(i32::to_le_bytes).collect();
            session.connection.sound(stream.channel, &data)?;
            stream.credit -= data.len() as u32;
            stream.fed = true;
        }
        session.playback = Some(stream);
        // The end of a sound that is too short for the server to begin.
        if session.short && self.pending.is_empty() {
            session.short = false;
            if stream.fed && !stream.started {
                session.tell(&Command::TriggerPlaybackStream(stream.channel))?;
            }
        }
        Ok(())
    }

    /// Takes frames from the queue as the server has room for them, and leaves out what is too much.
    fn take(&mut self, stream: &playback::Stream) {
        let waiting = self.reader.pieces.slots() + self.pending.len();
        let aim = i64::from(self.shared.buffers.aim(stream.rate));
        let surplus = waiting as i64 + stream.ahead() - aim;
        // A server that asks for nothing may only be late.
        let late = stream.room() > 0 && surplus > i64::from(self.shared.buffers.excess(stream.rate));
        let skips = stream.suspended || late;
        let mut want = stream.room();
        let skipped = if skips { usize::try_from(surplus).unwrap_or(0).min(waiting) } else { 0 };
        let fade = if skipped > 0 { fade_frames(stream.rate) } else { 0 };
        want += skipped + fade;
        while self.pending.len() < want {
            match self.reader.pieces.peek() {
                Ok(Piece::Frame(frame)) => self.pending.push_back(*frame),
                _ => break,
            }
            let _ = self.reader.pieces.pop();
        }
        let skipped = skipped.min(self.pending.len().saturating_sub(2 * fade));
        if skipped > 0 {
            let frames = self.pending.make_contiguous();
            let (old, new) = (frames.get(..fade), frames.get(skipped..skipped + fade));
            let faded = cross_fade(old.unwrap_or_default(), new.unwrap_or_default());
            self.pending.drain(..skipped);
            for (frame, faded) in self.pending.iter_mut().zip(faded) {
                *frame = faded;
            }
            self.shared.monitor.dropped(skipped as u64);
        }
    }
}

impl Session {
    /// Connects, and says who this is.
    fn new(options: &Options, now: Instant) -> Result<Self, Broken> {
        let mut session = Self {
            connection: Connection::new(&options.place.socket)?,
            awaited: VecDeque::new(),
            ready: false,
            playback: None,
            recording: None,
            refused: None,
            refused_recording: None,
            heard: now,
            short: false,
        };
        let leave = AuthParams {
            version: MAX_VERSION,
            supports_shm: false,
            supports_memfd: false,
            cookie: options.place.cookie(),
        };
        session.ask(&Command::Auth(leave), Awaited::Leave, now)?;
        Ok(session)
    }

    /// Asks for something, and waits for the answer.
    fn ask(&mut self, command: &Command, what: Awaited, now: Instant) -> Result<(), Broken> {
        let number = self.connection.request(command)?;
        self.awaited.push_back((number, what, now));
        Ok(())
    }

    /// Asks for something whose answer says nothing.
    fn tell(&mut self, command: &Command) -> Result<(), Broken> {
        self.connection.request(command).map(drop)
    }

    fn answered(&mut self, number: u32) -> Option<Awaited> {
        let at = self.awaited.iter().position(|(asked, ..)| *asked == number)?;
        self.awaited.remove(at).map(|(_, what, _)| what)
    }

    /// Whether an answer to this is waited for.
    fn awaits(&self, what: Awaited) -> bool {
        self.awaited.iter().any(|(_, awaited, _)| *awaited == what)
    }

    /// Whether a stream for playing is being made.
    fn opens(&self) -> bool {
        self.awaited.iter().any(|(_, what, _)| matches!(what, Awaited::Playback(_)))
    }

    fn cork(&mut self, cork: bool) -> Result<(), Broken> {
        let Some(stream) = &mut self.playback else { return Ok(()) };
        stream.corked = cork;
        if cork {
            (stream.started, stream.fed) = (false, false);
        }
        let command = stream.cork(cork);
        self.tell(&command)
    }
}

/// Why a server refuses, in words.
fn refusal(error: PulseError) -> String {
    match error {
        PulseError::AccessDenied => {
            "it refuses this user, whose cookie it does not know: run the machine as the server's user, \
                                     or let `$PULSE_COOKIE` name the file with its cookie"
                .into()
        }
        PulseError::NoEntity => "there is no such device".into(),
        error => format!("error {} ({error:?})", error as u32),
    }
}
