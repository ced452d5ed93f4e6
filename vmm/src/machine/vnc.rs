//! The VNC server of a machine.

use std::sync::Arc;

use super::build::Board;
use crate::control;
use crate::events::{Event, EventLog};
use crate::plan::MachinePlan;
use crate::vnc::{Reserved, Server, VncError};

/// Serves the screen at the address that was taken for it.
pub(super) fn serve(
    reserved: Option<Reserved>,
    board: &Board,
    events: &EventLog,
) -> Result<Option<Server>, VncError> {
    let Some((reserved, screen)) = reserved.zip(board.devices.display.clone()) else { return Ok(None) };
    let server = reserved.start(screen, Arc::clone(&board.devices.i8042) as _)?;
    tracing::info!("VNC viewers see the screen at {}", server.address());
    events.emit(Event::Display { vnc: server.address().to_string() });
    Ok(Some(server))
}

/// What the control socket tells of the server.
pub(super) fn told(plan: &MachinePlan, server: Option<&Server>) -> Option<control::Vnc> {
    let password = plan.display.as_ref().is_some_and(|display| display.password_file.is_some());
    server.map(|server| control::Vnc { address: server.address().clone(), password })
}
