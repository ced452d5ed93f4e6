//! Where windows may be, and what observers are told.

use std::sync::atomic::{AtomicUsize, Ordering};

use devices::GuestRam;
use devices::memory::HostMemoryKind;
use vm_memory::{GuestAddress, MmapRegion};

use super::*;

const LEN: u64 = 0x2000;

#[test]
fn the_platform_is_not_hidden() {
    for (base, len, free) in [
        (0xfeb0_0000, 0x10_0000, true),
        (0xfeb0_0000, 0x10_1000, false),
        (0xfec0_0000, 0x1000, false),
        (0xffff_f000, 0x1000, false),
        (0xc000_0000, 0x8000_0000, false),
        (0x1_0000_0000, 0x1000, true),
        (0x1000, 0, false),
        (u64::MAX - 0xfff, 0x1000, true),
        (u64::MAX - 0xfff, 0x2000, false),
    ] {
        assert_eq!(check(base, len).is_ok(), free, "{len:#x} bytes at {base:#x}");
    }
}

/// Writes down what it is told, and of how many windows KVM knew then.
#[derive(Default)]
struct Diary(Mutex<Vec<(bool, u64)>>, AtomicUsize);

impl WindowObserver for Diary {
    fn shown(&self, base: u64, memory: &HostMemory) {
        assert_eq!(memory.len(), LEN);
        self.0.lock().unwrap().push((true, base));
        self.1.fetch_add(1, Ordering::Relaxed);
    }
    fn hidden(&self, base: u64, _: &HostMemory) {
        self.0.lock().unwrap().push((false, base));
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

fn memory(kind: HostMemoryKind) -> (HostMemory, Arc<MmapRegion>) {
    let region = Arc::new(MmapRegion::<()>::new(LEN as usize).unwrap());
    (HostMemory::new(region.as_ptr() as u64, LEN, kind, Arc::clone(&region) as _), region)
}

#[test]
#[ignore = "needs KVM; scripts/test runs it in the lab"]
fn windows_come_and_go() {
    let kvm = crate::kvm::open().unwrap();
    let layout = Layout::new(Slots::new(Arc::new(kvm.create_vm().unwrap())));
    let (bar, bar_owner) = memory(HostMemoryKind::Device);
    let (rom, _owner) = memory(HostMemoryKind::Rom);
    layout.map(0xc000_0000, &bar).unwrap();
    let diary = Arc::new(Diary::default());
    layout.subscribe(diary.clone());
    layout.map(0xd000_0000, &rom).unwrap();
    // KVM refuses what overlaps, and nobody is told.
    assert!(layout.map(0xc000_1000, &rom).is_err());
    assert!(layout.map(0xfee0_0000, &rom).is_err());
    layout.unmap(0xc000_1000, &rom);
    layout.unmap(0xc000_0000, &rom);
    layout.unmap(0xc000_0000, &bar);
    layout.unmap(0xc000_0000, &bar);
    let told = [(true, 0xc000_0000), (true, 0xd000_0000), (false, 0xc000_0000)];
    assert_eq!(*diary.0.lock().unwrap(), told);
    drop(bar);
    assert_eq!(Arc::strong_count(&bar_owner), 1, "nothing keeps what is not shown");
    // Its place is free again, many times over: slots are given back.
    let (again, _owner) = memory(HostMemoryKind::Device);
    for _ in 0..1000 {
        layout.map(0xc000_0000, &again).unwrap();
        layout.unmap(0xc000_0000, &again);
    }
    assert_eq!(diary.1.load(Ordering::Relaxed), 1);
    assert_eq!(layout.slots.used(), 1);
}

#[test]
#[ignore = "needs KVM; scripts/test runs it in the lab"]
fn no_window_hides_ram() {
    let kvm = crate::kvm::open().unwrap();
    let slots = Slots::new(Arc::new(kvm.create_vm().unwrap()));
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
    slots.map_ram(&ram).unwrap();
    let layout = Layout::new(slots);
    let diary = Arc::new(Diary::default());
    layout.subscribe(diary.clone());
    let (bar, _owner) = memory(HostMemoryKind::Device);
    for base in [0, 0x8_0000, 0xf_f000] {
        assert!(layout.map(base, &bar).is_err(), "{base:#x}");
    }
    // Nor do devices' DMA mappings change then.
    assert_eq!(*diary.0.lock().unwrap(), []);
    layout.map(0x10_0000, &bar).unwrap();
    layout.unmap(0x10_0000, &bar);
}
