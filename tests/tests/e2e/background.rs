//! Machines without a terminal: `run --detach`, `ctl wait`, and what a service manager hears. The guest is a few
//! instructions without firmware.

use std::fs::{self, File};
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tests::{Outcome, binary, ensure, program};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("a_detached_machine_is_left_to_ctl", 10, detached),
    scenario("a_detached_machine_that_crashes_tells_its_log", 5, crashed),
    scenario("nobody_detaches_a_machine_and_is_gone", 10, gone),
    scenario("a_service_manager_hears_of_the_machine", 10, service),
];

/// A user's folders, with a machine in it.
struct User(tempfile::TempDir);

impl User {
    fn with(image: &[u8]) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("flat.fd"), image)?;
        let toml =
            "[machine]\nmemory = \"256M\"\ngrace = 60\n[firmware]\nkind = \"raw\"\ncode = \"flat.fd\"\n";
        fs::write(folder.path().join("flat.toml"), toml)?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Outcome<Command> {
        let mut command = Command::new(binary::path()?);
        command.args(words).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("XDG_RUNTIME_DIR", self.0.path()).env("HOME", self.0.path()).env_remove("NOTIFY_SOCKET");
        Ok(command)
    }

    fn run(&self, words: &[&str]) -> Outcome<Output> {
        Ok(self.command(words)?.output()?)
    }

    /// A command that succeeds: what it printed.
    fn done(&self, words: &[&str]) -> Outcome<String> {
        let done = self.run(words)?;
        ensure(done.status.success(), format!("{words:?}: {done:?}"))?;
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// A command that fails with this status, and says this.
    fn fails(&self, words: &[&str], status: i32, said: &str) -> Outcome {
        let done = self.run(words)?;
        let right =
            done.status.code() == Some(status) && String::from_utf8_lossy(&done.stderr).contains(said);
        ensure(right, format!("{words:?}: {done:?}"))
    }

    /// Starts the machine in the background; its process.
    fn detach(&self) -> Outcome<Pid> {
        let told = self.done(&["run", "--detach", "--log", "log", "flat.toml"])?;
        let process = told.strip_prefix("flat runs as process ").and_then(|rest| rest.split(';').next());
        let process = process.and_then(|process| Pid::from_raw(process.parse().ok()?));
        process.ok_or_else(|| format!("it says: {told}").into())
    }
}

/// Waits until a process has ended, and its new parent has noticed.
fn ends(process: Pid) -> Outcome {
    until("the machine does not end", || Ok(test_kill_process(process).is_err()))
}

/// Waits until something is so of a process, as the kernel shows it.
fn until(what: &str, so: impl Fn() -> Outcome<bool>) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so()? {
        ensure(Instant::now() < deadline, what)?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Waits until `ctl wait` hears of events: it opens the machine's process (pidfd_open(2)) once it does.
fn listens(waiting: &std::process::Child) -> Outcome {
    until("ctl does not come to wait", || {
        let ends = fs::read_dir(format!("/proc/{}/fd", waiting.id()))?;
        Ok(ends
            .flatten()
            .any(|end| fs::read_link(end.path()).is_ok_and(|end| end.to_string_lossy().contains("pidfd"))))
    })
}

/// Waits until a process has the signals of its end blocked: from then on it takes them from a descriptor.
fn receives_signals(process: Pid) -> Outcome {
    until("the start does not receive signals", || {
        let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()))?;
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).ok_or("no mask")?;
        let blocked = u64::from_str_radix(blocked.trim(), 16)?;
        let blocks = |signal: Signal| blocked >> (signal.as_raw() - 1) & 1 == 1;
        // One after another: the last of these comes after those that are sent here. While it forks, the C library blocks all there are.
        Ok([Signal::INT, Signal::TERM, Signal::CONT].into_iter().all(blocks) && !blocks(Signal::USR2))
    })
}

fn detached() -> Outcome {
    let user = User::with(&program::echo_image())?;
    let began = Instant::now();
    let process = user.detach()?;
    ensure(began.elapsed() < Duration::from_secs(60), "it took too long")?;
    ensure(rustix::process::getsid(Some(process))? == process, "the machine has no session of its own")?;
    let end = |number: u32| fs::read_link(format!("/proc/{}/fd/{number}", process.as_raw_nonzero()));
    let log = fs::canonicalize(user.path("log"))?;
    for (number, expected) in [(0, Path::new("/dev/null")), (1, &log), (2, &log)] {
        ensure(end(number)? == expected, format!("descriptor {number} is {:?}", end(number)?))?;
    }
    ensure(fs::metadata(&log)?.permissions().mode() & 0o777 == 0o600, "others can read the log")?;
    user.fails(&["run", "--detach", "--log", "log2", "flat.toml"], 3, "another program listens there")?;

    ensure(user.done(&["ctl", "flat", "wait", "--for", "running"])? == "running\n", "it should run")?;
    user.fails(
        &["ctl", "flat", "wait", "--for", "stopped", "--timeout", "0.2"],
        4,
        "has not stopped within 0.2 s",
    )?;
    let wait = |what: &str| {
        user.command(&["ctl", "flat", "wait", "--timeout", "100", "--for", what])
            .and_then(|mut command| Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?))
    };
    // What happens before it listens is not waited for: again and again.
    let again = |words: &[&str], waiting: std::process::Child| -> Outcome<Output> {
        let mut waiting = waiting;
        while waiting.try_wait()?.is_none() {
            user.done(words)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(waiting.wait_with_output()?)
    };
    let reset = again(&["ctl", "flat", "reset"], wait("reset,panicked")?)?;
    ensure(reset.stdout == b"host-qmp-system-reset\n", format!("{reset:?}"))?;
    let stopped = wait("stopped")?;
    user.done(&["ctl", "flat", "pause"])?;
    let stopped = stopped.wait_with_output()?;
    ensure(stopped.stdout == b"paused\n", format!("{stopped:?}"))?;
    let running = wait("running")?;
    user.done(&["ctl", "flat", "resume"])?;
    let running = running.wait_with_output()?;
    ensure(running.stdout == b"running\n", format!("{running:?}"))?;

    let (ended, panicked) = (wait("shutdown")?, wait("panicked")?);
    listens(&ended)?;
    listens(&panicked)?;
    user.done(&["ctl", "flat", "powerdown"])?;
    let ended = ended.wait_with_output()?;
    ensure(ended.stdout == b"guest-shutdown\n", format!("{ended:?}"))?;
    ends(process)?;
    let panicked = panicked.wait_with_output()?;
    let words = "flat has ended (guest-shutdown) and has not crashed";
    let told = panicked.status.code() == Some(3) && String::from_utf8_lossy(&panicked.stderr).contains(words);
    ensure(told, format!("{panicked:?}"))?;
    user.fails(&["ctl", "flat", "wait"], 3, "no machine `flat` runs")?;
    user.fails(&["ctl", "flat", "wait", "--for", "running", "--timeout", "0.2"], 4, "flat has not run within")
}

/// What it says behind the caller's back is in the log, with the time and without colours.
fn crashed() -> Outcome {
    let user = User::with(&program::last_words_image())?;
    ends(user.detach()?)?;
    let log = fs::read_to_string(user.path("log"))?;
    ensure(log.contains("the guest's kernel panicked") && !log.contains('\x1b'), format!("the log: {log}"))
}

/// The start is held up at the lock of the folder of control sockets.
fn gone() -> Outcome {
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        let user = User::with(&program::echo_image())?;
        let sockets = user.path("optimus-vmm");
        fs::DirBuilder::new().mode(0o700).create(&sockets)?;
        let lock = File::open(&sockets)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut caller = user
            .command(&["run", "--detach", "--log", "log", "flat.toml"])?
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let deadline = Instant::now() + Duration::from_secs(60);
        let children = format!("/proc/{0}/task/{0}/children", caller.id());
        let machine = loop {
            let child = fs::read_to_string(&children)?;
            if let Some(child) = child.split_whitespace().next()
                && user.path("log").exists()
            {
                break Pid::from_raw(child.parse()?).ok_or("no process")?;
            }
            ensure(Instant::now() < deadline, "the start does not begin")?;
            std::thread::sleep(Duration::from_millis(10));
        };
        let half = Pid::from_child(&caller);
        receives_signals(half)?;
        receives_signals(machine)?;
        kill_process(half, signal)?;
        if signal == Signal::KILL {
            caller.wait()?;
        }
        drop(lock);
        if signal != Signal::KILL {
            let done = caller.wait_with_output()?;
            ensure(done.status.code() == Some(128 + signal.as_raw()), format!("{signal:?}: {done:?}"))?;
            ensure(done.stdout.is_empty(), format!("{signal:?}: {done:?}"))?;
        }
        ends(machine)?;
        let mut log = String::new();
        File::open(user.path("log"))?.read_to_string(&mut log)?;
        // With a signal it ends as any start, on the terminal.
        let right = match signal {
            Signal::KILL => log.contains("the program that has started it is gone"),
            _ => log.is_empty(),
        };
        ensure(right, format!("{signal:?}: the log: {log}"))?;
    }
    Ok(())
}

fn service() -> Outcome {
    let abstract_name = format!("optimus-test-{}", std::process::id());
    for at_path in [true, false] {
        let user = User::with(&program::echo_image())?;
        let path = user.path("notify");
        let (manager, variable) = match at_path {
            true => (UnixDatagram::bind(&path)?, path.display().to_string()),
            false => {
                let address = SocketAddr::from_abstract_name(&abstract_name)?;
                (UnixDatagram::bind_addr(&address)?, format!("@{abstract_name}"))
            }
        };
        manager.set_read_timeout(Some(Duration::from_secs(60)))?;
        let hears = |expected: &str| -> Outcome {
            let mut buffer = [0; 1024];
            let count = manager.recv(&mut buffer)?;
            let said = String::from_utf8_lossy(&buffer[..count]);
            ensure(said == expected, format!("`{said}` where `{expected}` was expected"))
        };
        let mut command = user.command(&["run", "--headless", "--serial", "none", "flat.toml"])?;
        let mut machine = command.env("NOTIFY_SOCKET", &variable).spawn()?;
        hears("READY=1\nSTATUS=running")?;
        user.done(&["ctl", "flat", "pause"])?;
        hears("STATUS=paused")?;
        user.done(&["ctl", "flat", "resume"])?;
        hears("STATUS=running")?;
        kill_process(Pid::from_child(&machine), Signal::TERM)?;
        hears("STOPPING=1\nSTATUS=waiting for the guest to power off\nEXTEND_TIMEOUT_USEC=120000000")?;
        let status = machine.wait()?;
        ensure(status.success(), format!("the run ended with {status}"))?;
    }
    // A machine in the background is no part of a service.
    let user = User::with(&program::echo_image())?;
    let manager = UnixDatagram::bind(user.path("notify"))?;
    let mut command = user.command(&["run", "--detach", "--log", "log", "flat.toml"])?;
    let done = command.env("NOTIFY_SOCKET", user.path("notify")).output()?;
    ensure(done.status.success(), format!("{done:?}"))?;
    user.done(&["ctl", "flat", "quit"])?;
    manager.set_nonblocking(true)?;
    ensure(manager.recv(&mut [0; 64]).is_err(), "the service manager was told of a machine in the background")
}
