//! Guests that write what they like, where they like.

use proptest::prelude::*;

use super::driver::*;
use super::fake::{SUCCESS, device};
use crate::bus::{Action, BusDevice};

/// An access of a guest: where, how wide, and what is written, if it is.
fn access() -> impl Strategy<Value = (u64, u8, Option<u64>)> {
    let places = prop_oneof![0u64..0x90, 0u64..0x1000];
    (places, 0u8..4, prop::option::of(prop_oneof![any::<u64>(), 0u64..4]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever was done before, the interface works for a driver that begins anew, and accesses of one byte see what wide ones see.
    #[test]
    fn it_can_always_be_used_again(accesses in prop::collection::vec(access(), 0..200)) {
        let (tpm, _hands) = device();
        for (at, width, value) in accesses {
            let len = 1usize << width;
            let at = at.min(0x1000 - len as u64);
            match value {
                Some(value) => prop_assert_eq!(tpm.write(at, &value.to_le_bytes()[..len]), Action::None),
                None => {
                    let mut data = [0xaa; 8];
                    tpm.read(at, &mut data[..len]);
                }
            }
        }
        let driver = Driver::new(tpm);
        until("a command does not end", || !driver.is_busy());
        let wide = Driver { tpm: std::sync::Arc::clone(&driver.tpm), width: 8 }.get(0, 0x1000);
        let narrow = Driver { tpm: std::sync::Arc::clone(&driver.tpm), width: 1 }.get(0, 0x1000);
        prop_assert_eq!(wide, narrow);
        prop_assert_eq!(driver.send(&bytes(GET_RANDOM)), bytes(SUCCESS));
        driver.tpm.reset();
        prop_assert_eq!(driver.send(&bytes(GET_RANDOM)), bytes(SUCCESS));
    }
}
