//! Messages of the native protocol over a socket that never waits.

use std::ffi::CString;
use std::io::{self, Cursor, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use pulseaudio::protocol::{
    Command, CommandTag, DESCRIPTOR_SIZE, MAX_VERSION, ProtocolError, PulseError, TagStructReader,
    read_descriptor, write_command_message, write_memblock,
};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// The longest message that is taken: servers send sound in pieces that are far shorter.
const LONGEST: usize = 1 << 20;
/// The most that may wait for a server that does not read.
const MOST_UNSENT: usize = 1 << 20;

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server has closed the connection")]
    Closed,
    #[error("the server does not read what it is sent")]
    Stuck,
    #[error("the server has sent what is not understood: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the server does not answer")]
    Silent,
    #[error("{0}")]
    Refused(String),
}

/// Why a server refuses, in words.
pub(super) fn refusal(error: PulseError) -> String {
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

/// A message of the server's.
pub(super) enum Message {
    /// The answer to the request of this number; its fields are read from [`Answer`].
    Answer(u32, Answer),
    /// An error in place of it.
    Error(u32, PulseError),
    /// Something has happened.
    Event(Box<Command>),
    /// Recorded sound for a channel.
    Sound(u32, Vec<u8>),
}

/// The fields of an answer, in order.
pub(super) struct Answer(Cursor<Vec<u8>>, u16);

impl Answer {
    /// The next fields, all of them numbers.
    pub(super) fn numbers<const N: usize>(&mut self) -> Result<[u32; N], ProtocolError> {
        let mut reader = TagStructReader::new(&mut self.0, self.1);
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = reader.read_u32()?;
        }
        Ok(numbers)
    }
}

/// A connection.
pub(super) struct Connection {
    pub(super) socket: UnixStream,
    /// Of the protocol, once both sides know each other.
    pub(super) version: u16,
    sequence: u32,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

/// Text as the protocol has it; a NUL is not in what it can say.
pub(super) fn text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

impl Connection {
    /// Connects to the server that listens at `place`.
    ///
    /// # Errors
    /// There is none, or it has as many clients waiting as it lets wait.
    pub(super) fn new(place: &Path) -> Result<Self, Broken> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(io::Error::from)?;
        let address = SocketAddrUnix::new(place).map_err(io::Error::from)?;
        // One that waited for a server that accepts nobody could not be told of the machine's end.
        connect(&socket, &address).map_err(|error| match error {
            Errno::AGAIN => Broken::Silent,
            error => Broken::Io(error.into()),
        })?;
        let socket = UnixStream::from(socket);
        // The kernel then says with each message who sends it, which is what a session's server goes by.
        set_socket_passcred(&socket, true).map_err(io::Error::from)?;
        Ok(Self { socket, version: MAX_VERSION, sequence: 0, unread: Vec::new(), unsent: Vec::new() })
    }

    /// Sends a request, and returns its number.
    pub(super) fn request(&mut self, command: &Command) -> Result<u32, Broken> {
        self.sequence = self.sequence.wrapping_add(1);
        write_command_message(&mut self.unsent, self.sequence, command, self.version)?;
        self.send()?;
        Ok(self.sequence)
    }

    /// Sends sound to a channel.
    pub(super) fn sound(&mut self, channel: u32, data: &[u8]) -> Result<(), Broken> {
        write_memblock(&mut self.unsent, channel, data, 0)?;
        self.send()
    }

    /// Whether something waits until the server reads.
    pub(super) fn is_full(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends what waits.
    pub(super) fn send(&mut self) -> Result<(), Broken> {
        let mut sent = 0;
        let result = loop {
            let rest = self.unsent.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.socket.write(rest) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error.into()),
            }
        };
        self.unsent.drain(..sent.min(self.unsent.len()));
        if self.unsent.len() > MOST_UNSENT { Err(Broken::Stuck) } else { result }
    }

    /// The messages that have come.
    pub(super) fn receive(&mut self) -> Result<Vec<Message>, Broken> {
        let mut messages = Vec::new();
        let mut piece = [0; 16 << 10];
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => self.unread.extend_from_slice(piece.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(messages),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            while let Some(message) = self.take()? {
                messages.extend(self.understand(message.0, message.1)?);
            }
        }
    }

    /// Takes a whole message from what was read: its channel and its payload.
    fn take(&mut self) -> Result<Option<(u32, Vec<u8>)>, Broken> {
        let Some(head) = self.unread.get(..DESCRIPTOR_SIZE) else { return Ok(None) };
        let descriptor = read_descriptor(&mut Cursor::new(head))?;
        let length = descriptor.length as usize;
        if length > LONGEST {
            return Err(ProtocolError::Invalid(format!("a message of {length} bytes")).into());
        }
        let end = DESCRIPTOR_SIZE + length;
        let Some(payload) = self.unread.get(DESCRIPTOR_SIZE..end) else { return Ok(None) };
        let payload = payload.to_vec();
        self.unread.drain(..end);
        Ok(Some((descriptor.channel, payload)))
    }

    fn understand(&self, channel: u32, payload: Vec<u8>) -> Result<Option<Message>, Broken> {
        if channel != u32::MAX {
            return Ok(Some(Message::Sound(channel, payload)));
        }
        let mut rest = Cursor::new(payload);
        let mut reader = TagStructReader::new(&mut rest, self.version);
        let (tag, sequence) = (reader.read_u32()?, reader.read_u32()?);
        if tag == CommandTag::Reply as u32 {
            return Ok(Some(Message::Answer(sequence, Answer(rest, self.version))));
        }
        if tag == CommandTag::Error as u32 {
            return Ok(Some(Message::Error(sequence, reader.read_enum()?)));
        }
        rest.set_position(0);
        // What only newer servers say is nothing that is waited for.
        Ok(Command::read_tag_prefixed(&mut rest, self.version)
            .ok()
            .map(|(_, command)| Message::Event(Box::new(command))))
    }
}
