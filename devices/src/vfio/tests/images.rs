//! Devices to pass through.

use crate::vfio::host::irq;
use crate::vfio::testing::FakeDevice;

/// Power Management Control/Status of a [`gpu`].
pub(super) const POWER_STATE: u16 = 0x64;
/// Its MSI capability.
pub(super) const MSI: u16 = 0x68;
/// Device Control, and the byte of it that starts a function-level reset.
pub(super) const DEVICE_CONTROL: u16 = 0x80;
/// Advanced Features Control.
pub(super) const AF_CONTROL: u16 = 0xd4;
/// Its MSI-X capability, and the BAR with table (from 0x2000 on) and pending bits (from 0x3000 on).
pub(super) const MSIX: u16 = 0xb0;
pub(super) const MSIX_BAR: u32 = 1;

/// NVIDIA's, of class 0x0300: four BARs, all that interrupts, both kinds of function-level reset.
pub(super) fn gpu() -> FakeDevice {
    gpu_with(0x10_0000)
}

/// The same with a BAR 0 of another size.
pub(super) fn gpu_with(bar0: u64) -> FakeDevice {
    FakeDevice::new()
        .with_config(0x00, &[0xde, 0x10, 0x8d, 0x1c])
        .with_config(0x06, &[0x10, 0x00, 0xa1, 0x00, 0x00, 0x03, 0x10, 0x20, 0x80, 0x00])
        .with_config(0x2c, &[0xaa, 0x17, 0xd1, 0x39])
        .with_config(0x34, &[0x60])
        .with_config(0x3d, &[1])
        .with_config(0x60, &[0x01, 0x68, 0x03, 0x00, 0x08, 0x00, 0x00, 0x00])
        .with_config(MSI, &[0x05, 0x78, 0x80, 0x00])
        .with_config(0x78, &[0x10, 0xb0, 0x02, 0x00, 0x21, 0x89, 0x2c, 0x11, 0x30, 0x29, 0x09, 0x00])
        .with_config(MSIX, &[0x11, 0xd0, 0x02, 0x00, 0x01, 0x20, 0x00, 0x00, 0x01, 0x30, 0x00, 0x00])
        .with_config(0xd0, &[0x13, 0x00, 0x06, 0x03, 0x00, 0x00])
        .writable(MSI + 2, &[0x01, 0x00, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
        .writable(DEVICE_CONTROL, &[0xff, 0x7f])
        .with_power(POWER_STATE)
        .with_function_reset(DEVICE_CONTROL + 1, 0x80)
        .with_function_reset(AF_CONTROL, 1)
        .with_bar(0, 0x0, bar0, &[(0, bar0)])
        .with_bar(1, 0xc, 0x1_0000, &[(0, 0x1_0000)])
        .with_bar(5, 0x1, 0x80, &[])
        .with_msix_table(MSIX_BAR, 0x2000, 0x30)
        .with_irq(irq::INTX, 1, false)
        .with_irq(irq::MSI, 1, true)
        .with_irq(irq::MSIX, 3, false)
}
