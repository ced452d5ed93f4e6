//! The control socket of a running machine, and the `optimus-vmm ctl` that talks to it.
//!
//! The socket speaks QEMU's QMP and a little more (`protocol`; docs/control.md), which `command` has the commands of, and is
//! private to the user (`place`). It is served by the run loop ([`Server`]); only what takes time has threads (`work`), so that an idle machine has
//! nothing running for it. A connection can become one to the guest's serial port, beside the console's own.

mod announcer;
mod client;
mod command;
mod dialogue;
mod machine;
pub(crate) mod place;
mod protocol;
mod server;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
mod work;

use std::io;
use std::path::PathBuf;

pub use announcer::{Announcement, Announcer, Crash};
pub use machine::{
    CdDrive, CharDevice, Disk, Facts, Machine, MachineRequest, MsrAccess, Msrs, NetworkCard, PassedDevice,
    Schedule, Shape, Sound, Vnc,
};
pub(crate) use protocol::GREETING;
pub use protocol::{PanicAction, ShutdownCause};
pub use server::Server;

use crate::config::ControlSpec;
use crate::socket::{Acceptor, EXHAUSTED, Listener};
use work::Delays;

/// Why a machine that shall have a control socket has none.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the control socket: {0}")]
pub struct ControlError(#[from] place::PlaceError);

/// A control socket that takes connections, which nobody serves yet.
#[derive(Debug)]
pub struct Reserved {
    listener: Listener,
    path: PathBuf,
}

impl Reserved {
    /// Opens the control socket of the machine `name` as the configuration says. By default there is one where that is
    /// possible: its absence is no reason not to run.
    ///
    /// # Errors
    ///
    /// One is demanded and cannot be had.
    pub fn open(spec: &ControlSpec, name: &str) -> Result<Option<Self>, ControlError> {
        let opened = match spec {
            ControlSpec::Off => return Ok(None),
            ControlSpec::Unix(path) => place::listen_at(path).map(|listener| (listener, path.clone())),
            ControlSpec::Auto | ControlSpec::On => place::listen(name),
        };
        match opened {
            Ok((listener, path)) => {
                tracing::debug!("the control socket is {}", path.display());
                Ok(Some(Self { listener, path }))
            }
            Err(error) if *spec == ControlSpec::Auto => {
                tracing::warn!("`optimus-vmm ctl` cannot reach this machine: {error}");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether [`Self::open`] would refuse, as far as that can be known without making or removing anything.
    ///
    /// # Errors
    ///
    /// As of [`Self::open`].
    pub fn look(spec: &ControlSpec, name: &str) -> Result<(), ControlError> {
        match spec {
            ControlSpec::Off | ControlSpec::Auto => Ok(()),
            ControlSpec::Unix(path) => Ok(place::look_at(path)?),
            ControlSpec::On => Ok(place::look(name)?),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// What serves it in the run loop.
    ///
    /// # Errors
    ///
    /// The host has no file descriptors for it.
    pub fn serve(self, machine: Machine, announcer: Announcer) -> io::Result<Server> {
        let acceptor = Acceptor::new(self.listener, "the control socket", EXHAUSTED)?;
        Server::new(acceptor, machine, announcer, Delays::default())
    }
}
