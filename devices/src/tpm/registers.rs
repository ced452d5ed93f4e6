//! The registers of the Command Response Buffer interface (TCG PC Client Platform TPM Profile 1.05, 6.5.3), locality 0 alone: hardware that
//! would use the others, for a dynamic launch, is not there. Interrupts are not there either; drivers poll.
//!
//! A command runs from the write to START until START reads as zero. Before it, the guest has requested the locality and has left the state
//! Idle. Registers that say where the buffer is cannot be written: drivers that choose a place write the one that is there.

use vocabulary::tpm::{BUFFER, BUFFER_SIZE, CRB};

use super::{HEADER, announced, failure};

/// Offsets.
pub(super) const LOC_STATE: u64 = 0x00;
pub(super) const LOC_CTRL: u64 = 0x08;
pub(super) const LOC_STS: u64 = 0x0c;
pub(super) const INTF_ID: u64 = 0x30;
pub(super) const VENDOR: u64 = 0x34;
pub(super) const CTRL_REQ: u64 = 0x40;
pub(super) const CTRL_STS: u64 = 0x44;
pub(super) const CTRL_CANCEL: u64 = 0x48;
pub(super) const CTRL_START: u64 = 0x4c;
pub(super) const CMD_SIZE: u64 = 0x58;
pub(super) const CMD_LADDR: u64 = 0x5c;
pub(super) const RSP_SIZE: u64 = 0x64;
pub(super) const RSP_ADDR: u64 = 0x68;

/// LOC_STATE: no dynamic launch has been made; there is none.
const NOT_ESTABLISHED: u32 = 1 << 0;
const ASSIGNED: u32 = 1 << 1;
/// The other bits of the register are valid.
const VALID: u32 = 1 << 7;
/// LOC_CTRL.
const REQUEST_ACCESS: u8 = 1 << 0;
const RELINQUISH: u8 = 1 << 1;
/// LOC_STS.
const GRANTED: u32 = 1 << 0;
/// CTRL_REQ.
const COMMAND_READY: u8 = 1 << 0;
const GO_IDLE: u8 = 1 << 1;
/// CTRL_STS.
const FATAL: u32 = 1 << 0;
const IDLE: u32 = 1 << 1;
/// CTRL_CANCEL and CTRL_START.
const ON: u8 = 1 << 0;

/// INTF_ID: the interface is CRB, of version 1; transfers up to 64 bytes; CRB is what there is, and what is selected. Only locality 0.
const INTERFACE: u32 = 1 | 1 << 4 | 3 << 11 | 1 << 14 | 1 << 17;
/// Vendor (the one that swtpm's certificates name) and device.
const IDS: u32 = 0x1014 | 1 << 16;

/// TPM_RC_COMMAND_SIZE.
pub(super) const RC_COMMAND_SIZE: u32 = 0x142;
/// TPM_RC_FAILURE.
pub(super) const RC_FAILURE: u32 = 0x101;

/// What a write asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// The command in the buffer is to be executed.
    Start,
    /// The command that is executed is to be cancelled.
    Cancel,
}

/// All state that a reset sets back.
#[derive(Debug)]
pub(super) struct Registers {
    /// The locality is the guest's.
    granted: bool,
    idle: bool,
    executing: bool,
    /// What CTRL_CANCEL reads as.
    cancel: bool,
    /// The TPM is out of reach.
    fatal: bool,
    buffer: Box<[u8]>,
}

impl Default for Registers {
    /// As after a reset.
    fn default() -> Self {
        let buffer = vec![0; BUFFER_SIZE].into();
        Self { granted: false, idle: true, executing: false, cancel: false, fatal: false, buffer }
    }
}

/// A bit that is set or not.
fn bit(bit: u32, set: bool) -> u32 {
    if set { bit } else { 0 }
}

impl Registers {
    fn register(&self, at: u64) -> u32 {
        let buffer = CRB.base() + BUFFER;
        match at {
            LOC_STATE => NOT_ESTABLISHED | VALID | bit(ASSIGNED, self.granted),
            LOC_STS => bit(GRANTED, self.granted),
            INTF_ID => INTERFACE,
            VENDOR => IDS,
            CTRL_STS => bit(FATAL, self.fatal) | bit(IDLE, self.idle),
            CTRL_CANCEL => self.cancel.into(),
            CTRL_START => self.executing.into(),
            CMD_SIZE | RSP_SIZE => BUFFER_SIZE as u32,
            CMD_LADDR | RSP_ADDR => buffer as u32,
            // LOC_CTRL and CTRL_REQ read as zero: what they ask for is done at once.
            _ => 0,
        }
    }

    /// The byte at an offset.
    pub(super) fn read(&self, at: u64) -> u8 {
        match at.checked_sub(BUFFER).and_then(|at| usize::try_from(at).ok()) {
            Some(at) => self.buffer.get(at).copied().unwrap_or(0xff),
            None => self.register(at & !3).to_le_bytes().get((at & 3) as usize).copied().unwrap_or(0xff),
        }
    }

    /// Writes a byte. All bits that do something are in the first byte of their register.
    pub(super) fn write(&mut self, at: u64, value: u8) -> Effect {
        let set = |bit: u8| value & bit != 0;
        match at {
            LOC_CTRL => {
                if set(RELINQUISH) {
                    self.granted = false;
                    return self.cancelled();
                }
                // To seize is for higher localities.
                self.granted |= set(REQUEST_ACCESS);
            }
            CTRL_REQ if self.granted && !self.executing => {
                if set(COMMAND_READY) {
                    self.idle = false;
                } else if set(GO_IDLE) {
                    self.idle = true;
                }
            }
            CTRL_CANCEL => {
                self.cancel = set(ON);
                if self.cancel {
                    return self.cancelled();
                }
            }
            CTRL_START if set(ON) && self.granted && !self.idle && !self.executing => {
                self.executing = true;
                return Effect::Start;
            }
            // While a command is executed, the buffer is the TPM's.
            BUFFER.. if !self.executing => {
                let at = at.checked_sub(BUFFER).and_then(|at| usize::try_from(at).ok());
                if let Some(byte) = at.and_then(|at| self.buffer.get_mut(at)) {
                    *byte = value;
                }
            }
            _ => {}
        }
        Effect::None
    }

    fn cancelled(&self) -> Effect {
        if self.executing { Effect::Cancel } else { Effect::None }
    }

    /// The command that START was written for.
    ///
    /// # Errors
    /// The response to one that is none, or that cannot be executed.
    pub(super) fn command(&self) -> Result<Vec<u8>, Vec<u8>> {
        if self.fatal {
            return Err(failure(RC_FAILURE));
        }
        let size = announced(&self.buffer).filter(|size| *size >= HEADER);
        let command = size.and_then(|size| self.buffer.get(..size));
        command.map(<[u8]>::to_vec).ok_or_else(|| failure(RC_COMMAND_SIZE))
    }

    /// Ends the command that is executed.
    pub(super) fn complete(&mut self, response: &[u8]) {
        self.buffer.iter_mut().zip(response).for_each(|(slot, byte)| *slot = *byte);
        self.executing = false;
    }

    /// The TPM is out of reach until a reset.
    pub(super) fn fail(&mut self) {
        self.fatal = true;
    }
}
