//! The ROM BAR, by way of the file `rom` in sysfs (Linux `Documentation/filesystems/sysfs-pci.rst`), and keeping a
//! GPU awake meanwhile: one that is suspended answers no reads.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firmware::option_rom::MAX_SIZE;

use super::{Gpu, Source};

/// How long a GPU may take to wake up.
const WAKE: Duration = Duration::from_secs(2);

/// The file `rom` of the device.
pub(in crate::vbios) struct Sysfs;

impl Source for Sysfs {
    fn name(&self) -> &'static str {
        "ROM BAR (sysfs)"
    }

    fn read(&mut self, gpu: &Gpu) -> Result<Vec<u8>, String> {
        let path = gpu.folder.join("rom");
        if !path.exists() {
            return Err(
                "the GPU has no ROM BAR that the kernel knows of, as is usual without outputs (muxless)"
                    .into(),
            );
        }
        fs::write(&path, "1").map_err(|error| explain("switch on", &path, &error))?;
        let read = read(&path);
        // Left on, the ROM could answer where another BAR should.
        let off = fs::write(&path, "0").map_err(|error| explain("switch off", &path, &error));
        let bytes = read.map_err(|error| explain("read", &path, &error))?;
        off?;
        Ok(bytes)
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more, so that the check can say that it is too large.
    fs::File::open(path)?.take(MAX_SIZE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn explain(what: &str, path: &Path, error: &std::io::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => "; run the command as root",
        // What the kernel answers for a ROM without signature, and for a device without power.
        _ if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO)) => {
            "; the GPU shows no ROM there, or has no power"
        }
        _ => "",
    };
    format!("cannot {what} {}: {error}{hint}", path.display())
}

/// A device that is kept from being suspended, until this is dropped.
#[derive(Debug)]
pub(in crate::vbios) struct Awake {
    control: PathBuf,
    former: Option<String>,
}

impl Awake {
    /// Wakes the GPU. Where that is not possible, its sources will say what fails.
    pub(in crate::vbios) fn keep(gpu: &Gpu) -> Self {
        let control = gpu.folder.join("power/control");
        let mut awake = Self { control, former: None };
        let former = fs::read_to_string(&awake.control).map(|text| text.trim().to_owned());
        match former {
            Ok(former) if former == "on" => {}
            Ok(former) => match fs::write(&awake.control, "on") {
                Ok(()) => awake.former = Some(former),
                Err(error) => {
                    tracing::warn!("cannot wake {}: {}: {error}", gpu.address, awake.control.display())
                }
            },
            Err(error) => tracing::debug!("{}: {error}", awake.control.display()),
        }
        let start = Instant::now();
        let status = gpu.folder.join("power/runtime_status");
        while start.elapsed() < WAKE
            && fs::read_to_string(&status)
                .is_ok_and(|status| !matches!(status.trim(), "active" | "unsupported"))
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        awake
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if let Some(former) = &self.former
            && let Err(error) = fs::write(&self.control, former)
        {
            tracing::warn!("cannot put {} back to {former:?}: {error}", self.control.display());
        }
    }
}
