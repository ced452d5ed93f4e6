//! What a service manager is told of the machine: sd_notify(3), the protocol of systemd's `Type=notify`.
//!
//! Lines of `NAME=VALUE` in a datagram to the socket that `NOTIFY_SOCKET` names: a path, or after an `@` a name in the abstract
//! namespace of unix(7). The socket is connected before the process gives up privileges, and messages are about this process, so that
//! `NotifyAccess=main` is enough. The variable stays in the environment of this process; programs that it starts get an environment of their own.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The environment variable with the socket's address.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// How long a manager that does not read is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// What an end takes beside the guest's grace: disks are closed, devices given back.
const AFTER_GRACE: Duration = Duration::from_secs(60);

/// The service manager that has started this process, if one has.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    stopping: AtomicBool,
}

impl ServiceManager {
    /// The one that the environment names. One that cannot be reached is told of in the log: it will give up waiting by itself.
    pub fn of_environment() -> Self {
        let Some(address) = std::env::var_os(VARIABLE) else { return Self::default() };
        let shown = address.display();
        let connected = match address.as_encoded_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(Path::new(&address)),
            [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
            _ => {
                tracing::warn!(
                    "the service manager is not told how the machine is: {VARIABLE} is `{shown}`, which is neither an absolute path \
                     nor an abstract socket (`@NAME`)"
                );
                return Self::default();
            }
        }
        .and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => Self { socket: Some(socket), stopping: AtomicBool::new(false) },
            Err(error) => {
                tracing::warn!(
                    "the service manager is not told how the machine is: no way to {shown}: {error}"
                );
                Self::default()
            }
        }
    }

    /// The machine runs.
    pub fn ready(&self) {
        self.send("READY=1\nSTATUS=running");
    }

    /// How it is, in a few words.
    pub fn status(&self, status: &str) {
        // Its end is the news, whatever happens until then.
        if !self.stopping.load(Ordering::Relaxed) {
            self.send(&format!("STATUS={status}"));
        }
    }

    /// It ends, and its guest has so long for it. The manager waits as long before it kills the process, whatever its own limit is.
    pub fn stopping(&self, grace: Duration) {
        if self.stopping.swap(true, Ordering::Relaxed) {
            return;
        }
        let patience = grace.saturating_add(AFTER_GRACE).as_micros();
        let status = if grace.is_zero() { "ending" } else { "waiting for the guest to power off" };
        self.send(&format!("STOPPING=1\nSTATUS={status}\nEXTEND_TIMEOUT_USEC={patience}"));
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!("the service manager does not listen: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(manager: &ServiceManager, peer: &UnixDatagram, what: impl FnOnce(&ServiceManager)) -> String {
        what(manager);
        peer.set_nonblocking(true).unwrap();
        let mut buffer = [0; 256];
        let count = peer.recv(&mut buffer).unwrap_or_default();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[test]
    fn an_end_is_told_once_and_nothing_after_it() {
        let (socket, peer) = UnixDatagram::pair().unwrap();
        let manager = ServiceManager { socket: Some(socket), stopping: AtomicBool::new(false) };
        assert_eq!(told(&manager, &peer, ServiceManager::ready), "READY=1\nSTATUS=running");
        assert_eq!(told(&manager, &peer, |manager| manager.status("paused")), "STATUS=paused");
        let stopping = |manager: &ServiceManager| manager.stopping(Duration::from_secs(30));
        assert_eq!(
            told(&manager, &peer, stopping),
            "STOPPING=1\nSTATUS=waiting for the guest to power off\nEXTEND_TIMEOUT_USEC=90000000"
        );
        assert_eq!(told(&manager, &peer, stopping), "");
        assert_eq!(told(&manager, &peer, |manager| manager.status("running")), "");
    }

    #[test]
    fn nobody_to_tell_is_no_trouble() {
        let manager = ServiceManager::default();
        manager.ready();
        manager.stopping(Duration::ZERO);
        let (socket, peer) = UnixDatagram::pair().unwrap();
        drop(peer);
        ServiceManager { socket: Some(socket), stopping: AtomicBool::new(false) }.ready();
    }
}
