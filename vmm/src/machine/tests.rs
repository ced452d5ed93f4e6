use std::path::Path;

use devices::bus::AddressRange;

use super::acpi::{CpuFacts, Firmware, platform};
use crate::config::{self, Config};
use crate::cpu::cpuid::Vendor;
use crate::host::HostFacts;
use crate::plan::{MachinePlan, plan};

const CPU: CpuFacts = CpuFacts { physical_bits: 40, vendor: Vendor::Amd, gib_pages: true };

fn machine(text: &str) -> (Config, MachinePlan) {
    let text = format!("[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n{text}");
    let config = config::parse(&text, Path::new("/vm/test.toml")).unwrap();
    let plan = plan(&config, &HostFacts::default()).unwrap();
    (config, plan)
}

fn range(base: u64, len: u64) -> AddressRange {
    AddressRange::new(base, len).unwrap()
}

#[test]
fn tables_fit_what_was_announced_wherever_the_firmware_puts_things() {
    let (config, plan) = machine(
        "[[root_port]]\naddress = \"00:01.0\"\n[[root_port]]\naddress = \"00:1c.0\"\n\
         [[disk]]\npath = \"a.raw\"\naddress = \"01:00.0\"\n[cpu]\ntopology = { sockets = 2, cores = 3, threads = 2 }\n",
    );
    let announced =
        ::acpi::build(&platform(&config, &plan, CPU, &Firmware::default()).unwrap()).unwrap().sizes();
    for ecam in [0xb000_0000, 0xe000_0000] {
        let firmware = Firmware {
            ecam: Some(range(ecam, 256 << 20)),
            claimed: vec![range(0xe0_0000_0000, 1 << 30), range(0x8000_0000, 1 << 20)],
        };
        let tables = ::acpi::build(&platform(&config, &plan, CPU, &firmware).unwrap()).unwrap();
        let tables = tables.fit(announced).unwrap();
        let mcfg = tables.individual().into_iter().find(|table| &table.signature == b"MCFG").unwrap();
        assert_eq!(mcfg.bytes[44..52], ecam.to_le_bytes());
    }
}

#[test]
fn the_high_window_holds_what_the_firmware_placed_and_no_ram() {
    let (config, plan) = machine("[machine]\nmemory = \"5G\"\n");
    let placed = range(0x38_0000_0000, 1 << 32);
    let firmware = Firmware { ecam: None, claimed: vec![placed, range(0x8000_0000, 1 << 20)] };
    let platform = platform(&config, &plan, CPU, &firmware).unwrap();
    let [window] = platform.pci.mmio64[..] else { panic!("{:?}", platform.pci.mmio64) };
    assert!(window.start <= placed.base() && placed.last() <= window.end);
    assert!(window.start >= plan.memory.end());
    assert!(window.end < 1 << CPU.physical_bits);
}

#[test]
fn a_laptop_chassis_makes_a_mobile_machine() {
    for (chassis, profile) in
        [("notebook", ::acpi::PmProfile::Mobile), ("desktop", ::acpi::PmProfile::Desktop)]
    {
        let (config, plan) = machine(&format!("[smbios]\nchassis_type = \"{chassis}\"\n"));
        let platform = platform(&config, &plan, CPU, &Firmware::default()).unwrap();
        assert_eq!(platform.pm_profile, profile, "{chassis}");
    }
}

#[test]
fn a_laptops_gpu_has_the_names_that_its_driver_looks_for() {
    let (config, plan) =
        machine("[dgpu]\nhost = \"01:00.0\"\n[[vfio]]\nhost = \"03:00.0\"\nguest = \"01:00.1\"\n");
    let platform = platform(&config, &plan, CPU, &Firmware::default()).unwrap();
    assert_eq!(platform.pm_profile, ::acpi::PmProfile::Mobile);
    let port = platform.pci.functions.iter().find(|function| function.device == 1).unwrap();
    let ::acpi::FunctionKind::Bridge { children } = &port.kind else { panic!("{port:?}") };
    let names: Vec<_> = children.iter().map(|child| (child.function, child.name.to_string())).collect();
    assert_eq!(port.name.to_string(), "PEG0");
    assert_eq!(names, [(0, "PEGP".into()), (1, "PXS1".into())]);
    ::acpi::build(&platform).unwrap();
}
