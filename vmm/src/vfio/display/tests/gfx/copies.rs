//! Pictures that a made-up GPU copies, because they cannot be mapped or are tiled.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use devices::display::PlaneSource;

use super::super::super::buffer::Layout;
use super::super::super::gfx::PRIMARY;
use super::super::super::gpu::{Gpu as Copier, GpuError, Picture};
use super::{DMABUF, Gpu, PlaneInfo, SHOWN, XR24, bytes, memory, planes};

/// Copies with all bytes equal: one more in each.
#[derive(Default)]
pub(super) struct FakeCopier {
    copies: Mutex<u8>,
    fails: Mutex<bool>,
    silent: Mutex<bool>,
    imported: Mutex<Vec<Layout>>,
}

struct FakePicture(Arc<FakeCopier>, Layout);

/// What the device has of it.
pub(super) struct Shared(pub(super) Arc<FakeCopier>);

impl Copier for Shared {
    fn import(&self, _: OwnedFd, layout: &Layout) -> Result<Box<dyn Picture>, GpuError> {
        if *self.0.silent.lock().unwrap() {
            return Err(GpuError::Silent);
        }
        self.0.imported.lock().unwrap().push(*layout);
        Ok(Box::new(FakePicture(Arc::clone(&self.0), *layout)))
    }
}

impl Picture for FakePicture {
    fn format(&self) -> u32 {
        u32::from_le_bytes(*b"AB24")
    }

    fn copy(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, GpuError> {
        if *self.0.fails.lock().unwrap() {
            return Err(GpuError::Copy("it is only a test".into()));
        }
        let mut copies = self.0.copies.lock().unwrap();
        *copies += 1;
        bytes.clear();
        bytes.resize((self.1.width * self.1.height * 4) as usize, *copies);
        Ok(bytes)
    }
}

/// A buffer that cannot be mapped, as pipes cannot.
fn unmappable() -> OwnedFd {
    rustix::pipe::pipe().unwrap().0
}

/// A device that shows such a buffer, and what copies it.
fn unmapped() -> (Arc<Gpu>, Arc<FakeCopier>) {
    let (gpu, copier) = (Gpu::new(DMABUF), Arc::new(FakeCopier::default()));
    *gpu.copier.lock().unwrap() = Some(Arc::clone(&copier));
    gpu.buffer(1, unmappable());
    gpu.show(PRIMARY, SHOWN);
    (gpu, copier)
}

#[test]
fn a_buffer_that_cannot_be_mapped_is_copied_by_the_gpu_once_per_look() {
    let (gpu, copier) = unmapped();
    let planes = planes(&gpu);
    let plane = planes.primary().unwrap().unwrap();
    assert_eq!((&plane.format.to_le_bytes(), plane.modifier), (b"AB24", 0));
    assert_eq!((plane.width, plane.height, plane.stride, plane.size), (32, 64, 128, 8192));
    assert_eq!(*copier.copies.lock().unwrap(), 0, "nobody has read yet");
    for offset in [0, 100, 8188] {
        assert_eq!(bytes(&*plane.memory, offset, 4).unwrap(), [1; 4]);
    }
    assert!(bytes(&*plane.memory, 8189, 4).is_err(), "beyond the end");
    assert!(bytes(&*plane.memory, u64::MAX, 4).is_err());
    let again = planes.primary().unwrap().unwrap();
    assert_eq!(again.memory.id(), plane.memory.id(), "the same memory");
    assert_eq!(bytes(&*plane.memory, 0, 4).unwrap(), [2; 4], "copied anew");
    assert_eq!((gpu.take_opened(), *gpu.sought.lock().unwrap()), (vec![1], 1));
}

#[test]
fn tiled_pixels_are_copied_even_if_they_can_be_mapped() {
    const X_TILED: u64 = 1 << 56 | 1;
    let (gpu, copier) = unmapped();
    gpu.buffer(1, memory(2));
    for (modifier, copied) in [(X_TILED, true), (0x00ff_ffff_ffff_ffff, false), (0, false)] {
        gpu.show(PRIMARY, PlaneInfo { modifier, ..SHOWN });
        let plane = planes(&gpu).primary().unwrap().unwrap();
        assert_eq!(plane.modifier, 0, "what is read is in order");
        assert_eq!(plane.format == XR24, !copied, "{modifier:#x}");
        assert!(bytes(&*plane.memory, 0, 4).is_ok());
    }
    let modifiers: Vec<_> = copier.imported.lock().unwrap().iter().map(|layout| layout.modifier).collect();
    assert_eq!(modifiers, [X_TILED]);
}

#[test]
fn a_copy_that_failed_is_tried_with_the_buffer_opened_again() {
    let (gpu, copier) = unmapped();
    let planes = planes(&gpu);
    let plane = planes.primary().unwrap().unwrap();
    *copier.fails.lock().unwrap() = true;
    assert!(bytes(&*plane.memory, 0, 4).unwrap_err().to_string().contains("only a test"));
    *copier.fails.lock().unwrap() = false;
    let again = planes.primary().unwrap().unwrap();
    assert_ne!(again.memory.id(), plane.memory.id());
    assert!(bytes(&*again.memory, 0, 4).is_ok());
    assert_eq!((gpu.take_opened(), *gpu.sought.lock().unwrap()), (vec![1, 1], 1));
}

#[test]
fn a_gpu_that_was_silent_is_asked_again() {
    let (gpu, copier) = unmapped();
    let planes = planes(&gpu);
    *copier.silent.lock().unwrap() = true;
    let error = bytes(&*planes.primary().unwrap().unwrap().memory, 0, 4).unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
    *copier.silent.lock().unwrap() = false;
    assert!(bytes(&*planes.primary().unwrap().unwrap().memory, 0, 4).is_ok());
}

#[test]
fn the_gpu_is_given_no_picture_that_its_buffer_cannot_hold() {
    let (gpu, copier) = unmapped();
    for (size, held) in [(8191, false), (8192, true)] {
        gpu.show(PRIMARY, PlaneInfo { size, ..SHOWN });
        let read = bytes(&*planes(&gpu).primary().unwrap().unwrap().memory, 0, 4);
        assert_eq!(read.is_ok(), held, "{size} bytes are reported");
    }
    // A buffer that is shorter than reported: tiled, so that it is not mapped.
    gpu.buffer(1, memory(1));
    gpu.show(PRIMARY, PlaneInfo { modifier: 1 << 56 | 1, ..SHOWN });
    let error = bytes(&*planes(&gpu).primary().unwrap().unwrap().memory, 0, 4).unwrap_err();
    assert!(error.to_string().contains("does not fit its own memory"), "{error}");
    assert_eq!(copier.imported.lock().unwrap().len(), 1);
}

#[test]
fn a_picture_that_nothing_can_read_says_why_and_seeks_a_gpu_once() {
    let (gpu, _) = unmapped();
    *gpu.copier.lock().unwrap() = None;
    gpu.buffer(2, unmappable());
    let planes = planes(&gpu);
    for source in [1, 2, 1] {
        gpu.show(PRIMARY, PlaneInfo { source, ..SHOWN });
        let error = bytes(&*planes.primary().unwrap().unwrap().memory, 0, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        for part in ["that the processor cannot map", "no render node", "ramfb = true"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    assert_eq!(*gpu.sought.lock().unwrap(), 1);
    // The user has loaded a driver, and resets the guest.
    *gpu.copier.lock().unwrap() = Some(Arc::default());
    planes.reset();
    assert!(bytes(&*planes.primary().unwrap().unwrap().memory, 0, 4).is_ok());
}
