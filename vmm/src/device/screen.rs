//! What the machine's screen shows, and how the firmware gets to its part of it.

use std::sync::Arc;

use devices::GuestRam;
use devices::display::{Bochs, Display, PlaneSource, Ramfb, Sources, WriteTracker, ramfb};
use devices::fw_cfg::FwCfgBuilder;

use crate::memory::written::WrittenMemory;

/// A screen and the firmware's way to it.
pub(super) struct MachineScreen {
    /// The screen.
    pub display: Arc<Display>,
    /// What the firmware shows, where it is offered a framebuffer.
    pub ramfb: Option<Arc<Ramfb>>,
}

impl MachineScreen {
    /// The screen of a machine with a framebuffer for its firmware, with a display adapter, with the planes of a virtual GPU, with several
    /// of them, or `None` with neither.
    pub(super) fn of(
        ramfb: bool,
        adapter: Option<Arc<Bochs>>,
        planes: Option<Arc<dyn PlaneSource>>,
        ram: &GuestRam,
    ) -> Option<Self> {
        if !ramfb && adapter.is_none() && planes.is_none() {
            return None;
        }
        let ramfb = ramfb.then(|| Arc::new(Ramfb::new(ram.clone())));
        let tracker =
            |memory: &GuestRam| Arc::new(WrittenMemory::new(memory.clone())) as Arc<dyn WriteTracker>;
        let sources = Sources {
            ramfb: ramfb.clone(),
            adapter_tracker: adapter.as_ref().map(|adapter| tracker(adapter.framebuffer())),
            adapter,
            planes,
            tracker: Some(tracker(ram)),
        };
        Some(Self { display: Arc::new(Display::new(sources)), ramfb })
    }
}

/// Offers the framebuffer to the firmware.
pub(crate) fn offer(builder: FwCfgBuilder, ramfb: Option<&Arc<Ramfb>>) -> FwCfgBuilder {
    match ramfb {
        Some(ramfb) => builder.writable(ramfb::FILE, ramfb::LEN, Arc::clone(ramfb) as _),
        None => builder,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use devices::bus::BusDevice;
    use devices::display::{Plane, PlaneMemory, Screen};
    use devices::fw_cfg::FwCfg;
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    const PICTURE: u64 = 2 << 20;
    const XR24: u32 = 0x3432_5258;

    fn ram() -> GuestRam {
        GuestRam::from_ranges(&[(GuestAddress(0), 8 << 20)]).unwrap()
    }

    /// Selector and port-wise reading, as firmware has them.
    fn read(fw_cfg: &FwCfg, key: u16, count: usize) -> Vec<u8> {
        let _ = fw_cfg.write(0, &key.to_le_bytes());
        let mut bytes = vec![0; count];
        fw_cfg.read_stream(&mut bytes);
        bytes
    }

    /// Key and size of a file in the directory.
    fn find(fw_cfg: &FwCfg, name: &str) -> Option<(u16, u32)> {
        let count = u32::from_be_bytes(read(fw_cfg, 0x19, 4).try_into().unwrap()) as usize;
        let directory = read(fw_cfg, 0x19, 4 + 64 * count);
        directory[4..].chunks(64).find_map(|entry| {
            let mut padded = name.as_bytes().to_vec();
            padded.resize(56, 0);
            let size = u32::from_be_bytes(entry[..4].try_into().unwrap());
            let key = u16::from_be_bytes(entry[4..6].try_into().unwrap());
            (entry[8..] == padded[..]).then_some((key, size))
        })
    }

    /// Shows 64 × 32 pixels at [`PICTURE`] as QemuRamfbDxe does: the selector, then a DMA write that does not select.
    fn show(fw_cfg: &FwCfg, ram: &GuestRam, key: u16) {
        let mut file = PICTURE.to_be_bytes().to_vec();
        for word in [XR24, 0, 64, 32, 256] {
            file.extend(u32::to_be_bytes(word));
        }
        ram.write_slice(&file, GuestAddress(0x2000)).unwrap();
        let mut descriptor = [16u32.to_be_bytes(), 28u32.to_be_bytes()].concat();
        descriptor.extend(0x2000u64.to_be_bytes());
        ram.write_slice(&descriptor, GuestAddress(0x1000)).unwrap();
        let _ = fw_cfg.write(0, &key.to_le_bytes());
        let _ = fw_cfg.write(8, &0x1000u32.to_be_bytes());
        assert_eq!(ram.read_obj::<u32>(GuestAddress(0x1000)).unwrap(), 0, "the transfer is done");
    }

    fn machine(ram: &GuestRam) -> (Arc<Display>, Arc<FwCfg>) {
        let MachineScreen { display, ramfb } = MachineScreen::of(true, None, None, ram).unwrap();
        (display, offer(FwCfgBuilder::new(), ramfb.as_ref()).build(ram.clone()).unwrap())
    }

    #[test]
    fn firmware_shows_a_picture_and_a_reset_takes_it() {
        let ram = ram();
        let (display, fw_cfg) = machine(&ram);
        let mut view = display.view().unwrap();
        assert!(view.look().is_empty());
        assert!(display.blank_reason().unwrap().contains("has not written etc/ramfb"));

        let (key, size) = find(&fw_cfg, "etc/ramfb").unwrap();
        assert_eq!(size, 28);
        show(&fw_cfg, &ram, key);
        ram.write_slice(&[0x33, 0x22, 0x11, 0], GuestAddress(PICTURE + 256 * 31 + 252)).unwrap();
        let change = view.look();
        assert!(change.resized);
        assert_eq!((view.frame().width, view.frame().height), (64, 32));
        assert_eq!(view.frame().pixels.last(), Some(&0x11_2233));
        assert_eq!(display.blank_reason(), None);

        // As the machine does it.
        fw_cfg.reset();
        display.reset();
        assert!(view.look().resized);
        assert_eq!((view.frame().width, view.frame().height), (0, 0));
    }

    #[test]
    fn what_the_guest_draws_is_seen_whether_or_not_the_kernel_tells_of_it() {
        let ram = ram();
        let (display, fw_cfg) = machine(&ram);
        let (key, _) = find(&fw_cfg, "etc/ramfb").unwrap();
        show(&fw_cfg, &ram, key);
        let mut view = display.view().unwrap();
        view.look();
        for turn in 0..200u32 {
            let index = turn * 97 % (64 * 32);
            let colour = turn * 0x01_0203 + 1;
            ram.write_obj(colour, GuestAddress(PICTURE + u64::from(index) * 4)).unwrap();
            // The thread that looks too may have been faster, and have told of it.
            while !view.look().is_empty() {}
            assert_eq!(view.frame().pixels.get(index as usize), Some(&(colour & 0xff_ffff)), "turn {turn}");
        }
    }

    struct Nothing;

    impl PlaneMemory for Nothing {
        fn id(&self) -> u64 {
            1
        }
        fn read(&self, _offset: u64, data: &mut [u8]) -> io::Result<()> {
            data.fill(0x44);
            Ok(())
        }
    }

    impl PlaneSource for Nothing {
        fn primary(&self) -> io::Result<Option<Plane>> {
            let (width, height, stride, size) = (32, 16, 128, 2048);
            let memory = Arc::new(Nothing);
            Ok(Some(Plane {
                format: XR24,
                modifier: 0,
                width,
                height,
                stride,
                size,
                x: 0,
                y: 0,
                hot: None,
                memory,
            }))
        }
        fn cursor(&self) -> io::Result<Option<Plane>> {
            Ok(None)
        }
        fn reset(&self) {}
    }

    #[test]
    fn machines_have_the_screen_that_they_need() {
        let ram = ram();
        assert!(MachineScreen::of(false, None, None, &ram).is_none());
        let planes = MachineScreen::of(false, None, Some(Arc::new(Nothing)), &ram).unwrap();
        let fw_cfg = offer(FwCfgBuilder::new(), planes.ramfb.as_ref()).build(ram.clone()).unwrap();
        assert_eq!(find(&fw_cfg, "etc/ramfb"), None);
        let mut view = planes.display.view().unwrap();
        view.look();
        assert_eq!((view.frame().width, view.frame().pixels.first()), (32, Some(&0x44_4444)));
    }
}
