//! Transfer request blocks (eXtensible Host Controller Interface 1.1, 6.4): 16 bytes each.

/// Bytes of a TRB.
pub(super) const SIZE: u64 = 16;

/// Types (table 6-86).
pub(super) mod kind {
    pub(in crate::usb::xhci) const NORMAL: u8 = 1;
    pub(in crate::usb::xhci) const SETUP: u8 = 2;
    pub(in crate::usb::xhci) const DATA: u8 = 3;
    pub(in crate::usb::xhci) const STATUS: u8 = 4;
    pub(in crate::usb::xhci) const ISOCH: u8 = 5;
    pub(in crate::usb::xhci) const LINK: u8 = 6;
    pub(in crate::usb::xhci) const EVENT_DATA: u8 = 7;
    pub(in crate::usb::xhci) const NO_OP: u8 = 8;
    pub(in crate::usb::xhci) const ENABLE_SLOT: u8 = 9;
    pub(in crate::usb::xhci) const DISABLE_SLOT: u8 = 10;
    pub(in crate::usb::xhci) const ADDRESS_DEVICE: u8 = 11;
    pub(in crate::usb::xhci) const CONFIGURE_ENDPOINT: u8 = 12;
    pub(in crate::usb::xhci) const EVALUATE_CONTEXT: u8 = 13;
    pub(in crate::usb::xhci) const RESET_ENDPOINT: u8 = 14;
    pub(in crate::usb::xhci) const STOP_ENDPOINT: u8 = 15;
    pub(in crate::usb::xhci) const SET_TR_DEQUEUE: u8 = 16;
    pub(in crate::usb::xhci) const RESET_DEVICE: u8 = 17;
    pub(in crate::usb::xhci) const GET_PORT_BANDWIDTH: u8 = 21;
    pub(in crate::usb::xhci) const NO_OP_COMMAND: u8 = 23;
    pub(in crate::usb::xhci) const TRANSFER_EVENT: u8 = 32;
    pub(in crate::usb::xhci) const COMMAND_COMPLETION: u8 = 33;
    pub(in crate::usb::xhci) const PORT_STATUS_CHANGE: u8 = 34;
    pub(in crate::usb::xhci) const HOST_CONTROLLER: u8 = 37;
}

/// Completion codes (table 6-85).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    Success = 1,
    Babble = 3,
    Transaction = 4,
    Trb = 5,
    Stall = 6,
    NoSlots = 9,
    SlotNotEnabled = 11,
    EndpointNotEnabled = 12,
    ShortPacket = 13,
    Parameter = 17,
    ContextState = 19,
    EventRingFull = 21,
    CommandRingStopped = 24,
    Stopped = 26,
}

/// A TRB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Trb {
    pub(super) parameter: u64,
    pub(super) status: u32,
    pub(super) control: u32,
}

const CYCLE: u32 = 1;
/// Of Link TRBs: Toggle Cycle.
const TOGGLE: u32 = 1 << 1;
/// Of events: the parameter is that of an Event Data TRB.
pub(super) const EVENT_DATA: u32 = 1 << 2;
const SHORT_INTERRUPT: u32 = 1 << 2;
const CHAIN: u32 = 1 << 4;
const INTERRUPT: u32 = 1 << 5;
const IMMEDIATE: u32 = 1 << 6;
const BLOCK_INTERRUPT: u32 = 1 << 9;

impl Trb {
    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        let all = u128::from_le_bytes(bytes);
        Self { parameter: all as u64, status: (all >> 64) as u32, control: (all >> 96) as u32 }
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        let Self { parameter, status, control } = self;
        (u128::from(parameter) | u128::from(status) << 64 | u128::from(control) << 96).to_le_bytes()
    }

    /// An event without its cycle bit. `rest` are the other bits of the last dword.
    pub(super) fn event(kind: u8, parameter: u64, code: Code, length: u32, rest: u32) -> Self {
        Self {
            parameter,
            status: length & 0xff_ffff | (code as u32) << 24,
            control: u32::from(kind) << 10 | rest,
        }
    }

    pub(super) fn with_cycle(self, cycle: bool) -> Self {
        Self { control: self.control & !CYCLE | u32::from(cycle), ..self }
    }

    pub(super) fn kind(self) -> u8 {
        (self.control >> 10 & 0x3f) as u8
    }

    pub(super) fn cycle(self) -> bool {
        self.control & CYCLE != 0
    }

    pub(super) fn toggles(self) -> bool {
        self.control & TOGGLE != 0
    }

    /// The next TRB belongs to the same transfer descriptor.
    pub(super) fn chained(self) -> bool {
        self.control & CHAIN != 0
    }

    /// An event is wanted when it is done.
    pub(super) fn interrupts(self) -> bool {
        self.control & INTERRUPT != 0
    }

    /// An event is wanted when the device sends less.
    pub(super) fn interrupts_on_short(self) -> bool {
        self.control & SHORT_INTERRUPT != 0
    }

    /// The event is wanted without an interrupt.
    pub(super) fn blocks_interrupt(self) -> bool {
        self.control & BLOCK_INTERRUPT != 0
    }

    /// The parameter is the data.
    pub(super) fn is_immediate(self) -> bool {
        self.control & IMMEDIATE != 0
    }

    /// Bytes of the buffer of a transfer TRB; 0–0x1FFFF.
    pub(super) fn length(self) -> usize {
        (self.status & 0x1_ffff) as usize
    }

    /// Whether it describes a buffer.
    pub(super) fn has_data(self) -> bool {
        matches!(self.kind(), kind::NORMAL | kind::DATA | kind::ISOCH)
    }

    /// The slot of a command; 0 is none.
    pub(super) fn slot(self) -> usize {
        (self.control >> 24) as usize
    }

    /// The endpoint of a command, a device context index.
    pub(super) fn endpoint(self) -> usize {
        (self.control >> 16 & 0x1f) as usize
    }

    /// Bit 9 of a command: Block Set Address, Deconfigure, Transfer State Preserve.
    pub(super) fn flag(self) -> bool {
        self.control & 1 << 9 != 0
    }
}
