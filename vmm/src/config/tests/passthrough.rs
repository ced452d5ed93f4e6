//! What sections of devices of the host mean.

use std::path::PathBuf;

use uuid::Uuid;
use vocabulary::{HostPciAddress, LentDevice, PciAddress, Resolution, VfioBackend};

use super::super::{GpuFunctions, Igpu, Passthrough, RomSource};
use super::parse;
use crate::device::Vbios;
use crate::finding::Section;

#[test]
fn a_gpu_has_the_place_of_a_laptops() {
    let config = parse("[dgpu]\nhost = \"01:00.0\"").unwrap();
    let [gpu] = config.passthrough.as_slice() else { panic!("one device") };
    let expected = Passthrough {
        section: Section::Dgpu,
        host: HostPciAddress::new(0, 1, 0, 0).unwrap().into(),
        create: None,
        is_parent: false,
        guest: PciAddress::new(1, 0, 0),
        root_port: true,
        multifunction: None,
        vendor: None,
        device: None,
        subsystem: None,
        rom: RomSource::Off,
        functions: GpuFunctions::All,
        boot_index: None,
        manage: false,
    };
    assert_eq!(gpu, &expected);
    assert!(gpu.is_dgpu());
    assert_eq!(config.machine.vfio_backend, VfioBackend::Auto);
    assert_eq!(config.devices.one::<Vbios>(), None);
}

#[test]
fn a_virtual_gpu_exists_or_is_made() {
    let existing = parse("[igpu]\nmdev = \"AF5972FB-5530-41a7-0000-fd836204445b\"").unwrap();
    let [display] = existing.passthrough.as_slice() else { panic!("one device") };
    let uuid = Uuid::from_u128(0xaf5972fb_5530_41a7_0000_fd836204445b);
    assert!(display.is_igpu() && !display.is_dgpu());
    assert_eq!((display.host, display.create.as_ref()), (LentDevice::Mediated(uuid), None));
    assert_eq!(display.guest, PciAddress::new(0, 2, 0));
    assert!(!display.manage);
    let usual =
        Igpu { resolution: Some(Resolution { width: 1920, height: 1080 }), opregion: None, ramfb: true };
    assert_eq!(existing.igpu, Some(usual));

    let made = |name: &str, more: &str| {
        let text =
            format!("name = \"{name}\"\n[igpu]\nparent = \"00:02.0\"\ntype = \"i915-GVTg_V5_4\"\n{more}");
        parse(&text).unwrap().passthrough.remove(0)
    };
    let first = made("vm", "");
    let create = first.create.clone().unwrap();
    assert_eq!((create.parent.as_str(), create.kind.as_str()), ("0000:00:02.0", "i915-GVTg_V5_4"));
    assert_eq!(made("vm", "ramfb = false\n").host, first.host, "always the same");
    assert_ne!(made("other", "").host, first.host);
    assert_ne!(first.host, LentDevice::Mediated(parse("name = \"vm\"").unwrap().uuid));
    let given = made(
        "vm",
        "uuid = \"af5972fb-5530-41a7-0000-fd836204445b\"\nrom = \"gvt.rom\"\nguest = \"0a:00.0\"\n",
    );
    assert_eq!(given.host, LentDevice::Mediated(uuid));
    assert_eq!((given.rom, given.guest), (RomSource::File("/vm/gvt.rom".into()), PciAddress::new(10, 0, 0)));
}

#[test]
fn a_virtual_function_is_made_of_its_parent() {
    let config = parse("[igpu]\nparent = \"00:02.0\"\ntype = \"sriov\"\nguest = \"0a:00.0\"").unwrap();
    let [display] = &config.passthrough[..] else { panic!("one device") };
    assert_eq!(display.host.function(), HostPciAddress::new(0, 0, 2, 0));
    assert!(display.is_parent && display.manage && display.create.is_none());
    assert_eq!(config.igpu, Some(Igpu { resolution: None, opregion: None, ramfb: true }));
    for (lines, expected) in [
        ("parent = \"mbochs\"", "mbochs is no PCI address, and only PCI functions have virtual functions"),
        ("parent = \"00:02.0\"\nresolution = \"1280x800\"", "only a virtual GPU of GVT-g has a monitor"),
        ("parent = \"00:02.0\"\nrom = \"host\"", "neither virtual GPUs nor virtual functions have a ROM"),
        ("parent = \"00:02.0\"\nmanage = true", "`manage` belongs to `host`"),
        (
            "parent = \"00:02.0\"\nuuid = \"af5972fb-5530-41a7-0000-fd836204445b\"",
            "a virtual function has no UUID",
        ),
        ("host = \"00:02.0\"", "`type` belongs to `parent`"),
    ] {
        let told = parse(&format!("[igpu]\ntype = \"sriov\"\n{lines}\n")).unwrap_err().to_string();
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
}

#[test]
fn a_display_gpu_can_be_a_whole_function() {
    let text = "[dgpu]\nhost = \"01:00.0\"\n[igpu]\nhost = \"00:02.1\"\nmanage = true\nrom = \"host\"\n\
                opregion = false\nramfb = false\n[[vfio]]\nhost = \"3:0.0\"";
    let config = parse(text).unwrap();
    let sections: Vec<_> = config.passthrough.iter().map(|device| device.section).collect();
    assert_eq!(sections, [Section::Dgpu, Section::Igpu, Section::Vfio(0)]);
    let display = &config.passthrough[1];
    assert_eq!(display.host.function(), HostPciAddress::new(0, 0, 2, 1));
    assert!(display.manage && display.rom == RomSource::Host);
    assert_eq!(config.igpu, Some(Igpu { resolution: None, opregion: Some(false), ramfb: false }));
}

#[test]
fn a_video_bios_is_for_the_gpu_or_stands_alone() {
    let of_gpu = parse("[dgpu]\nhost = \"01:00.0\"\nvendor = \"10de\"\nvbios = \"roms/gpu.rom\"").unwrap();
    let file = PathBuf::from("/vm/roms/gpu.rom");
    // The IDs of the section are then those that the GPU shows.
    let expected = Vbios::new(file, PciAddress::new(1, 0, 0).unwrap(), None);
    assert_eq!(of_gpu.devices.one(), Some(&expected));
    assert_eq!(of_gpu.passthrough.len(), 1);

    let alone = parse("[dgpu]\nvbios = \"roms/gpu.rom\"").unwrap();
    assert_eq!((alone.devices.one(), alone.passthrough), (Some(&expected), Vec::new()));
    assert_eq!(alone.smbios.chassis_type.name(), "notebook");
    let elsewhere = "[dgpu]\nvbios = \"/gpu.rom\"\nguest = \"02:00.0\"\nvendor = \"10de\"\ndevice = \"1c8d\"";
    let expected = Vbios::new("/gpu.rom".into(), PciAddress::new(2, 0, 0).unwrap(), Some((0x10de, 0x1c8d)));
    assert_eq!(parse(elsewhere).unwrap().devices.one(), Some(&expected));
}

#[test]
fn every_key_of_a_passed_through_device_reaches_the_configuration() {
    let config = parse(
        r#"
        machine = { vfio_backend = "group" }
        [dgpu]
        host = "0000:01:00.0"
        guest = "02:00.0"
        multifunction = true
        vendor = 0x10de
        device = "0x1C8D"
        subsystem = "17AA:39d1"
        rom = "roms/gpu.rom"
        functions = "gpu"
        manage = true
        [[vfio]]
        host = "0001:03:00.1"
        guest = "00:05.0"
        rom = "host"
        [[vfio]]
        host = "3:0.2"
        root_port = false
        vendor = "1"
        device = "2"
        subsystem = "3:4"
        manage = true
        "#,
    )
    .unwrap();
    assert_eq!(config.machine.vfio_backend, VfioBackend::Group);
    let [gpu, first, second] = config.passthrough.as_slice() else { panic!("three devices") };
    assert_eq!((gpu.guest, gpu.multifunction), (PciAddress::new(2, 0, 0), Some(true)));
    assert_eq!((gpu.vendor, gpu.device, gpu.subsystem), (Some(0x10de), Some(0x1c8d), Some((0x17aa, 0x39d1))));
    assert_eq!(gpu.rom, RomSource::File("/vm/roms/gpu.rom".into()));
    assert_eq!((gpu.functions, gpu.manage), (GpuFunctions::Gpu, true));
    assert_eq!(
        (first.section, first.host),
        (Section::Vfio(0), HostPciAddress::new(1, 3, 0, 1).unwrap().into())
    );
    assert_eq!((first.guest, first.rom.clone()), (PciAddress::new(0, 5, 0), RomSource::Host));
    assert_eq!((first.manage, first.is_dgpu()), (false, false));
    assert_eq!((second.section, second.guest, second.root_port), (Section::Vfio(1), None, false));
    assert_eq!((second.vendor, second.device, second.subsystem), (Some(1), Some(2), Some((3, 4))));
    assert!(second.manage);
}

#[test]
fn a_machine_with_a_laptops_gpu_is_a_notebook_unless_told_otherwise() {
    let chassis = |text: &str| parse(text).unwrap().smbios.chassis_type.name();
    let gpu = "[dgpu]\nhost = \"01:00.0\"\n";
    assert_eq!(chassis(gpu), "notebook");
    assert_eq!(chassis(&format!("smbios.product = \"P\"\n{gpu}")), "notebook");
    assert_eq!(chassis(&format!("{gpu}[smbios]\nchassis_type = \"laptop\"")), "laptop");
    assert_eq!(chassis(&format!("smbios = {{ chassis_type = 1 }}\n{gpu}")), "other");
    assert_eq!(chassis("[[vfio]]\nhost = \"01:00.0\""), "other");
}
