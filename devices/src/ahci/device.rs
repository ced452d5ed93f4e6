//! What a port asks of the device that is connected to it.

use super::fis::{Command, TaskFile};
use super::table::Fault;

/// The way of data between a device and the guest, for one command.
pub(super) trait Wire {
    /// Announces `bytes` bytes that the processor is thought to move: a PIO setup FIS. `end` are the registers afterwards.
    fn announce(&mut self, to_host: bool, bytes: usize, end: &TaskFile) -> Result<(), Fault>;

    /// Gives `data` to the guest.
    fn send(&mut self, data: &[u8]) -> Result<(), Fault>;

    /// Fails when the guest does not want the command any more.
    fn go_on(&self) -> Result<(), Fault>;

    /// Takes `data` from the guest.
    fn receive(&mut self, data: &mut [u8]) -> Result<(), Fault>;
}

/// A device.
pub(super) trait AtaDevice: Send {
    /// What kind it is: PxSIG (Serial ATA 3.x, 11.3).
    fn signature(&self) -> u32;

    /// What the register side does with a reset at once, whatever the device is busy with.
    fn on_reset(&self) -> Box<dyn Fn(Reset) + Send + Sync>;

    /// Performs a command, as long as that takes. `packet` belongs to PACKET.
    fn execute(
        &mut self,
        command: &Command,
        packet: &[u8; 16],
        wire: &mut dyn Wire,
    ) -> Result<TaskFile, Fault>;

    /// Forgets what commands have set up, as far as this kind of reset does, before the first command after it.
    fn reset(&mut self, kind: Reset);
}

/// Kinds of resets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    /// The machine is switched on anew.
    PowerOn,
    /// The guest resets the controller, the link or the device.
    Bus,
}
