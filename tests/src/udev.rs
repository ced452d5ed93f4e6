//! What programs see of a udev(7) that runs: where it listens, and files of the devices that it has done with. The emulated host has none.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Outcome;

const FOLDER: &str = "/run/udev";

/// It. It is gone when this is dropped.
#[derive(Debug)]
pub struct Udev(());

impl Udev {
    /// One that knows of no device.
    pub fn new() -> Outcome<Self> {
        std::fs::create_dir_all(Path::new(FOLDER).join("data"))?;
        std::fs::write(Path::new(FOLDER).join("control"), "")?;
        Ok(Self(()))
    }

    /// It has done with a device, by its node.
    pub fn knows(&self, node: &Path) -> Outcome {
        Ok(std::fs::write(file(node)?, "")?)
    }

    /// A device is about to go.
    pub fn forgets(&self, node: &Path) -> Outcome {
        Ok(std::fs::remove_file(file(node)?)?)
    }
}

impl Drop for Udev {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(FOLDER);
    }
}

/// Its file about a device.
fn file(node: &Path) -> Outcome<PathBuf> {
    let number = std::fs::metadata(node)?.rdev();
    let name = format!("c{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    Ok(Path::new(FOLDER).join("data").join(name))
}
