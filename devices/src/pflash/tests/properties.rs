//! Random command sequences against a plain model of the chip.

use proptest::prelude::*;

use super::*;

/// The chip without any of the savings: each change is a new generation of the contents.
struct Model {
    generations: Vec<Vec<u8>>,
    status_view: bool,
    /// Whether the status view needs asking for (10h from the array).
    quiet: bool,
    expects: Option<u8>,
    status: u8,
}

impl Model {
    fn change(&mut self, at: usize, bytes: &[u8]) {
        let mut next = self.generations.last().unwrap().clone();
        next[at..at + bytes.len()].copy_from_slice(bytes);
        self.generations.push(next);
    }

    fn write(&mut self, offset: usize, byte: u8) {
        match (self.expects.take(), byte) {
            (Some(0x10), _) => {
                self.change(offset, &[byte]);
                self.status = 0x80;
            }
            (Some(_), 0xd0) => {}
            (Some(_), _) => self.status_view = false,
            (None, 0x10 | 0x40) => {
                self.quiet = byte == 0x10 && (self.quiet || !self.status_view);
                self.status_view = true;
                self.expects = Some(0x10);
            }
            (None, 0x20) => {
                (self.status_view, self.quiet) = (true, false);
                self.status = 0x80;
                self.expects = Some(0x20);
                self.change(offset / BLOCK_SIZE * BLOCK_SIZE, &[0xff; BLOCK_SIZE]);
            }
            (None, 0x70) => (self.status_view, self.quiet) = (true, false),
            (None, _) => {
                self.status_view = false;
                if byte == 0x50 {
                    self.status = 0;
                }
            }
        }
        self.quiet &= self.status_view;
    }
}

fn cycle() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => Just(0x10),
        4 => Just(0xff),
        1 => prop::sample::select(vec![0x20, 0x40, 0x50, 0x70, 0xd0, 0x00, 0x55]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// The guest reads what the plain chip would return, and whenever the process might be killed, the store holds
    /// contents that the chip once had, no older than what the guest has seen completed.
    #[test]
    fn equals_the_plain_chip_and_survives_a_kill(
        steps in prop::collection::vec((0usize..40, any::<bool>(), cycle(), any::<bool>()), 1..150),
    ) {
        let guest = Guest::new(true);
        let mut model = Model {
            generations: vec![pattern()], status_view: false, quiet: false, expects: None, status: 0,
        };
        let (mut completed, mut stored) = (0, 0);
        for (offset, far, byte, read) in steps {
            let offset = offset + if far { BLOCK_SIZE } else { 0 };
            guest.write(offset, &[byte]);
            model.write(offset, byte);
            let newest = model.generations.len() - 1;
            let shows_status = model.status_view && !model.quiet;
            if read {
                let expected = if shows_status { model.status } else { model.generations[newest][offset] };
                prop_assert_eq!(guest.read(offset), expected);
            }
            if !model.status_view || (shows_status && read) {
                completed = newest;
            }
            let contents = guest.stored();
            stored = stored.max(completed);
            while stored < newest && model.generations[stored] != contents {
                stored += 1;
            }
            prop_assert!(model.generations[stored] == contents, "the store holds what the chip never did");
        }
        guest.flash.flush().unwrap();
        prop_assert!(guest.stored() == *model.generations.last().unwrap());
    }

    /// Any cycles, with a store that fails at times: nothing panics, and once the store works nothing is missing.
    #[test]
    fn nothing_is_lost_through_a_failing_store(
        steps in prop::collection::vec(
            (0u64..SIZE as u64 + 9, prop::collection::vec(any::<u8>(), 1..9), 0u8..16), 1..200),
    ) {
        let guest = Guest::new(true);
        for (offset, data, event) in steps {
            let _ = guest.flash.write(offset, &data);
            let _ = guest.flash.write(offset, &[[0x10, 0xe8, 0x20, 0x70][usize::from(event % 4)]]);
            guest.flash.read(offset, &mut data.clone());
            match event {
                0 => guest.store.lock().unwrap().full = true,
                1 => guest.store.lock().unwrap().full = false,
                2 => guest.slot.refuses.store(true, Ordering::Relaxed),
                3 => guest.slot.refuses.store(false, Ordering::Relaxed),
                4 => guest.flash.reset(),
                _ => {}
            }
        }
        guest.store.lock().unwrap().full = false;
        guest.flash.flush().unwrap();
        prop_assert!(guest.stored() == guest.contents());
    }

    /// The read-only unit keeps its contents whatever is written.
    #[test]
    fn read_only_stays(steps in prop::collection::vec((0usize..SIZE, any::<u8>()), 1..300)) {
        let guest = Guest::new(false);
        for (offset, byte) in steps {
            guest.write(offset, &[byte]);
        }
        prop_assert!(guest.contents() == pattern());
    }
}
