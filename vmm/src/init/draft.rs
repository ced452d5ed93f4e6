//! What is decided before anything is written: the options, the answers, and what suits the host where neither says.

use std::path::{Path, PathBuf};

use firmware::input;
use firmware::new_file::folder_of;
use firmware::option_rom::{self, Expect};
use vocabulary::ByteSize;

use super::ask::Dialogue;
use super::choice;
use super::files::{Disk, check_folder, check_size, written};
use super::{InitError, os_word};
use crate::cli::{DeviceId, GpuChoice, GuestOs, InitArgs};
use crate::config::check_name;
use crate::doctor::{LentGpu, Survey};

/// A machine that is to be written down.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) survey: &'a Survey,
    /// The file, as it was named.
    pub(super) config: PathBuf,
    /// The machine's name.
    pub(super) name: String,
    pub(super) os: GuestOs,
    /// The GPU that is passed through.
    pub(super) gpu: Option<&'a LentGpu>,
    /// The subsystem that it is given.
    pub(super) subsystem: Option<DeviceId>,
    /// Its video BIOS, as the file has it.
    pub(super) vbios: Option<String>,
    pub(super) memory: ByteSize,
    pub(super) cores: u32,
    pub(super) disk: Disk,
    /// The disk's path, as the file has it.
    pub(super) disk_written: String,
    /// The size of a disk that is made.
    pub(super) disk_size: ByteSize,
    /// The disc to install from, as the file has it.
    pub(super) iso: Option<String>,
}

/// The machine's name: that of the file. It is checked before anything is read or asked.
///
/// # Errors
/// The file's name is no machine's.
pub(super) fn name_of(config: &Path) -> Result<String, InitError> {
    let stem = config.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    match check_name(&stem) {
        Ok(()) => Ok(stem),
        Err(why) => Err(InitError::Name { path: config.into(), why: why.to_string() }),
    }
}

impl<'a> Draft<'a> {
    /// Decides everything. Without a `person` the defaults decide what the options leave open.
    ///
    /// # Errors
    /// An option is wrong, or the person has gone away.
    pub(super) fn new(
        args: &InitArgs,
        survey: &'a Survey,
        mut person: Option<Dialogue<'_>>,
    ) -> Result<Self, InitError> {
        let name = name_of(&args.config)?;
        check_folder(&args.config)?;
        let folder = folder_of(&args.config);
        let gpu = gpu(args, survey)?;

        let iso = match (&args.iso, &mut person) {
            (Some(iso), _) => Some(checked_iso(iso)?),
            (None, Some(person)) => {
                let question = "Disc image to install from (path, or none)";
                person.ask(question, "none", |answer| match answer {
                    "none" => Ok(None),
                    path => checked_iso(Path::new(path)).map(Some).map_err(|error| error.to_string()),
                })?
            }
            (None, None) => None,
        };
        let likely = choice::os(iso.as_deref(), gpu.is_some_and(|gpu| gpu.nvidia));
        let os = match (args.os, &mut person) {
            (Some(os), _) => os,
            (None, Some(person)) => {
                let question = "What will run in the machine (windows, linux or other)";
                person.ask(question, os_word(likely), |answer| {
                    clap::ValueEnum::from_str(answer, true)
                        .map_err(|_| "write windows, linux or other".to_owned())
                })?
            }
            (None, None) => likely,
        };

        let place = args.disk.clone().unwrap_or_else(|| args.config.with_file_name(format!("{name}.raw")));
        let disk = Disk::at(&place)?;
        let disk_size = match (&disk, args.disk_size, &mut person) {
            (Disk::There(path), Some(_), _) => return Err(InitError::DiskExists { path: path.clone() }),
            (Disk::New(..), None, Some(person)) => {
                let usual = choice::disk_size(os).to_string();
                let question = format!(
                    "Size of the new disk {} (it takes up space only as the guest writes)",
                    place.display()
                );
                person.ask(&question, &usual, |answer| {
                    let size: ByteSize = answer.parse().map_err(|error| format!("{error}"))?;
                    check_size(size).map(|()| size).map_err(|error| error.to_string())
                })?
            }
            (_, size, _) => size.unwrap_or_else(|| choice::disk_size(os)),
        };
        check_size(disk_size)?;

        let subsystem = match (gpu, args.subsystem, &mut person) {
            (Some(gpu), None, Some(person)) if names_no_laptop(gpu) => {
                let question = "The GPU names no laptop now. Its subsystem as VENDOR:DEVICE, which Windows on this laptop shows as \
                                SUBSYS_DDDDVVVV, or unknown";
                person.ask(question, "unknown", |answer| match answer {
                    "unknown" => Ok(None),
                    id => id.parse().map(Some).map_err(|error| format!("{error}")),
                })?
            }
            (_, subsystem, _) => subsystem,
        };
        let vbios = vbios(args, gpu, folder)?;

        Ok(Self {
            survey,
            config: args.config.clone(),
            disk_written: written(disk.path(), folder)?,
            iso: iso.map(|iso| written(&iso, folder)).transpose()?,
            vbios: vbios.map(|file| written(&file, folder)).transpose()?,
            memory: args.memory.unwrap_or_else(|| choice::memory(survey.memory)),
            cores: args.cores.unwrap_or_else(|| choice::cores(survey.cores)),
            name,
            os,
            gpu,
            subsystem,
            disk,
            disk_size,
        })
    }
}

/// The GPU that is passed through, if one is.
fn gpu<'a>(args: &InitArgs, survey: &'a Survey) -> Result<Option<&'a LentGpu>, InitError> {
    let gpu = match args.gpu {
        Some(GpuChoice::None) => None,
        Some(GpuChoice::At(address)) => {
            let there = survey.gpu.as_ref().filter(|gpu| gpu.address == address);
            Some(there.ok_or(InitError::NoGpu { address })?)
        }
        None => survey.gpu.as_ref(),
    };
    for (option, given) in [("--subsystem", args.subsystem.is_some()), ("--vbios", args.vbios.is_some())] {
        if given && gpu.is_none() {
            return Err(InitError::WithoutGpu { option });
        }
    }
    Ok(gpu)
}

/// Whether a GPU's subsystem says nothing, as where the laptop's own driver sets it.
pub(super) fn names_no_laptop(gpu: &LentGpu) -> bool {
    gpu.subsystem.is_some_and(|(vendor, device)| vendor == 0 || device == 0)
}

fn checked_iso(path: &Path) -> Result<PathBuf, InitError> {
    match input::open(path) {
        Ok(_) => Ok(path.into()),
        Err(source) => Err(InitError::Iso { path: path.into(), source }),
    }
}

/// The video BIOS that is named, or one that lies beside the file under a name that `vbios find` or the documentation gives it, if the
/// GPU needs one.
fn vbios(args: &InitArgs, gpu: Option<&LentGpu>, folder: &Path) -> Result<Option<PathBuf>, InitError> {
    let Some(gpu) = gpu else { return Ok(None) };
    let (vendor, device) = gpu.ids;
    if let Some(path) = &args.vbios {
        return match check_rom(path, gpu.ids) {
            Ok(()) => Ok(Some(path.clone())),
            Err(why) => Err(InitError::Vbios { path: path.clone(), why }),
        };
    }
    if gpu.own_rom {
        return Ok(None);
    }
    let names = [format!("vbios_{vendor:04x}_{device:04x}.rom"), "vbios.rom".into()];
    Ok(names.into_iter().map(|name| folder.join(name)).find(|path| check_rom(path, gpu.ids).is_ok()))
}

fn check_rom(path: &Path, (vendor, device): (u16, u16)) -> Result<(), String> {
    let bytes = input::read(path, option_rom::MAX_SIZE as u64).map_err(|error| error.to_string())?;
    option_rom::check(&bytes, Some(Expect::new(vendor, device))).map(drop).map_err(|error| error.to_string())
}
