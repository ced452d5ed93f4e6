//! Does an OVMF build insist on System Management Mode?
//!
//! Builds made with `-D SMM_REQUIRE` (Debian names them `*.secboot.fd`, `*.ms.fd`, `*.snakeoil.fd`) spin for ever,
//! before any output, on a machine without SMRAM: SmmAccessPei finds no ESMRAMC bits and stops. File names say
//! nothing reliable, so the content is asked: is SmmAccessPei among the PEI modules?
//!
//! The build script lists it directly in front of CpuMpPei, which every build has. So less than 100 KiB of unpacked modules
//! decide, in some two milliseconds.

use uuid::{Uuid, uuid};

use super::pei::{Unpacker, first_module};

/// OvmfPkg/SmmAccess/SmmAccessPei.inf FILE_GUID.
const SMM_ACCESS_PEI: Uuid = uuid!("6c0e75b4-b0b9-44d1-8210-3377d7b4e066");
/// UefiCpuPkg/CpuMpPei/CpuMpPei.inf FILE_GUID.
const CPU_MP_PEI: Uuid = uuid!("edadeb9d-ddba-48bd-9d22-c1c169c8c5c6");

/// What the modules of an image say about SMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmmUse {
    /// The PEI modules were found and none of them touches SMM.
    NotUsed,
    /// The image hangs without SMM (a `SMM_REQUIRE` build).
    Required,
    /// The image is built in a way that this check does not know; it may or may not need SMM.
    Unknown,
}

/// Looks for SMM modules among the PEI modules.
pub(super) fn smm_use(unpacker: &mut Unpacker<'_>) -> SmmUse {
    match first_module(unpacker, &[SMM_ACCESS_PEI, CPU_MP_PEI]) {
        Some(Some(SMM_ACCESS_PEI)) => SmmUse::Required,
        Some(_) => SmmUse::NotUsed,
        None => SmmUse::Unknown,
    }
}
