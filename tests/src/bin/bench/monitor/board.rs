//! Machine types of QEMU's, and what starts a kernel on them.

/// A machine type of QEMU's, as lean as it can be, and what starts it if there is no flash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Board {
    /// For people.
    pub(crate) name: &'static str,
    /// Whether the guest of the lab can use the disk and the random number generator.
    pub(crate) complete: bool,
    pub(super) machine: &'static str,
    pub(super) bios: &'static str,
}

impl Board {
    const Q35_LEAN: &str = "q35,accel=kvm,smm=off,hpet=off,vmport=off,usb=off,sata=off";

    /// What is compared everywhere, with OVMF or a payload in the flash.
    pub(crate) const Q35: Self =
        Self { name: "QEMU q35, SeaBIOS", complete: true, machine: Self::Q35_LEAN, bios: "bios-256k.bin" };

    /// All that start a kernel by themselves.
    pub(crate) const DIRECT: [Self; 5] = [
        Self::Q35,
        Self { name: "QEMU q35, qboot", bios: "qboot.rom", ..Self::Q35 },
        // SeaBIOS starts the kernel by an option ROM, qboot without.
        Self {
            name: "QEMU microvm, SeaBIOS",
            complete: true,
            machine: "microvm,accel=kvm,pcie=on,pit=off,pic=off",
            bios: "bios-microvm.bin",
        },
        Self {
            name: "QEMU microvm, qboot",
            complete: true,
            machine: "microvm,accel=kvm,pcie=on,pit=off,pic=off,x-option-roms=off",
            bios: "qboot.rom",
        },
        // The leanest. Its devices are behind virtio-mmio, for which the guest's initramfs has no driver.
        Self {
            name: "QEMU microvm, no PCI or ACPI",
            complete: false,
            machine: "microvm,accel=kvm,acpi=off,pit=off,pic=off,x-option-roms=off",
            bios: "qboot.rom",
        },
    ];

    /// The transport of virtio devices, the end of their names.
    pub(super) fn transport(&self) -> &'static str {
        if self.complete { "pci" } else { "device" }
    }
}
