//! Frames as tcpdump(8) sees them on an interface.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use regex::Regex;
use tempfile::TempDir;
use tests::{Outcome, ensure};

/// A capture of all TCP of IPv4. It ends when it is first asked for frames.
pub(super) struct Capture {
    tcpdump: RefCell<Option<Child>>,
    directory: TempDir,
}

/// What a capture says of some frames.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) count: usize,
    /// Bytes of the longest, with its Ethernet header.
    pub(super) longest: usize,
    /// How many have a wrong checksum of TCP.
    pub(super) wrong: usize,
}

impl Capture {
    /// Starts to capture, and returns when it has begun.
    pub(super) fn start(mut tcpdump: Command, interface: &str) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        // Room for all that comes before tcpdump runs again, and whole frames, whose sums are to be seen.
        tcpdump.args(["-i", interface, "-Z", "root", "-B", "32768", "-s", "0", "-w"]);
        tcpdump.arg(directory.path().join("frames")).args(["ip", "and", "tcp"]);
        let mut child = tcpdump.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut said = String::new();
        if let Some(pipe) = child.stderr.take() {
            let mut lines = BufReader::new(pipe);
            while lines.read_line(&mut said)? > 0 && !said.contains("listening on") {}
            // It says more at its end.
            std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        }
        ensure(said.contains("listening on"), format!("tcpdump does not begin: {said}"))?;
        Ok(Self { tcpdump: RefCell::new(Some(child)), directory })
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("frames")
    }

    fn finish(&self) -> Outcome {
        if let Some(mut child) = self.tcpdump.borrow_mut().take() {
            let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(pid.ok_or("no process")?, rustix::process::Signal::INT)?;
            child.wait()?;
        }
        Ok(())
    }

    /// The frames that pass `filter` (pcap-filter(7)).
    pub(super) fn frames(&self, filter: &str) -> Outcome<Frames> {
        self.finish()?;
        let output =
            Command::new("tcpdump").args(["-nn", "-e", "-vv", "-r"]).arg(self.file()).arg(filter).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        let lengths = Regex::new(r"ethertype IPv4 \(0x0800\), length (\d+): ")?;
        let lengths: Vec<usize> =
            lengths.captures_iter(&text).filter_map(|found| found[1].parse().ok()).collect();
        Ok(Frames {
            count: lengths.len(),
            longest: lengths.iter().copied().max().unwrap_or(0),
            wrong: text.matches("(incorrect").count(),
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.finish();
    }
}
