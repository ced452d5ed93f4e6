//! The devices as a host controller uses them.

use super::*;
use crate::input::{AbsoluteEvent, Buttons, Key, PointerEvent};

const NONE: Buttons = Buttons { left: false, middle: false, right: false, side: false, extra: false };
const LEFT: Buttons = Buttons { left: true, ..NONE };
const RIGHT: Buttons = Buttons { right: true, ..NONE };

fn control<F: Function>(device: &Hid<F>, packet: [u8; 8], data: &[u8]) -> Option<Vec<u8>> {
    let transfer = Transfer::Control { setup: Setup::from_bytes(packet), data: data.to_vec() };
    let completion = device.submit(0, transfer).unwrap();
    (completion.outcome == Outcome::Done).then_some(completion.data)
}

/// A device that the host has configured and asks for reports.
fn used<F: Function>() -> Hid<F> {
    let device = Hid::<F>::default();
    device.set_bus(Bus::Active);
    control(&device, [0, 9, 1, 0, 0, 0, 0, 0], &[]).unwrap();
    assert_eq!(device.submit(REPORTS, Transfer::In { length: 8 }), None);
    device
}

/// All reports that there are; the host asks for more.
fn reports<F: Function>(device: &Hid<F>) -> Vec<Vec<u8>> {
    let first = device.take(REPORTS).map(|completion| completion.data);
    let rest = std::iter::from_fn(|| device.submit(REPORTS, Transfer::In { length: 8 }));
    first.into_iter().chain(rest.map(|completion| completion.data)).collect()
}

/// What a report descriptor's items say of a report's size: input and output, in bits.
fn bits(descriptor: &[u8]) -> (usize, usize) {
    let (mut size, mut count, mut input, mut output, mut depth) = (0, 0, 0, 0, 0);
    let mut rest = descriptor;
    while let Some((prefix, more)) = rest.split_first() {
        let length = [0, 1, 2, 4][usize::from(prefix & 3)];
        let value = more[..length].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte));
        rest = &more[length..];
        match prefix & 0xfc {
            0x74 => size = value,
            0x94 => count = value,
            0x80 => input += size * count,
            0x90 => output += size * count,
            0xa0 => depth += 1,
            0xc0 => depth -= 1,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "collections end");
    (input, output)
}

#[test]
fn report_descriptors_describe_the_reports() {
    assert_eq!(bits(keyboard::Keys::IDENTITY.reports), (8 * 8, 8));
    assert_eq!(bits(mouse::Ball::IDENTITY.reports), (6 * 8, 0));
    assert_eq!(bits(tablet::Pen::IDENTITY.reports), (6 * 8, 0));
    assert_eq!(keyboard::Keys::default().current(false).len(), 8);
    assert_eq!(mouse::Ball::default().current(false).len(), 6);
    assert_eq!(tablet::Pen::default().current(false).len(), 6);
}

fn answers<F: Function>() {
    let device = used::<F>();
    let descriptor = |kind: u8, index: u8, length: u16| {
        let [low, high] = length.to_le_bytes();
        control(&device, [0x80, 6, index, kind, 0, 0, low, high], &[])
    };
    let whole = descriptor(2, 0, 255).unwrap();
    assert_eq!(whole.len(), 34);
    assert_eq!(whole.len(), usize::from(whole[2]));
    assert_eq!(descriptor(2, 0, 9).unwrap(), whole[..9]);
    assert_eq!(descriptor(1, 0, 18).unwrap().len(), 18);
    let reports = control(&device, [0x81, 6, 0, 0x22, 0, 0, 255, 0], &[]).unwrap();
    assert_eq!(reports.len(), usize::from(whole[25]));
    assert_eq!(control(&device, [0x81, 6, 0, 0x21, 0, 0, 9, 0], &[]).unwrap(), whole[18..27]);
    assert_eq!(descriptor(3, 0, 255).unwrap(), [4, 3, 9, 4]);
    assert_eq!(descriptor(3, 1, 255).unwrap()[..6], [24, 3, b'o', 0, b'p', 0]);
    // No device qualifier, no binary object store, no Microsoft descriptor, no serial number.
    for (kind, index) in [(6, 0), (7, 0), (15, 0), (3, 0xee), (3, 3), (2, 1), (1, 1)] {
        assert_eq!(descriptor(kind, index, 255), None, "descriptor {kind}, {index}");
    }
    // Features and status.
    assert_eq!(control(&device, [0x80, 0, 0, 0, 0, 0, 2, 0], &[]).unwrap(), [0, 0]);
    control(&device, [0, 3, 1, 0, 0, 0, 0, 0], &[]).unwrap();
    assert_eq!(control(&device, [0x80, 0, 0, 0, 0, 0, 2, 0], &[]).unwrap(), [2, 0]);
    control(&device, [0, 1, 1, 0, 0, 0, 0, 0], &[]).unwrap();
    control(&device, [2, 3, 0, 0, 0x81, 0, 0, 0], &[]).unwrap();
    assert_eq!(control(&device, [0x82, 0, 0, 0, 0x81, 0, 2, 0], &[]).unwrap(), [1, 0]);
    let asked = device.submit(REPORTS, Transfer::In { length: 8 });
    assert_eq!(asked, Some(Completion::failed(Outcome::Stall)));
    control(&device, [2, 1, 0, 0, 0x81, 0, 0, 0], &[]).unwrap();
    assert_eq!(device.submit(REPORTS, Transfer::In { length: 8 }), None);
    // Rates are kept, and configurations that there are not are refused.
    control(&device, [0x21, 10, 0, 125, 0, 0, 0, 0], &[]).unwrap();
    assert_eq!(control(&device, [0xa1, 2, 0, 0, 0, 0, 1, 0], &[]).unwrap(), [125]);
    assert_eq!(control(&device, [0, 9, 2, 0, 0, 0, 0, 0], &[]), None);
    assert_eq!(control(&device, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]).unwrap(), [1]);
    // Vendors' requests, other interfaces and endpoints.
    assert_eq!(control(&device, [0xc0, 1, 0, 0, 4, 0, 40, 0], &[]), None);
    assert_eq!(control(&device, [0x81, 6, 0, 0x22, 1, 0, 255, 0], &[]), None);
    assert_eq!(control(&device, [0xa1, 1, 0, 1, 1, 0, 8, 0], &[]), None);
    let out = device.submit(1, Transfer::Out { data: vec![1] });
    assert_eq!(out, Some(Completion::failed(Outcome::Stall)));
    control(&device, [0, 9, 0, 0, 0, 0, 0, 0], &[]).unwrap();
    assert!(!device.is_used());
}

#[test]
fn every_device_answers_what_hosts_ask() {
    answers::<keyboard::Keys>();
    answers::<mouse::Ball>();
    answers::<tablet::Pen>();
}

#[test]
fn protocols_are_those_of_boot_devices() {
    let keyboard: Keyboard = used();
    assert_eq!(control(&keyboard, [0xa1, 3, 0, 0, 0, 0, 1, 0], &[]).unwrap(), [1]);
    control(&keyboard, [0x21, 11, 0, 0, 0, 0, 0, 0], &[]).unwrap();
    assert_eq!(control(&keyboard, [0xa1, 3, 0, 0, 0, 0, 1, 0], &[]).unwrap(), [0]);
    let tablet: Tablet = used();
    assert_eq!(control(&tablet, [0xa1, 3, 0, 0, 0, 0, 1, 0], &[]), None);
    assert_eq!(control(&tablet, [0x21, 11, 0, 0, 0, 0, 0, 0], &[]), None);
    let mouse: Mouse = used();
    control(&mouse, [0x21, 11, 0, 0, 0, 0, 0, 0], &[]).unwrap();
    let event = PointerEvent { dx: 300, dy: -1, wheel: 1, buttons: RIGHT };
    assert_eq!(mouse.pointer(event), Taken::Yes);
    assert_eq!(reports(&mouse), [[0, 127, 0xff], [0, 127, 0], [2, 46, 0]]);
}

#[test]
fn keys_are_reported_one_after_the_other() {
    let keyboard: Keyboard = used();
    for key in [Key::LEFT_CTRL, Key::RIGHT_ALT, Key::A, Key::A, Key::KP_ENTER] {
        assert_eq!(keyboard.press(key), Taken::Yes);
    }
    keyboard.release(Key::A);
    keyboard.release(Key::B);
    let expected: [[u8; 8]; 5] = [
        [0x01, 0, 0, 0, 0, 0, 0, 0],
        [0x41, 0, 0, 0, 0, 0, 0, 0],
        [0x41, 0, 4, 0, 0, 0, 0, 0],
        [0x41, 0, 4, 0x58, 0, 0, 0, 0],
        [0x41, 0, 0x58, 0, 0, 0, 0, 0],
    ];
    assert_eq!(reports(&keyboard), expected);
    // A host that asks how things are takes nothing of what waits.
    assert_eq!(keyboard.press(Key::B), Taken::Yes);
    let state = control(&keyboard, [0xa1, 1, 0, 1, 0, 0, 8, 0], &[]).unwrap();
    assert_eq!(state, expected[4]);
    assert_eq!(reports(&keyboard).len(), 1);
    // Seven keys are more than a report has.
    for key in [Key::C, Key::D, Key::E, Key::F, Key::G] {
        assert_eq!(keyboard.press(key), Taken::Yes);
    }
    let all = reports(&keyboard);
    assert_eq!(all.last().unwrap()[2..], [1; 6]);
    keyboard.release(Key::B);
    assert_eq!(reports(&keyboard), [[0x41, 0, 0x58, 6, 7, 8, 9, 10]]);
}

#[test]
fn presses_have_a_bound_and_releases_none() {
    let keyboard: Keyboard = used();
    let keys: Vec<Key> = Key::all().filter(|key| Keyboard::has(*key)).collect();
    let refused = keys.iter().position(|key| keyboard.press(*key) == Taken::Full).unwrap();
    assert_eq!(refused, 32);
    let event = Arc::new(EventFd::new(vmm_sys_util::eventfd::EFD_NONBLOCK).unwrap());
    keyboard.signal_room(&event);
    assert!(event.read().is_err());
    keys.iter().for_each(|key| keyboard.release(*key));
    assert!(keyboard.take(REPORTS).is_some());
    assert!(event.read().is_ok(), "there is room again");
    assert_eq!(reports(&keyboard).len(), 63);
    assert_eq!(control(&keyboard, [0xa1, 1, 0, 1, 0, 0, 8, 0], &[]).unwrap(), [0; 8]);
    // Who waits for a device that is gone goes elsewhere.
    assert_eq!(keys.iter().filter(|key| keyboard.press(**key) == Taken::Yes).count(), 32);
    keyboard.signal_room(&event);
    assert!(event.read().is_err());
    keyboard.reset();
    assert!(event.read().is_ok());
    assert_eq!(keyboard.press(Key::A), Taken::Unwanted);
}

#[test]
fn usages_are_distinct_and_of_the_page() {
    let usages: Vec<u8> = Key::all().filter_map(usages::usage).collect();
    let mut distinct = usages.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), usages.len());
    assert_eq!(usages.len(), 127);
    assert!(distinct.iter().all(|usage| (0x04..=0x91).contains(usage) || (0xe0..=0xe7).contains(usage)));
}

#[test]
fn places_on_the_way_are_passed_over_and_those_of_buttons_are_not() {
    let tablet: Tablet = used();
    let put = |x, y, wheel, buttons| tablet.put(AbsoluteEvent { x, y, wheel, buttons });
    for (x, wheel, buttons) in [
        (1, 0, NONE),
        (2, 1, NONE),
        (3, 2, NONE),
        (4, 0, LEFT),
        (5, 0, LEFT),
        (6, -1, LEFT),
        (6, 0, NONE),
        (7, 0, NONE),
    ] {
        assert_eq!(put(x, 9, wheel, buttons), Taken::Yes);
    }
    let expected: [[u8; 6]; 5] = [
        [0, 3, 0, 9, 0, 3],
        [1, 4, 0, 9, 0, 0],
        [1, 6, 0, 9, 0, 0xff],
        [0, 6, 0, 9, 0, 0],
        [0, 7, 0, 9, 0, 0],
    ];
    assert_eq!(reports(&tablet), expected);
    assert_eq!(put(7, 9, 0, NONE), Taken::Yes);
    assert_eq!(reports(&tablet), Vec::<Vec<u8>>::new(), "nothing has changed");
    assert_eq!(put(0xffff, 0x8000, 200, RIGHT), Taken::Yes);
    assert_eq!(reports(&tablet), [[2, 0xff, 0x7f, 0xff, 0x7f, 127], [2, 0xff, 0x7f, 0xff, 0x7f, 73]]);
    tablet.release(NONE);
    assert_eq!(reports(&tablet), [[0, 0xff, 0x7f, 0xff, 0x7f, 0]]);
}

/// The guest's pointer may be anywhere then.
#[test]
fn the_same_place_is_reported_again_after_a_reset_and_after_motion() {
    let origin = AbsoluteEvent { x: 0, y: 0, wheel: 0, buttons: NONE };
    let tablet: Tablet = used();
    assert_eq!(tablet.place(), None);
    assert_eq!(tablet.put(origin), Taken::Yes);
    assert_eq!(tablet.place(), Some((0, 0)));
    assert_eq!(reports(&tablet), [[0; 6]]);
    assert_eq!(tablet.put(origin), Taken::Yes);
    assert_eq!(reports(&tablet), Vec::<Vec<u8>>::new());
    tablet.moved_away();
    assert_eq!(tablet.place(), None);
    assert_eq!(tablet.put(origin), Taken::Yes);
    assert_eq!(reports(&tablet), [[0; 6]]);
    tablet.reset();
    control(&tablet, [0, 9, 1, 0, 0, 0, 0, 0], &[]).unwrap();
    assert_eq!(tablet.submit(REPORTS, Transfer::In { length: 8 }), None);
    assert_eq!(tablet.place(), None);
    assert_eq!(tablet.put(origin), Taken::Yes);
    assert_eq!(reports(&tablet), [[0; 6]]);
}

#[test]
fn clicks_have_a_bound_and_end_released() {
    let tablet: Tablet = used();
    let mut full = 0;
    for x in 0..100 {
        let taken = tablet.put(AbsoluteEvent { x, y: x, wheel: 0, buttons: LEFT });
        full += usize::from(taken == Taken::Full);
        let _ = tablet.put(AbsoluteEvent { x, y: x, wheel: 0, buttons: NONE });
    }
    assert_eq!(full, 68);
    let all = reports(&tablet);
    assert!(all.len() <= 66, "{}", all.len());
    assert_eq!(all.last().unwrap()[..3], [0, 99, 0]);
}
