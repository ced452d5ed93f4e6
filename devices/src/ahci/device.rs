//! What a port asks of the device that is connected to it.

use vmm_sys_util::eventfd::EventFd;

use crate::disk::engine::Piece;

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

    /// The guest memory for the next `bytes` bytes, to be read or filled by others. From here to the end of the command, or of all queued
    /// ones, who takes that memory away waits.
    fn lend(&mut self, bytes: u64) -> Result<Vec<Piece>, Fault>;

    /// Counts bytes that others have moved.
    fn moved(&mut self, bytes: u64);

    /// Sleeps until `event` is signalled, or [`Self::go_on`] may say something else.
    fn wait(&self, event: &EventFd);
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

    /// Its command queue, if it has one.
    fn queue(&mut self) -> Option<&mut dyn CommandQueue> {
        None
    }

    /// The event that tells its worker of the ends of queued commands.
    fn event(&self) -> Option<&EventFd> {
        None
    }
}

/// Native command queuing: commands of which a device works on up to 32 side by side (Serial ATA 3.x, 13.6).
pub(super) trait CommandQueue {
    /// Whether this command goes into the queue.
    fn takes(&self, command: &Command) -> bool;

    /// Takes the command of `slot`, which has none under way. It begins with [`Self::kick`], and if it fails, it is heard of like all
    /// others.
    fn begin(&mut self, slot: u32, command: &Command, wire: &mut dyn Wire) -> Result<(), Fault>;

    /// Has all commands begin that were taken.
    fn kick(&mut self);

    /// Whether any command has not been collected.
    fn is_busy(&self) -> bool;

    /// Looks whether the machine has gone on, for which failed commands may wait. To be called before the worker looks whether the guest still wants
    /// what it has asked for: a reset before that is then known, and nothing of it is tried again.
    fn look(&mut self);

    /// Moves the commands that have ended behind `ended`.
    fn collect(&mut self, ended: &mut Vec<Ended>);

    /// To be called before the worker sleeps: the next command that ends signals the event. False if one has ended already.
    fn prepare_to_wait(&mut self) -> bool;

    /// Remembers a command that has failed, which software has been told of: it is going to ask which one it was.
    fn failed(&mut self, slot: u32, registers: &TaskFile);

    /// Gives up all commands. Neither guest memory nor the image is touched for them any more when it returns.
    fn give_up(&mut self);
}

/// A queued command that has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) slot: u32,
    /// Bytes that were transferred.
    pub(super) moved: u64,
    /// The device's registers.
    pub(super) registers: TaskFile,
}

/// Kinds of resets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    /// The machine is switched on anew.
    PowerOn,
    /// The guest resets the controller, the link or the device.
    Bus,
}
