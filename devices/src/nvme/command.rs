//! Commands, completions and status values (NVM Express Base Specification 2.0, 3.3.3).

/// Bytes of a submission queue entry.
pub(super) const COMMAND_SIZE: usize = 64;
/// Bytes of a completion queue entry.
pub(super) const COMPLETION_SIZE: usize = 16;

/// The only namespace.
pub(super) const NAMESPACE: u32 = 1;
/// All namespaces.
pub(super) const EVERY_NAMESPACE: u32 = u32::MAX;

/// A submission queue entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command([u8; COMMAND_SIZE]);

impl Command {
    /// The entry in these bytes.
    pub(super) fn new(bytes: [u8; COMMAND_SIZE]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> [u8; COMMAND_SIZE] {
        self.0
    }

    fn u32(&self, at: usize) -> u32 {
        let mut value = [0; 4];
        value.iter_mut().zip(self.0.iter().skip(at)).for_each(|(to, from)| *to = *from);
        u32::from_le_bytes(value)
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }

    /// Operation code.
    pub(super) fn opcode(&self) -> u8 {
        self.u32(0) as u8
    }

    /// Whether the command is alone (FUSE) and describes its data by PRPs (PSDT).
    pub(super) fn is_plain(&self) -> bool {
        self.u32(0) >> 8 & 0b1100_0011 == 0
    }

    /// Command Identifier.
    pub(super) fn id(&self) -> u16 {
        (self.u32(0) >> 16) as u16
    }

    /// Namespace Identifier.
    pub(super) fn namespace(&self) -> u32 {
        self.u32(4)
    }

    /// PRP Entry 1.
    pub(super) fn prp1(&self) -> u64 {
        self.u64(24)
    }

    /// PRP Entry 2.
    pub(super) fn prp2(&self) -> u64 {
        self.u64(32)
    }

    /// Command dword `number`, 10 to 15.
    pub(super) fn dword(&self, number: usize) -> u32 {
        self.u32(number * 4)
    }

    /// Dwords 10 and 11 as one number: the first block of most commands of the NVM command set.
    pub(super) fn start(&self) -> u64 {
        self.u64(40)
    }
}

/// The Status field of a completion without its phase: Status Code in bits 7:0, Status Code Type in 10:8, Do Not Retry in 14
/// (3.3.3.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(u16);

/// Do Not Retry: the same command would fail in the same way.
const DNR: u16 = 1 << 14;
const COMMAND_SPECIFIC: u16 = 1 << 8;
const MEDIA: u16 = 2 << 8;

impl Status {
    pub(super) const SUCCESS: Self = Self(0);
    pub(super) const INVALID_OPCODE: Self = Self(0x01 | DNR);
    pub(super) const INVALID_FIELD: Self = Self(0x02 | DNR);
    pub(super) const DATA_TRANSFER: Self = Self(0x04);
    pub(super) const INTERNAL: Self = Self(0x06);
    pub(super) const ABORTED_BY_DELETION: Self = Self(0x08);
    pub(super) const INVALID_NAMESPACE: Self = Self(0x0b | DNR);
    pub(super) const SEQUENCE: Self = Self(0x0c | DNR);
    pub(super) const INVALID_PRP_OFFSET: Self = Self(0x13 | DNR);
    pub(super) const WRITE_PROTECTED: Self = Self(0x20 | DNR);
    pub(super) const OUT_OF_RANGE: Self = Self(0x80 | DNR);
    pub(super) const CAPACITY: Self = Self(0x81);
    pub(super) const INVALID_COMPLETION_QUEUE: Self = Self(COMMAND_SPECIFIC | DNR);
    pub(super) const INVALID_QUEUE: Self = Self(COMMAND_SPECIFIC | 0x01 | DNR);
    pub(super) const INVALID_QUEUE_SIZE: Self = Self(COMMAND_SPECIFIC | 0x02 | DNR);
    pub(super) const TOO_MANY_EVENT_REQUESTS: Self = Self(COMMAND_SPECIFIC | 0x05 | DNR);
    pub(super) const INVALID_VECTOR: Self = Self(COMMAND_SPECIFIC | 0x08 | DNR);
    pub(super) const INVALID_LOG_PAGE: Self = Self(COMMAND_SPECIFIC | 0x09 | DNR);
    pub(super) const INVALID_DELETION: Self = Self(COMMAND_SPECIFIC | 0x0c | DNR);
    pub(super) const NOT_SAVEABLE: Self = Self(COMMAND_SPECIFIC | 0x0d | DNR);
    pub(super) const WRITE_FAULT: Self = Self(MEDIA | 0x80);
    pub(super) const UNRECOVERED_READ: Self = Self(MEDIA | 0x81);

    /// The field as an error log entry has it, where bit 0 is the phase.
    pub(super) fn field(self) -> u16 {
        self.0 << 1
    }

    /// Whether it is an error of the medium or of the device, and not of the command.
    pub(super) fn is_media_error(self) -> bool {
        self.0 & 0x700 == MEDIA || self == Self::INTERNAL
    }
}

/// What a completion says, but for its place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// Command Identifier of the command.
    pub(super) id: u16,
    /// Dword 0.
    pub(super) result: u32,
    /// Status.
    pub(super) status: Status,
}

impl Answer {
    /// The entry but for its last two bytes, which have the phase and are written last.
    pub(super) fn dwords(self, queue: u16, head: u16, phase: bool) -> [u32; 4] {
        let status = self.status.field() | u16::from(phase);
        [
            self.result,
            0,
            u32::from(head) | u32::from(queue) << 16,
            u32::from(self.id) | u32::from(status) << 16,
        ]
    }
}
