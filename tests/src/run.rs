//! A machine that runs, and one that has ended.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::machine::Machine;
use crate::transcript::Transcript;
use crate::{Outcome, binary, ensure, peer, toml};

/// What runs the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// The program under test.
    Optimus,
    /// QEMU with KVM.
    Peer,
}

/// How a machine is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What runs it.
    pub hypervisor: Hypervisor,
    /// Whether the test wants to type.
    pub interactive: bool,
    /// After that long the machine is ended: `--timeout`.
    pub limit: Duration,
    /// A vm.toml that there is already, in place of the machine's own.
    pub config: Option<PathBuf>,
    /// Further arguments of `optimus-vmm run`.
    pub arguments: Vec<String>,
    /// A command that runs the hypervisor: `prlimit` and the like. Its words come first.
    pub under: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        // A busy machine needs several times what a boot takes on an idle one.
        let limit = Duration::from_secs(400);
        let hypervisor = match std::env::var("OPTIMUS_E2E_PEER") {
            // To try out guests and harness.
            Ok(value) if value == "1" => Hypervisor::Peer,
            _ => Hypervisor::Optimus,
        };
        Self { hypervisor, interactive: false, limit, config: None, arguments: Vec::new(), under: Vec::new() }
    }
}

impl Options {
    /// With the peer.
    pub fn peer() -> Self {
        Self { hypervisor: Hypervisor::Peer, ..Self::default() }
    }

    /// Adds arguments of `optimus-vmm run`.
    pub fn with<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Runs the machine of a vm.toml that there is already.
    pub fn of_file(self, config: &Path) -> Self {
        Self { config: Some(config.into()), ..self }
    }

    /// Runs the hypervisor by way of another command.
    pub fn under<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.under.extend(words.into_iter().map(str::to_owned));
        self
    }

    /// Changes the time limit.
    pub fn within(self, seconds: u64) -> Self {
        Self { limit: Duration::from_secs(seconds), ..self }
    }
}

impl Options {
    fn command(&self, program: &Path) -> Command {
        match self.under.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        }
    }
}

/// What `optimus-vmm ctl` says with these words of the machine that a test runs, and whether it succeeds.
pub fn ctl(words: &[&str]) -> Outcome<(bool, String)> {
    let output = Command::new(binary::path()?).args(["ctl", "machine"]).args(words).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// A machine that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    serial: Transcript,
    stderr: PathBuf,
    events: PathBuf,
    started: Instant,
    limit: Duration,
}

/// A machine that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit status, with 128 added to the number of a signal.
    pub status: i32,
    /// What the guest printed.
    pub serial: String,
    /// What the hypervisor said.
    pub stderr: String,
    /// The lines of `--events`.
    pub events: Vec<Value>,
    /// How long it ran.
    pub elapsed: Duration,
}

impl Machine {
    /// Starts the machine.
    pub fn start(&self, options: &Options) -> Outcome<Running> {
        let serial = self.file(if options.interactive { "serial.sock" } else { "serial.log" });
        let stderr = self.file("stderr.log");
        let events = self.file("events.jsonl");
        for leftover in [&serial, &stderr, &events] {
            let _ = std::fs::remove_file(leftover);
        }
        let mut command = match options.hypervisor {
            Hypervisor::Optimus => {
                let kind = if options.interactive { "unix" } else { "file" };
                let config = match &options.config {
                    Some(config) => config.clone(),
                    None => {
                        let config = self.file("vm.toml");
                        std::fs::write(&config, toml::of(self))?;
                        config
                    }
                };
                let mut command = options.command(&binary::path()?);
                command.arg("run").arg(config).arg("--headless");
                command.arg("--serial").arg(format!("{kind}:{}", serial.display()));
                command.arg("--events").arg(&events);
                command.arg("--timeout").arg(options.limit.as_secs().to_string());
                command.args(&options.arguments);
                command
            }
            Hypervisor::Peer => {
                let kind = if options.interactive {
                    format!("unix:{},server=on,wait=off", serial.display())
                } else {
                    format!("file:{}", serial.display())
                };
                let mut command = options.command("qemu-system-x86_64".as_ref());
                command.args(peer::arguments(self, &kind)?);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&stderr)?);
        let child = command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let transcript = match options.interactive {
            true => Transcript::of_socket(&serial),
            false => Transcript::of_file(&serial),
        };
        let (started, limit) = (Instant::now(), options.limit);
        Ok(Running { child, serial: transcript, stderr, events, started, limit })
    }

    /// Runs the machine to its end.
    pub fn run(&self, options: &Options) -> Outcome<Finished> {
        self.start(options)?.wait()
    }
}

impl Running {
    /// Waits until the guest prints something that matches, after the last thing waited for. Gives the
    /// groups of the match.
    pub fn expect(&mut self, pattern: &str) -> Outcome<Vec<String>> {
        let left = self.limit.saturating_sub(self.started.elapsed());
        let child = &mut self.child;
        let found = self.serial.wait(pattern, left, || !matches!(child.try_wait(), Ok(None)));
        found.map_err(|failed| self.explain(failed.message().unwrap_or_default()).into())
    }

    /// Waits until `--events` has told of an event of this name.
    pub fn expect_event(&mut self, name: &str) -> Outcome {
        loop {
            let events = std::fs::read_to_string(&self.events).unwrap_or_default();
            // The last line may not be whole yet.
            let mut told = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if told.any(|event| event["event"] == name) {
                return Ok(());
            }
            if self.started.elapsed() > self.limit || !matches!(self.child.try_wait(), Ok(None)) {
                return Err(self.explain(&format!("--events does not tell of '{name}'")).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Looks once, without waiting.
    pub fn find(&mut self, pattern: &str) -> Outcome<Option<Vec<String>>> {
        Ok(self.serial.find(&regex::bytes::Regex::new(pattern)?))
    }

    /// Types into the serial port.
    pub fn send(&mut self, text: &str) -> Outcome {
        self.serial.send(text)
    }

    /// The next bytes on its serial port ([`Transcript::next`]).
    pub fn next_bytes(&mut self, limit: Duration) -> Outcome<Option<Vec<u8>>> {
        self.serial.next(limit)
    }

    /// Runs a command in the guest's shell (`test=shell`), which must succeed; what it prints.
    pub fn shell(&mut self, command: &str) -> Outcome<String> {
        // The echo of what is typed has no such marks.
        self.send(&format!("echo BE''GIN; {command}; echo EN''D $?\n"))?;
        let found = self.expect(r"(?s)BEGIN\r?\n(.*?)END (\d+)\r?\n")?;
        let [_, output, status] = found.as_slice() else { return Err("no output".into()) };
        ensure(status == "0", format!("in the guest, '{command}' ended with status {status}: {output}"))?;
        Ok(output.replace('\r', "").trim().to_owned())
    }

    /// The id of the hypervisor's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) -> Outcome {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or("no process")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Ends it as a power failure would.
    pub fn kill(self) -> Outcome<Finished> {
        self.signal(Signal::KILL)?;
        self.wait()
    }

    /// Whether the machine has had all the time that it may take.
    pub fn is_overdue(&self) -> bool {
        self.started.elapsed() > self.limit
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Outcome<Finished> {
        // The program ends itself at its time limit, and may take a while then.
        let limit = self.limit + Duration::from_secs(30);
        let status = loop {
            self.serial.update();
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if self.started.elapsed() > limit {
                let _ = self.child.kill();
                let what = format!("the machine still ran after {} s", limit.as_secs());
                return Err(self.explain(&what).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let events = std::fs::read_to_string(&self.events).unwrap_or_default();
        let events = events.lines().map(|line| {
            serde_json::from_str(line)
                .map_err(|error| format!("--events wrote the line '{line}': {error}").into())
        });
        // A killed process may leave a line that is not whole.
        let events: Vec<Value> = match status.signal() {
            Some(_) => events.filter_map(Outcome::ok).collect(),
            None => events.collect::<Outcome<_>>()?,
        };
        Ok(Finished {
            status: number(status),
            serial: self.serial.text(),
            stderr: std::fs::read_to_string(&self.stderr).unwrap_or_default(),
            events,
            elapsed: self.started.elapsed(),
        })
    }

    /// A failure that shows what the machine has printed and said so far.
    pub fn failure(&mut self, what: impl std::fmt::Display) -> libtest_mimic::Failed {
        self.explain(&what.to_string()).into()
    }

    fn explain(&mut self, what: &str) -> String {
        let stderr = std::fs::read_to_string(&self.stderr).unwrap_or_default();
        explain(what, &self.serial.text(), &stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Harmless after its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// A failure that shows what the machine left behind.
    pub fn failure(&self, what: impl std::fmt::Display) -> libtest_mimic::Failed {
        let what =
            format!("{what}\n(exit status {}, after {:.1} s)", self.status, self.elapsed.as_secs_f64());
        explain(&what, &self.serial, &self.stderr).into()
    }

    /// Requires a condition.
    pub fn ensure(&self, condition: bool, otherwise: impl std::fmt::Display) -> Outcome {
        if condition { Ok(()) } else { Err(self.failure(otherwise)) }
    }

    /// Requires this exit status.
    pub fn status(&self, expected: i32) -> Outcome {
        self.ensure(self.status == expected, format!("expected exit status {expected}"))
    }

    /// Requires a text on the serial port.
    pub fn printed(&self, text: &str) -> Outcome {
        self.ensure(self.serial.contains(text), format!("the guest did not print '{text}'"))
    }

    /// Requires a text in what the hypervisor said.
    pub fn said(&self, text: &str) -> Outcome {
        self.ensure(self.stderr.contains(text), format!("standard error does not say '{text}'"))
    }

    /// Requires that the hypervisor said nothing. On a busy machine the lab's kernel does not trust its TSC, of which there is a
    /// warning of two lines.
    pub fn quiet(&self) -> Outcome {
        let about_host = ["the host's kernel reads the time from", "= help: `journalctl -k --grep=tsc`"];
        let unexpected = |line: &&str| !about_host.iter().any(|words| line.contains(words));
        let said: Vec<&str> = self.stderr.lines().filter(unexpected).collect();
        self.ensure(said.is_empty(), format!("a run without trouble says nothing, not {said:?}"))
    }

    /// Requires that the small guest's test passed, and that the guest powered off.
    pub fn passed(&self, test: &str) -> Outcome {
        self.printed("L2-USERSPACE-UP")?;
        self.printed(&format!("L2-TEST-PASSED {test}\n"))?;
        self.status(0)
    }

    /// What the guest printed between the markers of a section.
    pub fn section(&self, name: &str) -> Outcome<&str> {
        let begin = format!("SECTION-BEGIN {name}\n");
        let end = format!("SECTION-END {name} ");
        self.serial
            .split_once(&begin)
            .and_then(|(_, rest)| rest.split_once(&end))
            .map(|(text, _)| text)
            .ok_or_else(|| self.failure(format!("the guest printed no section '{name}'")))
    }

    /// The last number printed behind a word at the start of a line.
    pub fn last_number(&self, word: &str) -> Option<u64> {
        numbers(&self.serial, word).last()
    }

    /// Lines of `--events` of a kind.
    pub fn events_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["event"] == kind)
    }
}

/// The numbers printed behind a word at the start of whole lines.
pub fn numbers<'a>(serial: &'a str, word: &'a str) -> impl Iterator<Item = u64> + 'a {
    let whole = serial.rfind('\n').and_then(|end| serial.get(..end)).unwrap_or_default();
    whole.lines().filter_map(move |line| {
        let rest = line.trim().strip_prefix(word)?.strip_prefix(' ')?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

fn number(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn explain(what: &str, serial: &str, stderr: &str) -> String {
    format!(
        "{what}\n--- the last of the serial port:\n{}\n--- standard error of the hypervisor:\n{}\n---",
        tail(serial, 40),
        tail(stderr, 60)
    )
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    let skipped = all.len().saturating_sub(lines);
    // Escape sequences of the firmware would clear the reader's terminal.
    all.iter().skip(skipped).map(|line| line.replace('\x1b', "\\e")).collect::<Vec<_>>().join("\n")
}
