//! The chip as drivers use it: edk2's, which polls nothing, and Linux', which polls its status (Intel/Sharp extended
//! command set, JEDEC JEP137; JESD68.01 for the query), with what reaches the store behind it and when.

use std::sync::atomic::AtomicBool;

use super::*;

mod properties;

const SIZE: usize = 4 * BLOCK_SIZE;

#[derive(Default)]
struct SlotState {
    shown: AtomicBool,
    refuses: AtomicBool,
}

struct Slot(Arc<SlotState>);

impl Slot {
    fn switch(&self, shown: bool) -> io::Result<()> {
        if self.0.refuses.load(Ordering::Relaxed) {
            return Err(io::Error::other("no"));
        }
        assert_ne!(self.0.shown.swap(shown, Ordering::Relaxed), shown, "switched to where it was");
        Ok(())
    }
}

impl RomSlot for Slot {
    fn show(&self) -> io::Result<()> {
        self.switch(true)
    }
    fn hide(&self) -> io::Result<()> {
        self.switch(false)
    }
}

#[derive(Default)]
struct StoreState {
    contents: Vec<u8>,
    writes: Vec<(u64, usize)>,
    syncs: usize,
    full: bool,
    sync_fails: bool,
}

struct Store(Arc<Mutex<StoreState>>);

impl FlashBacking for Store {
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.writes.push((offset, data.len()));
        let offset = offset as usize;
        state.contents[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.syncs += 1;
        if state.sync_fails { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    }
}

/// A guest with one flash unit, whose reads take the way that KVM gives them.
struct Guest {
    flash: Pflash,
    memory: Arc<MmapRegion>,
    slot: Arc<SlotState>,
    store: Arc<Mutex<StoreState>>,
}

fn pattern() -> Vec<u8> {
    (0..SIZE).map(|index| (index % 251) as u8).collect()
}

impl Guest {
    fn new(writable: bool) -> Self {
        let contents = pattern();
        let memory = Arc::new(MmapRegion::new(SIZE).unwrap());
        memory.as_volatile_slice().write_slice(&contents, 0).unwrap();
        let slot = Arc::<SlotState>::default();
        let store = Arc::new(Mutex::new(StoreState { contents, ..StoreState::default() }));
        let write_back =
            writable.then(|| WriteBack::new("test", Box::new(Store(store.clone())), SYNC_INTERVAL));
        let flash = Pflash::new("test", memory.clone(), Box::new(Slot(slot.clone())), write_back).unwrap();
        Self { flash, memory, slot, store }
    }

    fn read(&self, offset: usize) -> u8 {
        let mut byte = [0];
        if self.slot.shown.load(Ordering::Relaxed) {
            byte[0] = self.memory.as_volatile_slice().read_obj(offset).unwrap();
        } else {
            self.flash.read(offset as u64, &mut byte);
        }
        byte[0]
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        for byte in bytes {
            let _ = self.flash.write(offset as u64, &[*byte]);
        }
    }

    fn contents(&self) -> Vec<u8> {
        let mut contents = vec![0; SIZE];
        self.memory.as_volatile_slice().read_slice(&mut contents, 0).unwrap();
        contents
    }

    fn stored(&self) -> Vec<u8> {
        self.store.lock().unwrap().contents.clone()
    }
}

#[test]
fn edk2_finds_writable_flash() {
    let guest = Guest::new(true);
    let original = guest.read(0x10);
    guest.write(0x10, &[0x50]);
    assert_eq!(guest.read(0x10), original);
    guest.write(0x10, &[0x70]);
    assert_eq!(guest.read(0x10), 0x00);
    guest.write(0x10, &[0x10, original, 0x70]);
    assert_eq!(guest.read(0x10), 0x80);
    guest.write(0x10, &[0xff]);
    assert_eq!(guest.read(0x10), original);
    assert_eq!(guest.flash.slot_switches(), 2);
}

#[test]
fn edk2_finds_write_protection() {
    let guest = Guest::new(false);
    let original = guest.read(0x10);
    guest.write(0x10, &[0x70]);
    assert_eq!(guest.read(0x10), 0x00);
    guest.write(0x10, &[0x10, !original, 0x70]);
    assert_eq!(guest.read(0x10), 0x90);
    guest.write(0x10, &[0x50]);
    assert_eq!(guest.read(0x10), original);
    guest.write(0x10, &[0x20, 0xd0]);
    assert_eq!(guest.read(0x10), 0xa0);
    guest.write(0x10, &[0xff]);
    assert_eq!(guest.contents(), pattern());
}

#[test]
fn run_of_programs_is_one_write_and_no_switch() {
    let guest = Guest::new(true);
    for offset in 0..1000 {
        guest.write(0x20 + offset, &[0x10, 0x5a]);
    }
    assert_eq!(guest.stored(), pattern(), "gathered");
    guest.write(0x20 + 999, &[0xff]);
    assert_eq!(guest.read(0x20 + 999), 0x5a);
    assert_eq!(guest.store.lock().unwrap().writes, [(0x20, 1000)]);
    assert_eq!(guest.stored(), guest.contents());
    assert_eq!(guest.flash.slot_switches(), 0);
}

#[test]
fn what_is_there_already_is_not_stored_again() {
    let guest = Guest::new(true);
    let there = guest.contents();
    for (offset, byte) in (0x20..0x30).zip(&there[0x20..]) {
        guest.write(offset, &[0x10, *byte]);
    }
    guest.write(0x20, &[0xff]);
    guest.write(BLOCK_SIZE, &[0x20, 0xd0, 0xff]);
    for _ in 0..10 {
        guest.write(BLOCK_SIZE, &[0x20, 0xd0, 0xff]);
    }
    assert_eq!(guest.store.lock().unwrap().writes, [(BLOCK_SIZE as u64, BLOCK_SIZE)]);
    // In the middle of a run it belongs to the run.
    for (offset, byte) in [(0x41, 1), (0x42, there[0x42]), (0x43, 2)] {
        guest.write(offset, &[0x10, byte]);
    }
    guest.write(0x43, &[0xff]);
    assert_eq!(guest.store.lock().unwrap().writes[1..], [(0x41, 3)]);
    assert_eq!(guest.stored(), guest.contents());
}

#[test]
fn erase_fills_its_block_only_and_is_stored_at_once() {
    let guest = Guest::new(true);
    let mut expected = pattern();
    expected[BLOCK_SIZE..2 * BLOCK_SIZE].fill(0xff);
    guest.write(BLOCK_SIZE + 0x123, &[0x20, 0xd0]);
    assert_eq!(guest.stored(), expected);
    assert_eq!(guest.read(BLOCK_SIZE), 0x80, "status until the array is asked for");
    guest.write(0, &[0xff]);
    assert_eq!(guest.contents(), expected);
    assert_eq!(guest.flash.slot_switches(), 2);
}

#[test]
fn linux_polls_after_its_program_command() {
    let guest = Guest::new(true);
    guest.write(7, &[0x40, 0x00]);
    assert_eq!(guest.read(7), 0x80);
    assert_eq!(guest.stored()[7], 0x00, "stored before the guest saw it done");
    guest.write(7, &[0xff]);
    assert_eq!(guest.read(7), 0x00);
}

#[test]
fn unknown_commands_return_to_the_array() {
    let guest = Guest::new(true);
    for command in [0x00, 0xf0, 0x60, 0xaa] {
        guest.write(0, &[0x70]);
        assert_eq!(guest.read(1), 0);
        guest.write(0, &[command]);
        assert_eq!(guest.read(1), 1);
    }
    guest.write(0, &[0x90]);
    assert_eq!([guest.read(0), guest.read(1)], [0, 0]);
}

#[test]
fn query_table_is_well_formed() {
    let guest = Guest::new(true);
    guest.write(0x55, &[0x98]);
    let word = |offset| usize::from(u16::from_le_bytes([guest.read(offset), guest.read(offset + 1)]));
    assert_eq!([guest.read(0x10), guest.read(0x11), guest.read(0x12)], *b"QRY");
    assert_eq!(word(0x13), 1, "Intel/Sharp extended command set");
    let extended = word(0x15);
    assert_eq!([guest.read(extended), guest.read(extended + 1), guest.read(extended + 2)], *b"PRI");
    assert_eq!((word(0x17), word(0x19)), (0, 0));
    assert_eq!(1 << guest.read(0x27), SIZE);
    assert_eq!(1 << word(0x2a), command::BUFFER_SIZE);
    assert_eq!(guest.read(0x2c), 1);
    assert_eq!((word(0x2d) + 1) * word(0x2f) * 256, SIZE);
    assert!(extended >= 0x31, "behind the one region");
    let odd = cfi::Table::new(0x84000);
    assert_eq!((odd.byte(0x27), odd.byte(0x2d)), (20, 0x83));
}

#[test]
fn buffered_program() {
    let guest = Guest::new(true);
    guest.write(0x100, &[0xe8]);
    assert_eq!(guest.read(0x100), 0x80);
    guest.write(0x100, &[2]);
    for (offset, byte) in [(0x1fe, 1), (0x1ff, 2), (0x180, 3)] {
        guest.write(offset, &[byte]);
    }
    assert_eq!(guest.contents(), pattern(), "nothing before the confirmation");
    guest.write(0x100, &[0xd0]);
    assert_eq!(guest.read(0x100), 0x80);
    let mut expected = pattern();
    (expected[0x1fe], expected[0x1ff], expected[0x180]) = (1, 2, 3);
    assert_eq!(guest.contents(), expected);
    assert_eq!(guest.stored(), expected);
}

#[test]
fn broken_buffered_programs_change_nothing() {
    for (second, confirm) in [(0x200, 0xd0), (0xff, 0xd0), (0x101, 0xff)] {
        let guest = Guest::new(true);
        guest.write(0x100, &[0xe8, 1]);
        guest.write(0x100, &[0]);
        guest.write(second, &[0]);
        guest.write(0x100, &[confirm]);
        assert_eq!(guest.read(0), 0xb0);
        assert_eq!(guest.contents(), pattern());
    }
}

#[test]
fn wide_access_is_the_cycles_of_its_bytes() {
    let guest = Guest::new(true);
    let _ = guest.flash.write(0x40, &[0x40, 0xee, 0x70, 0x70]);
    let mut data = [0; 4];
    guest.flash.read(0x40, &mut data);
    assert_eq!(data, [0x80; 4]);
    assert_eq!(guest.contents()[0x41], 0xee);
    // Not what a bus does, but nothing may happen then.
    let _ = guest.flash.write(SIZE as u64 - 1, &[0xff, 0x20, 0xd0]);
    let _ = guest.flash.write(u64::MAX, &[0x20, 0xd0]);
    guest.flash.read(u64::MAX, &mut data);
    assert_eq!(data, [0xff; 4]);
    assert_eq!(guest.contents()[SIZE - 4..], pattern()[SIZE - 4..]);
}

#[test]
fn failed_store_is_told_and_made_up_for() {
    let guest = Guest::new(true);
    guest.store.lock().unwrap().full = true;
    guest.write(3, &[0x10, 0xaa, 0xff, 0x70]);
    assert_eq!(guest.read(3), 0x90);
    guest.write(3, &[0x50]);
    guest.write(2 * BLOCK_SIZE, &[0x20, 0xd0]);
    assert_eq!(guest.read(3) & 0x20, 0x20);
    assert!(guest.flash.flush().is_err());
    assert_eq!(guest.stored(), pattern());
    guest.store.lock().unwrap().full = false;
    guest.flash.flush().unwrap();
    assert_eq!(guest.stored(), guest.contents());
}

#[test]
fn sync_is_not_repeated_within_the_interval() {
    let guest = Guest::new(true);
    let syncs = || guest.store.lock().unwrap().syncs;
    guest.write(0, &[0xff]);
    assert_eq!(syncs(), 0, "nothing changed");
    for round in 0x80..0x90 {
        guest.write(0, &[0x10, round, 0xff]);
    }
    assert_eq!(syncs(), 1);
    guest.flash.flush().unwrap();
    assert_eq!(syncs(), 2);
    guest.flash.flush().unwrap();
    assert_eq!(syncs(), 2);
    guest.write(0, &[0x10, 0x12]);
    guest.flash.reset();
    assert_eq!(syncs(), 3);
    assert_eq!(guest.stored()[0], 0x12);
    guest.write(0, &[0x10, 0x13]);
    guest.store.lock().unwrap().sync_fails = true;
    assert!(guest.flash.flush().is_err());
    guest.store.lock().unwrap().sync_fails = false;
    let store = guest.store.clone();
    drop(guest);
    let store = store.lock().unwrap();
    assert_eq!((store.syncs, store.contents[0]), (5, 0x13), "tried again");
}

#[test]
fn reset_forgets_a_command() {
    for begun in [&[0x70][..], &[0x10], &[0x40], &[0x20], &[0xe8], &[0xe8, 0], &[0xe8, 0, 1], &[0x98]] {
        let guest = Guest::new(true);
        guest.write(0, begun);
        guest.flash.reset();
        assert_eq!(guest.read(1), guest.contents()[1]);
        guest.write(0, &[0x70]);
        assert_eq!(guest.read(0), 0);
    }
}

#[test]
fn refused_switch_is_tried_again() {
    let guest = Guest::new(true);
    guest.slot.refuses.store(true, Ordering::Relaxed);
    guest.write(0, &[0x70]);
    assert_eq!(guest.read(1), 1);
    guest.slot.refuses.store(false, Ordering::Relaxed);
    guest.write(0, &[0x70]);
    assert_eq!(guest.read(1), 0);
}

#[test]
fn sizes_are_checked() {
    let unit = |size| {
        let memory = Arc::new(MmapRegion::new(size).unwrap());
        Pflash::read_only("CODE", memory, Box::new(Slot(Arc::default()))).map(|_| ())
    };
    assert!(unit(0x1000).is_ok());
    assert!(unit(0x37c000).is_ok());
    let error = unit(0x1001).unwrap_err().to_string();
    assert!(error.contains("flash unit CODE has 0x1001 bytes"), "{error}");
}
