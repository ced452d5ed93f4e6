//! passt(1): a program that is the guest's network without any rights, by sockets of its own. It gets one end of a socket as its standard
//! input, and ends when the other end is closed.

mod supervisor;

use std::ffi::OsString;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use devices::net::Peer;
use devices::net::stream::StreamPeer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::process::Pid;
use vocabulary::PortForward;
use vocabulary::net::Protocol;

use super::Net;
use super::connect::Trouble;
use super::resolvers::{self, NameServers};
use crate::programs;

/// How long a passt may take to begin.
const BEGIN: Duration = Duration::from_secs(1);
/// How long after its last word a passt that cannot work is gone.
const LAST_WORD: Duration = Duration::from_millis(30);

/// Bytes that may be on their way from passt, of which the kernel gives as many as it allows anybody. passt hands over up to 128 frames at
/// once; those that find no room, it makes and sends a second time.
const ON_THE_WAY: usize = 256 << 10;

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
    fn start(&self) -> io::Result<(Box<dyn Peer>, Child)> {
        let (ours, theirs) = UnixStream::pair()?;
        set_socket_send_buffer_size(&theirs, ON_THE_WAY)?;
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

    /// Starts it, and waits until it works.
    ///
    /// # Errors
    /// It cannot be started, or has ended at once; why, in words.
    pub(super) fn start_and_settle(&self, key: &str) -> Result<(Box<dyn Peer>, Child), String> {
        let (peer, mut child) = self.start().map_err(|error| format!("cannot start passt: {error}"))?;
        settle(&mut child, key)?;
        Ok((peer, child))
    }
}

/// Waits until a passt that was just started works, or has ended. It closes its standard error when it begins.
///
/// # Errors
/// It has ended; what it said.
fn settle(child: &mut Child, key: &str) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn passt(forward: &[PortForward]) -> Passt {
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
