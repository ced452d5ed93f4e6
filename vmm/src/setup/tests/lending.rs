//! Which functions go together.

use super::fixture::Fixture;
use crate::host::Lending;
use crate::setup::lending::{together, unbound};

#[test]
fn the_functions_of_a_gpu_go_together_and_others_alone() {
    let fixture = Fixture::new("debian");
    let files = fixture.root().files();
    let shown = |names: &[&str]| {
        let devices: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
        together(&files, &devices).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(shown(&["0000:01:00.0"]), ["0000:01:00.0", "0000:01:00.1"]);
    assert_eq!(shown(&["0000:01:00.1"]), ["0000:01:00.1"]);
    // The chipset's other functions are none of an audio controller's.
    fixture.function("0000:00:1f.0", "8086:a14e", "060100", "lpc_ich");
    assert_eq!(shown(&["0000:00:1f.3"]), ["0000:00:1f.3"]);
    // A virtual function and its physical one do not go with each other.
    fixture.function("0000:02:00.0", "8086:56c0", "038000", "i915");
    fixture.function("0000:02:00.1", "8086:56c0", "038000", "i915");
    fixture.link("sys/bus/pci/devices/0000:02:00.1/physfn", "../0000:02:00.0");
    assert_eq!(shown(&["0000:02:00.0"]), ["0000:02:00.0"]);
    assert_eq!(shown(&["0000:02:00.1"]), ["0000:02:00.1"]);
    // What is not there is told by who binds it.
    assert_eq!(shown(&["0000:09:00.0", "0000:09:00.0"]), ["0000:09:00.0"]);
}

#[test]
fn what_is_bound_is_what_the_driver_has() {
    let fixture = Fixture::new("debian");
    let functions: [vocabulary::HostPciAddress; 2] =
        ["0000:01:00.0", "0000:01:00.1"].map(|name| name.parse().unwrap());
    let lending = |count: usize, machine| Lending {
        machine,
        devices: functions.iter().take(count).map(|function| (*function).into()).collect(),
    };
    let files = fixture.root().files();
    let machine = lending(2, Some(("vm".into(), 7)));
    assert_eq!(unbound(&files, &[machine], &functions).unwrap(), functions);
    let error = unbound(&files, &[lending(1, None)], &functions).unwrap_err().to_string();
    assert!(error.contains("`sudo optimus-vmm host release 0000:01:00.0` first"), "{error}");
    fixture.link("sys/bus/pci/devices/0000:01:00.0/driver", "/sys/bus/pci/drivers/vfio-pci");
    assert_eq!(unbound(&files, &[lending(1, None)], &functions).unwrap(), functions[1..]);
}
