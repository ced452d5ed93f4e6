//! How changes of the disc become known.

use proptest::prelude::*;

use super::*;

const READY: (u8, u8, u8) = (0, 0, 0);
const OPEN: (u8, u8, u8) = (2, 0x3a, 2);
const CHANGED: (u8, u8, u8) = (6, 0x28, 0);

fn insert(drive: &Drive, force: bool) -> Result<(), Locked> {
    drive.insert("b.iso".into(), Pattern::new(20), force)
}

fn lock(drive: &Drive, locked: bool) -> (u8, u8, u8) {
    code(drive.command(&packet(&[0x1e, 0, 0, 0, u8::from(locked)])))
}

#[test]
fn a_reset_is_told_once() {
    let drive = Drive::new(identity(), None);
    assert_eq!(ready(&drive), (6, 0x29, 0));
    assert_eq!(sense(&drive), (6, 0x29, 0));
    assert_eq!(sense(&drive), READY, "sense data is forgotten when it has been read");
    drive.reset();
    // Who asks first for sense data gets it there; what may be asked at any time does not take it away.
    ask(&drive, &[0x12, 0, 0, 0, 36]);
    ask(&drive, &[0x46, 0, 0, 0, 0, 0, 0, 0, 8]);
    poll(&drive);
    assert_eq!(sense(&drive), (6, 0x29, 0));
    assert_eq!(ready(&drive), (2, 0x3a, 1));
}

#[test]
fn a_disc_that_is_replaced_is_absent_changed_and_then_there() {
    let drive = with_disc(10);
    assert_eq!(ready(&drive), READY);
    insert(&drive, false).unwrap();
    assert_eq!(ready(&drive), OPEN);
    assert_eq!(ready(&drive), CHANGED);
    assert_eq!(ready(&drive), READY);
    assert_eq!(ask(&drive, &[0x25]), [0, 0, 0, 19, 0, 0, 8, 0]);
}

#[test]
fn reading_never_meets_the_new_disc_without_notice() {
    let drive = with_disc(10);
    insert(&drive, false).unwrap();
    let read = packet(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(code(drive.command(&read)), OPEN);
    assert_eq!(code(drive.command(&read)), CHANGED);
    assert!(matches!(drive.command(&read), Reply::Read(_)));
}

#[test]
fn events_tell_each_change_once() {
    let drive = with_disc(10);
    assert_eq!(poll(&drive), (0, 2));
    insert(&drive, false).unwrap();
    assert_eq!(poll(&drive), (3, 1), "gone, as the tray was open");
    assert_eq!(poll(&drive), (2, 2), "and a new one is there");
    assert_eq!(poll(&drive), (0, 2));
    drive.eject(false).unwrap();
    assert_eq!(poll(&drive), (3, 1));
    assert_eq!(poll(&drive), (0, 1));
    insert(&drive, false).unwrap();
    assert_eq!(poll(&drive), (2, 2));
    assert_eq!(poll(&drive), (0, 2));
    // An event is kept for who has room for it.
    insert(&drive, false).unwrap();
    assert_eq!(ask(&drive, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 4]), [0, 6, 4, 0x10]);
    assert_eq!(poll(&drive), (3, 1));
}

#[test]
fn ejecting_and_inserting_looks_as_it_does_at_a_real_drive() {
    let drive = with_disc(10);
    drive.eject(false).unwrap();
    assert_eq!(ready(&drive), OPEN);
    assert_eq!(ready(&drive), OPEN);
    insert(&drive, false).unwrap();
    assert_eq!(ready(&drive), CHANGED);
    assert_eq!(ready(&drive), READY);
}

#[test]
fn a_locked_tray_stays_closed_and_the_guest_is_asked() {
    let drive = with_disc(10);
    lock(&drive, true);
    assert_eq!(code(drive.command(&packet(&[0x1b, 0, 0, 0, 2]))), (5, 0x53, 2));
    assert_eq!(drive.eject(false), Err(Locked));
    assert_eq!(insert(&drive, false), Err(Locked));
    assert_eq!(poll(&drive), (1, 2), "the disc is wanted");
    assert_eq!(poll(&drive), (0, 2), "which is said once");
    assert_eq!(ready(&drive), READY);
    // The guest gives it.
    lock(&drive, false);
    drive.command(&packet(&[0x1b, 0, 0, 0, 2]));
    assert!(drive.status().open);
    assert_eq!(drive.status().disc.as_deref(), Some("a.iso"), "it lies in the tray");
    assert_eq!(ready(&drive), OPEN);
    // And closes the tray over it again.
    drive.command(&packet(&[0x1b, 0, 0, 0, 3]));
    assert_eq!(ready(&drive), CHANGED);
    assert_eq!(ready(&drive), READY);
    // By force, and by a reset, the lock is gone.
    lock(&drive, true);
    drive.eject(true).unwrap();
    assert!(!drive.status().locked);
    assert_eq!(ready(&drive), OPEN);
    lock(&drive, true);
    drive.command(&packet(&[0x1b, 0, 0, 0, 3]));
    assert_eq!(code(drive.command(&packet(&[0x1b, 0, 0, 0, 2]))), (2, 0x53, 2), "locked and empty");
    drive.reset();
    assert_eq!(drive.status(), Status { disc: None, blocks: 0, open: false, locked: false });
}

#[test]
fn the_guest_is_asked_once_for_as_long_as_the_disc_is_wanted() {
    let drive = with_disc(10);
    lock(&drive, true);
    for event in [1, 0, 0] {
        assert_eq!(drive.eject(false), Err(Locked));
        assert_eq!(insert(&drive, false), Err(Locked));
        assert_eq!(poll(&drive), (event, 2));
    }
    drive.withdraw();
    assert_eq!(poll(&drive), (0, 2));
    // It is wanted anew, and then not any more before the guest has heard of it.
    assert_eq!(drive.eject(false), Err(Locked));
    drive.withdraw();
    assert_eq!(poll(&drive), (0, 2));
    assert_eq!(drive.eject(false), Err(Locked));
    assert_eq!(poll(&drive), (1, 2));
    // Out by force; the next one is asked for again.
    drive.eject(true).unwrap();
    insert(&drive, false).unwrap();
    for _ in 0..3 {
        poll(&drive);
        ready(&drive);
    }
    lock(&drive, true);
    assert_eq!(drive.eject(false), Err(Locked));
    assert_eq!(poll(&drive), (1, 2));
}

#[test]
fn both_kinds_of_locks_are_lifted() {
    let drive = with_disc(10);
    for (what, locked) in [(1, true), (0, false), (3, true), (2, false)] {
        drive.command(&packet(&[0x1e, 0, 0, 0, what]));
        assert_eq!(drive.status().locked, locked, "{what}");
    }
}

#[test]
fn power_on_forgets_changes() {
    let drive = with_disc(10);
    insert(&drive, false).unwrap();
    drive.power_on();
    assert_eq!(ready(&drive), (6, 0x29, 0));
    assert_eq!(ready(&drive), READY);
    assert_eq!(poll(&drive), (0, 2));
}

#[derive(Debug, Clone)]
enum Deed {
    Ready,
    Sense,
    Poll,
    Read,
    Lock(bool),
    Tray(bool),
    HostEject(bool),
    HostInsert(bool),
    Reset,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        Just(Deed::Ready),
        Just(Deed::Sense),
        Just(Deed::Poll),
        Just(Deed::Read),
        any::<bool>().prop_map(Deed::Lock),
        any::<bool>().prop_map(Deed::Tray),
        any::<bool>().prop_map(Deed::HostEject),
        any::<bool>().prop_map(Deed::HostInsert),
        Just(Deed::Reset),
    ];
    proptest::collection::vec(deed, 0..60)
}

proptest! {
    /// Whatever guest and host do: a disc is read only after the guest has heard of it, a locked tray opens by force alone,
    /// and soon after the last deed the drive says how things are and nothing else.
    #[test]
    fn any_story_ends_in_peace(deeds in deeds()) {
        let drive = with_disc(10);
        let mut heard = true;
        for deed in deeds {
            let before = drive.status();
            match deed {
                Deed::Ready => heard |= matches!(ready(&drive), OPEN | CHANGED),
                Deed::Sense => heard |= sense(&drive) == CHANGED,
                Deed::Poll => { poll(&drive); }
                Deed::Read => match drive.command(&packet(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1])) {
                    Reply::Read(_) => prop_assert!(heard && !before.open && before.disc.is_some()),
                    reply => heard |= matches!(code(reply), OPEN | CHANGED),
                },
                Deed::Lock(locked) => heard |= lock(&drive, locked) == CHANGED,
                Deed::Tray(open) => {
                    let command = packet(&[0x1b, 0, 0, 0, if open { 2 } else { 3 }]);
                    heard |= code(drive.command(&command)) == CHANGED;
                }
                Deed::HostEject(force) => { let _ = drive.eject(force); }
                Deed::HostInsert(force) => heard &= insert(&drive, force).is_err(),
                Deed::Reset => drive.reset(),
            }
            let forced = matches!(deed, Deed::HostEject(true) | Deed::HostInsert(true));
            if before.locked && !before.open && !forced {
                prop_assert!(!drive.status().open);
                prop_assert_eq!(&drive.status().disc, &before.disc);
            }
        }
        for _ in 0..4 {
            ready(&drive);
            poll(&drive);
        }
        let status = drive.status();
        let there = status.disc.is_some() && !status.open;
        prop_assert_eq!(poll(&drive), (0, u8::from(status.open) | u8::from(there) << 1));
        prop_assert_eq!(ready(&drive) == READY, there);
        sense(&drive);
        prop_assert_eq!(sense(&drive), READY);
    }

    /// Any packet is answered, and answers keep to the room that the guest has.
    #[test]
    fn any_packet_is_answered(packets in proptest::collection::vec(any::<[u8; PACKET]>(), 1..40), known in any::<bool>()) {
        const CODES: [u8; 26] = [
            0, 3, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2b, 0x2f, 0x43, 0x46, 0x4a, 0x51, 0x52, 0x55, 0x5a,
            0x5c, 0xa0, 0xa8, 0xad, 0xb6, 0xbb, 0xbd, 0xbe,
        ];
        let drive = with_disc(400_000);
        for mut packet in packets {
            if known {
                packet[0] = CODES[usize::from(packet[0]) % CODES.len()];
            }
            match drive.command(&packet) {
                Reply::Data(data) => prop_assert!(!data.is_empty() && data.len() <= 4096),
                Reply::Read(read) => {
                    prop_assert!(u64::from(read.block()) + read.remaining() / 2352 <= 400_000);
                }
                _ => {}
            }
        }
    }
}
