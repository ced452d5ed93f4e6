//! What keeps mediated devices from being had, word by word.

use std::fs;

use super::super::fake::{Fake, GPU};
use super::{IGPU, KIND, OTHER, UUID, add, host, refusal, told, wanted, wanted_of};
use crate::host::WantedMdev;
use crate::host::files::link_name;

#[test]
fn the_wrong_type_is_told_with_what_there_is() {
    let fake = host("0x591b", true);
    let message = refusal(&fake, wanted_of(IGPU, "i915-GVTg_V5_1"));
    told(
        &message,
        &["offers no type i915-GVTg_V5_1", "i915-GVTg_V5_4 (room for 1; low_gm_size: 128MB, fence: 4)"],
    );
}

#[test]
fn missing_room_is_told_with_who_takes_it() {
    let fake = host("0x591b", true);
    let types = format!("sys/class/mdev_bus/{IGPU}/mdev_supported_types");
    fake.file(&format!("{types}/{KIND}/available_instances"), "0\n");
    told(&refusal(&fake, wanted()), &["larger aperture", "room for: i915-GVTg_V5_8"]);
    add(&fake.root().join("sys/devices/pci0000:00").join(IGPU), KIND, OTHER, Some("20"));
    told(
        &refusal(&fake, wanted()),
        &["no room for another", &format!("{OTHER} ({KIND}) takes it"), "/remove"],
    );
}

#[test]
fn what_exists_must_be_what_is_wanted_and_free() {
    let fake = host("0x591b", true);
    let parent = fake.root().join("sys/devices/pci0000:00").join(IGPU);
    add(&parent, "i915-GVTg_V5_8", UUID, Some("20"));
    told(&refusal(&fake, wanted()), &["exists already and is i915-GVTg_V5_8", "another `uuid`"]);
    let existing = || WantedMdev { create: None, ..wanted() };
    fake.process(77, "qemu-system-x86", "/dev/vfio/20");
    told(
        &refusal(&fake, existing()),
        &["in use", "qemu-system-x86 (process 77) has /dev/vfio/20", "shut down"],
    );
    fs::remove_file(parent.join(UUID).join("iommu_group")).unwrap();
    told(&refusal(&fake, existing()), &["the driver intel_vgpu_mdev", "in no IOMMU group"]);
    fs::remove_file(parent.join(UUID).join("driver")).unwrap();
    told(&refusal(&fake, existing()), &["no driver that lends it"]);
    assert!(link_name(&parent.join(UUID).join("mdev_type")).is_some());
}

#[test]
fn the_reason_why_there_is_no_gvt_is_told() {
    let parameter = |fake: &Fake, name: &str, value: &str| {
        fake.file(&format!("sys/module/i915/parameters/{name}"), value);
    };
    let loaded = |fake: &Fake| fake.file("sys/module/kvmgt/initstate", "live\n");
    let nothing = |_: &Fake| {};
    type Prepare<'a> = &'a dyn Fn(&Fake);
    let cases: [(&str, Prepare<'_>, &[&str]); 9] = [
        ("0x0412", &nothing, &["too old", "Broadwell"]),
        ("0x9a49", &nothing, &["no GVT-g", "`type = \"sriov\"` makes a virtual function"]),
        ("0x591b", &|fake| parameter(fake, "enable_gvt", "N\n"), &["switched off", "i915.enable_gvt=1"]),
        (
            "0x591b",
            &|fake| {
                parameter(fake, "enable_gvt", "Y\n");
                parameter(fake, "enable_guc", "3\n");
            },
            &["GuC", "i915.enable_guc=0"],
        ),
        (
            "0x591b",
            &|fake| parameter(fake, "enable_guc", "-1\n"),
            &["kvmgt is not loaded", "CONFIG_DRM_I915_GVT"],
        ),
        ("0x591b", &loaded, &["has not switched GVT-g on", "dmesg | grep -i gvt"]),
        (
            "0x591b",
            &|fake| fake.link(&format!("sys/bus/pci/devices/{IGPU}/driver"), "drivers/xe"),
            &["driver is xe"],
        ),
        (
            "0x591b",
            &|fake| fs::remove_file(fake.root().join(format!("sys/bus/pci/devices/{IGPU}/driver"))).unwrap(),
            &["no driver", "modprobe i915"],
        ),
        ("0xffff", &loaded, &["has not switched GVT-g on"]),
    ];
    for (device, prepare, words) in cases {
        let fake = host(device, false);
        prepare(&fake);
        told(&refusal(&fake, wanted()), words);
    }
    let fake = host("0x591b", true);
    told(&refusal(&fake, wanted_of("0000:07:00.0", KIND)), &["no such PCI device", "lspci -D"]);
    told(&refusal(&fake, wanted_of(GPU, KIND)), &["not an Intel GPU"]);
    told(&refusal(&fake, wanted_of("mbochs", "mbochs-small")), &["/sys/class/mdev_bus", IGPU]);
}
