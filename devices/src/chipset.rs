//! The parts of Intel's Q35 chipset that firmware and operating systems know it by: the memory controller hub
//! ([`mch`], "Intel 3 Series Express Chipset Family Datasheet", 316966) and the ICH9 south bridge's LPC function
//! ([`lpc`]) with its power management ([`pm`]), reset ports ([`reset`]) and clock ([`rtc`]), all from the "Intel I/O
//! Controller Hub 9 (ICH9) Family Datasheet", 316972.

pub mod battery;
pub mod lpc;
pub mod mch;
pub mod pm;
mod rcrb;
pub mod reset;
pub mod rtc;
#[cfg(test)]
mod tests;

pub use battery::{BatteryState, MirroredBattery, PowerState, Unit};
pub use lpc::Lpc;
pub use mch::Mch;
pub use pm::{PM_TIMER_HZ, PowerManagement};
pub use reset::{Port92, ResetControl};
pub use rtc::{CmosMemory, Rtc, TickPolicy, TimeBase};

/// Vendor ID of the chipset's functions, and their subsystem vendor: boards whose firmware writes no IDs of its own show the chip's.
const VENDOR: u16 = 0x8086;
