//! The thread that has the connection, and makes a new one when it is gone: what the device plays goes to the server as that asks for it.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pulseaudio::protocol::Command;
use rtrb::Producer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::audio::Frame;
use crate::audio::queue::{Piece, Reader};
use crate::event::borrow;

use super::buffers::FRAME;
use super::connection::{Broken, refusal};
use super::playback::{self, cross_fade, fade_frames};
use super::recording;
use super::session::{News, RETRY, Session, Wanted};
use super::{Options, Shared, UNKNOWN};

/// Most bytes of one message with sound.
const PIECE: usize = 32 << 10;

pub(super) struct Client {
    options: Options,
    shared: Arc<Shared>,
    reader: Reader,
    recorded: Producer<Frame>,
    /// The connection that plays, and when the next try is due without.
    session: Option<Session>,
    retry: Instant,
    /// The one that records, while the guest does, likewise. It is another one since PipeWire's server (1.4.2, `do_process_done`) sends nothing
    /// that it has recorded while something else waits to be sent on the same connection: where it asks for sound in each round, that is always so.
    recorder: Option<Session>,
    retry_recording: Instant,
    /// Frames per second that the device plays.
    playing: Option<u32>,
    /// The number of the sound that has begun last.
    begun: u32,
    /// Of the sound that is next in the queue.
    rate: u32,
    /// When the device has stopped.
    idle: Instant,
    /// Taken from the queue, and not sent.
    pending: VecDeque<Frame>,
    /// A sound has ended since the server got the last of it.
    short: bool,
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
            recorder: None,
            retry_recording: now,
            playing: None,
            begun: 0,
            rate: 0,
            idle: now,
            pending: VecDeque::new(),
            short: false,
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
            if let Err(broken) = self.record(now) {
                (self.recorder, self.retry_recording) = (None, now + RETRY);
                self.tell_of_recording(&broken.to_string());
            }
            self.tell_ahead();
            self.tell_ready();
            // What is behind the frames that were sent may be taken already.
            if matches!(self.reader.pieces.peek(), Ok(Piece::Start { .. } | Piece::Stop))
                && self.pending.is_empty()
            {
                continue;
            }
            let deadline = self.deadline();
            self.sleep(deadline.map(|deadline| deadline.saturating_duration_since(now)));
        }
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            playing: self.playing,
            rate: self.rate,
            drained: self.pending.is_empty(),
            since: self.idle,
            recorded: 0,
        }
    }

    /// Frames per second that the guest records, 0 for none.
    fn recorded(&self) -> u32 {
        self.shared.recorded.load(Ordering::Acquire)
    }

    /// Takes changes of the device's from the queue. Frames wait there, as long as somebody will have them.
    fn listen(&mut self, now: Instant) {
        let heard = self.session.as_ref().is_some_and(|session| session.accepts());
        while let Ok(piece) = self.reader.pieces.peek().copied() {
            match piece {
                Piece::Frame(_) if heard => return,
                Piece::Frame(_) => {}
                // The stream of another rate has to have its last frames first.
                Piece::Start { rate, .. } if rate != self.rate && !self.pending.is_empty() => return,
                Piece::Start { rate, number } => {
                    (self.playing, self.rate, self.begun) = (Some(rate), rate, number);
                    if let Some(session) = &mut self.session {
                        session.begin(now);
                    }
                }
                Piece::Stop => {
                    (self.playing, self.idle) = (None, now);
                    self.short = self.session.is_some();
                }
            }
            let _ = self.reader.pieces.pop();
        }
    }

    fn give_up(&mut self, broken: &Broken, now: Instant) {
        self.session = None;
        self.pending.clear();
        self.short = false;
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

    /// Tells the device whether it need not wait: there is a stream for its sound, or nobody is about to make one.
    fn tell_ready(&self) {
        let session = self.session.as_ref();
        let plays = session.and_then(|session| session.playback).map_or(0, |stream| stream.rate);
        self.shared.plays.store(plays, Ordering::Release);
        // Of the sound that the thread knows of, and of no later one.
        let Some(rate) = self.playing else { return };
        if !session.is_some_and(|session| session.opens(rate)) {
            self.shared.settled.store(self.begun, Ordering::Release);
        }
    }

    /// When something is due without an event.
    fn deadline(&self) -> Option<Instant> {
        let playing = match &self.session {
            Some(session) => session.deadline(&self.wanted()),
            None => (self.playing.is_some() || !self.tried).then_some(self.retry),
        };
        let recording = match (&self.recorder, self.recorded()) {
            (_, 0) => None,
            (Some(session), rate) => session.deadline(&Wanted::recording(rate, self.idle)),
            (None, _) => Some(self.retry_recording),
        };
        playing.into_iter().chain(recording).min()
    }

    fn sleep(&self, most: Option<Duration>) {
        let mut watched = vec![PollFd::from_borrowed_fd(borrow(&self.reader.ready), PollFlags::IN)];
        for session in self.session.iter().chain(&self.recorder) {
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
            if (self.playing.is_none() && self.tried) || now < self.retry {
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
        let buffers = self.shared.playing();
        for news in session.exchange(&self.options, now)? {
            self.hear(&news);
        }
        let longer = self.shared.playing();
        if longer != buffers {
            session.resize(longer, now)?;
        }
        session.open_streams(&self.wanted(), &self.options, longer, now)?;
        self.feed(session)?;
        session.keep(&self.wanted(), now)
    }

    /// Has a connection that records for as long as the guest does.
    fn record(&mut self, now: Instant) -> Result<(), Broken> {
        let rate = self.recorded();
        if rate == 0 {
            // Nobody is listened to any longer.
            (self.recorder, self.retry_recording) = (None, now);
            return Ok(());
        }
        let mut session = match self.recorder.take() {
            Some(session) => session,
            None if now < self.retry_recording => return Ok(()),
            None => Session::new(&self.options, now)?,
        };
        for news in session.exchange(&self.options, now)? {
            // That it knows this connection says nothing of the other one.
            if !matches!(news, News::Ready) {
                self.hear(&news);
            }
        }
        session.open_streams(&Wanted::recording(rate, now), &self.options, self.shared.buffers, now)?;
        self.recorder = Some(session);
        Ok(())
    }

    /// It is asked again and again, and told once.
    fn tell_of_recording(&mut self, why: &str) {
        if !std::mem::replace(&mut self.told_of_recording, true) {
            crate::limited_warn!(
                "the guest's microphone is silent: the sound server does not record from its default source: {why}; `pactl list short sources` shows what there is"
            );
        }
    }

    fn hear(&mut self, news: &News) {
        match news {
            News::Ready | News::Plays => self.tell(None),
            News::Records => self.told_of_recording = false,
            News::NoPlayback(error) => {
                let device = self.options.device.as_deref().map_or_else(
                    || "the default device".to_owned(),
                    |name| format!("its device \"{name}\" (`pactl list short sinks` shows their names)"),
                );
                let why = refusal(*error);
                self.tell(Some(format!("the sound server does not play on {device}: {why}")));
            }
            News::NoRecording(error) => self.tell_of_recording(&refusal(*error)),
            News::RanDry(rate) => {
                if self.playing == Some(*rate) {
                    self.shared.monitor.underrun();
                    if let Some(longer) = self.shared.playing().longer() {
                        self.shared.latency.store(longer.latency(), Ordering::Relaxed);
                        self.shared.monitor.set_latency(longer.latency());
                    }
                }
            }
            // What there is no room for is older than what is there: nobody reads.
            News::Recorded(data) => {
                recording::frames(data).take_while(|frame| self.recorded.push(*frame).is_ok()).for_each(drop);
            }
        }
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
        if self.short && self.pending.is_empty() {
            self.short = false;
            if stream.fed && !stream.started {
                session.tell(&Command::TriggerPlaybackStream(stream.channel))?;
            }
        }
        Ok(())
    }

    /// Takes frames from the queue as the server has room for them, and leaves out what is too much.
    fn take(&mut self, stream: &playback::Stream) {
        let waiting = self.reader.pieces.slots() + self.pending.len();
        let buffers = self.shared.playing();
        let aim = i64::from(buffers.aim(stream.rate));
        let surplus = waiting as i64 + stream.ahead() - aim;
        // A server that asks for nothing may only be late.
        let late = stream.room() > 0 && surplus > i64::from(buffers.excess(stream.rate));
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
