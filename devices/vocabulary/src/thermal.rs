//! The temperature that a machine shows: the processor's registers, a portable machine's ACPI thermal zone and its SMBIOS
//! temperature probe agree on it.
//!
//! It is a constant, since a guest's load heats the host, whose own firmware cools it. All values are in tenths of a degree
//! Celsius.

/// What the processor's sensor reads: that of a laptop which works a little.
pub const TEMPERATURE: u16 = 500;

/// Where an operating system shuts a machine down: never reached, and as high as the limits of laptops' processors.
pub const CRITICAL: u16 = 1050;

/// A temperature in tenths of a kelvin, as ACPI counts them (ACPI 6.5, 11.4).
pub const fn kelvin(tenths_celsius: u16) -> u16 {
    tenths_celsius.saturating_add(2732)
}
