//! A client of QEMU's machine protocol, which `optimus-vmm` and the peer both speak.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;

/// How long the socket may take to be there, and an answer to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that is past the greeting.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects as soon as somebody listens.
    pub fn connect(path: &Path) -> Outcome<Self> {
        let began = Instant::now();
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if began.elapsed() > PATIENCE => {
                    return Err(format!("nobody listens at {}: {error}", path.display()).into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut this = Self { stream: BufReader::new(stream) };
        this.hear()?;
        this.execute("qmp_capabilities")?;
        Ok(this)
    }

    fn hear(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Executes a command without arguments; what it returns. Events on the way are dropped.
    pub fn execute(&mut self, command: &str) -> Outcome<Value> {
        self.send(&json!({ "execute": command }))?;
        self.answer(command)
    }

    /// Sends a command, and does not wait for its [`Self::answer`].
    pub fn send(&mut self, command: &Value) -> Outcome {
        Ok(writeln!(self.stream.get_mut(), "{command}")?)
    }

    /// What the command that was sent returns. Events on the way are dropped.
    pub fn answer(&mut self, command: &str) -> Outcome<Value> {
        loop {
            let message = self.hear()?;
            if let Some(error) = message.get("error") {
                return Err(format!("'{command}' is answered by {error}").into());
            }
            if let Some(answer) = message.get("return") {
                return Ok(answer.clone());
            }
        }
    }
}
