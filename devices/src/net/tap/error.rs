//! What can be wrong with an interface.

use std::io;

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// `/dev/net/tun` cannot be opened.
    #[error("cannot open /dev/net/tun: {0}: `modprobe tun` loads the kernel's module for it")]
    Open(#[source] io::Error),
    /// The name is longer than the kernel's.
    #[error("{0:?} is no name of an interface: those have 1 to 15 bytes, none of them a slash or a space")]
    Name(String),
    /// Somebody uses it.
    #[error("the interface {0} is in use, by another virtual machine as it seems")]
    Busy(String),
    /// The interface is another user's, or does not exist and we may not make it.
    #[error("the interface {name} cannot be attached: {source}")]
    Forbidden {
        /// Its name.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is there, but not as it must be.
    #[error(
        "the interface {name} cannot be attached: {source}: it must be a TAP interface with as many queues as the card"
    )]
    Kind {
        /// Its name.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The descriptor is none of an interface with headers.
    #[error(
        "the descriptor is none of a TAP interface with virtio headers (IFF_TAP, IFF_NO_PI, IFF_VNET_HDR): {0}"
    )]
    Descriptor(#[source] io::Error),
    /// The interface cannot be set up.
    #[error("cannot set up the interface: {0}")]
    SetUp(#[source] io::Error),
}
