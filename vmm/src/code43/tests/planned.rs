//! From a vm.toml and a host's files to what a driver would find.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use firmware::option_rom::testing::muxless;
use tempfile::TempDir;
use vocabulary::AddressRange;

use super::{GTX_1050, LEGION, Pair, Slot, Window};
use crate::code43::condition::State;
use crate::code43::facts::{Bar, BatteryMode, Facts, Firmware, Gpu, Host, Ids, Os, RomBar};
use crate::code43::{Driver, Report, planned};
use crate::config;
use crate::host::{HostFacts, HostFiles};
use crate::plan::{MachinePlan, plan};

const GPU: &str = "0000:01:00.0";

/// A laptop's sysfs, as far as its GPU is concerned.
fn host() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let device = root.path().join("sys/bus/pci/devices").join(GPU);
    let group = root.path().join("sys/kernel/iommu_groups/1");
    fs::create_dir_all(&device).unwrap();
    fs::create_dir_all(group.join("devices")).unwrap();
    for (name, text) in [
        ("vendor", "0x10de\n"),
        ("device", "0x1c8d\n"),
        ("subsystem_vendor", "0x17aa\n"),
        ("subsystem_device", "0x39d1\n"),
        ("class", "0x030200\n"),
        ("power_state", "D3hot\n"),
        ("reset_method", "pm bus\n"),
        (
            "resource",
            "0x00000000a3000000 0x00000000a3ffffff 0x0000000000040200\n\
             0x0000000090000000 0x000000009fffffff 0x000000000014220c\n\
             0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
             0x00000000a0000000 0x00000000a1ffffff 0x000000000014220c\n\
             0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
             0x0000000000004000 0x000000000000407f 0x0000000000040101\n\
             0x00000000a4000000 0x00000000a407ffff 0x0000000000046200\n",
        ),
    ] {
        fs::write(device.join(name), text).unwrap();
    }
    fs::write(device.join("config"), [0; 64]).unwrap();
    symlink(&group, device.join("iommu_group")).unwrap();
    symlink(&device, group.join("devices").join(GPU)).unwrap();
    root
}

fn planned(text: &str, folder: &Path, files: &HostFiles) -> MachinePlan {
    let text = format!("[firmware]\ncode = \"/c.fd\"\n[rng]\nenabled = false\n{text}");
    let config = config::parse(&text, &folder.join("vm.toml")).unwrap();
    let facts = HostFacts::gather_from(files, config.lent_devices());
    plan(config, &facts).unwrap()
}

fn explained(text: &str, folder: &Path, files: &HostFiles) -> Facts {
    let plan = planned(text, folder, files);
    let mut facts = planned::facts(&plan);
    planned::look(&mut facts, &plan, files, AddressRange::new(0x70_0000_0000, 64 << 30));
    facts
}

fn fails(facts: &Facts, driver: Driver) -> Vec<&'static str> {
    Report::new(facts, driver).of(State::Fails)
}

#[test]
fn a_plan_and_its_host_become_facts() {
    let root = host();
    let files = HostFiles::at(root.path());
    fs::write(root.path().join("vbios.rom"), vbios(0x1c8d)).unwrap();
    let text = "[dgpu]\nhost = \"01:00.0\"\nvbios = \"vbios.rom\"\n[cpu]\npreset = \"optimus\"\n";
    let facts = explained(text, root.path(), &files);
    assert_eq!(
        facts.gpu,
        Some(Gpu {
            host: GPU.into(),
            bus: 1,
            at: Slot { device: 0, function: 0 },
            port: Some(Slot { device: 1, function: 0 }),
            own: Some(Ids { function: GTX_1050, subsystem: LEGION, class: 0x0302 }),
            group: Some(1),
            ..Gpu::default()
        })
    );
    let bar = |index, size, high| Bar { index, size, high, base: None };
    assert_eq!(
        facts.host,
        Some(Host {
            answers: Some(true),
            power_state: Some("D3hot".into()),
            resets: Some("pm bus".into()),
            culprits: Vec::new(),
            bars: vec![bar(0, 16 << 20, false), bar(1, 256 << 20, true), bar(3, 32 << 20, true)],
        })
    );
    let method = facts.rom_method.as_ref().unwrap();
    assert_eq!((method.device.as_str(), &method.expected[..]), ("\\_SB.PCI0.PEG0.PEGP", &[GTX_1050][..]));
    assert_eq!(method.image.as_ref().unwrap().ids, Some(GTX_1050));
    assert_eq!((facts.os, &facts.hypervisor.names[..]), (Os::Windows, &["GenuineIntel".to_owned()][..]));
    assert_eq!((facts.chassis, facts.firmware, facts.rom_bar), (10, Firmware::Ovmf, RomBar::Off));
    assert_eq!(facts.battery.mode, BatteryMode::Full);
    assert_eq!(facts.window, Some(Window { base: 0x70_0000_0000, last: 0x7f_ffff_ffff }));
    let lines: Vec<_> = facts.lines.iter().map(|line| (line.key.as_str(), line.line)).collect();
    // Those that are not written have their section's line, if there is one.
    assert!(lines.contains(&("dgpu.host", 6)) && lines.contains(&("dgpu.vbios", 7)), "{lines:?}");
    assert!(lines.contains(&("dgpu.subsystem", 5)) && lines.contains(&("cpu.phys_bits", 8)), "{lines:?}");
    assert!(!lines.iter().any(|(key, _)| *key == "battery.mode"), "{lines:?}");
    assert_eq!(fails(&facts, Driver::Any), [""; 0]);
    assert_eq!(fails(&facts, Driver::Branch(442)), [""; 0]);
}

fn vbios(device: u16) -> Vec<u8> {
    muxless(0x10de, device)
}

/// What owners of laptops get wrong, one at a time.
#[test]
fn each_mistake_is_found() {
    let root = host();
    let files = HostFiles::at(root.path());
    let write = |name: &str, bytes: &[u8]| fs::write(root.path().join(name), bytes).unwrap();
    write("vbios.rom", &vbios(0x1c8d));
    write("other.rom", &vbios(0x1f91));
    let mut damaged = vbios(0x1c8d);
    damaged[0x100] ^= 1;
    write("damaged.rom", &damaged);
    write("short.rom", &vbios(0x1c8d)[..700]);
    write("text.rom", b"no ROM at all");
    let good = "host = \"01:00.0\"\nvbios = \"vbios.rom\"\n";
    let vbios = |file: &str| format!("[dgpu]\nhost = \"01:00.0\"\nvbios = \"{file}\"\n");
    let cases: [(String, &[&str]); 13] = [
        (format!("[dgpu]\n{good}"), &[]),
        ("[dgpu]\nhost = \"01:00.0\"\n".into(), &["rom-method"]),
        ("[dgpu]\nhost = \"02:00.0\"\nvbios = \"vbios.rom\"\n".into(), &["gpu"]),
        (vbios("other.rom"), &["vbios-id"]),
        (vbios("damaged.rom"), &["vbios"]),
        (vbios("short.rom"), &["vbios"]),
        (vbios("text.rom"), &["vbios"]),
        (vbios("none.rom"), &["vbios"]),
        (format!("[dgpu]\n{good}subsystem = \"0000:0000\"\n"), &["subsystem"]),
        (format!("[dgpu]\n{good}guest = \"00:05.0\"\n"), &[]),
        (format!("[[root_port]]\naddress = \"00:03.0\"\n[dgpu]\n{good}guest = \"01:00.0\"\n"), &[]),
        (format!("[dgpu]\n{good}[battery]\nmode = \"none\"\n"), &["battery"]),
        (String::new(), &["gpu"]),
    ];
    for (text, expected) in cases {
        let facts = explained(&text, root.path(), &files);
        assert_eq!(fails(&facts, Driver::Any), expected, "{text}");
    }
    // Another place than laptops', by a driver that wants theirs.
    let text = format!("[dgpu]\n{good}guest = \"00:05.0\"\n");
    assert_eq!(fails(&explained(&text, root.path(), &files), Driver::Branch(442)), ["place"]);
    assert_eq!(fails(&explained(&text, root.path(), &files), Driver::Branch(465)), [""; 0]);
    // Windows finds Hyper-V's interface, under a name that says something or not.
    for (cpu, names) in [
        ("os = \"windows\"\n", &["GenuineIntel"][..]),
        ("os = \"windows\"\nhide_hypervisor = false\n", &["Microsoft Hv", "KVMKVMKVM"]),
        ("os = \"linux\"\n", &["KVMKVMKVM"]),
        ("os = \"linux\"\nvendor_id = \"Other\"\n", &["Other", "KVMKVMKVM"]),
        ("os = \"other\"\n", &[]),
        ("hypervisor = false\n", &[]),
    ] {
        let facts = explained(&format!("[dgpu]\n{good}[cpu]\n{cpu}"), root.path(), &files);
        assert_eq!(facts.hypervisor.names, names, "{cpu}");
        assert_eq!(facts.hypervisor.present, !cpu.contains("= false\n") || cpu.contains("hide"), "{cpu}");
    }
    // KVM to be seen, by a driver that refuses it.
    let linux = format!("[dgpu]\n{good}[cpu]\nos = \"linux\"\n");
    assert_eq!(fails(&explained(&linux, root.path(), &files), Driver::Branch(442)), [""; 0]);
    let text = format!("[dgpu]\n{good}[cpu]\nhide_hypervisor = false\n");
    assert_eq!(fails(&explained(&text, root.path(), &files), Driver::Branch(442)), ["hypervisor"]);
    assert_eq!(fails(&explained(&text, root.path(), &files), Driver::Branch(465)), [""; 0]);
}

#[test]
fn devices_that_the_host_uses_and_a_dead_gpu_are_found() {
    let root = host();
    let files = HostFiles::at(root.path());
    let text = "[dgpu]\nhost = \"01:00.0\"\nvbios = \"vbios.rom\"\n";
    fs::write(root.path().join("vbios.rom"), vbios(0x1c8d)).unwrap();
    let wifi = root.path().join("sys/bus/pci/devices/0000:3b:00.0");
    fs::create_dir_all(&wifi).unwrap();
    symlink("/drivers/iwlwifi", wifi.join("driver")).unwrap();
    symlink(&wifi, root.path().join("sys/kernel/iommu_groups/1/devices/0000:3b:00.0")).unwrap();
    fs::write(root.path().join("sys/bus/pci/devices").join(GPU).join("config"), [0xff; 64]).unwrap();
    let facts = explained(text, root.path(), &files);
    assert_eq!(facts.host.as_ref().unwrap().culprits, ["0000:3b:00.0 (driver iwlwifi)"]);
    assert_eq!(fails(&facts, Driver::Any), ["iommu-group", "power"]);
}

#[test]
fn a_chassis_that_is_the_hosts_is_not_guessed() {
    let root = host();
    let files = HostFiles::at(root.path());
    for (smbios, chassis) in [
        ("", 10),
        ("mirror_serials = true\n", 10),
        ("mirror_host = true\n", 0),
        ("mirror_host = true\nchassis_type = \"laptop\"\n", 9),
    ] {
        let text = format!("[dgpu]\nhost = \"01:00.0\"\n[smbios]\n{smbios}");
        let plan = planned(&text, root.path(), &files);
        let mut facts = planned::facts(&plan);
        planned::leave_out_identity(&mut facts, &plan);
        assert_eq!(facts.chassis, chassis, "{smbios}");
    }
}

#[test]
fn the_image_that_was_loaded_is_checked_as_the_file_was() {
    let root = host();
    let files = HostFiles::at(root.path());
    let plan = planned("[dgpu]\nhost = \"01:00.0\"\nvbios = \"vbios.rom\"\n", root.path(), &files);
    let mut facts = planned::facts(&plan);
    assert_eq!(facts.rom_method.as_ref().unwrap().image, None);
    planned::loaded(&mut facts, &vbios(0x1c8d));
    let image = |facts: &Facts| facts.rom_method.clone().unwrap().image.unwrap();
    assert_eq!((image(&facts).ids, image(&facts).mismatch), (Some(GTX_1050), None));
    planned::loaded(&mut facts, &vbios(0x1f91));
    assert_eq!(image(&facts).ids, Some(Pair { vendor: 0x10de, device: 0x1f91 }));
    assert!(image(&facts).mismatch.unwrap().contains("10de:1f91"));
}
