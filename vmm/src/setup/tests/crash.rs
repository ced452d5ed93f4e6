//! A kill at any operation of a setup or an undo: an undo brings everything back, byte for byte. A write that is cut short leaves half a file.

use proptest::prelude::*;

use super::fixture::{FakeHands, Fixture};
use crate::cli::BindWhen;
use crate::setup::apply::Done;

/// Those with all kinds of steps: files and folders of our own, a file of the user's, commands with and without an undoing of their own.
const NAMES: [&str; 3] = ["debian", "arch-grub", "fedora"];

/// Operations of a whole setup, and of a whole undo.
fn operations(name: &str) -> (usize, usize) {
    let fixture = Fixture::new(name);
    let (setup, undo) = (FakeHands::default(), FakeHands::default());
    fixture.set_up(&setup, &fixture.plan()).unwrap();
    fixture.undo(&undo).unwrap();
    (setup.count.get(), undo.count.get())
}

#[test]
fn a_setup_killed_anywhere_is_undone() {
    for name in NAMES {
        let (all, _) = operations(name);
        assert!(all > 40, "{name}: {all}");
        let mut changed = 0;
        for after in 0..all {
            let fixture = Fixture::new(name);
            let (plan, before) = (fixture.plan(), fixture.tree());
            fixture.set_up(&FakeHands::dying(after, true), &plan).unwrap_err();
            changed += usize::from(fixture.tree() != before);
            fixture.undo(&FakeHands::default()).unwrap();
            assert_eq!(fixture.tree(), before, "{name}: killed after {after} operations");
        }
        assert!(changed > all / 2, "{name}: {changed} of {all}");
    }
}

#[test]
fn a_setup_killed_anywhere_goes_on() {
    for name in NAMES {
        let (all, _) = operations(name);
        let whole = Fixture::new(name);
        whole.set_up(&FakeHands::default(), &whole.plan()).unwrap();
        for after in 0..all {
            let fixture = Fixture::new(name);
            let before = fixture.tree();
            fixture.set_up(&FakeHands::dying(after, true), &fixture.plan()).unwrap_err();
            fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap();
            let state = format!("{name}: killed after {after} operations");
            let without_record = |fixture: &Fixture| {
                let mut tree = fixture.tree();
                tree.retain(|path, _| !path.ends_with("record.json"));
                tree
            };
            assert_eq!(without_record(&fixture), without_record(&whole), "{state}");
            assert_eq!(
                fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap(),
                Done::Nothing,
                "{state}"
            );
            fixture.undo(&FakeHands::default()).unwrap();
            assert_eq!(fixture.tree(), before, "{state}");
        }
    }
}

#[test]
fn an_undo_killed_anywhere_goes_on() {
    for name in NAMES {
        let (_, all) = operations(name);
        assert!(all > 20, "{name}: {all}");
        for after in 0..all {
            let fixture = Fixture::new(name);
            let before = fixture.tree();
            fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap();
            fixture.undo(&FakeHands::dying(after, true)).unwrap_err();
            fixture.undo(&FakeHands::default()).unwrap();
            assert_eq!(fixture.tree(), before, "{name}: killed after {after} operations");
        }
    }
}

/// What may happen to a host.
#[derive(Debug, Clone)]
enum Event {
    /// A setup with devices that are bound at boot or without.
    Setup(bool),
    /// One that is killed.
    KilledSetup(bool, usize, bool),
    /// An undo that is killed.
    KilledUndo(usize, bool),
    Undo,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<bool>().prop_map(Event::Setup),
        (any::<bool>(), 0usize..90, any::<bool>())
            .prop_map(|(boot, after, half)| Event::KilledSetup(boot, after, half)),
        (0usize..50, any::<bool>()).prop_map(|(after, half)| Event::KilledUndo(after, half)),
        Just(Event::Undo),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happened, an undo brings back what was there before the first setup.
    #[test]
    fn any_history_is_undone(name in 0..NAMES.len(), events in prop::collection::vec(event(), 1..6)) {
        let fixture = Fixture::new(NAMES[name]);
        let before = fixture.tree();
        for event in events {
            let plan = |boot| fixture.plan_for(if boot { BindWhen::Boot } else { BindWhen::Run });
            // Which of them succeed does not matter: one that is to die may be done before.
            let _ = match event {
                Event::Setup(boot) => fixture.set_up(&FakeHands::default(), &plan(boot)).is_ok(),
                Event::KilledSetup(boot, after, half) => {
                    fixture.set_up(&FakeHands::dying(after, half), &plan(boot)).is_ok()
                }
                Event::KilledUndo(after, half) => fixture.undo(&FakeHands::dying(after, half)).is_ok(),
                Event::Undo => fixture.undo(&FakeHands::default()).is_ok(),
            };
        }
        fixture.undo(&FakeHands::default()).unwrap();
        prop_assert_eq!(fixture.tree(), before);
    }
}
