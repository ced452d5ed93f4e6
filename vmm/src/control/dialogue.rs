//! What one client says and hears, without its socket: bytes in, bytes out, and the commands between them.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::command::{self, Context, Slow, Step};
use super::protocol::stream::Stream;
use super::protocol::{self, Answer, Class, Malformed, Refusal, Request};

/// With so much to be sent no further commands are taken, and no more of the console.
const ENOUGH: usize = 64 << 10;
/// With so much to be sent a client is dropped: it does not read.
const TOO_MUCH: usize = 256 << 10;
/// Most commands that wait for one before them, as in QEMU; no further ones are looked at then.
const MOST_PENDING: usize = 8;

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    /// The protocol, until capabilities are negotiated.
    #[default]
    Negotiation,
    /// The protocol.
    Commands {
        /// `exec-oob` may overtake other commands.
        overtaking: bool,
    },
    /// The bytes of COM1 in both directions.
    Console {
        /// The number of the next byte of output.
        next: u64,
        /// The end of the line of the command that led here may still come.
        line_ends: bool,
    },
}

/// A client's words, and those for it.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    stream: Stream,
    /// What was received, and waits for the command before it.
    pending: VecDeque<Result<Request, Malformed>>,
    mode: Mode,
    /// Somebody performs a command, whose answer carries this.
    working: Option<Option<Value>>,
    out: VecDeque<u8>,
}

/// What is to be done for a command, before its answer or in place of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Task {
    /// This, which takes time; then [`Dialogue::finished`].
    Slow(Slow),
    /// [`Dialogue::attach`].
    Attach,
}

impl Dialogue {
    /// Takes in what was received, and returns what of it is for the console.
    pub(super) fn receive<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.is_console() {
            return self.behind_line(bytes);
        }
        self.stream.give(bytes);
        &[]
    }

    /// Whether commands must be taken before more is received.
    pub(super) fn is_full(&self) -> bool {
        self.stream.is_full()
    }

    pub(super) fn is_console(&self) -> bool {
        matches!(self.mode, Mode::Console { .. })
    }

    /// Whether a command is being performed.
    pub(super) fn is_working(&self) -> bool {
        self.working.is_some()
    }

    /// Whether commands were received that have not been performed.
    pub(super) fn has_commands(&self) -> bool {
        !self.pending.is_empty() || self.stream.has_more()
    }

    /// Performs the next command, when it is its turn: the one before is answered, or need not be, and answers are being read.
    /// Nothing when there is none.
    pub(super) fn perform_next(&mut self, context: &Context<'_>) -> Option<Option<Task>> {
        Some(match self.next_request()? {
            Err((refusal, id)) => {
                self.answer(Err(refusal), id);
                None
            }
            Ok(request) => self.perform(context, request),
        })
    }

    fn next_request(&mut self) -> Option<Result<Request, Malformed>> {
        while self.has_room() && !self.is_console() {
            if self.working.is_none()
                && let Some(request) = self.pending.pop_front()
            {
                return Some(request);
            }
            if !self.looks_ahead() {
                break;
            }
            let overtaking = self.mode == Mode::Commands { overtaking: true };
            let request = protocol::parse(&self.stream.next()?, overtaking);
            let overtakes = request.as_ref().is_ok_and(|request| request.overtakes);
            if overtakes || self.working.is_none() {
                return Some(request);
            }
            self.pending.push_back(request);
        }
        None
    }

    fn perform(&mut self, context: &Context<'_>, request: Request) -> Option<Task> {
        let id = request.id.clone();
        let answer = match self.step(context, request) {
            Err(refusal) => Err(refusal),
            Ok(Step::Answer(value)) => Ok(value),
            Ok(Step::Negotiated { overtaking }) => {
                self.mode = Mode::Commands { overtaking };
                Ok(json!({}))
            }
            Ok(Step::Slow(command)) => {
                self.working = Some(id);
                return Some(Task::Slow(command));
            }
            Ok(Step::Console) => {
                self.answer(Ok(json!({})), id);
                return Some(Task::Attach);
            }
        };
        self.answer(answer, id);
        None
    }

    /// What a request leads to.
    fn step(&self, context: &Context<'_>, request: Request) -> Result<Step, Refusal> {
        let out_of_order = |desc: &str| Err(Refusal { class: Class::CommandNotFound, desc: desc.into() });
        let found = command::find(&request);
        let negotiates = found.as_ref().is_ok_and(|command| command.negotiates());
        match self.mode {
            Mode::Negotiation if !negotiates => {
                return out_of_order("Expecting capabilities negotiation with 'qmp_capabilities'");
            }
            Mode::Commands { .. } if negotiates => {
                return out_of_order("Capabilities negotiation is already complete, command ignored");
            }
            _ => {}
        }
        found?.perform(context, request.arguments)
    }

    /// The command that takes time is done.
    pub(super) fn finished(&mut self, answer: Answer) {
        if let Some(id) = self.working.take() {
            self.answer(answer, id);
        }
    }

    /// Makes the connection one to the console, whose output begins at `next`. Returns what was sent behind the command.
    pub(super) fn attach(&mut self, next: u64) -> Vec<u8> {
        self.mode = Mode::Console { next, line_ends: true };
        // What waited for this command is no input.
        self.pending.clear();
        let rest = self.stream.rest();
        self.behind_line(&rest).to_vec()
    }

    /// `bytes` without the end of the line of the command that led to the console.
    fn behind_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Mode::Console { line_ends: line_ends @ true, .. } = &mut self.mode else { return bytes };
        match bytes {
            [] | b"\r" => &[],
            [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => {
                *line_ends = false;
                rest
            }
            _ => {
                *line_ends = false;
                bytes
            }
        }
    }

    /// Adds output of the console: `read` puts what there is from a number on, as much as there is room for, and returns the
    /// number that comes next.
    pub(super) fn fill(&mut self, read: impl FnOnce(u64, usize, &mut VecDeque<u8>) -> u64) {
        if let Mode::Console { next, .. } = &mut self.mode {
            let room = ENOUGH.saturating_sub(self.out.len());
            *next = read(*next, room, &mut self.out);
        }
    }

    /// Whether what is sent now may let more follow at once: a command that waits for its turn, or output that is kept, which
    /// ends at `output`.
    pub(super) fn has_turn(&self, output: u64) -> bool {
        self.has_room()
            && match self.mode {
                Mode::Console { next, .. } => next < output,
                _ => {
                    (self.working.is_none() && !self.pending.is_empty())
                        || (self.looks_ahead() && self.stream.has_more())
                }
            }
    }

    /// Whether more should be received. `typing`: the console takes input.
    pub(super) fn wants_more(&self, typing: bool) -> bool {
        if self.is_console() { typing } else { self.looks_ahead() && self.has_room() }
    }

    /// Whether commands behind the present one are looked at.
    fn looks_ahead(&self) -> bool {
        let overtaking = self.mode == Mode::Commands { overtaking: true };
        self.working.is_none() || (overtaking && self.pending.len() < MOST_PENDING)
    }

    fn has_room(&self) -> bool {
        self.out.len() < ENOUGH
    }

    fn answer(&mut self, answer: Answer, id: Option<Value>) {
        self.say(&protocol::answer(answer, id));
    }

    /// Says something.
    pub(super) fn say(&mut self, message: &Value) {
        self.out.extend(protocol::line(message));
    }

    /// Says what happened, to a client that has negotiated and speaks the protocol still.
    pub(super) fn tell<'a>(&mut self, news: impl IntoIterator<Item = &'a Value>) {
        if matches!(self.mode, Mode::Commands { .. }) {
            news.into_iter().for_each(|event| self.say(event));
        }
    }

    /// What is to be sent.
    pub(super) fn output(&mut self) -> &mut VecDeque<u8> {
        &mut self.out
    }

    /// Whether nothing is to be sent.
    pub(super) fn is_sent(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether so much is to be sent that the client obviously does not read.
    pub(super) fn is_flooded(&self) -> bool {
        self.out.len() > TOO_MUCH
    }
}
