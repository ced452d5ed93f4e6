//! Messages of D-Bus: [D-Bus Specification 0.43](https://dbus.freedesktop.org/doc/dbus-specification.html), "Message Format", as
//! far as calls with strings, their answers, and signals with strings or one boolean go. Sent are little-endian ones.

use std::os::fd::OwnedFd;

/// The name of the bus itself.
pub(super) const BUS: &str = "org.freedesktop.DBus";
/// Bytes of a header before its fields, the length of these included.
pub(super) const FIXED: usize = 16;
/// The longest message, "Message Format": 128 MiB.
const LONGEST: usize = 1 << 27;

/// Codes of header fields.
const FIELD_PATH: u8 = 1;
const FIELD_INTERFACE: u8 = 2;
const FIELD_MEMBER: u8 = 3;
const FIELD_ERROR_NAME: u8 = 4;
const FIELD_REPLY_SERIAL: u8 = 5;
const FIELD_DESTINATION: u8 = 6;
const FIELD_SENDER: u8 = 7;
const FIELD_SIGNATURE: u8 = 8;
const FIELD_UNIX_FDS: u8 = 9;

/// A call whose arguments are strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    destination: String,
    path: String,
    interface: String,
    member: String,
    arguments: Vec<String>,
}

impl Call {
    /// To an object of a service.
    pub(super) fn of(service: &str, path: &str, interface: &str, member: &str, arguments: &[&str]) -> Self {
        Self {
            destination: service.into(),
            path: path.into(),
            interface: interface.into(),
            member: member.into(),
            arguments: arguments.iter().map(|&argument| argument.into()).collect(),
        }
    }

    /// To the bus itself.
    pub(super) fn of_bus(member: &str, arguments: &[&str]) -> Self {
        Self::of(BUS, "/org/freedesktop/DBus", BUS, member, arguments)
    }

    /// Whether the bus itself is called, and nobody else answers.
    pub(super) fn is_for_bus(&self) -> bool {
        self.destination == BUS
    }

    /// As it is sent.
    pub(super) fn bytes(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.arguments.iter().for_each(|argument| body.string(argument));
        let mut fields = Writer::default();
        for (code, kind, value) in [
            (FIELD_PATH, "o", &self.path),
            (FIELD_DESTINATION, "s", &self.destination),
            (FIELD_INTERFACE, "s", &self.interface),
            (FIELD_MEMBER, "s", &self.member),
        ] {
            fields.field(code, kind);
            fields.string(value);
        }
        if !self.arguments.is_empty() {
            fields.field(FIELD_SIGNATURE, "g");
            fields.signature(&"s".repeat(self.arguments.len()));
        }
        let mut message = Writer::default();
        // Method call, no flags: nobody is to be asked for a password. Version 1.
        message.0.extend([b'l', Kind::Call as u8, 0, 1]);
        message.number(body.0.len());
        message.0.extend(serial.to_le_bytes());
        message.number(fields.0.len());
        message.0.extend(fields.0);
        message.align(8);
        message.0.extend(body.0);
        message.0
    }
}

/// Bytes in order, each value at a multiple of its size.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, value: usize) {
        self.align(4);
        self.0.extend(u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.number(text.len());
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    /// The beginning of a header field, whose value follows.
    fn field(&mut self, code: u8, kind: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(kind);
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call = 1,
    Return = 2,
    Error = 3,
    Signal = 4,
    /// To be ignored, "Message Types".
    Unknown = 0,
}

/// A message that has arrived.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The serial of the call that this answers.
    pub(super) reply_to: Option<u32>,
    /// Who has sent it, as the bus knows.
    pub(super) sender: Option<String>,
    /// What has gone wrong: a name, and a sentence if there is one.
    pub(super) error: Option<String>,
    pub(super) fds: Vec<OwnedFd>,
    /// Path, interface and member.
    of: [Option<String>; 3],
    signature: String,
    body: Vec<u8>,
    big_endian: bool,
}

/// A message that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The length of the message that begins with `bytes`; `None` until [`FIXED`] of them are there.
pub(super) fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    if bytes.len() < FIXED {
        return Ok(None);
    }
    let mut reader = Reader { bytes, at: 4, big_endian: is_big_endian(bytes)? };
    let body = reader.number()?;
    reader.at = 12;
    let fields = reader.number()?;
    let header = FIXED.checked_add(fields).filter(|length| *length <= LONGEST).ok_or(Malformed)?;
    header
        .next_multiple_of(8)
        .checked_add(body)
        .filter(|length| *length <= LONGEST)
        .ok_or(Malformed)
        .map(Some)
}

/// The byte order that a message says it has.
fn is_big_endian(message: &[u8]) -> Result<bool, Malformed> {
    match message.first() {
        Some(b'l') => Ok(false),
        Some(b'B') => Ok(true),
        _ => Err(Malformed),
    }
}

impl Message {
    /// Reads a whole message, and takes the descriptors that belong to it.
    pub(super) fn read(bytes: &[u8], fds: &mut impl Iterator<Item = OwnedFd>) -> Result<Self, Malformed> {
        let big_endian = is_big_endian(bytes)?;
        let mut reader = Reader { bytes, at: 1, big_endian };
        let kind = match reader.byte()? {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => Kind::Unknown,
        };
        reader.at = 12;
        let end = reader.number()?.checked_add(FIXED).ok_or(Malformed)?;
        let mut message = Self {
            kind,
            reply_to: None,
            sender: None,
            error: None,
            fds: Vec::new(),
            of: [None, None, None],
            signature: String::new(),
            body: bytes.get(end.next_multiple_of(8)..).ok_or(Malformed)?.to_vec(),
            big_endian,
        };
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            let kind = reader.signature()?;
            match (code, kind.as_str()) {
                (FIELD_REPLY_SERIAL, "u") => {
                    message.reply_to = u32::try_from(reader.number()?).ok();
                }
                (FIELD_UNIX_FDS, "u") => {
                    let count = reader.number()?;
                    message.fds.extend(fds.by_ref().take(count));
                }
                (FIELD_PATH, "o") => message.of[0] = Some(reader.string()?),
                (FIELD_INTERFACE, "s") => message.of[1] = Some(reader.string()?),
                (FIELD_MEMBER, "s") => message.of[2] = Some(reader.string()?),
                (FIELD_ERROR_NAME, "s") => message.error = Some(reader.string()?),
                (FIELD_SENDER, "s") => message.sender = Some(reader.string()?),
                (FIELD_SIGNATURE, "g") => message.signature = reader.signature()?,
                // Unknown ones are to be ignored, as far as their length is known.
                (_, "s" | "o") => drop(reader.string()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u" | "i") => drop(reader.number()?),
                _ => return Err(Malformed),
            }
        }
        if let Some(name) = &message.error
            && message.signature.starts_with('s')
            && let Ok(why) = message.arguments().string()
        {
            message.error = Some(format!("{why} ({name})"));
        }
        Ok(message)
    }

    fn arguments(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, big_endian: self.big_endian }
    }

    /// Whether it has these names.
    pub(super) fn is_signal(&self, path: &str, interface: &str, member: &str) -> bool {
        self.kind == Kind::Signal
            && self.of.each_ref().map(Option::as_deref) == [path, interface, member].map(Some)
    }

    /// Its only argument, a boolean.
    pub(super) fn boolean(&self) -> Option<bool> {
        if self.signature != "b" {
            return None;
        }
        self.arguments().number().ok().map(|value| value != 0)
    }

    /// Its only argument, a string.
    pub(super) fn string(&self) -> Option<String> {
        if self.signature == "s" { self.arguments().string().ok() } else { None }
    }

    /// Its only arguments, three strings.
    pub(super) fn three_strings(&self) -> Option<[String; 3]> {
        if self.signature != "sss" {
            return None;
        }
        let mut reader = self.arguments();
        Some([reader.string().ok()?, reader.string().ok()?, reader.string().ok()?])
    }

    /// Its only argument, a variant with a number of 64 bits.
    pub(super) fn variant_u64(&self) -> Option<u64> {
        let mut reader = self.arguments();
        if self.signature != "v" || reader.signature().ok()? != "t" {
            return None;
        }
        reader.align(8);
        let bytes = reader.take(8).ok()?.try_into().ok()?;
        Some(if self.big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }
}

/// Reads what [`Writer`] writes, and the same of the other byte order.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed)
    }

    fn number(&mut self) -> Result<usize, Malformed> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed)?;
        let number = if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        usize::try_from(number).map_err(|_| Malformed)
    }

    fn text(&mut self, length: usize) -> Result<String, Malformed> {
        let text = str::from_utf8(self.take(length)?).map_err(|_| Malformed)?;
        if self.byte()? == 0 { Ok(text.into()) } else { Err(Malformed) }
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let length = self.number()?;
        self.text(length)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }
}
