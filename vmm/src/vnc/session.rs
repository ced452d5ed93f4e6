//! One client's side of the protocol without its socket: bytes in, bytes out, and when to be called again.
//!
//! At most one update is under way. While the client does not read, nothing is looked at for it, and when it reads again it
//! gets the newest picture.

mod handshake;
mod running;

use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::display::Screen;
use devices::input::{Input, Layout};

use super::password::{CHALLENGE, Password};
use super::protocol::{self, Message, Violation};
use handshake::{Handshake, Progress};
use running::Running;

/// What a client has to send within this time: its part of the handshake, or the rest of a message.
pub(super) const SEND_WITHIN: Duration = Duration::from_secs(10);
/// The time for a human to type a password.
const ASKING: Duration = Duration::from_secs(120);
/// A client that reads nothing of what waits for it is dropped after this.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(30);
/// A wrong password is answered after this.
pub(super) const REFUSAL: Duration = Duration::from_secs(2);
/// Answers that a client has not read. Then its requests wait.
const MOST_UNREAD: usize = 16 << 10;

/// What is sent to those who are too many.
const TOO_MANY: &str = "There are too many VNC clients already.";

/// How far a client is, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It has sent nothing.
    Silent,
    /// It has sent something.
    Spoke,
    /// It was asked for the password.
    Asked,
    /// It is done with the handshake.
    Admitted,
}

/// Why a client's session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("it sent nothing, or half a message, for too long")]
    Silent,
    #[error("it did not read what was sent to it")]
    NotReading,
    #[error("its password was wrong")]
    WrongPassword,
    #[error("there are too many already")]
    TooMany,
    #[error("another client has the screen for itself")]
    NotShared,
    #[error("there is no memory or file descriptor for a view of the screen")]
    NoView,
}

impl End {
    /// Whether a viewer that did nothing wrong may have been sent away, or did not get to the end of its handshake for a reason that
    /// its user can mend.
    pub(super) fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::WrongPassword
                | Self::TooMany
                | Self::NotShared
                | Self::NoView
                | Self::Violation(Violation::Security)
        )
    }
}

/// What all clients of a server share.
pub(super) struct Context {
    pub(super) name: String,
    pub(super) password: Option<Password>,
    pub(super) screen: Arc<dyn Screen>,
    pub(super) input: Arc<dyn Input>,
    /// Of the guest's keyboard, for clients that send symbols.
    pub(super) layout: Layout,
    /// See [`REFUSAL`].
    pub(super) refusal: Duration,
    /// Says whether a client may join, and disconnects the others if it does not share.
    pub(super) admit: Box<dyn Fn(u64, bool) -> Result<(), End> + Send + Sync>,
}

enum Phase {
    Handshake(Handshake),
    /// The refusal is sent at that time.
    Refusing(Handshake, Instant),
    /// It has been sent.
    Refused(End),
    Running(Box<Running>),
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
    /// The client has sent something.
    said: bool,
    /// When it last did.
    heard: Instant,
    /// When it last read something, while something waits.
    read: Instant,
}

impl Session {
    /// Greets a client. `challenge` is random.
    pub(super) fn new(id: u64, context: Arc<Context>, challenge: [u8; CHALLENGE], now: Instant) -> Self {
        Self::greet(id, context, challenge, None, now)
    }

    /// Greets a client that there is no room for: it is sent the refusal.
    pub(super) fn one_too_many(id: u64, context: Arc<Context>, now: Instant) -> Self {
        Self::greet(id, context, [0; CHALLENGE], Some(TOO_MANY), now)
    }

    fn greet(
        id: u64,
        context: Arc<Context>,
        challenge: [u8; CHALLENGE],
        refusal: Option<&'static str>,
        now: Instant,
    ) -> Self {
        let mut output = Vec::new();
        let handshake = Handshake::new(context.password.clone(), challenge, refusal, &mut output);
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
            said: false,
            heard: now,
            read: now,
        }
    }

    /// How much more is read from the client now; 0 while it has to wait.
    pub(super) fn room(&self) -> usize {
        let full = match &self.phase {
            Phase::Running(running) => running.is_full(),
            Phase::Handshake(_) => false,
            Phase::Refusing(..) | Phase::Refused(_) => true,
        };
        let unread = self.output.len().saturating_sub(self.update);
        if full || unread > MOST_UNREAD { 0 } else { protocol::LONGEST.saturating_sub(self.input.len()) }
    }

    /// How far the client is.
    pub(super) fn stage(&self) -> Stage {
        match &self.phase {
            Phase::Running(_) => Stage::Admitted,
            // Who has given the password has not become unauthenticated by it.
            Phase::Handshake(handshake) if handshake.is_asking() || handshake.is_authenticated() => {
                Stage::Asked
            }
            Phase::Handshake(_) if !self.said => Stage::Silent,
            // Nor does who guesses get another place for the next guess before this one is answered.
            Phase::Refusing(..) => Stage::Asked,
            Phase::Handshake(_) | Phase::Refused(_) => Stage::Spoke,
        }
    }

    /// When it was last heard.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Takes bytes from the client.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.heard = now;
        self.said |= !bytes.is_empty();
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
            Phase::Running(running) if drained && running.wanted().is_some() => Some(running.changed()),
            _ => None,
        }
    }

    /// The event that says that the guest takes input again, while some waits.
    pub(super) fn input_room(&self) -> Option<Arc<vmm_sys_util::eventfd::EventFd>> {
        match &self.phase {
            Phase::Running(running) => running.input_room(),
            _ => None,
        }
    }

    /// Does what there is to do.
    pub(super) fn advance(&mut self, now: Instant) -> Result<(), End> {
        self.shake_hands(now)?;
        let was_empty = self.output.is_empty();
        if let Phase::Running(running) = &mut self.phase {
            running.give_input(now);
            self.messages(now)?;
        }
        if let Phase::Running(running) = &mut self.phase {
            running.watch_leds(now);
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
        [running, self.silent_at(), self.unread_at()].into_iter().flatten().min()
    }

    fn silent_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshake(handshake) if handshake.is_asking() => Some(self.began + ASKING),
            // The whole of it ends, too, lest somebody send a byte now and then.
            Phase::Handshake(_) => Some((self.heard + SEND_WITHIN).min(self.began + ASKING + SEND_WITHIN)),
            Phase::Running(_) if self.room() > 0 && (self.skip > 0 || !self.input.is_empty()) => {
                Some(self.heard + SEND_WITHIN)
            }
            _ => None,
        }
    }

    fn unread_at(&self) -> Option<Instant> {
        (!self.output.is_empty()).then(|| self.read + READ_WITHIN)
    }

    fn check(&self, now: Instant) -> Result<(), End> {
        let over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if over(self.silent_at()) {
            return Err(End::Silent);
        }
        if over(self.unread_at()) {
            return Err(End::NotReading);
        }
        match self.phase {
            Phase::Refused(end) if self.output.is_empty() => Err(end),
            _ => Ok(()),
        }
    }

    fn shake_hands(&mut self, now: Instant) -> Result<(), End> {
        if let Phase::Refusing(handshake, at) = &self.phase
            && *at <= now
        {
            handshake.refuse(&mut self.output);
            self.phase = Phase::Refused(End::WrongPassword);
        }
        let Phase::Handshake(handshake) = &mut self.phase else { return Ok(()) };
        match handshake.advance(&mut self.input, &mut self.output)? {
            Progress::Waiting => {}
            Progress::Refused => {
                if let Phase::Handshake(handshake) =
                    std::mem::replace(&mut self.phase, Phase::Refused(End::WrongPassword))
                {
                    self.phase = Phase::Refusing(handshake, now + self.context.refusal);
                }
            }
            Progress::TurnedAway => self.phase = Phase::Refused(End::TooMany),
            Progress::Done { shared } => self.begin(shared, now)?,
        }
        Ok(())
    }

    fn begin(&mut self, shared: bool, now: Instant) -> Result<(), End> {
        (self.context.admit)(self.id, shared)?;
        let view = self.context.screen.view().map_err(|_| End::NoView)?;
        let running = Running::new(view, &self.context, now);
        running.introduce(&mut self.output);
        self.phase = Phase::Running(Box::new(running));
        Ok(())
    }

    fn messages(&mut self, now: Instant) -> Result<(), End> {
        let mut done = 0;
        while let Phase::Running(running) = &mut self.phase {
            let unread = self.output.len().saturating_sub(self.update);
            if running.is_full() || unread > MOST_UNREAD {
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
                running.react(message, &self.context, &mut self.output, now);
            }
        }
        self.input.drain(..done.min(self.input.len()));
        Ok(())
    }
}
