//! The contents behind the fw_cfg device: what OVMF and the operating system read from the machine.
//!
//! Formats and names are those of QEMU's fw_cfg (docs/specs/fw_cfg.rst of QEMU, and the readers in edk2
//! OvmfPkg/Library/QemuFwCfgLib, PlatformInitLib, SmbiosPlatformDxe, QemuBootOrderLib, X86QemuLoadImageLib). The
//! device itself, with its ports and DMA, lives elsewhere: here are only names, bytes and files.

pub mod bootorder;
mod content;
pub mod e820;
pub mod kernel;
pub mod smbios;
mod system_states;
pub mod user_item;

pub use content::FileRange;
pub use system_states::system_states;

/// Longest name of a fw_cfg file in bytes: the directory has 56 for it, NUL included.
pub const MAX_NAME: usize = 55;
