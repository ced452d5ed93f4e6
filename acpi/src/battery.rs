//! The battery and the power adapter of a laptop (§10.2, §10.3), of which drivers for mobile GPUs want to see one.

/// Where the values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Battery {
    /// Constants: a full battery of 6000 mAh at 14.8 V, and the adapter plugged in.
    Full,
    /// Registers of the machine at [`PORT`], which announces changes by the general-purpose event [`GPE`].
    Mirror,
}

/// First I/O port of the registers: dwords in the order of [`REGISTERS`].
pub const PORT: u16 = 0x0B00;

/// I/O ports that the registers take.
pub const LENGTH: u8 = 0x40;

/// The event, bit number in GPE0_STS. It is edge-triggered: its status is cleared before the method runs, so that
/// what happens meanwhile runs the method again.
pub const GPE: u8 = 0x10;

/// The registers by the names of their fields, 4 bytes each. All-ones is "unknown".
///
/// | name | what it is |
/// |---|---|
/// | `FLAG` | bit 0: there is a battery; bit 1: the adapter is plugged in |
/// | `UNIT` | of the values below: 0 = mWh and mW, 1 = mAh and mA |
/// | `STAT` | bit 0: discharging; bit 1: charging; bit 2: critical |
/// | `RATE` | of charging or discharging |
/// | `REMN` | remaining capacity |
/// | `VOLT` | present voltage in mV |
/// | `DSGN` | design capacity |
/// | `LAST` | last full charge capacity |
/// | `DVOL` | design voltage in mV |
/// | `WARN` | design capacity of warning |
/// | `LOWC` | design capacity of low |
/// | `GRAN` | capacity granularity |
/// | `CYCL` | charge cycles |
/// | `EVNT` | what has changed, [`EVENT_INFO`] and so on; reading clears it |
pub const REGISTERS: [[u8; 4]; 14] = [
    *b"FLAG", *b"UNIT", *b"STAT", *b"RATE", *b"REMN", *b"VOLT", *b"DSGN", *b"LAST", *b"DVOL", *b"WARN",
    *b"LOWC", *b"GRAN", *b"CYCL", *b"EVNT",
];

/// Bit of `EVNT`: the battery was put in or taken out, or its `_BIF` and `_BIX` have changed.
pub const EVENT_INFO: u32 = 1 << 0;
/// Bit of `EVNT`: `_BST` has changed.
pub const EVENT_STATUS: u32 = 1 << 1;
/// Bit of `EVNT`: `_PSR` has changed.
pub const EVENT_ADAPTER: u32 = 1 << 2;
