//! The guest's screen for VNC viewers: a server of the RFB protocol 3.8 (RFC 6143) that 3.3 and 3.7 clients can use, too.
//!
//! | module | what it does |
//! |---|---|
//! | `server` | threads and sockets: who may be connected, and who is |
//! | `session` | a client without its socket: bytes in, bytes out, from the handshake on |
//! | `protocol`, `features`, `password` | what clients say, can do, and have to know |
//! | `painter`, `encode`, `pixel` | updates of the screen, and how their pixels are sent |
//! | `input`, `keyboard` | keys and pointer |
//!
//! Each client has a thread that sleeps until its socket, its view of the screen or the end of the server wakes it.

mod encode;
mod features;
mod input;
mod keyboard;
mod painter;
mod password;
mod pixel;
mod protocol;
mod server;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;

pub use password::Password;
pub use server::{Options, Reserved, Server, VncError};
