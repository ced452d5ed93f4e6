//! The VNC server of a machine.

use std::sync::Arc;

use super::build::Board;
use crate::config::Config;
use crate::events::{Event, EventLog};
use crate::vnc::{Options, Server, VncError};

/// Starts the server that the configuration asks for, if it does.
pub(super) fn serve(config: &Config, board: &Board, events: &EventLog) -> Result<Option<Server>, VncError> {
    let Some((wanted, screen)) = config.display.as_ref().zip(board.devices.display.clone()) else {
        return Ok(None);
    };
    let Some(options) = Options::of(wanted, &config.name)? else { return Ok(None) };
    let server = Server::start(options, screen, Arc::clone(&board.devices.i8042) as _)?;
    tracing::info!("VNC viewers see the screen at {}", server.address());
    events.emit(Event::Display { vnc: server.address().to_string() });
    Ok(Some(server))
}
