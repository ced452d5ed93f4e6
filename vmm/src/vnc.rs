//! The guest's screen for VNC viewers: a server of the RFB protocol 3.8 (RFC 6143) that 3.3 and 3.7 clients can use, too.
//!
//! | module | what it does |
//! |---|---|
//! | `server`, `listener`, `client` | threads and sockets |
//! | `admission`, `clients` | who may be connected, and who is |
//! | `session`, `running` | a client without its socket: bytes in, bytes out |
//! | `handshake`, `password`, `protocol`, `features` | what clients say |
//! | `painter`, `picture`, `region`, `pixel`, `encode` | what they are told |
//! | `input`, `keyboard` | keys and pointer |
//!
//! Each client has a thread that sleeps until its socket, its view of the screen or the end of the server wakes it.

mod admission;
mod client;
mod clients;
mod encode;
mod events;
mod features;
mod handshake;
mod input;
mod keyboard;
mod listener;
mod painter;
mod password;
mod picture;
mod pixel;
mod protocol;
mod region;
mod running;
mod server;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;

pub use password::Password;
pub use server::{Options, Reserved, Server, VncError};
