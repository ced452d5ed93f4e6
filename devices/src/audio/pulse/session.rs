//! The dialogue of one connection: what the server is asked, what it answers, and the streams that this makes. What others have to
//! know of it is told as [`News`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pulseaudio::protocol::{
    AuthParams, Command, MAX_VERSION, MIN_VERSION, ProtocolError, PulseError, Request,
};

use super::Options;
use super::buffers::{Buffers, FRAME};
use super::connection::{Answer, Broken, Connection, Message, refusal};
use super::playback::{self, properties};
use super::recording;

/// Between two tries.
pub(super) const RETRY: Duration =
    if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(2) };
/// A server that is asked something has answered by then.
/// Tests have a server whose thread may wait for others on a busy host.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 2 });
/// A stream that plays and is not asked for sound for so long has a server that is asked whether it lives.
const QUIET: Duration = Duration::from_secs(1);
/// A stream stays open for so long after the last sound, since guests often go on at once.
pub(super) const IDLE: Duration = Duration::from_secs(2);

/// What an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Leave,
    Name,
    /// A stream of so many frames per second.
    Playback(u32),
    Recording(u32),
    /// Other buffers for the stream of this channel.
    Buffers(u32),
    /// A sign of life.
    Life,
}

/// What the server has said that is not for the session alone.
pub(super) enum News {
    /// It knows who this is.
    Ready,
    /// There is a stream that plays, or one that records.
    Plays,
    Records,
    /// It refuses one.
    NoPlayback(PulseError),
    NoRecording(PulseError),
    /// It has played all that it had of a stream of so many frames per second.
    RanDry(u32),
    /// What it has recorded, as it comes.
    Recorded(Vec<u8>),
}

/// What the device would have of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Frames per second that the device plays.
    pub(super) playing: Option<u32>,
    /// Of the sound that is next in the queue.
    pub(super) rate: u32,
    /// All that was taken from the queue has been sent.
    pub(super) drained: bool,
    /// When the device has stopped.
    pub(super) since: Instant,
    /// Frames per second that are to be recorded, 0 for none.
    pub(super) recorded: u32,
}

impl Wanted {
    /// To record so many frames per second, and nothing else.
    pub(super) fn recording(rate: u32, now: Instant) -> Self {
        Self { playing: None, rate: 0, drained: true, since: now, recorded: rate }
    }

    /// There is nothing to be played.
    fn silent(&self) -> bool {
        self.playing.is_none() && self.drained
    }
}

/// A connection, and what is on it.
pub(super) struct Session {
    pub(super) connection: Connection,
    awaited: VecDeque<(u32, Awaited, Instant)>,
    /// The server knows who this is.
    ready: bool,
    pub(super) playback: Option<playback::Stream>,
    recording: Option<recording::Stream>,
    /// The server has refused a stream for playing, or has ended it: it is asked again then.
    refused: Option<Instant>,
    refused_recording: Option<Instant>,
    /// When the server has last sent something.
    heard: Instant,
}

impl Session {
    /// Connects, and says who this is.
    pub(super) fn new(options: &Options, now: Instant) -> Result<Self, Broken> {
        let mut session = Self {
            connection: Connection::new(&options.place.socket)?,
            awaited: VecDeque::new(),
            ready: false,
            playback: None,
            recording: None,
            refused: None,
            refused_recording: None,
            heard: now,
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
    pub(super) fn tell(&mut self, command: &Command) -> Result<(), Broken> {
        self.connection.request(command).map(drop)
    }

    /// Whether the server plays what it is given, as far as it has said.
    pub(super) fn accepts(&self) -> bool {
        self.refused.is_none()
    }

    /// Whether there will be a stream of this rate, and is none yet.
    pub(super) fn opens(&self, rate: u32) -> bool {
        self.accepts() && self.playback.is_none_or(|stream| stream.rate != rate)
    }

    /// Sound begins: before, the server had nothing to say.
    pub(super) fn begin(&mut self, now: Instant) {
        self.heard = now;
    }

    fn answered(&mut self, number: u32) -> Option<Awaited> {
        let at = self.awaited.iter().position(|(asked, ..)| *asked == number)?;
        self.awaited.remove(at).map(|(_, what, _)| what)
    }

    /// Whether an answer to such a request is waited for.
    fn awaits(&self, fits: impl Fn(Awaited) -> bool) -> bool {
        self.awaited.iter().any(|(_, what, _)| fits(*what))
    }

    fn awaits_life(&self) -> bool {
        self.awaits(|what| what == Awaited::Life)
    }

    /// Sends what waits, and takes what has come.
    pub(super) fn exchange(&mut self, options: &Options, now: Instant) -> Result<Vec<News>, Broken> {
        self.connection.send()?;
        let mut news = Vec::new();
        for message in self.connection.receive()? {
            self.heard = now;
            news.extend(self.hear(message, options, now)?);
        }
        if self.awaited.front().is_some_and(|(_, _, at)| now.saturating_duration_since(*at) >= PATIENCE) {
            return Err(Broken::Silent);
        }
        Ok(news)
    }

    fn hear(&mut self, message: Message, options: &Options, now: Instant) -> Result<Option<News>, Broken> {
        Ok(match message {
            Message::Answer(number, mut answer) => match self.answered(number) {
                Some(what) => self.accomplished(what, &mut answer, options, now)?,
                None => None,
            },
            Message::Error(number, error) => match self.answered(number) {
                Some(Awaited::Leave | Awaited::Name) => return Err(Broken::Refused(refusal(error))),
                Some(Awaited::Playback(_)) => {
                    self.refused = Some(now);
                    Some(News::NoPlayback(error))
                }
                Some(Awaited::Recording(_)) => {
                    self.refused_recording = Some(now);
                    Some(News::NoRecording(error))
                }
                // The old buffers are as good as they were.
                Some(Awaited::Buffers(_) | Awaited::Life) | None => None,
            },
            Message::Sound(channel, data) => {
                self.recording.is_some_and(|stream| stream.channel == channel).then_some(News::Recorded(data))
            }
            Message::Event(event) => self.happened(&event, now),
        })
    }

    /// The server has done what it was asked for.
    fn accomplished(
        &mut self,
        what: Awaited,
        answer: &mut Answer,
        options: &Options,
        now: Instant,
    ) -> Result<Option<News>, Broken> {
        Ok(match what {
            Awaited::Leave => {
                let [version] = answer.numbers()?;
                // The upper half has flags for shared memory.
                let version = version as u16;
                if version < MIN_VERSION {
                    return Err(ProtocolError::UnsupportedVersion(version).into());
                }
                self.connection.version = version.min(MAX_VERSION);
                let name = Command::SetClientName(properties(&options.name));
                self.ask(&name, Awaited::Name, now)?;
                None
            }
            Awaited::Name => {
                self.ready = true;
                Some(News::Ready)
            }
            Awaited::Playback(rate) => {
                self.playback = Some(playback::Stream::made(answer, rate)?);
                self.refused = None;
                Some(News::Plays)
            }
            Awaited::Recording(rate) => {
                self.recording = Some(recording::Stream::made(answer, rate)?);
                self.refused_recording = None;
                Some(News::Records)
            }
            Awaited::Buffers(channel) => {
                if let Some(stream) = self.playback.as_mut().filter(|stream| stream.channel == channel) {
                    stream.resized(answer)?;
                }
                None
            }
            Awaited::Life => None,
        })
    }

    fn happened(&mut self, event: &Command, now: Instant) -> Option<News> {
        let Self { playback, recording, refused, refused_recording, .. } = self;
        let of = |channel: u32| move |stream: &&mut playback::Stream| stream.channel == channel;
        let numbered = |index: u32| move |stream: &&mut playback::Stream| stream.index == index;
        match event {
            Command::Request(Request { channel, length }) => {
                let stream = playback.as_mut().filter(of(*channel))?;
                stream.credit = stream.credit.saturating_add(*length);
                // Who asks for more has played some: not every server says that it begins again.
                stream.started |= stream.fed;
            }
            Command::Started(channel) => playback.as_mut().filter(of(*channel))?.started = true,
            Command::Underflow(underflow) => {
                let stream = playback.as_mut().filter(of(underflow.channel))?;
                let played = stream.started;
                (stream.started, stream.fed) = (false, false);
                return played.then_some(News::RanDry(stream.rate));
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
                playback.as_mut().filter(numbered(told.stream_index))?.suspended = told.suspended;
            }
            Command::PlaybackStreamMoved(told) => {
                let stream = playback.as_mut().filter(numbered(told.stream_index))?;
                stream.suspended = told.device_suspended;
                stream.target = told.buffer_attr.target_length.max(FRAME);
            }
            Command::PlaybackBufferAttrChanged(told) => {
                let stream = playback.as_mut().filter(numbered(told.stream_index))?;
                stream.target = told.buffer_attr.target_length.max(FRAME);
            }
            _ => {}
        }
        None
    }

    /// Has streams where there is sound, and none of another rate.
    pub(super) fn open_streams(
        &mut self,
        wanted: &Wanted,
        options: &Options,
        buffers: Buffers,
        now: Instant,
    ) -> Result<(), Broken> {
        if !self.ready {
            return Ok(());
        }
        let due = |refused: Option<Instant>| refused.is_none_or(|at| now >= at + RETRY);
        if let Some(stream) = self.playback.filter(|stream| stream.rate != wanted.rate && wanted.drained) {
            self.tell(&Command::DeletePlaybackStream(stream.channel))?;
            self.playback = None;
        }
        let opens = self.awaits(|what| matches!(what, Awaited::Playback(_)));
        if let Some(rate) = wanted.playing.filter(|_| due(self.refused))
            && self.playback.is_none()
            && !opens
        {
            self.refused = None;
            self.ask(&playback::Stream::request(options, buffers, rate), Awaited::Playback(rate), now)?;
        }
        let rate = wanted.recorded;
        if let Some(stream) = self.recording.filter(|stream| stream.rate != rate) {
            // Nobody is listened to any longer than the guest records.
            self.tell(&Command::DeleteRecordStream(stream.channel))?;
            self.recording = None;
        }
        let opens = self.awaits(|what| matches!(what, Awaited::Recording(_)));
        if rate != 0 && self.recording.is_none() && !opens && due(self.refused_recording) {
            self.refused_recording = None;
            self.ask(&recording::Stream::request(options, buffers, rate), Awaited::Recording(rate), now)?;
        }
        Ok(())
    }

    /// Pauses the stream some time after the last sound, and asks a server that says nothing whether it lives.
    pub(super) fn keep(&mut self, wanted: &Wanted, now: Instant) -> Result<(), Broken> {
        let Some(stream) = self.playback else { return Ok(()) };
        if wanted.silent() && !stream.corked && now >= wanted.since + IDLE {
            self.cork(true)?;
        } else if !wanted.silent() && stream.corked {
            self.cork(false)?;
        }
        if wanted.playing.is_some() && !self.awaits_life() && now >= self.heard + QUIET {
            self.ask(&Command::Stat, Awaited::Life, now)?;
        }
        Ok(())
    }

    /// Asks for other buffers for the stream that plays.
    pub(super) fn resize(&mut self, buffers: Buffers, now: Instant) -> Result<(), Broken> {
        let Some(stream) = self.playback else { return Ok(()) };
        self.ask(&stream.resize(buffers), Awaited::Buffers(stream.channel), now)
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

    /// When something is due without an event.
    pub(super) fn deadline(&self, wanted: &Wanted) -> Option<Instant> {
        let answer = self.awaited.front().map(|(_, _, at)| *at + PATIENCE);
        let refused = [
            self.refused.filter(|_| wanted.playing.is_some()),
            self.refused_recording.filter(|_| wanted.recorded != 0),
        ];
        let again = refused.into_iter().flatten().map(|at| at + RETRY);
        // Without a stream, an answer is waited for, or the next try.
        let asks = wanted.playing.is_some() && self.playback.is_some() && !self.awaits_life();
        let quiet = asks.then(|| self.heard + QUIET);
        let cork = self.playback.filter(|stream| wanted.silent() && !stream.corked);
        let cork = cork.map(|_| wanted.since + IDLE);
        answer.into_iter().chain(again).chain(quiet).chain(cork).min()
    }
}
