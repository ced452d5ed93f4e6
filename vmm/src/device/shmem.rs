//! `[[shmem]]`: memory that the guest shares with programs of the host, Looking Glass' client first of all. The function is
//! [`devices::ivshmem`]'s.

mod file;
mod mapping;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devices::ivshmem::{self, MAX_SIZE, MIN_SIZE, size_for_frames};
use devices::memory::{HostMemory, HostMemoryKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::{ByteSize, PciAddress, Resolution};

use self::file::ShmemError;
use self::mapping::Mapping;
use super::{Assembly, DeviceError, Opened, Opening, PciNeed, Spec, UsedFile};
use crate::finding::{Resolver, Section};
use crate::topology::Placed;

/// Where Looking Glass' client looks.
const LOOKING_GLASS: &str = "/dev/shm/looking-glass";

/// Memory that the guest shares with programs of the host (ivshmem), for Looking Glass. Passed-through devices reach it, too.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShmemSection {
    /// The file that is the memory: made where there is none, and left there at the end. Or the device of Looking Glass' module, `"/dev/kvmfr0"`.
    #[serde(default)]
    #[schemars(extend("format" = "path", "x-default" = "`\"/dev/shm/looking-glass\"`"))]
    pub path: Option<String>,
    /// The largest screen that Looking Glass is to show, from which the size follows. For larger ones than `"3840x2400"` give `size`.
    #[serde(default, rename = "for")]
    #[schemars(extend("x-default" = "none: give it or `size`"))]
    pub screen: Option<Resolution>,
    /// Whether that screen has more than 8 bits for a colour, which takes twice the memory.
    #[serde(default)]
    pub hdr: bool,
    /// The size: a power of two from 1M to 4G.
    #[serde(default)]
    #[schemars(extend("x-default" = "what `for` takes"))]
    pub size: Option<ByteSize>,
    /// The group of the host that a file which is made belongs to. Its members and its owner may read and write it, nobody else.
    #[serde(default)]
    #[schemars(extend("x-default" = "that of the user, also under sudo"))]
    pub group: Option<String>,
    /// The PCI address in the guest.
    #[serde(default)]
    #[schemars(extend("x-default" = "the next free one"))]
    pub address: Option<PciAddress>,
}

/// Shared memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shmem {
    /// Its number in the file, from 0.
    pub index: usize,
    /// The file or character device.
    pub path: PathBuf,
    /// Bytes: a power of two from [`MIN_SIZE`] to [`MAX_SIZE`].
    pub size: ByteSize,
    /// The group of a file that is made.
    pub group: Option<String>,
    /// Guest PCI address; `None` leaves it to the plan.
    pub address: Option<PciAddress>,
}

impl ShmemSection {
    /// The memory of this number.
    pub(crate) fn resolve(self, index: usize, resolver: &mut Resolver) -> Shmem {
        let Self { path, screen, hdr, size, group, address } = self;
        let section = Section::Shmem(index);
        let frames =
            screen.and_then(|screen| size_for_frames(screen.width.into(), screen.height.into(), hdr));
        match (screen, size) {
            (None, None) => resolver.problem_with_help(
                section,
                "this shared memory has no size",
                "add `for = \"1920x1080\"`, the largest screen that Looking Glass is to show, or `size = \"32M\"`",
            ),
            (Some(_), Some(_)) => resolver.problem_with_help(
                section.key("size"),
                "the size follows from `for` already",
                "remove either `size` or `for`",
            ),
            _ => {}
        }
        if hdr && screen.is_none() {
            resolver
                .problem(section.key("hdr"), "this says something of the screen in `for`, and there is none");
        }
        let size = size.or(frames).unwrap_or(ByteSize::from_bytes(MIN_SIZE));
        if !size.bytes().is_power_of_two() || !(MIN_SIZE..=MAX_SIZE).contains(&size.bytes()) {
            let next = size.bytes().clamp(MIN_SIZE, MAX_SIZE).next_power_of_two();
            resolver.problem_with_help(
                section.key("size"),
                format!("shared memory of {size}: sizes are powers of two from 1M to 4G"),
                format!("`size = \"{}\"`", ByteSize::from_bytes(next)),
            );
        }
        let path = path.map_or_else(|| LOOKING_GLASS.into(), |path| resolver.path(path));
        Shmem { index, path, size, group, address }
    }
}

/// Two functions over one file would be two names of one memory, which nobody means.
pub(crate) fn check_files(resolver: &mut Resolver, all: &[Shmem]) {
    for (number, shmem) in all.iter().enumerate() {
        if let Some(first) = all.iter().take(number).find(|other| other.path == shmem.path) {
            let line = resolver.line_of(first.section());
            resolver.problem_with_help(
                shmem.section(),
                format!("another shared memory{line} has the same file, {}", shmem.path.display()),
                "give each a `path` of its own",
            );
        }
    }
}

impl Shmem {
    /// How Looking Glass' client is started for it.
    pub(crate) fn client(&self) -> String {
        match self.path == Path::new(LOOKING_GLASS) {
            true => "looking-glass-client".into(),
            false => format!("looking-glass-client -f {}", self.path.display()),
        }
    }
}

impl Spec for Shmem {
    fn section(&self) -> Section {
        Section::Shmem(self.index)
    }

    fn describe(&self) -> String {
        format!("shared memory {} {}, {}", self.section(), self.path.display(), self.size)
    }

    fn pci(&self) -> Option<PciNeed> {
        Some(PciNeed { address: self.address, pin: 0 })
    }

    fn files(&self) -> Vec<UsedFile<'_>> {
        vec![(format!("the memory of {}", self.section()), &self.path)]
    }

    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        let opened = file::open(self, opening.purpose).and_then(|file| {
            // Nobody runs what is only looked at.
            let Some(file) = file else { return Ok(None) };
            let memory = file::map(self, &file)?;
            Ok(Some(OpenShmem { memory, file }))
        });
        match opened {
            Ok(Some(open)) => Some(Box::new(open)),
            Ok(None) => Some(Box::new(Looked)),
            Err(error) => {
                let error = *error;
                let (key, help) = (error.key(), error.help(self));
                let message = format!("{}: {error}", self.section());
                let problem = opening.origin.problem(self.section().key(key), message).with_help(help);
                // The file is right; another machine is in the way.
                let busy = matches!(error, ShmemError::Used { .. });
                opening.problems.push(if busy { problem.about_host() } else { problem });
                None
            }
        }
    }
}

/// A file that was looked at.
struct Looked;

impl Opened for Looked {
    fn build(self: Box<Self>, _: Option<Placed<'_>>, _: &mut Assembly<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// Memory that is mapped.
struct OpenShmem {
    memory: Mapping,
    file: File,
}

impl Opened for OpenShmem {
    fn build(
        self: Box<Self>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let Self { memory, file } = *self;
        // The plan gives a place to whoever asks for one.
        let Some(placed) = placed else { return Ok(()) };
        let (address, len) = (memory.address(), memory.len());
        let memory = HostMemory::new(address, len, HostMemoryKind::Shared, Arc::new(memory));
        let function = ivshmem::function(memory, file, placed.function.multifunction).ok_or_else(|| {
            DeviceError::Function { at: placed.function.to_string(), why: format!("no BAR has {len} bytes") }
        })?;
        machine.add_function(placed, function)
    }
}

#[cfg(test)]
mod tests;
