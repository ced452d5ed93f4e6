//! Which of several sources is shown, with a display adapter among them.

use super::*;
use crate::bus::BusDevice;

/// A core with an adapter, a framebuffer of the firmware's and a virtual GPU.
struct Three {
    bench: Bench,
    adapter: Arc<Bochs>,
    tracker: Arc<Tracker>,
}

impl Three {
    fn new() -> Self {
        let mut bench = Bench::new();
        let adapter = Bochs::new(1920, 1080, Box::new(|_, _| Some([0; 128]))).unwrap();
        let tracker = Arc::<Tracker>::default();
        bench.core = Core::new(Sources {
            ramfb: Some(bench.ramfb.clone()),
            adapter: Some(adapter.clone()),
            planes: Some(bench.gpu.clone()),
            tracker: Some(bench.tracker.clone()),
            adapter_tracker: Some(tracker.clone()),
        });
        Self { bench, adapter, tracker }
    }

    /// A mode of 80 × 40 pixels, by ports, or none.
    fn enable(&self, on: bool) {
        let ports = BochsPorts(self.adapter.clone());
        for (register, value) in [(1u16, 80u16), (2, 40), (3, 32), (4, u16::from(on))] {
            let _ = ports.write(0, &register.to_le_bytes());
            let _ = ports.write(2, &value.to_le_bytes());
        }
    }

    fn draw(&self, offset: u64, colour: u32) {
        self.adapter.framebuffer().write_obj(colour, GuestAddress(offset)).unwrap();
        let page = offset & !0xfff;
        self.tracker.written.lock().unwrap().push(page..page + 4096);
    }
}

#[test]
fn a_plane_covers_the_adapter_and_that_the_firmwares_framebuffer() {
    let mut three = Three::new();
    let reason = three.bench.core.blank_reason().unwrap();
    assert!(reason.contains("has not written etc/ramfb"), "{reason}");
    three.bench.small_ramfb();
    three.bench.look(Effort::Everything);
    assert_eq!(three.bench.size(), (64, 32));
    three.enable(true);
    three.bench.look(Effort::Written);
    assert_eq!(three.bench.size(), (80, 40));
    let memory = Memory::new(7, 4 * 16 * 16, 0x11);
    three.bench.gpu.show(&memory, 16, 16);
    three.bench.look(Effort::Written);
    assert_eq!(three.bench.size(), (16, 16));
    *three.bench.gpu.primary.lock().unwrap() = None;
    three.bench.look(Effort::Written);
    assert_eq!(three.bench.size(), (80, 40));
    three.enable(false);
    three.bench.look(Effort::Written);
    assert_eq!(three.bench.size(), (64, 32));
}

#[test]
fn what_cannot_be_shown_of_the_adapter_is_told_and_not_replaced() {
    let mut three = Three::new();
    three.bench.small_ramfb();
    three.enable(true);
    let ports = BochsPorts(three.adapter.clone());
    let _ = ports.write(0, &3u16.to_le_bytes());
    let _ = ports.write(2, &8u16.to_le_bytes());
    three.bench.look(Effort::Written);
    assert_eq!(three.bench.size(), (0, 0));
    let reason = three.bench.core.blank_reason().unwrap();
    assert!(reason.contains("pixels of 8 bits"), "{reason}");
}

#[test]
fn an_adapter_alone_says_who_has_not_set_a_mode() {
    let adapter = Bochs::new(1920, 1080, Box::new(|_, _| Some([0; 128]))).unwrap();
    let core = Core::new(Sources { adapter: Some(adapter), ..Sources::default() });
    let reason = core.blank_reason().unwrap();
    for part in
        ["neither the firmware nor the guest's driver has set a mode", "QemuVideoDxe", "boot = \"direct\""]
    {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn written_pages_of_the_adapter_are_told_by_its_own_tracker() {
    let mut three = Three::new();
    three.enable(true);
    three.bench.look(Effort::Everything);
    assert!(three.bench.core.watch(false));
    assert_eq!(three.tracker.watches.load(Ordering::Relaxed), 1);
    assert_eq!(three.bench.tracker.watches.load(Ordering::Relaxed), 0);
    three.bench.look(Effort::Everything);
    // The second page begins within the 13th row.
    three.draw(4096, 0x12_3456);
    three.bench.look(Effort::Written);
    assert_eq!(three.bench.copy.frame.pixels.get(1024), Some(&0x12_3456));
    // What no tracker tells of is not looked for.
    three.adapter.framebuffer().write_obj(0x65_4321u32, GuestAddress(0)).unwrap();
    three.bench.look(Effort::Written);
    assert_eq!(three.bench.copy.frame.pixels.first(), Some(&0));
    three.bench.look(Effort::Everything);
    assert_eq!(three.bench.copy.frame.pixels.first(), Some(&0x65_4321));
}

#[test]
fn sizes_are_offered_through_the_adapter_alone() {
    let three = Three::new();
    assert_eq!(three.bench.core.offer_size(1280, 720), Ok(()));
    assert_eq!(three.bench.core.offer_size(8192, 4320), Err(SizeRefusal::TooLarge));
    assert_eq!(Bench::new().core.offer_size(1280, 720), Err(SizeRefusal::Fixed));
    // Nobody sees the adapter while a virtual GPU shows something.
    let memory = Memory::new(7, 4 * 16 * 16, 0x11);
    three.bench.gpu.show(&memory, 16, 16);
    assert_eq!(three.bench.core.offer_size(1280, 720), Err(SizeRefusal::Fixed));
    *three.bench.gpu.primary.lock().unwrap() = None;
    assert_eq!(three.bench.core.offer_size(1280, 720), Ok(()));
}
