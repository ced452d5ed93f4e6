//! One function or mediated device of the host, open for this VM.

mod extra;
mod irqs;
mod mapping;
mod notify;
mod open_device;
mod region;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use devices::memory::{HostMemory, HostMemoryKind};
use devices::vfio::host::region::CONFIG;
use devices::vfio::host::{HostDevice, IrqInfo, RegionInfo, ResetDone};
use vfio_ioctls::VfioDevice;
use vmm_sys_util::eventfd::EventFd;
use vocabulary::LentDevice;

use super::display::Connector;
use super::dma::Dma;
use super::reset::{Affected, Hardware, Resets, affected};
use super::reset_methods::ResetMethods;
use super::space::{Space, group_files};
use super::{VfioError, ioctl};
use crate::host::{self, HostFiles};
use irqs::Irqs;
use mapping::Mapping;
use open_device::OpenDevice;

pub(super) use extra::{EDID, OPREGION, find as find_region};
pub use notify::{Notification, NotificationKind};
pub(super) use region::Region;

/// `VFIO_DEVICE_FLAGS_RESET`.
const FLAG_RESET: u32 = 1;
/// `VFIO_IRQ_INFO_NORESIZE`.
const NO_RESIZE: u32 = 8;
/// Regions of a PCI device: six BARs, ROM, configuration space.
const REGIONS: u32 = CONFIG + 1;
const COMMAND: u64 = 0x04;
/// I/O and memory decoding, bus mastering, and the mask of INTx.
const COMMAND_ACTIVE: u16 = 1 | 1 << 1 | 1 << 2 | 1 << 10;
/// Power state, D0 to D3hot.
const PMCSR_STATE: u16 = 3;

/// A function that is open. What it consists of is closed from top to bottom.
pub(super) struct Core {
    address: LentDevice,
    files: HostFiles,
    name: String,
    irqs: Irqs,
    regions: Vec<Option<Region>>,
    reset_methods: ResetMethods,
    /// The kernel has found a way to reset the function.
    resettable: bool,
    notifications: Vec<Notification>,
    page: u64,
    /// A second handle; the device counts as open while it is there.
    file: File,
    _device: OpenDevice,
    space: Arc<Space>,
}

impl Core {
    /// Takes over a device that was opened in `space`.
    pub(super) fn new(
        device: VfioDevice,
        space: Arc<Space>,
        files: HostFiles,
        address: LentDevice,
        group: u32,
    ) -> Result<Self, VfioError> {
        let name = address.to_string();
        let setup =
            |what| move |error: io::Error| VfioError::Setup { address, what, source: Box::new(error) };
        let irqs = Irqs::new(|index| {
            device.get_irq_info(index).map_or_else(IrqInfo::default, |irq| IrqInfo {
                count: irq.count,
                fixed: irq.flags & NO_RESIZE != 0,
            })
        });
        // In this order: the second handle must be closed first, also when an error ends this function.
        let (open, file) = OpenDevice::new(device, Arc::clone(&space), files.clone(), address, group)
            .map_err(setup("duplicate its file"))?;
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let regions: Vec<_> = (0..REGIONS).map(|index| Region::query(&file, index, page)).collect();
        let flags = ioctl::device_flags(&file).map_err(setup("ask what it is"))?;
        let config = read_config(&file, &regions).map_err(setup("read its configuration space"))?;
        if host::is_dead(&config) {
            return Err(address.function().map_or_else(
                || setup("read its configuration space")(io::Error::other("it reads as all ones")),
                |address| host::all_ones(&files, address).into(),
            ));
        }
        let reset_methods = ResetMethods::of(&config);
        let resettable = flags & FLAG_RESET != 0;
        let notifications = notify::register(&file, &irqs, &name).map_err(VfioError::Event)?;
        tracing::debug!(%address, group, ?reset_methods, resettable, "a function of the host is open");
        Ok(Self {
            address,
            files,
            name,
            irqs,
            regions,
            reset_methods,
            resettable,
            notifications,
            page,
            file,
            _device: open,
            space,
        })
    }

    /// Whether the kernel has reset the function when it was opened, as it does if it can reset the function alone. A
    /// mediated device is as its last user left it.
    pub(super) fn is_fresh(&self) -> bool {
        self.resettable && !self.is_mediated()
    }

    fn region(&self, index: u32) -> io::Result<&Region> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.regions.get(index)?.as_ref())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the device has no such region"))
    }

    fn update_config(&self, offset: u64, change: impl Fn(u16) -> u16) -> io::Result<()> {
        let config = self.region(CONFIG)?;
        let mut bytes = [0; 2];
        config.read(&self.file, CONFIG, offset, &mut bytes)?;
        let value = u16::from_le_bytes(bytes);
        let changed = change(value);
        if changed == value {
            return Ok(());
        }
        config.write(&self.file, CONFIG, offset, &changed.to_le_bytes())
    }

    /// The events of this device, each with a handle of the caller's own.
    pub(super) fn notifications(&self) -> io::Result<Vec<Notification>> {
        let copy = |one: &Notification| {
            let event = one.event.try_clone()?;
            Ok(Notification { device: one.device.clone(), kind: one.kind, event })
        };
        self.notifications.iter().map(copy).collect()
    }

    /// Turns the guest's interrupts off.
    pub(super) fn silence(&self) {
        self.irqs.disable_all(&self.file, false);
    }

    pub(super) fn address(&self) -> LentDevice {
        self.address
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The node by which programs use the GPU that this device is a part of, or else those of all GPUs.
    pub(super) fn render_nodes(&self) -> Vec<PathBuf> {
        self.files.render_nodes(self.address)
    }

    /// The page size.
    pub(super) fn page(&self) -> u64 {
        self.page
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.irqs.disable_all(&self.file, true);
    }
}

/// The first 256 bytes of configuration space.
fn read_config(file: &File, regions: &[Option<Region>]) -> io::Result<Vec<u8>> {
    let config = regions.last().and_then(Option::as_ref).ok_or(io::ErrorKind::NotFound)?;
    let mut bytes = vec![0; 256];
    // In dwords, as the bus has it: one that cannot be read does not hide the others.
    for (offset, dword) in (0..).step_by(4).zip(bytes.chunks_exact_mut(4)) {
        config.read(file, CONFIG, offset, dword)?;
    }
    Ok(bytes)
}

impl Hardware for Core {
    fn reset_methods(&self) -> Option<ResetMethods> {
        self.resettable.then_some(self.reset_methods)
    }

    fn is_mediated(&self) -> bool {
        self.address.function().is_none()
    }

    fn quiet(&self) {
        let command = self.update_config(COMMAND, |command| command & !COMMAND_ACTIVE);
        let power = match self.reset_methods.pmcsr {
            // The other bits that can be written clear events: they read as 0 or stay as they are.
            Some(pmcsr) => self.update_config(pmcsr.into(), |pmcsr| pmcsr & !PMCSR_STATE),
            None => Ok(()),
        };
        if let Err(error) = command.and(power) {
            devices::limited_debug!(device = self.name, %error, "the device could not be made quiet before its reset");
        }
    }

    fn reset_function(&self) -> io::Result<()> {
        ioctl::reset(&self.file)
    }

    fn affected(&self) -> io::Result<Vec<Affected>> {
        let info = ioctl::hot_reset_info(&self.file)?;
        affected(&info).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn reset_bus(&self, groups: &[u32]) -> io::Result<()> {
        let files = if self.space.has_groups() { group_files(groups)? } else { Vec::new() };
        ioctl::hot_reset(&self.file, &files)
    }
}

/// A function of the host, passed through.
pub struct VfioHostDevice {
    /// The display that is plugged into it. Before what it is plugged into.
    pub(super) connector: OnceLock<Connector>,
    pub(super) core: Arc<Core>,
    resets: Arc<Resets>,
    dma: Arc<Dma>,
}

impl VfioHostDevice {
    pub(super) fn new(core: Arc<Core>, resets: Arc<Resets>, dma: Arc<Dma>) -> Self {
        Self { connector: OnceLock::new(), core, resets, dma }
    }

    /// Where it is on the host.
    pub fn address(&self) -> LentDevice {
        self.core.address
    }
}

impl HostDevice for VfioHostDevice {
    fn name(&self) -> &str {
        &self.core.name
    }

    fn region(&self, index: u32) -> Option<RegionInfo> {
        self.core.region(index).ok().map(|region| region.info.clone())
    }

    fn read(&self, index: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.core.region(index)?.read(&self.core.file, index, offset, data)
    }

    fn write(&self, index: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        self.core.region(index)?.write(&self.core.file, index, offset, data)
    }

    fn map(&self, index: u32, offset: u64, len: u64) -> io::Result<HostMemory> {
        let region = self.core.region(index)?;
        if !region.allows(offset, len, self.core.page) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this part of the region cannot be mapped",
            ));
        }
        let mapping =
            Mapping::new(&self.core.file, region, offset, len, self.core.page, Arc::clone(&self.core) as _)?;
        Ok(HostMemory::new(mapping.address(), len, HostMemoryKind::Device, Arc::new(mapping)))
    }

    fn irq(&self, index: u32) -> IrqInfo {
        self.core.irqs.info(index)
    }

    fn set_triggers(&self, index: u32, first: u32, events: &[Option<&EventFd>]) -> io::Result<()> {
        self.core.irqs.set_triggers(&self.core.file, index, first, events)
    }

    fn disable_irq(&self, index: u32) -> io::Result<()> {
        self.core.irqs.disable(&self.core.file, index)
    }

    fn set_intx_unmask(&self, event: &EventFd) -> io::Result<()> {
        irqs::set_intx_unmask(&self.core.file, event)
    }

    fn mask_intx(&self) -> io::Result<()> {
        irqs::mask_intx(&self.core.file)
    }

    fn unmask_intx(&self) -> io::Result<()> {
        irqs::unmask_intx(&self.core.file)
    }

    fn wait_for_dma(&self) -> bool {
        self.dma.wait()
    }

    fn announce_reset(&self) {
        self.resets.announce(self.core.address);
    }

    fn reset(&self) -> io::Result<ResetDone> {
        let done = self.resets.reset(self.core.address);
        if let Some(connector) = self.connector.get() {
            connector.after_reset();
        }
        done
    }
}
