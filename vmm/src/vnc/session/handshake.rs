//! From the first byte to the client's initialisation: RFC 6143 §7.1 to §7.3.1, for clients of versions 3.3, 3.7 and 3.8.

use crate::vnc::password::{CHALLENGE, Password};
use crate::vnc::protocol::Violation;

/// What is announced.
const VERSION: &[u8; 12] = b"RFB 003.008\n";
const NONE: u8 = 1;
const VNC_AUTHENTICATION: u8 = 2;

/// The version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V3_3,
    V3_7,
    V3_8,
}

impl Version {
    /// What a client has chosen. Unknown older ones are 3.3, as the RFC says; 3.889 is Apple's name for 3.8.
    fn parse(bytes: [u8; 12]) -> Result<Self, Violation> {
        let [b'R', b'F', b'B', b' ', a, b, c, b'.', d, e, f, b'\n'] = bytes else {
            return Err(Violation::Version);
        };
        let number = |digits: [u8; 3]| -> Option<u16> { str::from_utf8(&digits).ok()?.parse().ok() };
        match (number([a, b, c]), number([d, e, f])) {
            (Some(3), Some(7)) => Ok(Self::V3_7),
            (Some(3), Some(8..)) | (Some(4..), Some(_)) => Ok(Self::V3_8),
            (Some(3), Some(_)) => Ok(Self::V3_3),
            _ => Err(Violation::Version),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Version,
    /// The client chooses among the security types.
    Security(Version),
    Answer(Version, [u8; CHALLENGE]),
    /// The answer was wrong. It is reported later.
    Refused(Version),
    /// The client was sent the reason why it cannot be served.
    TurnedAway,
    Initialisation,
}

/// How far a handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It waits for the client.
    Waiting,
    /// A wrong password; [`Handshake::refuse`] reports it, when the client has waited long enough.
    Refused,
    /// There is no room for the client, and it was sent that.
    TurnedAway,
    /// Done; whether the client shares the screen with others.
    Done {
        /// False asks to disconnect the others.
        shared: bool,
    },
}

/// A handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    password: Option<Password>,
    challenge: [u8; CHALLENGE],
    /// Why the client is not served.
    refusal: Option<&'static str>,
    state: State,
}

impl Handshake {
    /// Begins. `challenge` is random, and only used once. With a `refusal` the client is sent that in place of an offer.
    pub(super) fn new(
        password: Option<Password>,
        challenge: [u8; CHALLENGE],
        refusal: Option<&'static str>,
        out: &mut Vec<u8>,
    ) -> Self {
        out.extend_from_slice(VERSION);
        Self { password, challenge, refusal, state: State::Version }
    }

    /// Whether a human may be typing a password.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.state, State::Answer(..))
    }

    /// Whether the client has given the right password.
    pub(super) fn is_authenticated(&self) -> bool {
        matches!(self.state, State::Initialisation) && self.password.is_some()
    }

    /// Takes what it needs from the front of `input`.
    pub(super) fn advance(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<Progress, Violation> {
        loop {
            match self.state {
                State::Version => {
                    let Some(bytes) = take(input) else { return self.checked_version(input) };
                    self.greet(Version::parse(bytes)?, out);
                }
                State::Security(version) => {
                    let Some([choice]) = take(input) else { return Ok(Progress::Waiting) };
                    match (choice, &self.password) {
                        (NONE, None) => {
                            if version == Version::V3_8 {
                                out.extend_from_slice(&0_u32.to_be_bytes());
                            }
                            self.state = State::Initialisation;
                        }
                        (VNC_AUTHENTICATION, Some(_)) => self.ask(version, out),
                        _ => return Err(Violation::Security),
                    }
                }
                State::Answer(version, challenge) => {
                    let Some(answer) = take(input) else { return Ok(Progress::Waiting) };
                    if self.password.as_ref().is_some_and(|password| password.accepts(challenge, answer)) {
                        out.extend_from_slice(&0_u32.to_be_bytes());
                        self.state = State::Initialisation;
                    } else {
                        self.state = State::Refused(version);
                    }
                }
                State::Refused(_) => return Ok(Progress::Refused),
                State::TurnedAway => return Ok(Progress::TurnedAway),
                State::Initialisation => {
                    let Some([shared]) = take(input) else { return Ok(Progress::Waiting) };
                    return Ok(Progress::Done { shared: shared != 0 });
                }
            }
        }
    }

    /// Who does not even begin like RFB need not be waited for.
    fn checked_version(&self, input: &[u8]) -> Result<Progress, Violation> {
        let begins = input.iter().zip(b"RFB ").all(|(a, b)| a == b);
        if begins { Ok(Progress::Waiting) } else { Err(Violation::Version) }
    }

    /// Reports to a client that its password was wrong.
    pub(super) fn refuse(&self, out: &mut Vec<u8>) {
        let State::Refused(version) = self.state else { return };
        out.extend_from_slice(&1_u32.to_be_bytes());
        if version == Version::V3_8 {
            put_reason("The password is wrong.", out);
        }
    }

    fn greet(&mut self, version: Version, out: &mut Vec<u8>) {
        if let Some(why) = self.refusal {
            // No security types, and the reason (RFC 6143, 7.1.2).
            out.extend_from_slice(if version == Version::V3_3 { &[0; 4] } else { &[0] });
            put_reason(why, out);
            self.state = State::TurnedAway;
            return;
        }
        let kind = if self.password.is_some() { VNC_AUTHENTICATION } else { NONE };
        if version != Version::V3_3 {
            out.extend_from_slice(&[1, kind]);
            self.state = State::Security(version);
            return;
        }
        // The server decides for the oldest clients.
        out.extend_from_slice(&u32::from(kind).to_be_bytes());
        self.state = State::Initialisation;
        if self.password.is_some() {
            self.ask(version, out);
        }
    }

    fn ask(&mut self, version: Version, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.challenge);
        self.state = State::Answer(version, self.challenge);
    }
}

fn put_reason(why: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(why.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(why.as_bytes());
}

/// The first bytes, when there are enough.
fn take<const N: usize>(input: &mut Vec<u8>) -> Option<[u8; N]> {
    let bytes = *input.first_chunk()?;
    input.drain(..N);
    Some(bytes)
}
