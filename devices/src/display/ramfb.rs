//! The firmware's framebuffer: the fw_cfg file `etc/ramfb`, by which firmware says where in its memory the picture lies
//! (edk2 `OvmfPkg/QemuRamfbDxe`, QEMU `hw/display/ramfb.c`).
//!
//! | offset | size | big-endian                                  |
//! |--------|------|---------------------------------------------|
//! | 0      | 8    | guest-physical address                      |
//! | 8      | 4    | DRM fourcc                                  |
//! | 12     | 4    | flags, 0                                    |
//! | 16     | 4    | columns                                     |
//! | 20     | 4    | rows                                        |
//! | 24     | 4    | bytes from row to row; 0 where rows adjoin  |
//!
//! What makes no sense leaves the picture before it in place. A reset takes it away: the memory is not the firmware's any
//! more until it says so again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::format::{Fourcc, PixelFormat};
use super::surface::{PIXELS_MAX, Pixels, Surface, is_showable};
use crate::GuestRam;
use crate::fw_cfg::WriteListener;

/// The file's name in fw_cfg.
pub const FILE: &str = "etc/ramfb";
/// Its size in bytes.
pub const LEN: u16 = 28;

const WIDTHS: std::ops::RangeInclusive<u32> = 16..=16000;
const HEIGHTS: std::ops::RangeInclusive<u32> = 16..=12000;

/// Why a framebuffer is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the file has {0} bytes instead of {LEN}")]
    Length(usize),
    #[error("{0} × {1} pixels are not between 16 × 16 and 16000 × 12000, or more than {PIXELS_MAX} in all")]
    Size(u32, u32),
    #[error("format {0} is not among XR24, AR24, XB24, AB24 and RG24")]
    Format(Fourcc),
    #[error("rows of {0} bytes cannot begin every {1} bytes")]
    Stride(u32, u32),
    #[error("{1} bytes from {0:#x} on are not all in the guest's memory")]
    Memory(u64, u64),
}

#[derive(Default)]
struct State {
    surface: Option<Surface>,
    /// Why the latest write was not obeyed.
    refused: Option<Refusal>,
}

/// The file's listener, and the surface that it describes.
pub struct Ramfb {
    ram: GuestRam,
    state: Mutex<State>,
}

impl Ramfb {
    /// Without a surface. To be added to fw_cfg as [`FILE`].
    pub fn new(ram: GuestRam) -> Self {
        Self { ram, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A surface or none, either is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the firmware shows.
    pub(super) fn surface(&self) -> Option<Surface> {
        self.lock().surface.clone()
    }

    /// Why nothing is shown, for the user.
    pub(super) fn blank_reason(&self) -> String {
        match &self.lock().refused {
            None => format!(
                "the firmware has not written {FILE}. It does so a second or two after the start; if it never does, it \
                 has no driver for it: use an OVMF image with QemuRamfbDxe, as distributions ship it"
            ),
            Some(refusal) => format!(
                "what the firmware or the guest has written to {FILE} cannot be shown: {refusal}. Choose another \
                 resolution in the firmware's setup, or use another OVMF image"
            ),
        }
    }

    fn check(&self, contents: &[u8]) -> Result<Surface, Refusal> {
        let file: &[u8; LEN as usize] = contents.try_into().map_err(|_| Refusal::Length(contents.len()))?;
        let (address, rest) = file.split_first_chunk().ok_or(Refusal::Length(contents.len()))?;
        let [code, _flags, width, height, stride] = words(rest);
        let base = u64::from_be_bytes(*address);
        if !WIDTHS.contains(&width) || !HEIGHTS.contains(&height) || !is_showable(width, height) {
            return Err(Refusal::Size(width, height));
        }
        let format = PixelFormat::from_fourcc(code)
            .filter(|format| {
                use PixelFormat::{Abgr8888, Argb8888, Rgb888, Xbgr8888, Xrgb8888};
                matches!(format, Xrgb8888 | Argb8888 | Xbgr8888 | Abgr8888 | Rgb888)
            })
            .ok_or(Refusal::Format(Fourcc(code)))?;
        let mut surface =
            Surface { format, width, height, stride, pixels: Pixels::Ram(self.ram.clone(), base) };
        if stride == 0 {
            surface.stride = surface.line();
        }
        if surface.stride < surface.line() {
            return Err(Refusal::Stride(surface.line(), stride));
        }
        let bytes = surface.bytes();
        let inside = base.checked_add(bytes).is_some()
            && usize::try_from(bytes).is_ok_and(|len| self.ram.check_range(GuestAddress(base), len));
        if inside { Ok(surface) } else { Err(Refusal::Memory(base, bytes)) }
    }
}

/// The five words behind the address.
fn words(bytes: &[u8]) -> [u32; 5] {
    let mut words = [0; 5];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

impl WriteListener for Ramfb {
    fn written(&self, contents: &[u8]) {
        let checked = self.check(contents);
        let mut state = self.lock();
        match checked {
            Ok(surface) => {
                let Surface { width, height, stride, .. } = surface;
                crate::limited_debug!(width, height, stride, "the firmware shows a picture");
                state.surface = Some(surface);
                state.refused = None;
            }
            Err(refusal) => {
                crate::limited_warn!(
                    "the guest has written to {FILE} what cannot be shown: {refusal}; the screen stays as it is"
                );
                state.refused = Some(refusal);
            }
        }
    }

    fn reset(&self) {
        let mut state = self.lock();
        let State { surface, refused } = &mut *state;
        *surface = None;
        *refused = None;
    }
}
