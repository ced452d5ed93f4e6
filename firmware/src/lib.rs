//! Firmware images, NVRAM and fw_cfg contents: bytes and files, no KVM and no devices.
//!
//! | module | what it holds |
//! |---|---|
//! | [`direct`] | starting a kernel without firmware |
//! | [`edid`] | what a display of a wanted resolution says of itself |
//! | [`input`] | opening files of the user's without waiting for what is no file |
//! | [`new_file`] | making and replacing files as a whole |
//! | [`image`] | OVMF CODE images: loading, validation, where they lie below 4 GiB |
//! | [`nvram`] | the per-VM variable store: creation, locking, durable writes |
//! | [`option_rom`] | PCI option ROMs such as a GPU's video BIOS: parsing, validation, other IDs |
//! | [`uefi_volume`] | sections of UEFI firmware, and unpacking of compressed ones |
//! | [`unpack`] | the search for video ROMs in BIOS updates, archives and flash dumps |
//! | [`fw_cfg`] | the contents behind the fw_cfg device: e820, SMBIOS, boot order, kernel, user items |
//! | [`pci_window`] | where OVMF will put the 64-bit PCI window, so that ACPI can agree with it |

pub mod direct;
pub mod edid;
pub mod fw_cfg;
pub mod image;
pub mod input;
pub mod new_file;
pub mod nvram;
pub mod option_rom;
pub mod pci_window;
pub mod uefi_volume;
pub mod unpack;
