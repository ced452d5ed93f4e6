//! What the device hands over: items named by a 16-bit key, and what stands behind them.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use vocabulary::fw_cfg::Content;

/// Well-known keys (edk2 `OvmfPkg/Include/IndustryStandard/QemuFwCfg.h`). Numbers are little-endian.
pub mod keys {
    /// `QEMU`, by which firmware finds the device.
    pub const SIGNATURE: u16 = 0x00;
    /// u32 of features: bit 0 the data port, bit 1 DMA.
    pub const ID: u16 = 0x01;
    /// u16: number of CPUs that answer INIT and SIPI. OVMF waits for exactly that many.
    pub const NB_CPUS: u16 = 0x05;
    /// u32: size of [`KERNEL_DATA`].
    pub const KERNEL_SIZE: u16 = 0x08;
    /// u32: size of [`INITRD_DATA`].
    pub const INITRD_SIZE: u16 = 0x0b;
    /// u16: 1 shows the boot menu.
    pub const BOOT_MENU: u16 = 0x0e;
    /// u16: one more than the highest possible APIC id.
    pub const MAX_CPUS: u16 = 0x0f;
    /// The kernel image from the end of its setup part on.
    pub const KERNEL_DATA: u16 = 0x11;
    /// The initial RAM disk.
    pub const INITRD_DATA: u16 = 0x12;
    /// u32: size of [`CMDLINE_DATA`].
    pub const CMDLINE_SIZE: u16 = 0x14;
    /// The kernel's command line, with a NUL at its end.
    pub const CMDLINE_DATA: u16 = 0x15;
    /// u32: size of [`SETUP_DATA`].
    pub const SETUP_SIZE: u16 = 0x17;
    /// The real-mode setup part of the kernel image.
    pub const SETUP_DATA: u16 = 0x18;
    /// The directory of files.
    pub const DIRECTORY: u16 = 0x19;
    /// The first key of a file.
    pub const FILE_FIRST: u16 = 0x20;
    /// The first key that no file can have: bit 14 was a write flag once and is ignored in a selector, bit 15 marks
    /// items of one architecture.
    pub const FILE_END: u16 = 0x4000;
}

/// Fills `buf` from `bytes[offset..]`; `None` if there are too few.
pub(super) fn copy_from(bytes: &[u8], offset: u32, buf: &mut [u8]) -> Option<()> {
    let start = usize::try_from(offset).ok()?;
    buf.copy_from_slice(bytes.get(start..start.checked_add(buf.len())?)?);
    Some(())
}

/// A part of another content.
pub(super) struct Part {
    pub(super) whole: Arc<dyn Content>,
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Content for Part {
    fn len(&self) -> u32 {
        self.len
    }

    fn read_at(&self, offset: u32, buf: &mut [u8]) -> io::Result<()> {
        let offset = self.start.checked_add(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.whole.read_at(offset, buf)
    }
}

/// Hears of what the guest writes to a file. Calls come in the order of the writes, on the vCPU's thread and with the
/// device locked: they must not call back into it.
pub trait WriteListener: Send + Sync {
    /// The whole file after a write that changed any part of it.
    fn written(&self, contents: &[u8]);

    /// The platform was reset, and the file is zeros again.
    fn reset(&self) {}
}

/// Makes the contents of a group of files, in the order of their declaration. Contents shorter than declared are
/// padded with zeros. Called when the guest first selects one of them and again after a reset, on the vCPU's thread and
/// with the device locked.
pub type Provider = Box<dyn Fn() -> Result<Vec<Vec<u8>>, Box<dyn StdError + Send + Sync>> + Send + Sync>;

/// Hears of milestones in the guest's use of the device. Called on the vCPU's thread and with the device locked.
pub trait Observer: Send + Sync {
    /// Something was read for the first time since the start or a reset.
    fn first_read(&self) {}
    /// A file was selected, for the first or any further time.
    fn selected(&self, _name: &str) {}
    /// The kernel was read to its end, for the first time since the start or a reset.
    fn kernel_read(&self) {}
}

/// What stands behind an item.
pub(super) enum Body {
    Fixed(Arc<dyn Content>),
    /// Index of a writable file.
    Writable(usize),
    /// Index of a group and of a member within.
    Lazy(usize, usize),
}

pub(super) struct Item {
    pub(super) key: u16,
    /// `None` for items outside of the directory.
    pub(super) name: Option<String>,
    pub(super) len: u32,
    pub(super) body: Body,
}

pub(super) struct WritableFile {
    pub(super) len: usize,
    pub(super) listener: Arc<dyn WriteListener>,
}

pub(super) struct Group {
    /// Declared sizes of the members.
    pub(super) sizes: Vec<usize>,
    pub(super) provider: Provider,
}
