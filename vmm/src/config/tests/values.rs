//! What a right file means.

use std::path::{Path, PathBuf};

use vocabulary::{ByteSize, ConsoleSpec, DiskFormat, Hugepages, PciAddress, Scalar, VncAddress};

use super::super::{Action, Boot, ControlSpec, FirmwareKind, FwCfgContent, Overrides, Rtc, parse_on};
use super::{parse, parse_with};
use crate::config::reading::suggest;
use crate::config::sections::firmware_paths;
use crate::device::battery::BatteryMode;
use crate::device::disk::{Backing, Bus, Cache, Discard};
use crate::device::{Battery, Disk, Display, Rng, Spec};
use crate::finding::Section;

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
    let firmware = config.firmware.unwrap();
    assert_eq!(firmware.code, Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd"));
    assert_eq!(firmware.kind, FirmwareKind::Ovmf);
    assert_eq!(firmware.vars, Path::new("/vm/test_VARS.fd"));
    assert_eq!(firmware.vars_template.as_deref(), Some(Path::new("/usr/share/OVMF/OVMF_VARS_4M.fd")));
    assert_eq!(config.smbios.chassis_type.number(), 1);
    assert!(!config.smbios.describes_bios());
    assert!(config.passthrough.is_empty());
    assert!(config.root_ports.is_empty() && config.fw_cfg.is_empty());
    let devices: Vec<_> = config.devices.iter().map(Spec::section).collect();
    assert_eq!(devices, [Section::Rng]);
    assert_eq!(config.serial, ConsoleSpec::Stdio);
    assert_eq!(config.debugcon, ConsoleSpec::None);
    assert_eq!(config.kernel, None);
    assert!(config.acpi_tables.is_empty());
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
        display = { vnc = "unix:vnc.sock", password_file = "password", keyboard = "ch-fr" }
        serial = { output = "unix:com1.sock" }
        debugcon = { output = "file:/tmp/fw.log" }
        kernel = { image = "vmlinuz", initrd = "/boot/initrd", cmdline = "quiet" }
        [[disk]]
        path = "a.QCOW2"
        bus = "virtio"
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
    let firmware = config.firmware.unwrap();
    assert_eq!(firmware.code, Path::new("/vm/fw/OVMF_CODE.fd"));
    assert_eq!(firmware.vars, Path::new("/vm/../nvram.fd"));
    assert_eq!(firmware.vars_template.as_deref(), Some(Path::new("/vm/fw/OVMF_VARS.fd")));
    assert_eq!(config.smbios.chassis_type.number(), 10);
    assert!(config.smbios.describes_bios());
    assert_eq!(config.devices.one::<Rng>(), None);
    assert_eq!(config.serial, ConsoleSpec::Unix("/vm/com1.sock".into()));
    assert_eq!(config.debugcon, ConsoleSpec::File("/tmp/fw.log".into()));
    assert_eq!(config.devices.one(), Some(&Battery { mode: BatteryMode::Mirror }));
    assert_eq!(config.acpi_tables, [Path::new("/vm/ssdt.aml"), Path::new("/b.aml")]);
    let display: &Display = config.devices.one().unwrap();
    assert_eq!(display.vnc, Some(VncAddress::Unix("/vm/vnc.sock".into())));
    assert_eq!(display.password_file.as_deref(), Some(Path::new("/vm/password")));
    assert_eq!(display.keyboard.to_string(), "ch-fr");
    let kernel = config.kernel.unwrap();
    assert_eq!(kernel.image, Path::new("/vm/vmlinuz"));
    assert_eq!(kernel.initrd.as_deref(), Some(Path::new("/boot/initrd")));
    assert_eq!(kernel.cmdline, "quiet");
    let [first, second, third] = config.devices.of::<Disk>().collect::<Vec<_>>()[..] else {
        panic!("three disks")
    };
    assert_eq!((first.format, first.readonly, first.boot_index), (DiskFormat::Qcow2, true, Some(7)));
    assert_eq!((first.cache, first.discard, first.backing), (Cache::Direct, Discard::Ignore, Backing::Allow));
    assert_eq!(first.address, PciAddress::new(0, 4, 1));
    assert_eq!((first.bus, first.identity.serial.as_deref()), (Bus::Virtio, Some("S 1")));
    assert_eq!((second.format, second.backing), (DiskFormat::Raw, Backing::Deny));
    assert_eq!((third.format, third.cache), (DiskFormat::Qcow2, Cache::Writeback));
    assert_eq!(config.root_ports[0].address, PciAddress::new(0, 0x1c, 0).unwrap());
    assert_eq!(config.fw_cfg[0].content, FwCfgContent::Bytes(b"text".to_vec()));
    assert_eq!(config.fw_cfg[1].content, FwCfgContent::File("/vm/blob".into()));
}

#[test]
fn a_raw_firmware_has_no_variables() {
    let firmware = parse("[firmware]\nkind = \"raw\"\ncode = \"OVMF_CODE.fd\"").unwrap().firmware.unwrap();
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
    let place = |section: Section, key| {
        config.locate(section.key(key)).map(|location| (location.line, location.column))
    };
    assert_eq!(place(Section::Machine, "memory"), Some((2, 10)));
    assert_eq!(place(Section::Disk(1), "path"), Some((6, 10)));
    assert_eq!(place(Section::Disk(1), "address"), None);
    assert_eq!(place(Section::Disk(2), "path"), None);
    assert_eq!(config.locate(Section::Machine.key("memory")).unwrap().to_string(), "/vm/test.toml:2:10");
    // A problem with a default points at the section.
    let problem =
        config.problem(Section::Disk(1).key("address"), "no slot is free").with_help("remove a disk");
    assert_eq!(
        problem.to_string(),
        "/vm/test.toml:5:1: no slot is free\n  |\n5 | [[disk]]\n  | ^^^^^^^^\n  = help: remove a disk"
    );
    assert_eq!(config.problem(Section::Cpu.key("count"), "too many").to_string(), "/vm/test.toml: too many");
}

#[test]
fn options_replace_single_keys() {
    let overrides = Overrides {
        memory: Some(ByteSize::from_mib(512)),
        initrd: Some("/boot/other".into()),
        append: Some("console=ttyS0".into()),
        direct: false,
        serial: Some(ConsoleSpec::None),
        debugcon: Some(ConsoleSpec::Stdio),
        control: Some(ControlSpec::Off),
        kernel: None,
        payload: None,
        no_net: false,
        screen: true,
        detach: false,
    };
    let text =
        "[machine]\nmemory = \"2G\"\n[kernel]\nimage = \"vmlinuz\"\ninitrd = \"initrd\"\ncmdline = \"quiet\"";
    let config = parse_with(text, &overrides).unwrap();
    assert_eq!(config.machine.memory, ByteSize::from_mib(512));
    assert_eq!(config.locate(Section::Machine.key("memory")), None);
    assert_eq!((config.serial, config.debugcon), (ConsoleSpec::None, ConsoleSpec::Stdio));
    assert_eq!(config.devices.one(), Some(&Display::plain()));
    assert_eq!(config.machine.control, ControlSpec::Off);
    let kernel = config.kernel.unwrap();
    assert_eq!(kernel.image, Path::new("/vm/vmlinuz"));
    assert_eq!(kernel.initrd, Some(PathBuf::from("/boot/other")));
    assert_eq!(kernel.cmdline, "console=ttyS0");

    let kernel = Overrides { kernel: Some("bzImage".into()), ..Overrides::default() };
    let image = parse_with("", &kernel).unwrap().kernel.unwrap().image;
    assert_eq!(image, std::env::current_dir().unwrap().join("bzImage"));
}

#[test]
fn a_payload_replaces_the_whole_kernel_and_needs_no_firmware() {
    let overrides = Overrides { payload: Some("/proc/self/fd/9".into()), ..Overrides::default() };
    for kernel in ["", "[kernel]\nimage = \"vmlinuz\"\ninitrd = \"initrd\"\ncmdline = \"quiet\"\n"] {
        let config = parse_with(kernel, &overrides).unwrap();
        let payload = config.kernel.unwrap();
        assert_eq!(payload.image, Path::new("/proc/self/fd/9"));
        assert_eq!((payload.initrd, payload.cmdline.as_str(), payload.boot), (None, "", Boot::Direct));
        assert!(payload.ours && config.firmware.is_none());
    }
}

#[test]
fn a_kernel_that_starts_directly_needs_no_firmware() {
    let nowhere = |text: &str, overrides: &Overrides| {
        parse_on(text, Path::new("/vm/test.toml"), overrides, &|_: &Path| false)
    };
    let kernel = "[kernel]\nimage = \"vmlinuz\"\n";
    let config = nowhere(&format!("{kernel}boot = \"direct\""), &Overrides::default()).unwrap();
    assert_eq!((config.kernel.unwrap().boot, config.firmware), (Boot::Direct, None));
    // What is written of it does not matter.
    let firmware = "[firmware]\nkind = \"raw\"\n";
    let direct = Overrides { direct: true, ..Overrides::default() };
    let config = nowhere(&format!("{firmware}{kernel}boot = \"firmware\""), &direct).unwrap();
    assert_eq!((config.kernel.unwrap().boot, config.firmware), (Boot::Direct, None));

    let config = parse_with(kernel, &Overrides::default()).unwrap();
    assert_eq!((config.kernel.unwrap().boot, config.firmware.is_some()), (Boot::Firmware, true));
    let error = parse_with("", &direct).unwrap_err().to_string();
    assert!(error.contains("--direct: there is no kernel that this is for"), "{error}");
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
    let fedora = on_host(&["/usr/share/edk2/ovmf/OVMF_CODE.fd"]).unwrap().firmware.unwrap();
    assert_eq!(fedora.vars_template, Some("/usr/share/edk2/ovmf/OVMF_VARS.fd".into()));
    let qemu = on_host(&["/usr/share/qemu/edk2-x86_64-code.fd"]).unwrap().firmware.unwrap();
    assert_eq!(qemu.vars_template, Some("/usr/share/qemu/edk2-i386-vars.fd".into()));
    let both = on_host(&["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_CODE_4M.fd"]).unwrap();
    assert_eq!(both.firmware.unwrap().code, Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd"));
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
    assert_eq!(parse("[display]").unwrap().devices.one(), Some(&Display::plain()));
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
        let vnc = parse(&text).unwrap().devices.one::<Display>().unwrap().vnc.clone().unwrap();
        assert_eq!((vnc.to_string().as_str(), vnc.is_private()), (address, private), "{written}");
        assert_eq!(parse(&format!("[display]\nvnc = \"{written}\"")).is_ok(), private, "{written}");
    }
}
