//! The display with its thread, as sinks use it.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the event is signalled within `limit`.
fn signalled(view: &dyn View, limit: Duration) -> bool {
    let mut poll = libc::pollfd { fd: view.changed().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = libc::c_int::try_from(limit.as_millis()).unwrap();
    #[allow(unsafe_code, reason = "poll takes a pointer")]
    // SAFETY: one entry, which lives through the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, timeout) };
    ready == 1
}

/// Looks until the picture is as wanted, with a signal before each look.
fn until(view: &mut dyn View, wanted: impl Fn(&Frame) -> bool) {
    let begin = Instant::now();
    while !wanted(view.frame()) {
        assert!(begin.elapsed() < PATIENCE, "the picture does not come");
        assert!(signalled(view, PATIENCE), "nobody signals the change");
        view.look();
    }
}

struct Machine {
    ram: GuestRam,
    ramfb: Arc<Ramfb>,
    tracker: Arc<Tracker>,
    display: Display,
}

fn machine() -> Machine {
    let ram = ram();
    let ramfb = Arc::new(Ramfb::new(ram.clone()));
    let tracker = Arc::<Tracker>::default();
    let display = Display::new(Sources {
        ramfb: Some(ramfb.clone()),
        tracker: Some(tracker.clone()),
        ..Sources::default()
    });
    Machine { ram, ramfb, tracker, display }
}

impl Machine {
    fn show(&self) {
        self.ramfb.written(&file(1 << 20, XR24, 64, 32, 0));
    }
    fn draw(&self, colour: u8) {
        self.ram.write_slice(&[colour; 4], GuestAddress(1 << 20)).unwrap();
        self.tracker.written.lock().unwrap().push(0..4096);
    }
    fn live(&self) -> usize {
        self.tracker.live.load(Ordering::Relaxed)
    }
}

#[test]
fn changes_are_signalled_to_all_who_are_interested() {
    let machine = machine();
    let (mut one, mut two) = (machine.display.view().unwrap(), machine.display.view().unwrap());
    assert!(machine.display.blank_reason().is_some());
    machine.show();
    for view in [&mut one, &mut two] {
        until(view.as_mut(), |frame| frame.width == 64);
    }
    assert_eq!(machine.display.blank_reason(), None);
    for colour in [1u8, 2, 3] {
        machine.draw(colour);
        for view in [&mut one, &mut two] {
            until(view.as_mut(), |frame| frame.pixels[0] == u32::from_le_bytes([colour, colour, colour, 0]));
        }
    }
}

#[test]
fn a_look_finds_what_is_there_at_once_and_takes_the_signal() {
    let machine = machine();
    machine.show();
    machine.draw(9);
    let mut view = machine.display.view().unwrap();
    let change = view.look();
    assert!(change.resized);
    assert_eq!(view.frame().pixels[0], 0x09_0909);
    assert!(!signalled(view.as_ref(), Duration::ZERO));
    assert!(view.look().is_empty());
}

#[test]
fn memory_is_watched_only_for_those_who_are_interested() {
    let machine = machine();
    machine.show();
    let mut view = machine.display.view().unwrap();
    let begin = Instant::now();
    let wait = |live: usize| {
        while machine.live() != live {
            assert!(begin.elapsed() < PATIENCE, "{} watches instead of {live}", machine.live());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    wait(1);
    view.set_interest(false);
    wait(0);
    machine.draw(5);
    view.look();
    assert_eq!(view.frame().pixels[0], 0x05_0505, "a look needs no interest");
    assert_eq!(machine.live(), 0);
    machine.draw(6);
    assert!(!signalled(view.as_ref(), Duration::from_millis(50)));
    view.set_interest(true);
    until(view.as_mut(), |frame| frame.pixels[0] == 0x06_0606);
    wait(1);
    drop(view);
    wait(0);
}

#[test]
fn the_end_of_the_display_ends_its_thread_and_leaves_views_their_picture() {
    let machine = machine();
    machine.show();
    machine.draw(7);
    let mut view = machine.display.view().unwrap();
    view.look();
    let Machine { display, tracker, .. } = machine;
    drop(display);
    assert_eq!(view.frame().pixels[0], 0x07_0707);
    view.hurry();
    view.look();
    drop(view);
    assert_eq!(Arc::strong_count(&tracker), 1, "the thread is gone, and with it what it held");
}
