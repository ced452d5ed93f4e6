//! The emulated host of `scripts/lab` and what it offers to guests.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::Outcome;

/// Whether this process runs in the emulated host.
pub fn inside() -> bool {
    std::env::var_os("OPTIMUS_IN_LAB").is_some()
}

/// The kind of IOMMU that the emulated host has, as `scripts/lab exec --iommu` takes it.
pub fn iommu() -> String {
    std::env::var("OPTIMUS_LAB_IOMMU").unwrap_or_else(|_| "on".into())
}

/// How many CPUs the emulated host has.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The lab's directory. It is read-only in the emulated host.
pub fn directory() -> PathBuf {
    std::env::var_os("OPTIMUS_LAB_DIR").map_or_else(|| "target/lab".into(), PathBuf::from)
}

/// A guest's file, made by `scripts/lab setup` or `scripts/guests`.
pub fn guest(name: &str) -> Outcome<PathBuf> {
    let path = directory().join("guest").join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is missing; run scripts/guests", path.display()).into())
    }
}

/// A guest's file on the emulated host's own memory file system: the shared directory is slow to read.
pub fn local(name: &str) -> Outcome<PathBuf> {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| PathBuf::from("/tmp/optimus-guests"));
    let copy = directory.join(name);
    if !copy.exists() {
        std::fs::create_dir_all(directory)?;
        std::fs::copy(guest(name)?, &copy)?;
    }
    Ok(copy)
}

/// A build of OVMF that a Debian release ships.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firmware {
    /// The edk2 release.
    pub release: &'static str,
    /// What follows `OVMF_CODE` and `OVMF_VARS` in the names of its images.
    pub build: &'static str,
}

impl Firmware {
    /// What tests use that are not about firmware.
    pub const USUAL: Self = Self { release: "2025.02", build: "_4M" };

    /// All that Debian's suites give, without the builds for Secure Boot.
    pub const ALL: [Self; 4] = [
        Self { release: "2022.11", build: "" },
        Self { release: "2022.11", build: "_4M" },
        Self { release: "2025.02", build: "_4M" },
        Self { release: "2026.08", build: "_4M" },
    ];

    /// The code image.
    pub fn code(self) -> PathBuf {
        self.image("CODE")
    }

    /// The template of the variable store.
    pub fn vars(self) -> PathBuf {
        self.image("VARS")
    }

    fn image(self, part: &str) -> PathBuf {
        directory().join("ovmf").join(self.release).join(format!("OVMF_{part}{}.fd", self.build))
    }
}

/// Runs a helper program and gives its standard output.
pub fn call<A: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[A]) -> Outcome<String> {
    call_in(Path::new("/"), program, arguments)
}

/// The same, in a directory.
pub fn call_in<A: AsRef<std::ffi::OsStr>>(
    directory: &Path,
    program: &str,
    arguments: &[A],
) -> Outcome<String> {
    let output = std::process::Command::new(program).args(arguments).current_dir(directory).output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{program} failed ({}): {said}", output.status).into())
    }
}
