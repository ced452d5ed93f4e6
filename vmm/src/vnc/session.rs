//! One client's side of the protocol without its socket: bytes in, bytes out, and when to be called again.
//!
//! At most one update is under way. While the client does not read, nothing is looked at for it, and when it reads again it
//! gets the newest picture.

use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::display::Screen;
use devices::input::{Input, Key};

use super::features::Features;
use super::hands::Hands;
use super::handshake::{Handshake, Progress};
use super::painter::Painter;
use super::password::{CHALLENGE, Password};
use super::protocol::{self, Area, Message, Violation};

/// What a client has to send within this time: its part of the handshake, or the rest of a message.
pub(super) const HASTE: Duration = Duration::from_secs(10);
/// The time for a human to type a password.
const ASKING: Duration = Duration::from_secs(120);
/// A client that reads nothing of what waits for it is dropped after this.
pub(super) const DEAF: Duration = Duration::from_secs(30);
/// A wrong password is answered after this.
const REFUSAL: Duration = Duration::from_secs(2);
/// How long the screen is watched on for a client that asks for nothing: it usually asks soon.
const INTEREST: Duration = Duration::from_secs(1);
/// The lamps follow a key of theirs after some time, without any event.
const LAMPS: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(300), Duration::from_millis(1000)];
/// Answers that a client has not read. Then its requests wait.
const MOST_UNREAD: usize = 16 << 10;
/// Updates on the way to a client that wants them without asking, by the fences that come back.
const MOST_FENCES: u32 = 2;

/// Flags of a fence: what the sender wants to be ordered, and that it asks.
const FENCE_ORDERS: u32 = 7;
const FENCE_BLOCK_BEFORE: u32 = 1;
const FENCE_REQUEST: u32 = 1 << 31;
/// What our fences after updates carry.
const AFTER_UPDATE: &[u8] = b"u";

/// Why a client's session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("it sent nothing, or half a message, for too long")]
    Silent,
    #[error("it did not read what was sent to it")]
    Deaf,
    #[error("its password was wrong")]
    WrongPassword,
    #[error("another client has the screen for itself")]
    NotShared,
    #[error("there is no memory or file descriptor for a view of the screen")]
    NoView,
}

/// What all clients of a server share.
pub(super) struct Context {
    pub(super) name: String,
    pub(super) password: Option<Password>,
    pub(super) screen: Arc<dyn Screen>,
    pub(super) input: Arc<dyn Input>,
    /// Whether a client may join, and disconnects the others if it does not share.
    pub(super) admit: Box<dyn Fn(u64, bool) -> bool + Send + Sync>,
}

enum Phase {
    Handshake(Handshake),
    /// The refusal is told at that time.
    Refusing(Handshake, Instant),
    /// It has been told.
    Refused,
    Running(Box<Running>),
}

struct Running {
    painter: Painter,
    hands: Hands,
    /// What the client wants to see next.
    request: Option<Area>,
    /// The area of continuous updates.
    continuous: Option<Area>,
    fences: u32,
    /// Nothing was painted yet.
    fresh: bool,
    interested: bool,
    /// Whether the client waits for a change, and if not, until when it did.
    waits: bool,
    waited: Instant,
    /// Since when the lamps are looked after, and how often they were.
    lamps: Option<(Instant, usize)>,
}

/// One client.
pub(super) struct Session {
    id: u64,
    context: Arc<Context>,
    phase: Phase,
    input: Vec<u8>,
    /// Bytes of a clipboard still to come.
    skip: usize,
    output: Vec<u8>,
    sent: usize,
    /// The end of the update within the output.
    update: usize,
    began: Instant,
    /// When the client last sent something.
    heard: Instant,
    /// When it last read something, while something waits.
    read: Instant,
}

impl Session {
    /// Greets a client. `challenge` is random.
    pub(super) fn new(id: u64, context: Arc<Context>, challenge: [u8; CHALLENGE], now: Instant) -> Self {
        let mut output = Vec::new();
        let handshake = Handshake::new(context.password.clone(), challenge, &mut output);
        Self {
            id,
            context,
            phase: Phase::Handshake(handshake),
            input: Vec::new(),
            skip: 0,
            output,
            sent: 0,
            update: 0,
            began: now,
            heard: now,
            read: now,
        }
    }

    /// How much more is read from the client now; 0 while it has to wait.
    pub(super) fn room(&self) -> usize {
        let full = match &self.phase {
            Phase::Running(running) => running.hands.are_full(),
            Phase::Handshake(_) => false,
            Phase::Refusing(..) | Phase::Refused => true,
        };
        let unread = self.output.len().saturating_sub(self.update);
        if full || unread > MOST_UNREAD { 0 } else { protocol::LONGEST.saturating_sub(self.input.len()) }
    }

    /// Takes bytes from the client.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.heard = now;
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.input.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
    }

    /// What is to be sent next.
    pub(super) fn output(&self) -> &[u8] {
        self.output.get(self.sent..).unwrap_or_default()
    }

    /// So much of it was sent.
    pub(super) fn was_sent(&mut self, count: usize, now: Instant) {
        self.read = now;
        self.sent = self.sent.saturating_add(count);
        if self.sent >= self.output.len() {
            // The room of a large update is not kept while the screen is still.
            self.output = Vec::new();
            (self.sent, self.update) = (0, 0);
        }
    }

    /// The event that says that the screen has changed, while that matters.
    pub(super) fn awaited(&mut self) -> Option<&vmm_sys_util::eventfd::EventFd> {
        let drained = self.output.is_empty();
        match &mut self.phase {
            Phase::Running(running) if drained && running.wanted().is_some() => {
                Some(running.painter.view().changed())
            }
            _ => None,
        }
    }

    /// Does what there is to do.
    pub(super) fn advance(&mut self, now: Instant) -> Result<(), End> {
        self.shake_hands(now)?;
        let was_empty = self.output.is_empty();
        if let Phase::Running(running) = &mut self.phase {
            running.hands.advance(now);
            self.messages(now)?;
        }
        if let Phase::Running(running) = &mut self.phase {
            running.watch_lamps(now);
            if self.output.is_empty() && running.paint(&self.context, &mut self.output) {
                self.update = self.output.len();
            }
            running.watch(self.output.is_empty(), now);
        }
        if was_empty {
            self.read = now;
        }
        if self.room() == 0 {
            // The client is not heard at present, so its silence means nothing.
            self.heard = now;
        }
        self.check(now)
    }

    /// When [`Self::advance`] is to be called again without any event.
    pub(super) fn due(&self) -> Option<Instant> {
        let running = match &self.phase {
            Phase::Refusing(_, at) => return Some(*at),
            Phase::Running(running) => running.due(),
            _ => None,
        };
        [running, self.silent_at(), self.deaf_at()].into_iter().flatten().min()
    }

    fn silent_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshake(handshake) if handshake.is_asking() => Some(self.began + ASKING),
            // The whole of it ends, too, lest somebody send a byte now and then.
            Phase::Handshake(_) => Some((self.heard + HASTE).min(self.began + ASKING + HASTE)),
            Phase::Running(_) if self.room() > 0 && (self.skip > 0 || !self.input.is_empty()) => {
                Some(self.heard + HASTE)
            }
            _ => None,
        }
    }

    fn deaf_at(&self) -> Option<Instant> {
        (!self.output.is_empty()).then(|| self.read + DEAF)
    }

    fn check(&self, now: Instant) -> Result<(), End> {
        let over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if over(self.silent_at()) {
            return Err(End::Silent);
        }
        if over(self.deaf_at()) {
            return Err(End::Deaf);
        }
        match self.phase {
            Phase::Refused if self.output.is_empty() => Err(End::WrongPassword),
            _ => Ok(()),
        }
    }

    fn shake_hands(&mut self, now: Instant) -> Result<(), End> {
        if let Phase::Refusing(handshake, at) = &self.phase
            && *at <= now
        {
            handshake.refuse(&mut self.output);
            self.phase = Phase::Refused;
        }
        let Phase::Handshake(handshake) = &mut self.phase else { return Ok(()) };
        match handshake.advance(&mut self.input, &mut self.output)? {
            Progress::Waiting => {}
            Progress::Refused => {
                if let Phase::Handshake(handshake) = std::mem::replace(&mut self.phase, Phase::Refused) {
                    self.phase = Phase::Refusing(handshake, now + REFUSAL);
                }
            }
            Progress::Done { shared } => self.begin(shared, now)?,
        }
        Ok(())
    }

    fn begin(&mut self, shared: bool, now: Instant) -> Result<(), End> {
        if !(self.context.admit)(self.id, shared) {
            return Err(End::NotShared);
        }
        let view = self.context.screen.view().map_err(|_| End::NoView)?;
        let painter = Painter::new(view, self.context.name.clone());
        painter.introduce(&mut self.output);
        let running = Running {
            painter,
            hands: Hands::new(Arc::clone(&self.context.input)),
            request: None,
            continuous: None,
            fences: 0,
            fresh: true,
            interested: true,
            waits: false,
            waited: now,
            lamps: None,
        };
        self.phase = Phase::Running(Box::new(running));
        Ok(())
    }

    fn messages(&mut self, now: Instant) -> Result<(), End> {
        let mut done = 0;
        while let Phase::Running(running) = &mut self.phase {
            let unread = self.output.len().saturating_sub(self.update);
            if running.hands.are_full() || unread > MOST_UNREAD {
                break;
            }
            let rest = self.input.get(done..).unwrap_or_default();
            let Some((message, length)) = protocol::parse(rest)? else { break };
            done += length;
            if let Message::CutText(length) = message {
                let here = length.min(self.input.len().saturating_sub(done));
                done += here;
                self.skip = length - here;
            } else {
                running.react(message, &mut self.output, now);
            }
        }
        self.input.drain(..done.min(self.input.len()));
        Ok(())
    }
}

impl Running {
    fn react(&mut self, message: Message, out: &mut Vec<u8>, now: Instant) {
        match message {
            Message::SetPixelFormat(format) => {
                if let Some(map) = format.colour_map() {
                    put_colour_map(out, &map);
                }
                self.painter.set_format(format);
            }
            Message::SetEncodings(numbers) => self.set_features(Features::of(&numbers), out),
            Message::UpdateRequest { incremental, area } => {
                if !incremental {
                    self.painter.repeat(area);
                }
                self.request = Some(self.request.map_or(area, |old| around(old, area)));
            }
            Message::Key { symbol, pressed } => {
                let key = self.hands.key_by_symbol(symbol, pressed, now);
                self.expect_change(key, now);
            }
            Message::ExtendedKey { symbol, code, pressed } => {
                let key = self.hands.key_by_code(code, pressed, now);
                let key = key.or_else(|| self.hands.key_by_symbol(symbol, pressed, now));
                self.expect_change(key, now);
            }
            Message::Pointer { buttons, x, y } => {
                let relative = self.painter.features().pointer_motion;
                self.hands.pointer(buttons, x, y, relative, now);
                self.painter.view().hurry();
            }
            Message::ContinuousUpdates { enable: true, area } => self.continuous = Some(area),
            Message::ContinuousUpdates { enable: false, .. } => {
                self.continuous = None;
                out.push(END_OF_CONTINUOUS_UPDATES);
            }
            Message::Fence { flags, payload } => self.fence(flags, &payload, out),
            Message::SetDesktopSize => self.painter.refuse_resize(),
            Message::CutText(_) => {}
        }
    }

    fn set_features(&mut self, features: Features, out: &mut Vec<u8>) {
        let before = *self.painter.features();
        self.painter.set_features(features);
        if features.fence && !before.fence {
            put_fence(out, FENCE_REQUEST, &[]);
        }
        if features.continuous && !before.continuous {
            out.push(END_OF_CONTINUOUS_UPDATES);
        }
        if !features.continuous {
            self.continuous = None;
        }
    }

    fn fence(&mut self, flags: u32, payload: &[u8], out: &mut Vec<u8>) {
        if flags & FENCE_REQUEST != 0 {
            // Messages are handled one after the other, so that any order that is asked for is kept.
            put_fence(out, flags & FENCE_ORDERS, payload);
        } else if payload == AFTER_UPDATE {
            self.fences = self.fences.saturating_sub(1);
        }
    }

    /// What the client wants to see, if it has room for an update.
    fn wanted(&self) -> Option<Area> {
        let unasked = self.continuous.filter(|_| self.fences < MOST_FENCES);
        match (self.request, unasked) {
            (Some(a), Some(b)) => Some(around(a, b)),
            (one, other) => one.or(other),
        }
    }

    fn paint(&mut self, context: &Context, out: &mut Vec<u8>) -> bool {
        let Some(area) = self.wanted() else { return false };
        let told = self.painter.view().changed().read().is_ok();
        if std::mem::take(&mut self.fresh) || told {
            self.painter.look();
            let reason = if self.painter.is_blank() { context.screen.blank_reason() } else { None };
            let name =
                reason.map_or_else(|| context.name.clone(), |reason| format!("{}: {reason}", context.name));
            self.painter.set_name(name);
        }
        self.painter.set_lamps(self.hands.input().lamps());
        if !self.painter.update(area, out) {
            return false;
        }
        self.request = None;
        if self.continuous.is_some() && self.painter.features().fence {
            put_fence(out, FENCE_REQUEST | FENCE_BLOCK_BEFORE, AFTER_UPDATE);
            self.fences += 1;
        }
        true
    }

    /// Keeps the screen watched while the client wants to see it.
    fn watch(&mut self, drained: bool, now: Instant) {
        let waited = self.waits;
        self.waits = drained && self.wanted().is_some();
        if waited || self.waits {
            self.waited = now;
        }
        if self.waits && !self.interested {
            self.interested = true;
            self.painter.view().set_interest(true);
        } else if !self.waits && self.interested && self.waited + INTEREST <= now {
            self.interested = false;
            self.painter.view().set_interest(false);
        }
    }

    /// The guest answers a key on the screen, and some by its lamps.
    fn expect_change(&mut self, key: Option<Key>, now: Instant) {
        self.painter.view().hurry();
        if key.is_some_and(|key| [Key::CAPS_LOCK, Key::NUM_LOCK, Key::SCROLL_LOCK].contains(&key)) {
            self.lamps = Some((now, 0));
        }
    }

    fn lamps_due(&self) -> Option<Instant> {
        self.lamps.and_then(|(since, count)| Some(since + *LAMPS.get(count)?))
    }

    /// An update is tried at each call; here is only noted that one was due.
    fn watch_lamps(&mut self, now: Instant) {
        while self.lamps_due().is_some_and(|at| at <= now) {
            self.lamps = self.lamps.map(|(since, count)| (since, count + 1));
        }
    }

    fn due(&self) -> Option<Instant> {
        let idle = (self.interested && !self.waits).then(|| self.waited + INTEREST);
        [idle, self.hands.due(), self.lamps_due()].into_iter().flatten().min()
    }
}

/// Message of the server: continuous updates are known, or have ended.
const END_OF_CONTINUOUS_UPDATES: u8 = 150;

fn put_fence(out: &mut Vec<u8>, flags: u32, payload: &[u8]) {
    out.extend_from_slice(&[248, 0, 0, 0]);
    out.extend_from_slice(&flags.to_be_bytes());
    out.push(u8::try_from(payload.len()).unwrap_or(0));
    out.extend_from_slice(payload);
}

/// SetColourMapEntries: RFC 6143 §7.6.2.
fn put_colour_map(out: &mut Vec<u8>, map: &[[u16; 3]]) {
    out.extend_from_slice(&[1, 0, 0, 0]);
    out.extend_from_slice(&u16::try_from(map.len()).unwrap_or(0).to_be_bytes());
    map.iter().flatten().for_each(|part| out.extend_from_slice(&part.to_be_bytes()));
}

/// The least area around both.
fn around(a: Area, b: Area) -> Area {
    let (x, y) = (a.x.min(b.x), a.y.min(b.y));
    let end = |at: u16, length: u16| at.saturating_add(length);
    Area {
        x,
        y,
        width: end(a.x, a.width).max(end(b.x, b.width)) - x,
        height: end(a.y, a.height).max(end(b.y, b.height)) - y,
    }
}
