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
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use devices::net::Peer;
use devices::net::cable::Cable;
use devices::net::stream::StreamPeer;
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
            .spawn()?;
        Ok((Box::new(peer), child))
    }

    /// Looks after `child` on a thread of its own.
    pub(super) fn supervise(self, child: Child, key: &str, cable: Arc<Cable>) -> io::Result<Supervisor> {
        let shared = Arc::new(Shared::default());
        shared.set_child(Some(&child));
        let (theirs, key) = (Arc::clone(&shared), key.to_owned());
        let thread = thread::Builder::new()
            .name("passt".into())
            .spawn(move || look_after(&self, child, &key, &cable, &theirs))?;
        Ok(Supervisor { shared, thread: Some(thread) })
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
                Ok((peer, child)) => {
                    shared.set_child(Some(&child));
                    cable.connect(peer);
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

    fn set_child(&self, child: Option<&Child>) {
        self.state().child = child.map(Pid::from_child);
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
    thread: Option<JoinHandle<()>>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.over = true;
            if let Some(child) = state.child {
                let _ = kill_process(child, Signal::TERM);
            }
        }
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the program itself.
    #[test]
    fn one_that_is_killed_is_replaced() {
        let (program, arguments) = (
            programs::find("passt", &programs::system_path()),
            arguments(1500, &[], false, &NameServers::Own),
        );
        let program = program.unwrap_or_else(|| panic!("passt is missing: apt-get install passt"));
        let passt = Passt { program, arguments, longest_frame: 1518 };
        let (peer, child) = passt.start().unwrap();
        let first = Pid::from_child(&child);
        let cable = Cable::new(peer, true).unwrap();
        let supervisor = passt.supervise(child, "net[0]", Arc::clone(&cable)).unwrap();
        kill_process(first, Signal::KILL).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let second = loop {
            assert!(std::time::Instant::now() < deadline, "no other passt comes");
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
