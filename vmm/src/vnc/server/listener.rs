//! Where clients come from: a TCP port (tcp(7)) or a socket of the file system.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, bind, socket_with, sockopt};
use vocabulary::VncAddress;

use super::admission::Peer;
use crate::socket;

/// A connection that is silent for so long is tried, so often and so many times in vain until it counts as gone.
const KEEP_IDLE: Duration = Duration::from_secs(60);
const KEEP_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_COUNT: u32 = 6;

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program has the port.
    #[error(
        "cannot listen on {address} for VNC: another program has this port; `ss -ltnp 'sport = :{}'` tells which; choose another one", address.port()
    )]
    PortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The host has no such address.
    #[error("cannot listen on {address} for VNC: this host has no such address; 127.0.0.1 is always there")]
    NoSuchAddress {
        /// The address.
        address: SocketAddr,
    },
    /// The port is not for ordinary users.
    #[error(
        "cannot listen on {address} for VNC: ports below 1024 are for root; choose a higher one, such as 5900"
    )]
    PortForRoot {
        /// The address.
        address: SocketAddr,
    },
    /// The port cannot be had for another reason.
    #[error("cannot listen on {address} for VNC: {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen on the socket {path} for VNC: {source}")]
    Unix {
        /// The socket's file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The listening end. Dropping it removes the file of a socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(socket::Listener),
}

impl Listener {
    pub(super) fn bind(address: &VncAddress) -> Result<Self, ListenError> {
        match address {
            VncAddress::Unix(path) => socket::Listener::bind(path, 16)
                .map(Self::Unix)
                .map_err(|source| ListenError::Unix { path: path.clone(), source }),
            VncAddress::Tcp(address) => tcp(*address).map(Self::Tcp),
        }
    }

    /// Whether [`Self::bind`] would succeed, as far as that can be known without listening.
    pub(super) fn look(address: &VncAddress) -> Result<(), ListenError> {
        match address {
            VncAddress::Unix(path) => socket::Listener::look(path)
                .map_err(|source| ListenError::Unix { path: path.clone(), source }),
            VncAddress::Tcp(address) => look_at(*address).map_err(|errno| refused(*address, errno.into())),
        }
    }

    /// Where it listens: with the port that the kernel has chosen, if it was to choose one.
    pub(super) fn address(&self, asked: &VncAddress) -> VncAddress {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| asked.clone(), VncAddress::Tcp),
            Self::Unix(_) => asked.clone(),
        }
    }

    /// The next client, whose socket does not block, and where it comes from.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, Peer)> {
        match self {
            Self::Unix(listener) => {
                let socket = listener.accept()?;
                let user = sockopt::socket_peercred(&socket)?.uid.as_raw();
                Ok((socket, Peer::User(user)))
            }
            Self::Tcp(listener) => {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let (socket, address) = acceptfrom_with(listener, flags)?;
                let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
                // Key by key and update by update, and the end of a client whose host has gone within two minutes: it may
                // have the screen to itself, and holds keys. Without them it works, too.
                let _ = sockopt::set_tcp_nodelay(&socket, true);
                let _ = sockopt::set_socket_keepalive(&socket, true);
                let _ = sockopt::set_tcp_keepidle(&socket, KEEP_IDLE);
                let _ = sockopt::set_tcp_keepintvl(&socket, KEEP_INTERVAL);
                let _ = sockopt::set_tcp_keepcnt(&socket, KEEP_COUNT);
                Ok((socket, Peer::of(address.unwrap_or(unknown).ip())))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

fn tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    // The library sets SO_REUSEADDR, so that a machine can be started again at once.
    let listener = TcpListener::bind(address).map_err(|source| refused(address, source))?;
    listener.set_nonblocking(true).map_err(|source| ListenError::Tcp { address, source })?;
    Ok(listener)
}

fn refused(address: SocketAddr, source: io::Error) -> ListenError {
    match Errno::from_io_error(&source) {
        Some(Errno::ADDRINUSE) => ListenError::PortInUse { address },
        Some(Errno::ADDRNOTAVAIL) => ListenError::NoSuchAddress { address },
        Some(Errno::ACCESS) if address.port() < 1024 => ListenError::PortForRoot { address },
        _ => ListenError::Tcp { address, source },
    }
}

/// Binds to the address and lets go of it: nobody can connect meanwhile.
fn look_at(address: SocketAddr) -> rustix::io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look says what listening says: of a port that is free, one that is taken, and an address that is not ours (RFC 5737).
    #[test]
    fn a_look_says_what_would_be_refused() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        for address in [free, taken.local_addr().unwrap(), "192.0.2.7:5900".parse().unwrap()] {
            let address = VncAddress::Tcp(address);
            let looked = Listener::look(&address).map_err(|error| error.to_string());
            let bound = Listener::bind(&address).map(drop).map_err(|error| error.to_string());
            assert_eq!(looked, bound);
        }
        assert!(Listener::look(&VncAddress::Tcp(taken.local_addr().unwrap())).is_err());
    }
}
