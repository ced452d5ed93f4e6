//! What the emulated host has of the QEMU that emulates it: the far end of its USB serial line, and a monitor, each behind a port of virtio-serial
//! (`scripts/lab.d/run.sh`).

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::SOON;
use crate::{Outcome, ensure};

const PORTS: &str = "/sys/class/virtio-ports";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// The far end of the USB serial line.
#[derive(Debug)]
pub struct Line(File);

impl Line {
    /// Opens it.
    pub fn open() -> Outcome<Self> {
        port("line").map(Self)
    }

    /// Waits for so many bytes.
    pub fn read(&mut self, count: usize) -> Outcome<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut rest = bytes.as_mut_slice();
        while !rest.is_empty() {
            let read = patiently(|| self.0.read(rest))?;
            rest = rest.get_mut(read..).unwrap_or_default();
        }
        Ok(bytes)
    }

    /// Sends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Outcome {
        write(&mut self.0, bytes)
    }
}

/// A monitor of the QEMU that emulates the host.
#[derive(Debug)]
pub struct Monitor {
    port: File,
    number: u64,
    heard: Vec<u8>,
}

impl Monitor {
    /// Opens it.
    pub fn open() -> Outcome<Self> {
        let mut this = Self { port: port("qmp")?, number: 0, heard: Vec::new() };
        // Refused from the second time on: QEMU does not see who is at the port.
        let _ = this.execute("qmp_capabilities", &json!({}));
        Ok(this)
    }

    /// Executes a command. Events on the way are dropped.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Outcome {
        self.number += 1;
        let asked = json!({ "execute": command, "arguments": arguments, "id": self.number });
        write(&mut self.port, format!("{asked}\n").as_bytes())?;
        loop {
            let message = self.hear()?;
            if message["id"] == self.number {
                let error = message.get("error");
                return ensure(error.is_none(), format!("'{asked}' is answered by {message}"));
            }
        }
    }

    fn hear(&mut self) -> Outcome<Value> {
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            let mut some = [0; 4096];
            let read = patiently(|| self.port.read(&mut some))?;
            self.heard.extend(some.iter().take(read));
        }
    }
}

/// Opens the port of this name.
fn port(name: &str) -> Outcome<File> {
    let is_it = |path: &Path| fs::read_to_string(path.join("name")).is_ok_and(|text| text.trim() == name);
    let ports = fs::read_dir(PORTS)?.flatten().map(|entry| entry.path());
    let found = ports.into_iter().find(|path| is_it(path));
    let found = found.ok_or_else(|| format!("there is no port '{name}'; run the lab with --gpu"))?;
    let node = Path::new("/dev").join(found.file_name().unwrap_or_default());
    Ok(OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(node)?)
}

fn write(port: &mut File, mut bytes: &[u8]) -> Outcome {
    while !bytes.is_empty() {
        let written = patiently(|| port.write(bytes))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Tries until some bytes have gone through.
fn patiently(mut attempt: impl FnMut() -> std::io::Result<usize>) -> Outcome<usize> {
    let deadline = Instant::now() + SOON;
    loop {
        match attempt() {
            // Nobody is at the other end yet.
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return Ok(done?),
        }
        ensure(Instant::now() < deadline, "nothing goes through a port of virtio-serial")?;
        thread::sleep(PAUSE);
    }
}
