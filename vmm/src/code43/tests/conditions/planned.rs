//! Conditions of a planned machine.

use super::{Case, FIRST, NEW, OLD, ids, own};
use crate::code43::Driver;
use crate::code43::condition::State;
use crate::code43::facts::{BatteryMode, Facts, Firmware, HostBattery, Hypervisor, Os, RomBar, Slot};

pub(super) const PLANNED: &[Case] = {
    use Driver::Any;
    use State::{Fails, Ok, Unknown, Warning};
    &[
        ("gpu", |_| {}, Any, Ok, "10de:1c8d, 0000:01:00.0 of the host, the host's driver is vfio-pci"),
        ("gpu", |facts| facts.gpu = None, Any, Fails, "add `host = "),
        (
            "gpu",
            |facts| facts.gpu.as_mut().unwrap().own = None,
            Any,
            Fails,
            "this host has no PCI device 0000:01:00.0",
        ),
        (
            "gpu",
            |facts| own(facts).function = ids(0x1002, 0x73ff),
            Any,
            Fails,
            "1002:73ff, which is not NVIDIA's",
        ),
        ("gpu", |facts| own(facts).class = 0x0403, Any, Fails, "class 0403"),
        (
            "gpu",
            |facts| {
                facts.gpu.as_mut().unwrap().own = None;
                facts.host = None;
            },
            Any,
            Unknown,
            "0000:01:00.0 of the host, which was not asked",
        ),
        ("iommu-group", |_| {}, Any, Ok, "group 1: nothing in it"),
        (
            "iommu-group",
            |facts| facts.gpu.as_mut().unwrap().group = None,
            Any,
            Fails,
            "the host's IOMMU is off",
        ),
        (
            "iommu-group",
            |facts| facts.host.as_mut().unwrap().culprits = vec!["0000:3b:00.0 (driver iwlwifi)".into()],
            Any,
            Fails,
            "the host uses 0000:3b:00.0 (driver iwlwifi) of group 1",
        ),
        ("iommu-group", |facts| facts.host = None, Any, Unknown, "was not asked"),
        ("power", |_| {}, Any, Ok, "it answers, in D0; resets: bus"),
        ("power", |facts| facts.host.as_mut().unwrap().answers = Some(false), Any, Fails, "all ones, in D0"),
        ("power", |facts| facts.host.as_mut().unwrap().answers = None, Any, Unknown, "cannot be read"),
        ("power", |facts| facts.host = None, Any, Unknown, "was not asked"),
        ("place", |_| {}, Any, Ok, "01:00.0 behind the root port 00:01.0"),
        ("place", |facts| facts.gpu.as_mut().unwrap().bus = 2, Any, Warning, "02:00.0 behind the root port"),
        ("place", |facts| facts.gpu.as_mut().unwrap().bus = 2, OLD, Fails, "leave `guest` out"),
        ("place", |facts| facts.gpu.as_mut().unwrap().bus = 2, FIRST, Warning, "leave `guest` out"),
        (
            "place",
            |facts| facts.gpu.as_mut().unwrap().port = Some(Slot { device: 0x1c, function: 0 }),
            Any,
            Warning,
            "behind the root port 00:1c.0",
        ),
        (
            "place",
            |facts| {
                let gpu = facts.gpu.as_mut().unwrap();
                (gpu.bus, gpu.at, gpu.port) = (0, Slot { device: 5, function: 0 }, None);
            },
            OLD,
            Fails,
            "00:05.0, on the root bus",
        ),
        ("function", |_| {}, Any, Ok, "0"),
        ("function", |facts| facts.gpu.as_mut().unwrap().at.function = 1, Any, Fails, "leave `guest` out"),
        ("class", |_| {}, Any, Ok, "3D controller"),
        ("class", |facts| own(facts).class = 0x0300, Any, Ok, "VGA controller"),
        ("class", |facts| own(facts).class = 0x0380, Any, Warning, "0380"),
        ("class", |facts| facts.gpu.as_mut().unwrap().own = None, Any, Unknown, "does not have the GPU"),
        ("device-id", |_| {}, Any, Ok, "10de:1c8d, its own"),
        (
            "device-id",
            |facts| facts.gpu.as_mut().unwrap().device = Some(0x1c8c),
            Any,
            Warning,
            "10de:1c8c in place of",
        ),
        (
            "device-id",
            |facts| {
                let gpu = facts.gpu.as_mut().unwrap();
                (gpu.own, gpu.vendor, gpu.device) = (None, Some(0x10de), Some(0x1c8d));
            },
            Any,
            Unknown,
            "as vm.toml says",
        ),
        ("subsystem", |_| {}, Any, Ok, "17aa:39d1, its own"),
        (
            "subsystem",
            |facts| own(facts).subsystem = ids(0, 0),
            Any,
            Fails,
            "add `subsystem = \"VENDOR:DEVICE\"` to [dgpu]",
        ),
        ("subsystem", |facts| own(facts).subsystem = ids(0x10de, 0), Any, Fails, "10de:0000"),
        ("subsystem", |facts| own(facts).subsystem = ids(0x10de, 0x1c8d), Any, Warning, "NVIDIA's own"),
        (
            "subsystem",
            |facts| {
                own(facts).subsystem = ids(0, 0);
                facts.gpu.as_mut().unwrap().subsystem = Some(ids(0x17aa, 0x39d1));
            },
            Any,
            Ok,
            "17aa:39d1 in place of its own 0000:0000",
        ),
        (
            "subsystem",
            |facts| facts.gpu.as_mut().unwrap().subsystem = Some(ids(0x1043, 0x1234)),
            Any,
            Warning,
            "1043:1234 in place of its own 17aa:39d1",
        ),
        ("subsystem", |facts| facts.gpu.as_mut().unwrap().own = None, Any, Unknown, "does not have the GPU"),
        ("bars", |_| {}, Any, Ok, "304M in all, the largest 256M; the firmware has 64G from 0x7000000000 on"),
        // A resizable BAR of 16 GiB needs as much and room for alignment.
        ("bars", |facts| facts.host.as_mut().unwrap().bars[1].size = 16 << 30, Any, Ok, "16432M in all"),
        (
            "bars",
            |facts| facts.host.as_mut().unwrap().bars[1].size = 64 << 30,
            Any,
            Fails,
            "the firmware has 64G",
        ),
        ("bars", |facts| facts.window = None, Any, Ok, "they go below 4 GiB"),
        (
            "bars",
            |facts| {
                facts.window = None;
                facts.host.as_mut().unwrap().bars[1].size = 8 << 30;
            },
            Any,
            Fails,
            "`phys_bits` in [cpu]",
        ),
        ("bars", |facts| facts.host.as_mut().unwrap().bars[0].size = 1 << 30, Any, Fails, "1312M in all"),
        ("bars", |facts| facts.host = None, Any, Unknown, "was not asked"),
        ("rom-method", |_| {}, Any, Ok, "`_ROM` of \\_SB.PCI0.PEG0.PEGP"),
        ("rom-method", |facts| facts.rom_method = None, Any, Fails, "add `vbios = \"FILE\"` to [dgpu]"),
        (
            "rom-method",
            |facts| {
                facts.rom_method = None;
                facts.rom_bar = RomBar::File;
            },
            Any,
            Fails,
            "the ROM BAR is no substitute",
        ),
        (
            "rom-method",
            |facts| {
                facts.rom_method = None;
                own(facts).class = 0x0300;
            },
            Any,
            Warning,
            "may have a ROM of its own",
        ),
        (
            "rom-method",
            |facts| {
                facts.rom_method = None;
                // The first of Turing, and the last before it.
                own(facts).function.device = 0x1e02;
            },
            Any,
            Ok,
            "GPUs since Turing have a ROM of their own",
        ),
        (
            "rom-method",
            |facts| {
                facts.rom_method = None;
                own(facts).function.device = 0x1dba;
            },
            Any,
            Fails,
            "from before Turing",
        ),
        (
            "rom-method",
            |facts| {
                facts.rom_method = None;
                facts.gpu.as_mut().unwrap().own = None;
            },
            Any,
            Unknown,
            "depends on what it is",
        ),
        (
            "vbios",
            |facts| {
                let image = facts.rom_method.as_mut().unwrap().image.as_mut().unwrap();
                image.unreadable = Some("cannot read it".into());
            },
            Any,
            Fails,
            "cannot read it write the path",
        ),
        (
            "gpu",
            |facts| {
                let gpu = facts.gpu.as_mut().unwrap();
                (gpu.own, gpu.vendor, gpu.device) = (None, Some(0x10de), Some(0x1c8d));
                facts.host = None;
            },
            Any,
            Unknown,
            "0000:01:00.0 of the host, which was not asked",
        ),
        ("vbios", |_| {}, Any, Ok, "169472 bytes, version 86.07.3e.00.2f, chain and checksums right"),
        (
            "vbios",
            |facts| {
                let image = facts.rom_method.as_mut().unwrap().image.as_mut().unwrap();
                image.damage = vec!["the checksum is wrong".into(), "another".into()];
            },
            Any,
            Fails,
            "the checksum is wrong (and 1 more) `optimus-vmm vbios info vbios.rom`",
        ),
        (
            "vbios",
            |facts| facts.rom_method.as_mut().unwrap().image = None,
            Any,
            Unknown,
            "vbios.rom was not looked at",
        ),
        ("vbios-id", |_| {}, Any, Ok, "it is for 10de:1c8d"),
        (
            "vbios-id",
            |facts| {
                let image = facts.rom_method.as_mut().unwrap().image.as_mut().unwrap();
                image.mismatch = Some("it is for another device".into());
            },
            Any,
            Fails,
            "it is for another device write the file of this GPU's ROM",
        ),
        (
            "vbios-id",
            |facts| facts.rom_method.as_mut().unwrap().expected.clear(),
            Any,
            Unknown,
            "is not known",
        ),
        (
            "vbios-id",
            |facts| facts.rom_method.as_mut().unwrap().image = None,
            Any,
            Unknown,
            "was not looked at",
        ),
        ("rom-bar", |_| {}, Any, Ok, "none"),
        ("rom-bar", |facts| facts.rom_bar = RomBar::File, Any, Warning, "`rom = \"off\"` in [dgpu]"),
        (
            "rom-bar",
            |facts| {
                facts.rom_bar = RomBar::Host;
                own(facts).class = 0x0300;
            },
            Any,
            Ok,
            "the GPU's own ROM",
        ),
        ("firmware", |_| {}, Any, Ok, "OVMF"),
        ("firmware", |facts| facts.firmware = Firmware::None, Any, Warning, "leave `boot` out of [kernel]"),
        ("firmware", |facts| facts.firmware = Firmware::Raw, Any, Unknown, "leave `kind` out of [firmware]"),
        ("hypervisor", |_| {}, OLD, Ok, "\"GenuineIntel\", a name that no driver knows"),
        ("hypervisor", |facts| facts.hypervisor.names.clear(), OLD, Ok, "without a name"),
        ("hypervisor", |facts| facts.hypervisor = Hypervisor::default(), OLD, Ok, "no hypervisor"),
        ("hypervisor", kvm, OLD, Fails, "`hide_hypervisor = true` in [cpu]"),
        ("hypervisor", kvm, FIRST, Ok, "this driver accepts it"),
        ("hypervisor", kvm, Any, Warning, "465 and later accept it, earlier ones refuse it"),
        (
            "hypervisor",
            kvm_for_linux,
            OLD,
            Ok,
            "CPUID says \"KVMKVMKVM\"; Linux' driver is not known to refuse it",
        ),
        ("hypervisor", kvm_for_linux, Any, Ok, "not known to refuse it"),
        ("hypervisor", hyper_v, OLD, Fails, "another `vendor_id` in [cpu]"),
        ("hypervisor", hyper_v, NEW, Ok, "CPUID says \"Microsoft Hv\"; this driver"),
        // As with `os = "windows"` and without hiding KVM.
        (
            "hypervisor",
            |facts| facts.hypervisor.names = vec!["Microsoft Hv".into(), "KVMKVMKVM".into()],
            OLD,
            Fails,
            "CPUID says \"Microsoft Hv\" and \"KVMKVMKVM\"; this driver refuses it for a driver before 465 write `hide_hypervisor",
        ),
        // Behind another name, KVM's is found too.
        (
            "hypervisor",
            |facts| facts.hypervisor.names.push("KVMKVMKVM".into()),
            OLD,
            Fails,
            "CPUID says \"KVMKVMKVM\"",
        ),
        ("battery", |_| {}, Any, Ok, "full and rechargeable"),
        (
            "battery",
            |facts| facts.battery.mode = BatteryMode::None,
            Any,
            Fails,
            "`mode = \"full\"` in [battery]",
        ),
        (
            "battery",
            |facts| facts.battery.mode = BatteryMode::None,
            NEW,
            Fails,
            "`hide_hypervisor = false` in [cpu]",
        ),
        (
            "battery",
            |facts| {
                facts.battery.mode = BatteryMode::None;
                facts.os = Os::Linux;
            },
            Any,
            Ok,
            "Linux' driver does not insist on",
        ),
        ("battery", no_battery_but_kvm, NEW, Ok, "looks for none"),
        ("battery", no_battery_but_kvm, Any, Warning, "only a driver that accepts virtual machines"),
        ("battery", |facts| facts.battery.mode = BatteryMode::Mirror, Any, Unknown, "was not looked at"),
        ("battery", |facts| mirror(facts, false, false), Any, Warning, "the guest sees an empty bay"),
        ("battery", |facts| mirror(facts, true, true), Any, Ok, "discharging"),
        ("battery", |facts| mirror(facts, true, false), Any, Ok, "it follows the host's"),
        ("chassis", |_| {}, Any, Ok, "type 10, a notebook"),
        ("chassis", |facts| facts.chassis = 9, Any, Ok, "type 9, a notebook"),
        ("chassis", |facts| facts.chassis = 3, Any, Ok, "the battery makes it one"),
        ("chassis", |facts| facts.chassis = 0, Any, Ok, "not asked; the battery makes it a notebook"),
        (
            "chassis",
            |facts| {
                facts.chassis = 0;
                facts.battery.mode = BatteryMode::None;
            },
            Any,
            Unknown,
            "as the host's, which was not asked",
        ),
        (
            "chassis",
            |facts| {
                facts.chassis = 31;
                facts.battery.mode = BatteryMode::None;
            },
            Any,
            Warning,
            "write `chassis_type = \"notebook\"` in [smbios]",
        ),
        ("dsm", |_| {}, Any, Ok, "none"),
        ("dsm", |facts| facts.tables = 2, Any, Unknown, "[[acpi.table]] adds (2)"),
    ]
};

fn kvm(facts: &mut Facts) {
    facts.hypervisor.names = vec!["KVMKVMKVM".into()];
}

fn kvm_for_linux(facts: &mut Facts) {
    kvm(facts);
    facts.os = Os::Linux;
}

fn hyper_v(facts: &mut Facts) {
    facts.hypervisor.names = vec!["Microsoft Hv".into()];
}

fn no_battery_but_kvm(facts: &mut Facts) {
    kvm(facts);
    facts.battery.mode = BatteryMode::None;
}

fn mirror(facts: &mut Facts, present: bool, discharging: bool) {
    facts.battery.mode = BatteryMode::Mirror;
    facts.battery.host = Some(HostBattery { present, discharging });
}
