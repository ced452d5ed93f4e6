//! The descriptors of a device as the kernel gives them out: the device's own, then all configurations, each as the device sends it (USB 2.0, 9.5
//! and 9.6). They are a stranger's: lengths are not believed.

use std::collections::BTreeSet;

/// Types of descriptors (USB 2.0, table 9-5).
const CONFIGURATION: u8 = 2;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
/// bmAttributes of an endpoint: the type of its transfers (USB 2.0, table 9-13).
const TRANSFER_TYPE: u8 = 3;
const ISOCHRONOUS: u8 = 1;

/// The interfaces that have isochronous endpoints, in whichever alternate setting, in the configuration with this bConfigurationValue.
pub(super) fn isochronous(mut bytes: &[u8], configuration: u8) -> BTreeSet<u8> {
    let mut found = BTreeSet::new();
    let (mut ours, mut interface) = (false, None);
    while let [length, kind, ..] = *bytes {
        let length = usize::from(length);
        let Some((descriptor, rest)) = bytes.split_at_checked(length).filter(|_| length >= 2) else { break };
        let field = |at: usize| descriptor.get(at).copied();
        match kind {
            CONFIGURATION => (ours, interface) = (field(5) == Some(configuration), None),
            INTERFACE => interface = field(2),
            ENDPOINT if ours && field(3).is_some_and(|bits| bits & TRANSFER_TYPE == ISOCHRONOUS) => {
                found.extend(interface);
            }
            _ => {}
        }
        bytes = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEVICE: [u8; 18] = [18, 1, 0, 2, 0, 0, 0, 64, 0x6d, 4, 0x25, 8, 0, 0, 0, 0, 0, 2];

    fn configuration(value: u8) -> Vec<u8> {
        vec![9, 2, 0, 0, 2, value, 0, 0x80, 250]
    }

    fn interface(number: u8, alternate: u8) -> Vec<u8> {
        vec![9, 4, number, alternate, 1, 0x0e, 2, 0, 0]
    }

    fn endpoint(attributes: u8) -> Vec<u8> {
        vec![7, 5, 0x81, attributes, 0, 2, 1]
    }

    #[test]
    fn interfaces_with_isochronous_endpoints_are_found_in_any_alternate_setting() {
        let bytes = [
            DEVICE.to_vec(),
            configuration(1),
            interface(0, 0),
            endpoint(3),
            interface(1, 0),
            interface(1, 1),
            // Asynchronous, and of no use here: an endpoint for data.
            endpoint(5),
            configuration(2),
            interface(3, 0),
            endpoint(1),
        ]
        .concat();
        assert_eq!(isochronous(&bytes, 1), [1].into());
        assert_eq!(isochronous(&bytes, 2), [3].into());
        assert_eq!(isochronous(&bytes, 3), BTreeSet::new());
        // What was cut off says nothing.
        assert_eq!(isochronous(&bytes[..60], 1), BTreeSet::new());
    }

    #[test]
    fn lengths_that_lead_nowhere_end_it() {
        for bytes in [&[][..], &[9], &[0, 4], &[1, 2, 3], &[255, 5, 1, 1]] {
            assert_eq!(isochronous(bytes, 1), BTreeSet::new());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            isochronous(&bytes, 1);
        }
    }
}
