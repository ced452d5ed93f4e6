//! The display that the guest of a virtual GPU finds plugged in: a region of the device takes its EDID (Linux
//! include/uapi/linux/vfio.h, `struct vfio_region_gfx_edid`).

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use firmware::edid::{self, Edid, EdidError};

/// Registers of the region, little-endian, which drivers let be accessed as whole dwords only.
pub(super) const OFFSET: u64 = 0;
pub(super) const MAX_SIZE: u64 = 4;
pub(super) const SIZE: u64 = 8;
pub(super) const MAX_WIDTH: u64 = 12;
pub(super) const MAX_HEIGHT: u64 = 16;
pub(super) const LINK: u64 = 20;
/// `VFIO_DEVICE_GFX_LINK_STATE_UP` and `…_DOWN`.
pub(super) const UP: u32 = 1;
pub(super) const DOWN: u32 = 2;
/// How long the display stays unplugged, so that the guest's driver notices.
const UNPLUGGED: Duration = Duration::from_millis(100);

/// The region.
pub(super) trait Registers: Send + Sync {
    /// Reads all of `data`.
    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data`.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
}

/// Why the guest does not get the display.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlugError {
    /// An access failed.
    #[error("cannot {what}: {source}")]
    Step {
        /// The step, in the infinitive.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no room for a block.
    #[error("the driver takes an EDID of {0} bytes at most, and 128 are needed")]
    Room(u32),
    /// It cannot be described.
    #[error(transparent)]
    Edid(#[from] EdidError),
}

/// A display's plug, from the first time it is plugged in until the device is closed.
pub(in crate::vfio) struct Connector {
    device: String,
    registers: Arc<dyn Registers>,
    wanted: (u32, u32),
    /// That the display is another than wanted is logged once, and not at every reset.
    logged: Once,
    /// Plugs the display in when its time has come.
    pending: Mutex<Option<Pending>>,
}

impl Connector {
    /// For a display with the preferred mode `wanted`, in pixels, on the device of this name.
    pub(super) fn new(device: &str, registers: Arc<dyn Registers>, wanted: (u32, u32)) -> Self {
        Self { device: device.to_owned(), registers, wanted, logged: Once::new(), pending: Mutex::default() }
    }

    /// Unplugs what is there and plugs the display in, the latter a while later.
    pub(super) fn plug(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        // The old one must not interfere.
        *pending = None;
        let result = exchange(self.registers.as_ref(), self.wanted).and_then(|edid| {
            self.log(edid);
            Pending::start(self.device.clone(), Arc::clone(&self.registers))
                .map_err(|source| PlugError::Step { what: "start a thread that plugs it in", source })
        });
        match result {
            Ok(thread) => *pending = Some(thread),
            Err(error) => warn(&self.device, &error),
        }
    }

    fn log(&self, edid: Edid) {
        let (width, height) = (edid.width, edid.height);
        if (width, height) == self.wanted {
            devices::limited_debug!(device = self.device, width, height, "the guest gets a display");
        } else {
            let (x, y) = self.wanted;
            self.logged.call_once(|| {
                tracing::warn!(
                    "{} shows no more than {width}x{height}: its display is that, and not {x}x{y}",
                    self.device
                );
            });
        }
    }

    /// The device was reset. Plugs the display in again if the driver has forgotten it, or if that was still to be done.
    pub(in crate::vfio) fn after_reset(&self) {
        let register = |at| dword(self.registers.as_ref(), at, "read its registers");
        let kept = register(LINK).and_then(|link| Ok(link == UP && register(SIZE)? == edid::BLOCK as u32));
        match kept {
            Ok(true) => {}
            Ok(false) => self.plug(),
            Err(error) => warn(&self.device, &error),
        }
    }
}

fn warn(device: &str, error: &PlugError) {
    devices::limited_warn!(
        "cannot plug a display into {device}: {error}. The guest has the modes that the host's driver offers by itself"
    );
}

/// All but the last step.
fn exchange(registers: &dyn Registers, wanted: (u32, u32)) -> Result<Edid, PlugError> {
    let register = |at, what| dword(registers, at, what);
    let offset = register(OFFSET, "read where its EDID goes")?;
    let room = register(MAX_SIZE, "read how large its EDID may be")?;
    let width = register(MAX_WIDTH, "read how wide it may be")?;
    let height = register(MAX_HEIGHT, "read how high it may be")?;
    let edid = edid::edid(wanted, (width, height))?;
    let size = edid.bytes.len() as u32;
    if room < size {
        return Err(PlugError::Room(room));
    }
    let step =
        |at, data: &[u8], what| registers.write(at, data).map_err(|source| PlugError::Step { what, source });
    step(LINK, &DOWN.to_le_bytes(), "unplug the one that is there")?;
    step(SIZE, &size.to_le_bytes(), "set the size of its EDID")?;
    step(offset.into(), &edid.bytes, "write its EDID")?;
    Ok(edid)
}

fn dword(registers: &dyn Registers, at: u64, what: &'static str) -> Result<u32, PlugError> {
    let mut bytes = [0; 4];
    registers.read(at, &mut bytes).map_err(|source| PlugError::Step { what, source })?;
    Ok(u32::from_le_bytes(bytes))
}

/// The last step, on its way.
struct Pending {
    cancel: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pending {
    fn start(device: String, registers: Arc<dyn Registers>) -> io::Result<Self> {
        let (cancel, cancelled) = channel::<()>();
        let thread = Builder::new().name("display-plug".to_owned()).spawn(move || {
            if cancelled.recv_timeout(UNPLUGGED) == Err(RecvTimeoutError::Timeout)
                && let Err(source) = registers.write(LINK, &UP.to_le_bytes())
            {
                warn(&device, &PlugError::Step { what: "connect it", source });
            }
        })?;
        Ok(Self { cancel: Some(cancel), thread: Some(thread) })
    }
}

impl Drop for Pending {
    /// The device must not be kept open for the rest of the time.
    fn drop(&mut self) {
        self.cancel = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether the kernel would crash when given an EDID: GVT-g of Linux 5.7 and 5.8 does on Broadwell, whose displays have
/// no place for one. `ids` are the vendor and device ID, `release` what uname says.
pub(super) fn crashes(ids: (u16, u16), release: &str) -> bool {
    let broadwell = ids.0 == 0x8086 && (0x1600..0x1640).contains(&ids.1);
    let mut numbers = release.split('.');
    broadwell && numbers.next() == Some("5") && matches!(numbers.next(), Some("7" | "8"))
}
