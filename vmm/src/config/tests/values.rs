//! What a right file means.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::super::{
    Action, Backing, BatteryMode, ByteSize, Cache, ConsoleSpec, ControlSpec, Discard, DiskFormat, Display,
    FirmwareKind, FwCfgContent, GpuFunctions, HostPciAddress, Hugepages, Igpu, LentDevice, Overrides,
    Passthrough, PciAddress, Resolution, RomSource, Rtc, Scalar, Vbios, VfioBackend, VncAddress,
    firmware_paths, parse_on, suggest,
};
use super::{parse, parse_with};

#[test]
fn an_empty_file_is_a_machine() {
    let config = parse("").unwrap();
    assert_eq!(config.name, "test");
    assert_eq!(config.machine.memory, ByteSize::from_mib(1024));
    assert_eq!(config.machine.hugepages, Hugepages::Off);
    assert_eq!(config.machine.rtc, Rtc::Utc);
    assert_eq!(config.machine.on_poweroff, Action::Destroy);
    assert_eq!(config.machine.on_reboot, Action::Restart);
    assert_eq!(config.machine.on_crash, Action::Destroy);
    assert_eq!(config.machine.grace_period().as_secs(), 30);
    assert!(config.machine.pvpanic && !config.machine.shared);
    assert_eq!(config.cpu.count(), 1);
    assert_eq!(config.firmware.code, Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd"));
    assert_eq!(config.firmware.kind, FirmwareKind::Ovmf);
    assert_eq!(config.firmware.vars, Path::new("/vm/test_VARS.fd"));
    assert_eq!(config.firmware.vars_template.as_deref(), Some(Path::new("/usr/share/OVMF/OVMF_VARS_4M.fd")));
    assert_eq!(config.smbios.chassis_type.number(), 1);
    assert!(!config.smbios.describes_bios());
    assert!(config.passthrough.is_empty());
    assert!(config.disks.is_empty() && config.root_ports.is_empty() && config.fw_cfg.is_empty());
    assert!(config.rng.is_some());
    assert_eq!(config.serial, ConsoleSpec::Stdio);
    assert_eq!(config.debugcon, ConsoleSpec::None);
    assert_eq!(config.kernel, None);
    assert_eq!(config.battery, None);
    assert!(config.acpi_tables.is_empty());
    assert_eq!(config.display, None);
}

#[test]
fn the_uuid_depends_on_the_name_alone() {
    let first = parse("name = \"a\"").unwrap().uuid;
    assert_eq!(first, parse("name = \"a\"\n[machine]\nmemory = \"2G\"").unwrap().uuid);
    assert_ne!(first, parse("name = \"b\"").unwrap().uuid);
    let given = parse("uuid = \"0B6A4BB2-5df6-4c0f-8a3d-3f7e3a1f9c54\"").unwrap().uuid;
    assert_eq!(given.to_string(), "0b6a4bb2-5df6-4c0f-8a3d-3f7e3a1f9c54");
}

#[test]
fn every_key_reaches_the_configuration() {
    let config = parse(
        r#"
        name = "full"
        machine = { memory = "4GiB", hugepages = "1G", shared = true, rtc = "localtime", boot_menu = 5 }
        cpu = { topology = { sockets = 2, cores = 3, threads = 2 }, phys_bits = 39 }
        firmware = { code = "fw/OVMF_CODE.fd", vars = "../nvram.fd" }
        smbios = { chassis_type = "notebook", bios_vendor = "Me" }
        rng = { enabled = false }
        battery = { mode = "mirror" }
        acpi = { table = [{ file = "ssdt.aml" }, { file = "/b.aml" }] }
        display = { vnc = "unix:vnc.sock", password_file = "password" }
        serial = { output = "unix:com1.sock" }
        debugcon = { output = "file:/tmp/fw.log" }
        kernel = { image = "vmlinuz", initrd = "/boot/initrd", cmdline = "quiet" }
        [[disk]]
        path = "a.QCOW2"
        readonly = true
        serial = "S 1"
        boot_index = 7
        address = "00:04.1"
        cache = "direct"
        discard = "ignore"
        backing = "allow"
        [[disk]]
        path = "/dev/vg/guest.qcow2"
        [[disk]]
        path = "image"
        format = "qcow2"
        [[root_port]]
        address = "0000:00:1c.0"
        [[fw_cfg]]
        name = "opt/a"
        string = "text"
        [[fw_cfg]]
        name = "opt/b"
        file = "blob"
        "#,
    )
    .unwrap();
    assert_eq!(config.machine.memory.bytes(), 4 << 30);
    assert_eq!(config.machine.hugepages.page_size(), Some(ByteSize::from_mib(1024)));
    assert_eq!((config.cpu.count(), config.cpu.phys_bits), (12, Some(39)));
    assert_eq!(config.firmware.code, Path::new("/vm/fw/OVMF_CODE.fd"));
    assert_eq!(config.firmware.vars, Path::new("/vm/../nvram.fd"));
    assert_eq!(config.firmware.vars_template.as_deref(), Some(Path::new("/vm/fw/OVMF_VARS.fd")));
    assert_eq!(config.smbios.chassis_type.number(), 10);
    assert!(config.smbios.describes_bios());
    assert_eq!(config.rng, None);
    assert_eq!(config.serial, ConsoleSpec::Unix("/vm/com1.sock".into()));
    assert_eq!(config.debugcon, ConsoleSpec::File("/tmp/fw.log".into()));
    assert_eq!(config.battery, Some(BatteryMode::Mirror));
    assert_eq!(config.acpi_tables, [Path::new("/vm/ssdt.aml"), Path::new("/b.aml")]);
    let display = config.display.unwrap();
    assert_eq!(display.vnc, Some(VncAddress::Unix("/vm/vnc.sock".into())));
    assert_eq!(display.password_file.as_deref(), Some(Path::new("/vm/password")));
    let kernel = config.kernel.unwrap();
    assert_eq!(kernel.image, Path::new("/vm/vmlinuz"));
    assert_eq!(kernel.initrd.as_deref(), Some(Path::new("/boot/initrd")));
    assert_eq!(kernel.cmdline, "quiet");
    let [first, second, third] = config.disks.as_slice() else { panic!("three disks") };
    assert_eq!((first.format, first.readonly, first.boot_index), (DiskFormat::Qcow2, true, Some(7)));
    assert_eq!((first.cache, first.discard, first.backing), (Cache::Direct, Discard::Ignore, Backing::Allow));
    assert_eq!(first.address, PciAddress::new(0, 4, 1));
    assert_eq!(first.serial.as_deref(), Some("S 1"));
    assert_eq!((second.format, second.backing), (DiskFormat::Raw, Backing::Deny));
    assert_eq!((third.format, third.cache), (DiskFormat::Qcow2, Cache::Writeback));
    assert_eq!(config.root_ports[0].address, PciAddress::new(0, 0x1c, 0).unwrap());
    assert_eq!(config.fw_cfg[0].content, FwCfgContent::Bytes(b"text".to_vec()));
    assert_eq!(config.fw_cfg[1].content, FwCfgContent::File("/vm/blob".into()));
}

#[test]
fn a_gpu_has_the_place_of_a_laptops() {
    let config = parse("[dgpu]\nhost = \"01:00.0\"").unwrap();
    let [gpu] = config.passthrough.as_slice() else { panic!("one device") };
    let expected = Passthrough {
        key: "dgpu".into(),
        host: HostPciAddress::new(0, 1, 0, 0).unwrap().into(),
        create: None,
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
    assert_eq!(config.vbios, None);
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
fn a_display_gpu_can_be_a_whole_function() {
    let text = "[dgpu]\nhost = \"01:00.0\"\n[igpu]\nhost = \"00:02.1\"\nmanage = true\nrom = \"host\"\n\
                opregion = false\nramfb = false\n[[vfio]]\nhost = \"3:0.0\"";
    let config = parse(text).unwrap();
    let keys: Vec<_> = config.passthrough.iter().map(|device| device.key.as_str()).collect();
    assert_eq!(keys, ["dgpu", "igpu", "vfio[0]"]);
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
    let expected = Vbios { file: file.clone(), guest: PciAddress::new(1, 0, 0).unwrap(), ids: None };
    assert_eq!(of_gpu.vbios, Some(expected.clone()));
    assert_eq!(of_gpu.passthrough.len(), 1);

    let alone = parse("[dgpu]\nvbios = \"roms/gpu.rom\"").unwrap();
    assert_eq!((alone.vbios, alone.passthrough), (Some(expected), Vec::new()));
    assert_eq!(alone.smbios.chassis_type.name(), "notebook");
    let elsewhere = "[dgpu]\nvbios = \"/gpu.rom\"\nguest = \"02:00.0\"\nvendor = \"10de\"\ndevice = \"1c8d\"";
    let expected = Vbios {
        file: "/gpu.rom".into(),
        guest: PciAddress::new(2, 0, 0).unwrap(),
        ids: Some((0x10de, 0x1c8d)),
    };
    assert_eq!(parse(elsewhere).unwrap().vbios, Some(expected));
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
        (first.key.as_str(), first.host),
        ("vfio[0]", HostPciAddress::new(1, 3, 0, 1).unwrap().into())
    );
    assert_eq!((first.guest, first.rom.clone()), (PciAddress::new(0, 5, 0), RomSource::Host));
    assert_eq!((first.manage, first.is_dgpu()), (false, false));
    assert_eq!((second.key.as_str(), second.guest, second.root_port), ("vfio[1]", None, false));
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

#[test]
fn a_raw_firmware_has_no_variables() {
    let firmware = parse("[firmware]\nkind = \"raw\"\ncode = \"OVMF_CODE.fd\"").unwrap().firmware;
    assert_eq!((firmware.kind, firmware.vars_template), (FirmwareKind::Raw, None));
    assert_eq!(firmware.code, Path::new("/vm/OVMF_CODE.fd"));
    // What is not used is in nobody's way.
    parse("[firmware]\nkind = \"raw\"\ncode = \"a.fd\"\nvars = \"a.fd\"\nvars_template = \"a.fd\"").unwrap();
}

#[test]
fn keys_are_found_again() {
    let config =
        parse("[machine]\r\nmemory = \"2G\"\r\n[[disk]]\r\npath = 'a.raw'\r\n[[disk]]\r\n  path = 'b.raw'")
            .unwrap();
    let place = |key| config.locate(key).map(|location| (location.line, location.column));
    assert_eq!(place("machine.memory"), Some((2, 10)));
    assert_eq!(place("disk[1].path"), Some((6, 10)));
    assert_eq!(place("disk[1].address"), None);
    assert_eq!(place("disk[2].path"), None);
    assert_eq!(config.locate("machine.memory").unwrap().to_string(), "/vm/test.toml:2:10");
    // A problem with a default points at the section.
    let problem = config.problem("disk[1].address", "no slot is free").with_help("remove a disk");
    assert_eq!(
        problem.to_string(),
        "/vm/test.toml:5:1: no slot is free\n  |\n5 | [[disk]]\n  | ^^^^^^^^\n  = help: remove a disk"
    );
    assert_eq!(config.problem("cpu.count", "too many").to_string(), "/vm/test.toml: too many");
}

#[test]
fn options_replace_single_keys() {
    let overrides = Overrides {
        memory: Some(ByteSize::from_mib(512)),
        initrd: Some("/boot/other".into()),
        append: Some("console=ttyS0".into()),
        serial: Some(ConsoleSpec::None),
        debugcon: Some(ConsoleSpec::Stdio),
        control: Some(ControlSpec::Off),
        kernel: None,
        screen: true,
    };
    let text =
        "[machine]\nmemory = \"2G\"\n[kernel]\nimage = \"vmlinuz\"\ninitrd = \"initrd\"\ncmdline = \"quiet\"";
    let config = parse_with(text, &overrides).unwrap();
    assert_eq!(config.machine.memory, ByteSize::from_mib(512));
    assert_eq!(config.locate("machine.memory"), None);
    assert_eq!((config.serial, config.debugcon), (ConsoleSpec::None, ConsoleSpec::Stdio));
    assert_eq!((config.machine.control, config.display), (ControlSpec::Off, Some(Display::default())));
    let kernel = config.kernel.unwrap();
    assert_eq!(kernel.image, Path::new("/vm/vmlinuz"));
    assert_eq!(kernel.initrd, Some(PathBuf::from("/boot/other")));
    assert_eq!(kernel.cmdline, "console=ttyS0");

    let kernel = Overrides { kernel: Some("bzImage".into()), ..Overrides::default() };
    let image = parse_with("", &kernel).unwrap().kernel.unwrap().image;
    assert_eq!(image, std::env::current_dir().unwrap().join("bzImage"));
}

#[test]
fn the_control_socket_has_a_place_of_its_own() {
    let at = |text: &str| parse_with(text, &Overrides::default()).map(|config| config.machine.control);
    assert_eq!(at("").unwrap(), ControlSpec::Auto);
    assert_eq!(at("[machine]\ncontrol = \"on\"").unwrap(), ControlSpec::On);
    assert_eq!(at("[machine]\ncontrol = \"unix:a.sock\"").unwrap(), ControlSpec::Unix("/vm/a.sock".into()));
    for (text, expected) in [
        ("control = true", "`control` must be one of \"auto\", \"on\", \"off\" and \"unix:PATH\""),
        ("control = \"/run/a\"", "write \"unix:/run/a\""),
        ("control = \"unix:\"", "after `unix:`, the path is empty"),
        ("control = \"unix:a\"\n[serial]\noutput = \"unix:a\"", "the same socket"),
        ("control = \"unix:a\"\n[display]\nvnc = \"unix:a\"", "the same socket"),
    ] {
        let error = at(&format!("[machine]\n{text}")).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn problems_with_options_name_the_option() {
    let overrides = Overrides {
        memory: Some(ByteSize::from_mib(3)),
        append: Some("a\nb".into()),
        debugcon: Some(ConsoleSpec::Stdio),
        ..Overrides::default()
    };
    let text = parse_with("[machine]\nmemory = \"2G\"", &overrides).unwrap_err().to_string();
    for expected in [
        "--memory: 3M of memory is less than the 256M that OVMF needs",
        "--append: the command line contains the control character U+000A",
        "--append: there is no kernel that this is for",
        "--debugcon: the debug port and the serial port both lead to stdio",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn firmware_is_found_where_distributions_put_it() {
    let on_host = |installed: &'static [&'static str]| {
        parse_on("", Path::new("/vm/test.toml"), &Overrides::default(), &move |path: &Path| {
            installed.iter().any(|file| Path::new(file) == path)
        })
    };
    let fedora = on_host(&["/usr/share/edk2/ovmf/OVMF_CODE.fd"]).unwrap().firmware;
    assert_eq!(fedora.vars_template, Some("/usr/share/edk2/ovmf/OVMF_VARS.fd".into()));
    let qemu = on_host(&["/usr/share/qemu/edk2-x86_64-code.fd"]).unwrap().firmware;
    assert_eq!(qemu.vars_template, Some("/usr/share/qemu/edk2-i386-vars.fd".into()));
    let both = on_host(&["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_CODE_4M.fd"]).unwrap();
    assert_eq!(both.firmware.code, Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd"));
    let none = on_host(&[]).unwrap_err().to_string();
    assert!(none.starts_with("/vm/test.toml: no OVMF firmware is installed"), "{none}");
    assert!(none.contains("apt install ovmf"), "{none}");
}

#[test]
fn a_template_is_guessed_from_the_name_of_the_code() {
    let template = |code: &str| firmware_paths::template_for(Path::new(code));
    assert_eq!(template("/b/OVMF_CODE.fd"), Some("/b/OVMF_VARS.fd".into()));
    assert_eq!(template("/b/ovmf-x86_64-code.bin"), Some("/b/ovmf-x86_64-vars.bin".into()));
    assert_eq!(template("/b/edk2-x86_64-code.fd"), Some("/b/edk2-i386-vars.fd".into()));
    assert_eq!(template("/b/OVMF.fd"), None);
}

#[test]
fn sizes_in_all_notations() {
    let size = |text: &str| text.parse::<ByteSize>().map(ByteSize::bytes).ok();
    for (text, bytes) in [
        ("4G", 4 << 30),
        ("4g", 4 << 30),
        ("4GiB", 4 << 30),
        (" 4 GiB ", 4 << 30),
        ("1T", 1 << 40),
        ("512M", 512 << 20),
        ("64K", 64 << 10),
        ("4096", 4096),
        ("4096B", 4096),
        ("0", 0),
    ] {
        assert_eq!(size(text), Some(bytes), "{text}");
    }
    for text in
        ["", "G", "4GB", "4.0G", "-4G", "+4G", "4 4", "4Gi", "0x10", "4G4", "18446744073709551616", "٤G"]
    {
        assert_eq!(size(text), None, "{text}");
    }
    assert_eq!(size("16777216T"), None);
    assert_eq!(ByteSize::from_mib(1536).to_string(), "1536M");
    assert_eq!(ByteSize::from_bytes(0).to_string(), "0");
}

#[test]
fn consoles_that_exclude_each_other() {
    let spec = |text: &str| text.parse::<ConsoleSpec>().unwrap();
    assert!(spec("stdio").conflicts_with(&spec("stdio")));
    assert!(spec("file:/a").conflicts_with(&spec("unix:/a")));
    assert!(!spec("file:/a").conflicts_with(&spec("file:/b")));
    assert!(!spec("pty").conflicts_with(&spec("pty")));
    assert!(!spec("none").conflicts_with(&spec("none")));
    assert_eq!(spec("file:a:b"), ConsoleSpec::File("a:b".into()));
}

#[test]
fn every_chassis_type_has_one_name() {
    use super::super::ChassisType;
    for number in 1..=36 {
        let chassis = ChassisType::try_from(Scalar::Integer(number)).unwrap();
        let named = ChassisType::try_from(Scalar::Text(chassis.name().into())).unwrap();
        assert_eq!((i64::from(named.number()), named), (number, chassis));
    }
    assert_eq!(ChassisType::try_from(Scalar::Text("stick-pc".into())).map(ChassisType::number), Ok(36));
}

#[test]
fn suggestions_are_near() {
    let keys = ["memory", "hugepages", "on_poweroff", "rtc"];
    assert_eq!(suggest::closest("memroy", keys), Some("memory"));
    assert_eq!(suggest::closest("mem", keys), Some("memory"));
    assert_eq!(suggest::closest("HugePages", keys), Some("hugepages"));
    assert_eq!(suggest::closest("on-poweroff", keys), Some("on_poweroff"));
    assert_eq!(suggest::closest("clock", keys), Some("rtc"));
    assert_eq!(suggest::closest("network", keys), None);
}

#[test]
fn the_display_listens_where_it_is_told() {
    assert_eq!(parse("[display]").unwrap().display, Some(Display::default()));
    for (written, address, private) in [
        ("127.0.0.1:5900", "127.0.0.1:5900", true),
        ("127.7.7.7:5900", "127.7.7.7:5900", true),
        ("localhost:5901", "127.0.0.1:5901", true),
        ("[::1]:65535", "[::1]:65535", true),
        ("[::ffff:127.0.0.1]:100", "[::ffff:127.0.0.1]:100", true),
        ("0.0.0.0:5900", "0.0.0.0:5900", false),
        ("[::]:5900", "[::]:5900", false),
        ("192.0.2.1:5900", "192.0.2.1:5900", false),
        ("unix:/run/a:b", "unix:/run/a:b", true),
    ] {
        let text = format!("[display]\nvnc = \"{written}\"\npassword_file = \"p\"");
        let vnc = parse(&text).unwrap().display.unwrap().vnc.unwrap();
        assert_eq!((vnc.to_string().as_str(), vnc.is_private()), (address, private), "{written}");
        assert_eq!(parse(&format!("[display]\nvnc = \"{written}\"")).is_ok(), private, "{written}");
    }
}
