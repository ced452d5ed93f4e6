//! Which devices are bound at boot.

use super::fixture::Fixture;
use crate::cli::BindWhen;
use crate::setup::SetupError;
use crate::setup::devices::{Devices, Earlier, find};

fn found(fixture: &Fixture, config: Option<&str>, bind: Option<BindWhen>) -> Result<Devices, SetupError> {
    let path = config.map(|text| {
        fixture.file("vm.toml", text);
        fixture.root().path("vm.toml")
    });
    find(&fixture.root().files(), path.as_deref(), bind, &Earlier::default())
}

fn addresses(devices: &Devices) -> Vec<String> {
    devices.at_boot.iter().map(|function| function.address.to_string()).collect()
}

const GPU: [&str; 2] = ["0000:01:00.0", "0000:01:00.1"];

#[test]
fn the_gpu_and_its_audio_are_for_guests() {
    let devices = found(&Fixture::new("debian"), None, None).unwrap();
    assert_eq!(addresses(&devices), GPU);
    assert_eq!(
        devices.rivals.iter().map(String::as_str).collect::<Vec<_>>(),
        ["nouveau", "nova_core", "nvidia", "snd_hda_intel"]
    );
    assert!(devices.by_address.is_empty() && devices.notes.is_empty(), "{devices:?}");
}

#[test]
fn a_gpu_with_the_screen_stays() {
    for (path, text, why) in [
        ("boot_vga", "1\n", "the firmware"),
        ("drm/card1/card1-eDP-1/status", "connected\n", "eDP-1"),
        ("drm/card1/card1-HDMI-A-1/status", "connected\n", "HDMI-A-1"),
    ] {
        let fixture = Fixture::new("debian");
        fixture.file(&format!("sys/bus/pci/devices/0000:01:00.0/{path}"), text);
        let devices = found(&fixture, None, None).unwrap();
        assert!(addresses(&devices).is_empty());
        assert!(
            devices.notes[0].contains(why) && devices.notes[0].contains("--bind boot"),
            "{:?}",
            devices.notes
        );
        assert_eq!(addresses(&found(&fixture, None, Some(BindWhen::Boot)).unwrap()), GPU);
    }
    let fixture = Fixture::new("debian");
    fixture.file("sys/bus/pci/devices/0000:01:00.0/drm/card1/card1-HDMI-A-1/status", "disconnected\n");
    assert_eq!(addresses(&found(&fixture, None, None).unwrap()), GPU);
    assert!(addresses(&found(&fixture, None, Some(BindWhen::Run)).unwrap()).is_empty());
}

#[test]
fn without_a_gpu_none_is_bound() {
    let fixture = Fixture::new("debian");
    fixture.function("0000:01:00.0", "1002:1c8d", "030200", "amdgpu");
    let devices = found(&fixture, None, None).unwrap();
    assert!(devices.at_boot.is_empty() && devices.notes[0].contains("no NVIDIA GPU"), "{devices:?}");
}

#[test]
fn a_virtual_function_goes_alone_and_its_parent_stays() {
    let fixture = Fixture::new("debian");
    for (address, parent) in [("0000:00:02.0", None), ("0000:00:02.1", Some("0000:00:02.0"))] {
        fixture.function(address, "8086:a7a0", "030000", "i915");
        if let Some(parent) = parent {
            fixture.link(&format!("sys/bus/pci/devices/{address}/physfn"), &format!("../{parent}"));
        }
    }
    let machine = |lines: &str| format!("[machine]\nmemory = \"2G\"\n{lines}");
    for (lines, expected) in [
        ("[igpu]\nhost = \"00:02.1\"\n", &["0000:00:02.1"][..]),
        ("[dgpu]\nhost = \"00:02.1\"\n", &["0000:00:02.1"]),
        ("[dgpu]\nhost = \"00:02.0\"\n", &["0000:00:02.0"]),
        ("[igpu]\nparent = \"00:02.0\"\ntype = \"sriov\"\n", &[]),
    ] {
        let devices = found(&fixture, Some(&machine(lines)), Some(BindWhen::Boot)).unwrap();
        assert_eq!(addresses(&devices), expected, "{lines}");
        assert!(!devices.gvt);
    }
}

#[test]
fn a_machine_says_which_and_when() {
    let fixture = Fixture::new("debian");
    let lent = |manage| {
        format!(
            "[machine]\nmemory = \"2G\"\n[dgpu]\nhost = \"0000:01:00.0\"\nmanage = {manage}\n[[vfio]]\nhost = \"0000:00:1f.3\"\nmanage = {manage}\n"
        )
    };
    assert_eq!(
        addresses(&found(&fixture, Some(&lent(false)), None).unwrap()),
        ["0000:01:00.0", "0000:01:00.1", "0000:00:1f.3"]
    );
    assert!(addresses(&found(&fixture, Some(&lent(true)), None).unwrap()).is_empty());
    assert_eq!(found(&fixture, Some(&lent(true)), Some(BindWhen::Boot)).unwrap().at_boot.len(), 3);
    let absent = "[machine]\nmemory = \"2G\"\n[[vfio]]\nhost = \"0000:09:00.0\"\nmanage = false\n";
    let devices = found(&fixture, Some(absent), None).unwrap();
    assert!(devices.at_boot.is_empty() && devices.notes[0].contains("0000:09:00.0"), "{devices:?}");
    let wrong = found(&fixture, Some("[machine]\nmemroy = 1\n"), None).unwrap_err();
    assert!(wrong.status() == 2 && wrong.to_string().contains("memroy"), "{wrong}");
}

/// `ids=` would take the other one as well.
#[test]
fn twins_are_told_by_their_addresses() {
    let fixture = Fixture::new("debian");
    fixture.function("0000:02:00.1", "10de:0fb9", "040300", "snd_hda_intel");
    let plan = fixture.plan();
    let text = |path| {
        let file = plan.files.iter().find(|file| file.path == path).unwrap();
        file.content.text().unwrap().to_owned()
    };
    let modprobe = text(crate::setup::plan::MODPROBE);
    assert!(modprobe.contains("options vfio-pci ids=10de:1c8d\n"), "{modprobe}");
    let rules = text(crate::setup::plan::UDEV);
    assert!(rules.contains("KERNEL==\"0000:01:00.1\", ATTR{driver_override}=\"vfio-pci\""), "{rules}");
    assert!(!rules.contains("0000:02:00.1"), "{rules}");
}

#[test]
fn modules_of_the_kernel_itself_cannot_wait() {
    let fixture = Fixture::new("debian");
    fixture.file("proc/sys/kernel/osrelease", "6.12\n");
    fixture.file(
        "lib/modules/6.12/modules.builtin",
        "kernel/sound/pci/hda/snd-hda-intel.ko\nkernel/fs/ext4/ext4.ko\n",
    );
    let devices = found(&fixture, None, None).unwrap();
    assert!(!devices.rivals.contains("snd_hda_intel") && devices.rivals.contains("nvidia"), "{devices:?}");
    assert!(devices.notes[0].contains("snd_hda_intel is a part of this kernel"), "{devices:?}");
}

/// A driver that is not in the list is known by having the device.
#[test]
fn the_present_driver_waits_too() {
    let fixture = Fixture::new("debian");
    fixture.function("0000:03:00.0", "14e4:1234", "020000", "tg3");
    fixture.link("sys/bus/pci/devices/0000:03:00.0/driver", "/sys/bus/pci/drivers/bnx-x");
    let config = "[machine]\nmemory = \"2G\"\n[[vfio]]\nhost = \"0000:03:00.0\"\nmanage = false\n";
    let devices = found(&fixture, Some(config), None).unwrap();
    assert_eq!(devices.rivals.iter().map(String::as_str).collect::<Vec<_>>(), ["bnx_x"]);
}

#[test]
fn a_virtual_gpu_needs_its_parameters_and_module() {
    let fixture = Fixture::new("debian");
    fixture.file(
        "vm.toml",
        "[machine]\nmemory = \"2G\"\n[igpu]\nparent = \"0000:00:02.0\"\ntype = \"i915-GVTg_V5_4\"\n",
    );
    let args = crate::cli::HostSetupArgs { config: Some(fixture.root().path("vm.toml")), ..fixture.args() };
    let plan = crate::setup::plan_of(&fixture.root(), &args).unwrap();
    assert_eq!(plan.parameters, ["intel_iommu=on", "i915.enable_gvt=1", "i915.enable_guc=0"]);
    let file = plan.files.iter().find(|file| file.path == crate::setup::plan::MODULES_LOAD).unwrap();
    assert!(file.content.text().unwrap().ends_with("vfio-pci\nkvmgt\n"));
}

#[test]
fn parameters_are_set_where_they_are_needed() {
    for (cpu, groups, given, set, told) in [
        ("GenuineIntel", false, "quiet", &["intel_iommu=on"][..], ""),
        ("GenuineIntel", true, "quiet", &[], ""),
        ("GenuineIntel", true, "intel_iommu=on", &[], ""),
        ("GenuineIntel", false, "intel_iommu=on", &[], "firmware setup"),
        ("GenuineIntel", false, "intel_iommu=off", &[], "by hand"),
        ("AuthenticAMD", false, "quiet", &[], "firmware setup"),
        ("AuthenticAMD", true, "quiet", &[], ""),
    ] {
        let fixture = Fixture::new("debian");
        fixture.file("proc/cpuinfo", &format!("vendor_id\t: {cpu}\n"));
        fixture.file("proc/cmdline", &format!("{given}\n"));
        if groups {
            fixture.file("sys/kernel/iommu_groups/1/", "");
        }
        let plan = fixture.plan();
        assert_eq!(plan.parameters, set, "{cpu} {groups} {given}");
        let notes = plan.notes.join("\n");
        assert!(
            if told.is_empty() { notes.is_empty() } else { notes.contains(told) },
            "{cpu} {groups} {given}: {notes}"
        );
    }
}
