//! Commands that run, stop, reset and end the machine.

use super::{Command, Context, Nothing, Slow, quick, slow};
use crate::control::machine::MachineRequest;
use crate::control::protocol::Refusal;

pub(super) fn commands() -> Vec<Command> {
    vec![
        quick("system_powerdown", |context, Nothing {}| power_button(context)),
        quick("system_reset", |context, Nothing {}| ask(context, MachineRequest::Reset)),
        quick("quit", |context, Nothing {}| ask(context, MachineRequest::Quit)),
        slow::<Nothing, Nothing>("stop", |_, Nothing {}| Ok(Slow::Run(false))),
        slow::<Nothing, Nothing>("cont", |_, Nothing {}| Ok(Slow::Run(true))),
    ]
}

/// Presses the power button. One pressed at a paused machine is heard when it goes on.
pub(super) fn power_button(context: &Context<'_>) -> Result<Nothing, Refusal> {
    match context.announcer.stopped() {
        Some(why) if !context.announcer.is_paused() => Err(Refusal::new(format!(
            "the machine is stopped ({why}): it hears no power button, only reset and quit"
        ))),
        _ => ask(context, MachineRequest::PowerButton),
    }
}

/// Has the run loop do something.
pub(super) fn ask(context: &Context<'_>, what: MachineRequest) -> Result<Nothing, Refusal> {
    (context.machine.ask)(what);
    Ok(Nothing {})
}
