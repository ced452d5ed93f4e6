//! What a guest prints on its serial port, while it prints it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regex::bytes::Regex;

use crate::Outcome;

/// How often a transcript is looked at.
const PERIOD: Duration = Duration::from_millis(50);

#[derive(Debug)]
enum Source {
    /// A file that the hypervisor writes.
    File(PathBuf),
    /// A socket that the hypervisor listens at.
    Socket { path: PathBuf, stream: Option<UnixStream> },
}

/// The serial port's output so far, and the place up to which it was dealt with.
#[derive(Debug)]
pub struct Transcript {
    source: Source,
    text: Vec<u8>,
    cursor: usize,
}

impl Transcript {
    /// Of output that goes to a file.
    pub fn of_file(path: &Path) -> Self {
        Self { source: Source::File(path.into()), text: Vec::new(), cursor: 0 }
    }

    /// Of a listening socket, which works in both directions.
    pub fn of_socket(path: &Path) -> Self {
        let source = Source::Socket { path: path.into(), stream: None };
        Self { source, text: Vec::new(), cursor: 0 }
    }

    /// Takes in what is new.
    pub fn update(&mut self) {
        match &mut self.source {
            Source::File(path) => {
                if let Ok(text) = std::fs::read(path) {
                    self.text = text;
                }
            }
            Source::Socket { path, stream } => {
                if stream.is_none() {
                    *stream = UnixStream::connect(path).ok();
                }
                let Some(connected) = stream else { return };
                let mut block = [0; 65536];
                while connected.set_nonblocking(true).is_ok() {
                    match connected.read(&mut block) {
                        Ok(count @ 1..) => self.text.extend(block.iter().take(count)),
                        _ => break,
                    }
                }
            }
        }
    }

    /// Types into the serial port.
    pub fn send(&mut self, text: &str) -> Outcome {
        self.update();
        let Source::Socket { stream: Some(stream), .. } = &mut self.source else {
            return Err("the serial port is not connected to anything that could be typed into".into());
        };
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream.write_all(text.as_bytes())?)
    }

    /// Waits for the next bytes behind all that there were, and takes them at once. None: there were none for so long.
    pub fn next(&mut self, limit: Duration) -> Outcome<Option<Vec<u8>>> {
        let Source::Socket { stream: Some(stream), .. } = &mut self.source else {
            return Err(
                "the serial port is not connected to anything that tells at once what it prints".into()
            );
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(limit))?;
        let mut block = [0; 4096];
        let count = match stream.read(&mut block) {
            Ok(0) => return Err("the machine has closed its serial port".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let new = block.get(..count).unwrap_or_default();
        self.text.extend(new);
        self.cursor = self.text.len();
        Ok(Some(new.to_vec()))
    }

    /// Looks once for a pattern behind what was found before. Gives the match's groups.
    pub fn find(&mut self, pattern: &Regex) -> Option<Vec<String>> {
        self.update();
        let rest = self.text.get(self.cursor..)?;
        let found = pattern.captures(rest)?;
        let end = found.get(0)?.end();
        let groups = found
            .iter()
            .map(|group| group.map(|group| String::from_utf8_lossy(group.as_bytes()).into_owned()))
            .map(Option::unwrap_or_default)
            .collect();
        self.cursor += end;
        Some(groups)
    }

    /// Waits for a pattern; `over` tells that nothing more will come.
    pub fn wait(
        &mut self,
        pattern: &str,
        limit: Duration,
        mut over: impl FnMut() -> bool,
    ) -> Outcome<Vec<String>> {
        let compiled = Regex::new(pattern)?;
        let start = Instant::now();
        loop {
            let last = over();
            if let Some(groups) = self.find(&compiled) {
                return Ok(groups);
            }
            if last {
                return Err(format!("the machine ended before the guest printed '{pattern}'").into());
            }
            if start.elapsed() > limit {
                return Err(format!("the guest did not print '{pattern}' in {} s", limit.as_secs()).into());
            }
            std::thread::sleep(PERIOD);
        }
    }

    /// Everything so far.
    pub fn text(&mut self) -> String {
        self.update();
        String::from_utf8_lossy(&self.text).replace('\r', "")
    }
}
