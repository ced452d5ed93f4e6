//! passt(1): a program that is the guest's network without any rights, by sockets of its own. It gets one end of a socket as its standard
//! input, and ends when the other end is closed.
//!
//! While the machine runs, a thread reads what it has to say and waits for its end, which only a fault brings. Then the guest's link goes
//! down, and another passt is started.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use devices::net::Peer;
use devices::net::cable::Cable;
use devices::net::stream::StreamPeer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use rustix::thread::{CapabilitySet, capabilities};
use vocabulary::PortForward;
use vocabulary::net::Protocol;

use super::Net;
use super::connect::Trouble;
use super::resolvers::{self, NameServers};
use crate::programs;

/// How long to wait before another passt is started: after its first end, its second, and all others.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(2), Duration::from_secs(30)];
/// How long a passt may take to begin, and to end when it is told to.
const BEGIN: Duration = Duration::from_secs(1);
const END: Duration = Duration::from_secs(5);
/// How long after its last word a passt that cannot work is gone.
const LAST_WORD: Duration = Duration::from_millis(30);
/// A line of passt's is cut off behind so many bytes.
const LONGEST_LINE: u64 = 1024;

/// How to start it.
#[derive(Debug)]
pub(super) struct Passt {
    program: PathBuf,
    arguments: Vec<OsString>,
    longest_frame: usize,
}

/// How the host's package manager installs it.
fn how_to_install() -> String {
    "install the package `passt` (Debian, Ubuntu, Fedora, Arch and openSUSE have it), or take the `[[net]]` section out to do without \
     a network"
        .into()
}

impl Passt {
    /// Finds it, and works out what it is told. An error comes with advice.
    pub(super) fn find(
        net: &Net,
        forward: &[PortForward],
        host_loopback: bool,
        dns: &[IpAddr],
    ) -> Result<Self, Trouble> {
        let program = programs::find("passt", &programs::system_path()).ok_or_else(|| {
            (
                "the program passt, which carries its frames, is not installed".to_owned(),
                Some(how_to_install()),
            )
        })?;
        let servers = if dns.is_empty() { resolvers::of_host() } else { NameServers::These(dns.to_vec()) };
        if servers == NameServers::Unknown {
            tracing::warn!(
                "{}: the host's name servers are out of a guest's reach: write `dns = [\"…\"]` for names to be found",
                super::Spec::section(net)
            );
        }
        let arguments = arguments(net.mtu, forward, host_loopback, &servers);
        Ok(Self { program, arguments, longest_frame: net.longest_frame() })
    }

    /// Starts it; our end of its socket.
    pub(super) fn start(&self) -> io::Result<(Box<dyn Peer>, Child)> {
        let (ours, theirs) = UnixStream::pair()?;
        let peer = StreamPeer::new(ours, self.longest_frame)?;
        let child = programs::command(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // What a terminal or timeout(1) sends to our group is for the machine, whose guest needs its network until it is down.
            .process_group(0)
            .spawn()?;
        Ok((Box::new(peer), child))
    }

    /// Looks after `child` on a thread of its own.
    pub(super) fn supervise(self, child: Child, key: &str, cable: Arc<Cable>) -> io::Result<Supervisor> {
        let shared = Arc::new(Shared::default());
        shared.state().child = Some(Pid::from_child(&child));
        let (theirs, key, ours) = (Arc::clone(&shared), key.to_owned(), Arc::clone(&cable));
        let thread = thread::Builder::new()
            .name("passt".into())
            .spawn(move || look_after(&self, child, &key, &cable, &theirs))?;
        Ok(Supervisor { shared, cable: ours, thread: Some(thread) })
    }
}

/// Waits until a passt that was just started works, or has ended. It closes its standard error when it begins.
///
/// # Errors
/// It has ended; what it said.
pub(super) fn settle(child: &mut Child, key: &str) -> Result<(), String> {
    let Some(mut errors) = child.stderr.take() else { return Ok(()) };
    let lost = |error| format!("passt is lost: {error}");
    let (said, closed) = listen(&mut errors);
    if closed {
        // One that cannot work is gone soon after its last word.
        programs::ends_within(Pid::from_child(child), LAST_WORD).map_err(lost)?;
    }
    let said = String::from_utf8_lossy(&said);
    let mut said = said.lines().map(str::trim).filter(|line| !is_noise(line));
    if let Some(status) = child.try_wait().map_err(lost)? {
        let why = said.next_back().unwrap_or("it says nothing");
        return Err(format!("passt has ended at once ({status}): {why}"));
    }
    said.for_each(|line| tracing::warn!("{key}: passt: {line}"));
    child.stderr = Some(errors);
    Ok(())
}

/// What comes until it is closed, for [`BEGIN`] at most; whether it was closed.
fn listen(errors: &mut ChildStderr) -> (Vec<u8>, bool) {
    let (mut said, begun) = (Vec::new(), Instant::now());
    loop {
        let left = BEGIN.saturating_sub(begun.elapsed());
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(errors, PollFlags::IN)], left.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) | Ok(0) => return (said, false),
            Ok(_) => {}
        }
        let mut piece = [0; 512];
        match errors.read(&mut piece) {
            Ok(0) | Err(_) => return (said, true),
            Ok(count) if said.len() < 16 << 10 => {
                said.extend_from_slice(piece.get(..count).unwrap_or_default())
            }
            Ok(_) => {}
        }
    }
}

/// passt's options.
fn arguments(mtu: u16, forward: &[PortForward], host_loopback: bool, servers: &NameServers) -> Vec<OsString> {
    let mut words: Vec<String> =
        ["--foreground", "--quiet", "--fd", "0", "--mtu"].into_iter().map(str::to_owned).collect();
    words.push(mtu.to_string());
    if !host_loopback {
        // Without this, the gateway's address is the host's 127.0.0.1, with all that listens there.
        words.push("--no-map-gw".into());
    }
    if let NameServers::These(servers) = servers {
        words.extend(servers.iter().flat_map(|server| ["--dns".to_owned(), server.to_string()]));
    }
    for PortForward { protocol, address, port, guest } in forward {
        words.push(match protocol {
            Protocol::Tcp => "--tcp-ports".into(),
            Protocol::Udp => "--udp-ports".into(),
        });
        words.push(format!("{address}/{port}:{guest}"));
    }
    // By default UDP follows TCP.
    if !forward.iter().any(|forward| forward.protocol == Protocol::Udp) {
        words.extend(["--udp-ports".to_owned(), "none".to_owned()]);
    }
    if !forward.iter().any(|forward| forward.protocol == Protocol::Tcp) {
        words.extend(["--tcp-ports".to_owned(), "none".to_owned()]);
    }
    words.into_iter().map(OsString::from).collect()
}

/// Lines of passt's that say nothing: it has no system log to write to.
fn is_noise(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with("Failed to send ") && line.ends_with(" bytes to syslog")
}

/// Reports what a passt has to say until it ends.
fn report(child: &mut Child, key: &str) {
    let Some(errors) = child.stderr.take() else { return };
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while matches!(errors.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        if !is_noise(&text) {
            devices::limited_warn!("{key}: passt: {}", text.trim());
        }
        line.clear();
    }
}

fn look_after(passt: &Passt, mut child: Child, key: &str, cable: &Cable, shared: &Shared) {
    let mut pauses = PAUSES.into_iter().chain(std::iter::repeat(PAUSES[2]));
    loop {
        // It closes its standard error once it runs, and writes to the system's log then.
        report(&mut child, key);
        let status = shared.reap(&mut child);
        if shared.is_over() {
            return;
        }
        cable.disconnect();
        match status {
            Ok(status) => tracing::warn!("{key}: passt has ended ({status}): the guest's link is down"),
            Err(error) => tracing::warn!("{key}: passt is lost ({error}): the guest's link is down"),
        }
        if !may_start() {
            tracing::warn!(
                "{key}: a machine of root's gives up the right to start passt a second time: the link stays down until the machine is \
                 started anew"
            );
            return;
        }
        child = loop {
            let Some(pause) = pauses.next() else { return };
            if shared.wait(pause) {
                return;
            }
            match passt.start() {
                Ok((peer, mut child)) => {
                    if !shared.take_over(&child, || cable.connect(peer)) {
                        let _ = child.kill();
                        let _ = child.wait();
                        return;
                    }
                    tracing::info!("{key}: passt runs again");
                    break child;
                }
                Err(error) => devices::limited_warn!("{key}: cannot start passt again: {error}"),
            }
        };
    }
}

/// Whether passt would work. As root it becomes another user first.
fn may_start() -> bool {
    !rustix::process::geteuid().is_root()
        || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SETUID))
}

#[derive(Debug, Default)]
struct State {
    /// The process that runs and has not been waited for.
    child: Option<Pid>,
    over: bool,
}

/// What the thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another process is the one to end, and `connect` is done before anybody can; `false` when the machine ends already.
    fn take_over(&self, child: &Child, connect: impl FnOnce()) -> bool {
        let mut state = self.state();
        if !state.over {
            state.child = Some(Pid::from_child(child));
            connect();
        }
        !state.over
    }

    /// Waits for the end of a process. Its number is nobody's afterwards.
    fn reap(&self, child: &mut Child) -> io::Result<std::process::ExitStatus> {
        // Its number is its own until it is reaped, which is done while nobody can signal it.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(Pid::from_child(child)), options) {}
        let mut state = self.state();
        state.child = None;
        child.wait()
    }

    fn is_over(&self) -> bool {
        self.state().over
    }

    /// Waits for `time`; `true` when the machine ends meanwhile.
    fn wait(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), time, |state| !state.over);
        waited.unwrap_or_else(PoisonError::into_inner).0.over
    }
}

/// Looks after a passt. Dropped, it ends it.
#[derive(Debug)]
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    cable: Arc<Cable>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.over = true;
            // A machine of root's may not: there passt is another user's.
            if let Some(child) = state.child {
                let _ = kill_process(child, Signal::TERM);
            }
        }
        // It ends by itself when our end of its socket is closed, which the card's worker does.
        self.cable.disconnect();
        self.shared.changed.notify_all();
        let Some(thread) = self.thread.take() else { return };
        let begun = Instant::now();
        while !thread.is_finished() {
            // Devices of the host are to be given back, whatever this program does.
            if begun.elapsed() > END {
                tracing::warn!("passt does not end: it is left behind");
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passt(forward: &[PortForward]) -> Passt {
        let program = programs::find("passt", &programs::system_path());
        let program = program.unwrap_or_else(|| panic!("passt is missing: apt-get install passt"));
        let arguments = arguments(1500, forward, false, &NameServers::Own);
        Passt { program, arguments, longest_frame: 1518 }
    }

    #[test]
    fn one_that_works_and_one_that_cannot() {
        let (_peer, mut child) = passt(&[]).start().unwrap();
        settle(&mut child, "net[0]").unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let forward = format!("tcp:{}->22", taken.local_addr().unwrap().port()).parse().unwrap();
        let (_peer, mut child) = passt(&[forward]).start().unwrap();
        let why = settle(&mut child, "net[0]").unwrap_err();
        assert!(why.contains("has ended at once"), "{why}");
    }

    /// As root, it is another user's, whom a machine that has given up its powers cannot signal.
    #[test]
    fn it_ends_with_the_machine_that_may_not_signal_it() {
        let ended = thread::spawn(|| {
            let passt = passt(&[]);
            let (peer, mut child) = passt.start().unwrap();
            settle(&mut child, "net[0]").unwrap();
            let process = Pid::from_child(&child);
            let cable = Cable::new(peer, true).unwrap();
            let supervisor = passt.supervise(child, "net[0]", cable).unwrap();
            crate::privileges::drop_unneeded();
            let begun = Instant::now();
            drop(supervisor);
            (begun.elapsed(), rustix::process::test_kill_process(process))
        });
        let (took, gone) = ended.join().unwrap();
        assert_eq!(gone, Err(rustix::io::Errno::SRCH), "it is left behind");
        assert!(took < END, "{took:?}");
    }

    /// By the program itself.
    #[test]
    fn one_that_is_killed_is_replaced() {
        let passt = passt(&[]);
        let (peer, child) = passt.start().unwrap();
        let first = Pid::from_child(&child);
        let cable = Cable::new(peer, true).unwrap();
        let supervisor = passt.supervise(child, "net[0]", Arc::clone(&cable)).unwrap();
        kill_process(first, Signal::KILL).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let second = loop {
            assert!(Instant::now() < deadline, "no other passt comes");
            match supervisor.shared.state().child {
                Some(child) if child != first && cable.is_up() => break child,
                _ => thread::sleep(Duration::from_millis(10)),
            }
        };
        drop(supervisor);
        let gone = rustix::process::test_kill_process(second);
        assert_eq!(gone, Err(rustix::io::Errno::SRCH), "it is left behind");
    }

    #[test]
    fn options_are_as_little_as_can_be() {
        let words = |forward: &[&str], loopback, servers: &NameServers| {
            let forward: Vec<_> = forward.iter().map(|text| text.parse().unwrap()).collect();
            let words = arguments(1500, &forward, loopback, servers);
            words.join(" ".as_ref()).into_string().unwrap()
        };
        assert_eq!(
            words(&[], false, &NameServers::Own),
            "--foreground --quiet --fd 0 --mtu 1500 --no-map-gw --udp-ports none --tcp-ports none"
        );
        assert_eq!(
            words(
                &["tcp:2222->22", "udp:[::1]:53->5353"],
                true,
                &NameServers::These(vec!["9.9.9.9".parse().unwrap()])
            ),
            "--foreground --quiet --fd 0 --mtu 1500 --dns 9.9.9.9 --tcp-ports 127.0.0.1/2222:22 --udp-ports ::1/53:5353"
        );
    }
}
