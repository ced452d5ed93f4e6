//! A TPM in another process, swtpm(8), by the protocol that `swtpm socket` speaks (swtpm's manual pages, `swtpm_ioctls(3)`): a control
//! channel for what is done to a TPM, and a data channel for commands and responses as they are. Numbers of the control channel are
//! big-endian. After an error an answer may end behind its result.

use std::io::{ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::IoSlice;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vocabulary::tpm::BUFFER_SIZE;

use super::{Backend, BackendError, HEADER, Interruption, Wake, announced};

/// Requests of the control channel.
const GET_CAPABILITY: u32 = 1;
const INIT: u32 = 2;
const CANCEL: u32 = 9;
const STOP: u32 = 14;
const SET_DATAFD: u32 = 16;
const SET_BUFFERSIZE: u32 = 17;
/// Capabilities: INIT, CANCEL, STOP, SET_DATAFD and SET_BUFFERSIZE.
const NEEDED: u32 = 1 << 0 | 1 << 5 | 1 << 10 | 1 << 12 | 1 << 13;

/// How long a request of the control channel may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a command may go on after it was cancelled: as long as firmware waits for one.
const CANCELLED: Duration = Duration::from_secs(90);

/// Both channels.
#[derive(Debug)]
pub struct Client {
    control: UnixStream,
    data: UnixStream,
}

fn io(doing: &'static str) -> impl Fn(std::io::Error) -> BackendError {
    move |source| match source.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => BackendError::Gone,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => BackendError::Silent(REQUEST),
        _ => BackendError::Io { doing, source },
    }
}

impl Client {
    /// Opens the data channel over a control channel whose other end swtpm has.
    ///
    /// # Errors
    /// The other side does not answer, or is too old.
    pub fn new(control: UnixStream) -> Result<Self, BackendError> {
        let channel = io("to open a channel");
        let (data, theirs) = UnixStream::pair().map_err(&channel)?;
        for socket in [&control, &data] {
            socket.set_read_timeout(Some(REQUEST)).map_err(&channel)?;
            socket.set_write_timeout(Some(REQUEST)).map_err(&channel)?;
        }
        let mut client = Self { control, data };
        client.request("GET_CAPABILITY", GET_CAPABILITY, &[])?;
        let capabilities = u32::from_be_bytes(client.answer("GET_CAPABILITY")?);
        if capabilities & NEEDED != NEEDED {
            return Err(BackendError::TooOld);
        }
        client.send_data_channel(&theirs).map_err(&channel)?;
        client.result("SET_DATAFD")?;
        Ok(client)
    }

    fn send_data_channel(&self, theirs: &UnixStream) -> std::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [theirs.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let request = SET_DATAFD.to_be_bytes();
        // So few bytes go in one piece.
        sendmsg(&self.control, &[IoSlice::new(&request)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Sends a request, and reads its result.
    fn request(&mut self, name: &'static str, number: u32, payload: &[u8]) -> Result<(), BackendError> {
        self.send(name, number, payload)?;
        self.result(name)
    }

    /// Sends a request.
    fn send(&mut self, name: &'static str, number: u32, payload: &[u8]) -> Result<(), BackendError> {
        let message = [&number.to_be_bytes(), payload].concat();
        self.control.write_all(&message).map_err(io(name))
    }

    /// Reads the result of a request.
    fn result(&mut self, request: &'static str) -> Result<(), BackendError> {
        match u32::from_be_bytes(self.answer(request)?) {
            0 => Ok(()),
            code => Err(BackendError::Refused { request, code }),
        }
    }

    /// Reads a part of an answer.
    fn answer<const N: usize>(&mut self, request: &'static str) -> Result<[u8; N], BackendError> {
        let mut bytes = [0; N];
        self.control.read_exact(&mut bytes).map_err(io(request))?;
        Ok(bytes)
    }

    /// Reads what there is of a response; whether it is whole.
    fn receive(&mut self, response: &mut Vec<u8>) -> Result<bool, BackendError> {
        let mut piece = [0; BUFFER_SIZE];
        match self.data.read(&mut piece) {
            Ok(0) => return Err(BackendError::Gone),
            Ok(count) => response.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(io("to read a response")(error)),
        }
        match announced(response) {
            Some(size) if !(HEADER..=BUFFER_SIZE).contains(&size) || size < response.len() => {
                Err(BackendError::Response { len: response.len(), announced: size })
            }
            Some(size) => Ok(size == response.len()),
            None => Ok(false),
        }
    }
}

impl Backend for Client {
    /// The size of the buffer can be told only while the TPM is off; otherwise responses could be longer than it. Its state is
    /// kept, and PCRs begin anew when the firmware starts it (TPM2_Startup).
    fn reset(&mut self) -> Result<(), BackendError> {
        self.request("STOP", STOP, &[])?;
        let wanted = BUFFER_SIZE as u32;
        self.request("SET_BUFFERSIZE", SET_BUFFERSIZE, &wanted.to_be_bytes())?;
        // What it is now, the least, and the most.
        let [size, _, _] =
            [self.answer("SET_BUFFERSIZE")?, self.answer("SET_BUFFERSIZE")?, self.answer("SET_BUFFERSIZE")?];
        let size = u32::from_be_bytes(size);
        if size > wanted {
            return Err(BackendError::Refused { request: "SET_BUFFERSIZE", code: size });
        }
        self.request("INIT", INIT, &0u32.to_be_bytes())
    }

    fn execute(&mut self, command: &[u8], interruption: &Interruption) -> Result<Vec<u8>, BackendError> {
        self.data.write_all(command).map_err(io("to send a command"))?;
        let (mut response, mut until) = (Vec::new(), None);
        loop {
            match interruption.wait(self.data.as_fd(), until)? {
                Wake::Ready => {
                    if self.receive(&mut response)? {
                        if until.is_some() {
                            // Whether it was cancelled is in the response.
                            let _: [u8; 4] = self.answer("CANCEL")?;
                        }
                        return Ok(response);
                    }
                }
                Wake::Cancel => {
                    // The command still has a response: that it was cancelled, or its own. swtpm is one thread, which reads this when it is
                    // through with the command, so nobody waits for an answer before; and once is enough.
                    if until.is_none() {
                        self.send("CANCEL", CANCEL, &[])?;
                        until = Some(Instant::now() + CANCELLED);
                    }
                }
                Wake::Late => return Err(BackendError::Silent(CANCELLED)),
            }
        }
    }
}
