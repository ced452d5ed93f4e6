//! What the modules of an OVMF image say of the machine that it wants. All questions share what has been unpacked: the answers are wanted at each
//! start.

use super::dxe::{self, FLASH_VARIABLES, VIRT_MM_COMMUNICATION};
use super::pei::{LIMIT, Unpacker};
use super::smm::{self, SmmUse};
use super::tpm;

/// The modules of a CODE (or combined) image, unpacked as far as questions were asked.
pub struct Modules<'a> {
    image: &'a [u8],
    /// `None` for an image that is built in a way that is not known here.
    unpacker: Option<Unpacker<'a>>,
}

impl<'a> Modules<'a> {
    /// Those of `image`, of which nothing is unpacked yet.
    pub fn of(image: &'a [u8]) -> Self {
        Self { image, unpacker: Unpacker::of(image, LIMIT) }
    }

    /// Looks for SMM modules. Takes some two milliseconds in a release build.
    pub fn smm_use(&mut self) -> SmmUse {
        self.unpacker.as_mut().map_or(SmmUse::Unknown, smm::smm_use)
    }

    /// Whether the image gets its variables from a device outside the guest. Takes up to some ten milliseconds in a release build for one that
    /// has them in flash, and a tenth of a second for others.
    pub fn keeps_variables_outside(&mut self) -> bool {
        let in_flash =
            self.unpacker.as_mut().and_then(|unpacker| dxe::starts_with(unpacker, FLASH_VARIABLES));
        in_flash != Some(true) && dxe::has_driver(self.image, VIRT_MM_COMMUNICATION) == Some(true)
    }

    /// Whether the image starts a TPM 2.0 and measures into it; `None` for one that is built in a way that this check does not know. Takes
    /// up to some ten milliseconds in a release build, and nothing after [`Self::keeps_variables_outside`].
    pub fn knows_tpm(&mut self) -> Option<bool> {
        self.unpacker.as_mut().and_then(tpm::knows_tpm)
    }

    /// How many bytes have been unpacked for these answers, and are kept.
    #[cfg(test)]
    pub(super) fn unpacked(&self) -> usize {
        self.unpacker.as_ref().map_or(0, Unpacker::len)
    }
}
