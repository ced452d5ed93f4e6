use proptest::prelude::*;

use super::super::reset_methods::ResetMethods;

/// A configuration space with these capabilities, as offset and bytes, in a list.
fn config(capabilities: &[(u8, &[u8])]) -> Vec<u8> {
    let mut config = vec![0; 256];
    config[6] = 0x10;
    let mut link = 0x34;
    for (at, bytes) in capabilities {
        config[link] = *at;
        let at = usize::from(*at);
        config[at..at + bytes.len()].copy_from_slice(bytes);
        link = at + 1;
    }
    config[link] = 0;
    config
}

const PM_SOFT: &[u8] = &[1, 0, 3, 0, 0, 0];
const PM_NO_SOFT: &[u8] = &[1, 0, 3, 0, 8, 0];
const EXPRESS: &[u8] = &[0x10, 0, 2, 0, 0, 0, 0, 0];
const EXPRESS_FLR: &[u8] = &[0x10, 0, 2, 0, 0, 0, 0, 0x10];
const ADVANCED: &[u8] = &[0x13, 0, 6, 3];
const ADVANCED_WITHOUT: &[u8] = &[0x13, 0, 6, 1];

#[test]
fn capabilities_say_which_methods_there_are() {
    for (capabilities, function_level, power, prefers_function) in [
        (&[][..], false, false, true),
        (&[(0x60, PM_NO_SOFT), (0x78, EXPRESS)], false, false, true),
        (&[(0x60, PM_SOFT), (0x78, EXPRESS)], false, true, false),
        (&[(0x60, PM_SOFT), (0x78, EXPRESS_FLR)], true, true, true),
        (&[(0xa0, ADVANCED), (0x60, PM_SOFT)], true, true, true),
        (&[(0xa0, ADVANCED_WITHOUT), (0x60, PM_SOFT)], false, true, false),
    ] {
        let methods = ResetMethods::of(&config(capabilities));
        assert_eq!((methods.function_level, methods.power), (function_level, power), "{capabilities:?}");
        assert_eq!(methods.prefers_function(), prefers_function, "{capabilities:?}");
    }
    assert_eq!(ResetMethods::of(&config(&[(0x60, PM_SOFT)])).pmcsr, Some(0x64));
}

#[test]
fn without_a_list_there_is_nothing() {
    let mut config = config(&[(0x60, PM_SOFT), (0x78, EXPRESS_FLR)]);
    config[6] = 0;
    assert_eq!(ResetMethods::of(&config), ResetMethods::default());
}

proptest! {
    #[test]
    fn any_configuration_space_is_read(mut config in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(status) = config.get_mut(6) {
            *status |= 0x10;
        }
        let methods = ResetMethods::of(&config);
        prop_assert!(methods.pmcsr.is_none_or(|at| (0x44..=0x100).contains(&at)));
    }
}
