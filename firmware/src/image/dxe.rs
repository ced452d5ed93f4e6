//! The DXE modules of an OVMF image that tell where it keeps its variables, and whether it has Secure Boot.
//!
//! A build with `-D QEMU_PV_VARS` (Fedora and RHEL 10 name it `OVMF.qemuvars.fd`) asks a device of QEMU's for its variables, and spins for ever, before
//! any output, on a machine without it: VirtMmCommunication (edk2 OvmfPkg/VirtMmCommunicationDxe) stops.
//!
//! The DXE volume is the second one in the LZMA stream, of 12 to 16 MiB. Unpacking all of it takes a tenth of a second, but its first file lists
//! the drivers that start before all others (the "a priori" file: UEFI Platform Initialization specification, volume 2, section 10.3), and the one for
//! variables in flash is among those in each build that has them there without SMM. So the whole is unpacked for rare builds only.

use uuid::{Uuid, uuid};

use super::fv::{File, guid_at, u24_at};
use super::pei::Unpacker;

/// EFI_APRIORI_GUID.
const A_PRIORI: Uuid = uuid!("fc510ee7-ffdc-11d4-bd41-0080c73c8881");
/// OvmfPkg/QemuFlashFvbServicesRuntimeDxe/FvbServicesRuntimeDxe.inf FILE_GUID.
pub(super) const FLASH_VARIABLES: Uuid = uuid!("733cbac2-b23f-4b92-bc8e-fb01ce5907b7");
/// OvmfPkg/VirtMmCommunicationDxe/VirtMmCommunication.inf FILE_GUID.
pub(super) const VIRT_MM_COMMUNICATION: Uuid = uuid!("0b807404-2d1c-4066-95f4-f28a58800185");
/// SecurityPkg/VariableAuthenticated/SecureBootConfigDxe/SecureBootConfigDxe.inf FILE_GUID.
const SECURE_BOOT_CONFIG: Uuid = uuid!("f0e6a44f-7195-41c3-ac64-54f202cd0a21");
/// Twice the volumes of every known build; what comes after that is not asked.
const WHOLE: usize = 32 << 20;

/// Whether an image has Secure Boot, be it on or off. Takes a tenth of a second. `None` for one that is built in a way that this check does not know.
pub(super) fn knows_secure_boot(image: &[u8]) -> Option<bool> {
    has_driver(image, SECURE_BOOT_CONFIG)
}

/// Whether the driver `name` is in the DXE volume.
pub(super) fn has_driver(image: &[u8], name: Uuid) -> Option<bool> {
    let mut unpacker = Unpacker::of(image, WHOLE)?;
    let base = dxe_volume(&mut unpacker)?;
    unpacker.first_file(base, &[name]).map(|found| found.is_some())
}

/// Whether `name` is among the drivers that are to start before all others.
pub(super) fn starts_with(unpacker: &mut Unpacker<'_>, name: Uuid) -> Option<bool> {
    let base = dxe_volume(unpacker)?;
    let (at, _) = unpacker.volume(base)?;
    // Far more than such a list was unpacked with the head of the volume.
    let out = unpacker.upto(at)?;
    let file = File::parse(out.get(at..)?).filter(|file| file.name == A_PRIORI)?;
    // One raw section, of GUIDs.
    let section = out.get(at.checked_add(file.header)?..at.checked_add(file.size)?)?;
    let names = section.get(4..u24_at(section, 0)?)?;
    Some(names.chunks_exact(16).any(|bytes| guid_at(bytes, 0) == Some(name)))
}

fn dxe_volume(unpacker: &mut Unpacker<'_>) -> Option<usize> {
    let (_, next) = unpacker.volume_section(0)?;
    unpacker.volume_section(next).map(|(base, _)| base)
}
