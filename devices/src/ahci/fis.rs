//! Frames between a port and its device (Serial ATA 3.x, 10.5; AHCI 1.3.1, 4.2).

use super::registers::{BSY, DRQ, READY};

/// Bytes of a command FIS in a command table.
pub(super) const COMMAND_FIS: usize = 64;

/// Where the port puts received frames (AHCI 1.3.1, 4.2.1).
pub(super) const PIO_SETUP_AT: u64 = 0x20;
pub(super) const REGISTER_AT: u64 = 0x40;
pub(super) const SET_DEVICE_BITS_AT: u64 = 0x58;

/// Types.
const HOST_TO_DEVICE: u8 = 0x27;
const DEVICE_TO_HOST: u8 = 0x34;
const PIO_SETUP: u8 = 0x5f;
const SET_DEVICE_BITS: u8 = 0xa1;
/// The frame raises an interrupt.
const INTERRUPT: u8 = 1 << 6;
/// Data goes to the host.
const TO_HOST: u8 = 1 << 5;

/// What the host writes to a device's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Command {
    /// The device behind a port multiplier.
    pub(super) multiplier_port: u8,
    /// The frame updates the command register, and not the control register.
    pub(super) is_command: bool,
    pub(super) command: u8,
    pub(super) features: u16,
    /// 48 bits.
    pub(super) lba: u64,
    pub(super) device: u8,
    pub(super) count: u16,
    pub(super) control: u8,
}

impl Command {
    /// Reads a frame of 5 dwords; `None` if it is of another type.
    pub(super) fn parse(frame: &[u8; COMMAND_FIS]) -> Option<Self> {
        let [
            kind,
            flags,
            command,
            features,
            l0,
            l1,
            l2,
            device,
            l3,
            l4,
            l5,
            features_high,
            count,
            count_high,
            _icc,
            control,
            ..,
        ] = *frame;
        (kind == HOST_TO_DEVICE).then_some(Self {
            multiplier_port: flags & 0xf,
            is_command: flags & 0x80 != 0,
            command,
            features: u16::from_le_bytes([features, features_high]),
            lba: u64::from_le_bytes([l0, l1, l2, l3, l4, l5, 0, 0]),
            device,
            count: u16::from_le_bytes([count, count_high]),
            control,
        })
    }
}

/// A device's registers, as the host sees them at the end of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TaskFile {
    pub(super) status: u8,
    pub(super) error: u8,
    pub(super) count: u16,
    /// 48 bits.
    pub(super) lba: u64,
    pub(super) device: u8,
}

impl TaskFile {
    /// A command is done.
    pub(super) const DONE: Self = Self { status: READY, error: 0, count: 0, lba: 0, device: 0 };

    /// After a reset: "all is well", and which kind of device this is (PxSIG).
    pub(super) fn signature(signature: u32) -> Self {
        let [count, low, mid, high] = signature.to_le_bytes();
        let lba = u64::from_le_bytes([low, mid, high, 0, 0, 0, 0, 0]);
        Self { status: READY, error: 1, count: count.into(), lba, device: 0 }
    }

    /// As a register FIS.
    pub(super) fn frame(self, interrupt: bool) -> [u8; 20] {
        let flags = if interrupt { INTERRUPT } else { 0 };
        self.registers(DEVICE_TO_HOST, flags, self.status, [0; 5])
    }

    /// What the two have in common: all but a frame's type, flags and status, and what follows the registers.
    fn registers(self, kind: u8, flags: u8, status: u8, tail: [u8; 5]) -> [u8; 20] {
        let [l0, l1, l2, l3, l4, l5, ..] = self.lba.to_le_bytes();
        let [count, count_high] = self.count.to_le_bytes();
        let [t0, t1, t2, t3, t4] = tail;
        let Self { error, device, .. } = self;
        [
            kind, flags, status, error, l0, l1, l2, device, l3, l4, l5, 0, count, count_high, 0, t0, t1, t2,
            t3, t4,
        ]
    }

    /// As a set device bits FIS, which ends the queued commands of `slots`. It has no room for the bits of the status that say "busy" and
    /// "data request".
    pub(super) fn set_device_bits(self, slots: u32) -> [u8; 8] {
        let [s0, s1, s2, s3] = slots.to_le_bytes();
        [SET_DEVICE_BITS, INTERRUPT, self.status & !(BSY | DRQ), self.error, s0, s1, s2, s3]
    }

    /// As the PIO setup FIS before `bytes` bytes of data, whose end leaves these registers.
    pub(super) fn pio_setup(self, to_host: bool, bytes: u16) -> [u8; 20] {
        let [low, high] = bytes.to_le_bytes();
        let flags = if to_host { INTERRUPT | TO_HOST } else { INTERRUPT };
        self.registers(PIO_SETUP, flags, READY | DRQ, [self.status, low, high, 0, 0])
    }
}
