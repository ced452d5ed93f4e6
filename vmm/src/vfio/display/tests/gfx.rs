//! Planes of a made-up GPU, whose buffers are files in memory.

mod copies;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use devices::display::{PlaneMemory, PlaneSource};

use super::super::gfx::{CURSOR, Display, PRIMARY, Planes};
use super::super::gpu::{Gpu as Copier, GpuError};
use super::super::pixels::{Bounce, Pixels};
use copies::{FakeCopier, Shared};

const XR24: u32 = 0x3432_5258;
const PAGE: u64 = 4096;

/// A file in memory of `pages` pages, whose page n is filled with n + 1.
fn memory(pages: u8) -> File {
    let file = File::from(rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    for page in 0..pages {
        file.write_all_at(&[page + 1; PAGE as usize], u64::from(page) * PAGE).unwrap();
    }
    file
}

/// What `struct vfio_device_gfx_plane_info` holds from the format on.
#[derive(Clone, Copy)]
struct PlaneInfo {
    modifier: u64,
    size: u32,
    position: [u32; 2],
    hot: [u32; 2],
    source: u32,
}

const SHOWN: PlaneInfo = PlaneInfo { modifier: 0, size: 8192, position: [0, 0], hot: [0, 0], source: 1 };

#[derive(Default)]
struct Gpu {
    /// The flags that it knows.
    knows: u32,
    planes: Mutex<BTreeMap<u32, PlaneInfo>>,
    /// What queries fail with.
    failure: Mutex<Option<i32>>,
    /// What the next query alone fails with.
    hiccup: Mutex<Option<i32>>,
    buffers: Mutex<BTreeMap<u32, OwnedFd>>,
    opened: Mutex<Vec<u32>>,
    /// What copies for it; and how often it was asked for.
    copier: Mutex<Option<Arc<FakeCopier>>>,
    sought: Mutex<u32>,
}

impl Gpu {
    fn new(knows: u32) -> Arc<Self> {
        Arc::new(Self { knows, ..Self::default() })
    }

    fn show(&self, plane: u32, info: PlaneInfo) {
        self.planes.lock().unwrap().insert(plane, info);
    }

    fn buffer(&self, id: u32, file: impl Into<OwnedFd>) {
        self.buffers.lock().unwrap().insert(id, file.into());
    }

    fn take_opened(&self) -> Vec<u32> {
        std::mem::take(&mut self.opened.lock().unwrap())
    }

    fn open(&self, id: u32) -> io::Result<OwnedFd> {
        self.opened.lock().unwrap().push(id);
        let buffers = self.buffers.lock().unwrap();
        buffers.get(&id).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?.try_clone()
    }
}

impl Display for Gpu {
    fn plane(&self, flags: u32, plane: u32) -> io::Result<Vec<u8>> {
        let hiccup = self.hiccup.lock().unwrap().take();
        if let Some(errno) = hiccup.or(*self.failure.lock().unwrap()) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        if flags & !1 != self.knows {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut fields = vec![64, flags, plane];
        match self.planes.lock().unwrap().get(&plane).filter(|_| flags & 1 == 0) {
            None => fields.resize(16, 0),
            Some(info) => fields.extend(
                [
                    &[XR24, info.modifier as u32, (info.modifier >> 32) as u32, 32, 64, 128, info.size][..],
                    &info.position,
                    &info.hot,
                    &[info.source, 0],
                ]
                .concat(),
            ),
        }
        Ok(fields.iter().flat_map(|field| field.to_ne_bytes()).collect())
    }

    fn dmabuf(&self, id: u32) -> io::Result<OwnedFd> {
        self.open(id)
    }

    fn map_region(self: Arc<Self>, index: u32, len: u64, bounce: &Arc<Bounce>) -> io::Result<Pixels> {
        Pixels::map(&self.open(index)?, 0, len, bounce, None)
    }

    fn gpu(&self) -> Result<Arc<dyn Copier>, GpuError> {
        *self.sought.lock().unwrap() += 1;
        let copier = self.copier.lock().unwrap().clone().ok_or(GpuError::NoNode)?;
        Ok(Arc::new(Shared(copier)))
    }
}

const DMABUF: u32 = 2;
const REGION: u32 = 4;

fn planes(gpu: &Arc<Gpu>) -> Planes {
    Planes::probe(Arc::clone(gpu) as _).unwrap().unwrap()
}

fn bytes(memory: &dyn PlaneMemory, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0; len];
    memory.read(offset, &mut data)?;
    Ok(data)
}

#[test]
fn a_device_without_planes_has_none() {
    assert!(Planes::probe(Gpu::new(0) as _).unwrap().is_none());
}

#[test]
fn a_plane_is_what_the_kernel_reports() {
    let gpu = Gpu::new(DMABUF);
    let planes = planes(&gpu);
    assert!(planes.primary().unwrap().is_none(), "the driver shows nothing yet");
    gpu.buffer(1, memory(2));
    gpu.show(PRIMARY, SHOWN);
    let plane = planes.primary().unwrap().unwrap();
    assert_eq!((plane.format, plane.modifier), (XR24, 0));
    assert_eq!((plane.width, plane.height, plane.stride, plane.size), (32, 64, 128, 8192));
    assert_eq!(bytes(&*plane.memory, 4094, 4).unwrap(), [1, 1, 2, 2]);
    assert!(bytes(&*plane.memory, 8190, 4).is_err(), "beyond the end");
    assert!(bytes(&*plane.memory, u64::MAX, 4).is_err());
    assert!(bytes(&*plane.memory, 8192, 0).is_ok());
}

#[test]
fn a_pointer_may_leave_the_screen_and_may_have_no_hot_spot() {
    let gpu = Gpu::new(DMABUF);
    gpu.buffer(1, memory(2));
    let planes = planes(&gpu);
    for (hot, expected) in [([3, 4], Some((3, 4))), ([u32::MAX, u32::MAX], None), ([u32::MAX, 0], None)] {
        gpu.show(CURSOR, PlaneInfo { position: [(-5_i32) as u32, 7], hot, ..SHOWN });
        let cursor = planes.cursor().unwrap().unwrap();
        assert_eq!((cursor.x, cursor.y, cursor.hot), (-5, 7, expected));
    }
}

#[test]
fn buffers_are_opened_once_and_closed_when_others_come() {
    let gpu = Gpu::new(DMABUF);
    let planes = planes(&gpu);
    (1..=7).for_each(|id| gpu.buffer(id, memory(2)));
    let mut show = |source| {
        gpu.show(PRIMARY, PlaneInfo { source, ..SHOWN });
        planes.primary().unwrap().unwrap().memory.id()
    };
    let ids: Vec<_> = [1, 2, 1, 2, 3, 4, 5].into_iter().map(&mut show).collect();
    assert_eq!(gpu.take_opened(), [1, 2, 3, 4, 5]);
    assert_eq!((ids[0], ids[1]), (ids[2], ids[3]), "the same memory");
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    // The sixth takes the place of the first, which was not shown for longest.
    show(6);
    show(2);
    assert_eq!(gpu.take_opened(), [6]);
    let again = show(1);
    assert_eq!(gpu.take_opened(), [1]);
    assert_ne!(again, ids[0], "a number is not given twice");
}

#[test]
fn a_buffer_that_has_grown_is_opened_again() {
    let gpu = Gpu::new(DMABUF);
    let planes = planes(&gpu);
    gpu.buffer(1, memory(3));
    gpu.show(PRIMARY, SHOWN);
    let before = planes.primary().unwrap().unwrap().memory;
    gpu.show(PRIMARY, PlaneInfo { size: 12288, ..SHOWN });
    let after = planes.primary().unwrap().unwrap().memory;
    assert_ne!(before.id(), after.id());
    assert_eq!(bytes(&*after, 8192, 1).unwrap(), [3]);
    assert_eq!(bytes(&*before, 0, 1).unwrap(), [1], "who still looks at it may");
}

#[test]
fn a_reset_forgets_all_buffers() {
    let gpu = Gpu::new(DMABUF);
    let planes = planes(&gpu);
    gpu.buffer(1, memory(2));
    gpu.show(PRIMARY, SHOWN);
    planes.primary().unwrap();
    planes.reset();
    planes.primary().unwrap();
    assert_eq!(gpu.take_opened(), [1, 1]);
}

#[test]
fn failures_are_reported_and_a_plane_in_the_making_is_none() {
    let gpu = Gpu::new(DMABUF);
    let planes = planes(&gpu);
    gpu.show(PRIMARY, PlaneInfo { source: 9, ..SHOWN });
    assert_eq!(planes.primary().err().unwrap().raw_os_error(), Some(libc::ENOENT), "no such buffer");
    for (errno, none) in [(libc::EINVAL, true), (libc::EFAULT, true), (libc::EIO, false)] {
        *gpu.failure.lock().unwrap() = Some(errno);
        match planes.primary() {
            Ok(plane) => assert!(none && plane.is_none()),
            Err(error) => assert!(!none && error.raw_os_error() == Some(errno)),
        }
    }
}

#[test]
fn planes_of_a_region_have_no_pointer() {
    let gpu = Gpu::new(REGION);
    let planes = planes(&gpu);
    gpu.buffer(16, memory(2));
    gpu.show(PRIMARY, PlaneInfo { source: 16, ..SHOWN });
    gpu.show(CURSOR, PlaneInfo { source: 16, ..SHOWN });
    assert_eq!(bytes(&*planes.primary().unwrap().unwrap().memory, 4096, 2).unwrap(), [2, 2]);
    assert!(planes.cursor().unwrap().is_none());
    planes.primary().unwrap();
    assert_eq!(gpu.take_opened(), [16]);
}

#[test]
fn pages_that_are_gone_are_an_error() {
    let gpu = Gpu::new(DMABUF);
    let planes = planes(&gpu);
    let file = memory(2);
    gpu.buffer(1, file.try_clone().unwrap());
    gpu.show(PRIMARY, SHOWN);
    let plane = planes.primary().unwrap().unwrap();
    assert!(bytes(&*plane.memory, 0, 8192).is_ok());
    file.set_len(PAGE).unwrap();
    assert!(bytes(&*plane.memory, 0, 8192).unwrap_err().to_string().contains("gone"));
    assert_eq!(bytes(&*plane.memory, 4000, 96).unwrap(), [1; 96], "what is there can be read");
    file.set_len(2 * PAGE).unwrap();
    assert_eq!(bytes(&*plane.memory, 4095, 2).unwrap(), [1, 0]);
}

#[test]
fn reads_larger_than_a_piece() {
    let bounce = Bounce::new().unwrap();
    let file = memory(200);
    let pixels = Pixels::map(&file, PAGE, 199 * PAGE, &bounce, None).unwrap();
    let mut data = vec![0; 198 * PAGE as usize];
    pixels.read(PAGE / 2, &mut data).unwrap();
    for (at, byte) in data.iter().enumerate().step_by(97) {
        assert_eq!(usize::from(*byte), (at + 2048) / 4096 + 2);
    }
}

#[test]
fn what_cannot_be_mapped_is_black() {
    let bounce = Bounce::new().unwrap();
    let pixels = Pixels::map_but(&memory(3), 2 * PAGE + 100, 100, &bounce).unwrap();
    let mut data = vec![9; 300];
    pixels.read(2 * PAGE - 200, &mut data).unwrap();
    assert_eq!((&data[..200], &data[200..]), (&[2; 200][..], &[0; 100][..]));
    let mut data = [9; 10];
    pixels.read(2 * PAGE + 90, &mut data).unwrap();
    assert_eq!(data, [0; 10]);
    assert!(pixels.read(2 * PAGE + 91, &mut data).is_err(), "behind the end");
}

#[test]
fn a_buffer_that_was_just_made_is_asked_for_again() {
    let gpu = Gpu::new(DMABUF);
    let planes = planes(&gpu);
    gpu.buffer(1, memory(2));
    gpu.show(PRIMARY, SHOWN);
    *gpu.hiccup.lock().unwrap() = Some(libc::ENOMEM);
    assert!(planes.primary().unwrap().is_some());
    *gpu.failure.lock().unwrap() = Some(libc::ENOMEM);
    assert_eq!(planes.primary().err().unwrap().raw_os_error(), Some(libc::ENOMEM), "but not for ever");
}
