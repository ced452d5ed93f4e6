//! Both are told the same.

use super::*;

fn machine(flash: Flash) -> Machine {
    Machine {
        directory: "/d".into(),
        memory: 512,
        cpus: 1,
        flash,
        disk: "/disk".into(),
        serial: None,
        cpu_keys: &[],
        kernel: Some(("/kernel".into(), "/initrd".into(), "quiet".into())),
        device: None,
        vnc: None,
        net: None,
        data: None,
        inside: None,
    }
}

#[test]
fn both_have_the_same_card() {
    for (way, ours, theirs) in [
        (Way::Passt, "backend = \"user\"", "stream,server=off,addr.type=unix,addr.path=/d/passt.sock,id=net"),
        (Way::Tap, "vhost = false", "tap,ifname=tap0,script=no,downscript=no,vhost=off,id=net"),
        (Way::Vhost, "vhost = true", "tap,ifname=tap0,script=no,downscript=no,vhost=on,id=net"),
    ] {
        let machine = Machine { net: Some((way, "/tools".into())), ..machine(Flash::Absent) };
        let text = ours::vm_toml(&machine);
        assert!(text.contains(ours) && text.contains("serial = \"tools\""), "{text}");
        let words = qemu::arguments(&machine, "host", &Board::Q35);
        assert!(words.iter().any(|word| word == theirs), "{words:?}");
    }
}

#[test]
fn both_have_the_disk_at_the_same_bus() {
    for (bus, theirs) in [
        (Bus::Virtio, "virtio-blk-pci,drive=data,iothread=data,serial=data"),
        (Bus::Nvme, "nvme,drive=data,serial=data,ioeventfd=on"),
        (Bus::Sata, "ide-hd,drive=data,bus=sata.0,serial=data"),
    ] {
        assert_eq!(Bus::of_name(bus.name()).unwrap(), bus);
        let data = Data { bus, path: "/data".into(), raw: true, tools: "/tools".into() };
        let machine = Machine { data: Some(data), ..machine(Flash::Absent) };
        let text = ours::vm_toml(&machine);
        assert!(text.contains(&format!("path = \"/data\"\nbus = \"{}\"\n", bus.name())), "{text}");
        let words = qemu::arguments(&machine, "host", &Board::Q35);
        assert!(words.iter().any(|word| word == theirs), "{words:?}");
        // A controller for the drive, and an iothread only for the one that takes it.
        let has = |word: &str| words.iter().any(|other| other == word);
        assert_eq!(has("ich9-ahci,id=sata"), bus == Bus::Sata);
        assert_eq!(has("iothread,id=data"), bus == Bus::Virtio);
    }
    assert!(Bus::of_name("ide").is_err());
}

#[test]
fn a_kernel_starts_directly_where_no_flash_is() {
    let text = ours::vm_toml(&machine(Flash::Absent));
    assert!(text.contains("boot = \"direct\"") && !text.contains("[firmware]"), "{text}");
    for board in Board::DIRECT {
        let words = qemu::arguments(&machine(Flash::Absent), "host", &board);
        let after = |option: &str| words.iter().skip_while(|word| *word != option).nth(1).cloned();
        assert_eq!(after("-machine").as_deref(), Some(board.machine));
        assert_eq!(after("-bios").as_deref(), Some(board.bios));
        assert_eq!(after("-kernel").as_deref(), Some("/kernel"));
        assert!(!words.iter().any(|word| word.contains("pflash")), "{words:?}");
        let disk = if board.complete { "virtio-blk-pci,drive=disk" } else { "virtio-blk-device,drive=disk" };
        assert!(words.iter().any(|word| word == disk), "{words:?}");
    }
}

/// Whatever the path leads to.
#[test]
fn qemu_is_the_labs() {
    let lab = tempfile::tempdir().unwrap();
    let usr = lab.path().join("root/usr");
    let error = qemu::command(&usr).unwrap_err().to_string();
    assert!(error.contains("scripts/lab setup") && error.contains(&usr.display().to_string()), "{error}");
    fs::create_dir_all(usr.join("bin")).unwrap();
    let program = usr.join("bin/qemu-system-x86_64");
    fs::write(&program, "").unwrap();
    let command = qemu::command(&usr).unwrap();
    assert!(
        command.iter().all(|word| word.starts_with('-') || Path::new(word).starts_with(&usr)),
        "{command:?}"
    );
    let qemu = Monitor::Qemu { command, cpu: "host", board: Board::Q35 };
    assert_eq!(qemu.program(), program.display().to_string());
}

#[test]
fn a_program_that_measures_has_memory_that_others_see() {
    let inside = Some(Inside { payload: "/payload".into(), memory: "/memory".into() });
    let machine = Machine { kernel: None, inside, ..machine(Flash::Absent) };
    let words = qemu::arguments(&machine, "host", &Board::Q35).join(" ");
    for expected in [
        "-machine q35,accel=kvm,smm=off,hpet=off,vmport=off,usb=off,sata=off,memory-backend=ram ",
        "-object memory-backend-file,id=ram,size=512M,mem-path=/memory,share=on ",
        "-kernel /payload ",
    ] {
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn firmware_gets_the_kernel_where_it_is() {
    let flash = || Flash::Ovmf("/code".into(), "/vars".into());
    let text = ours::vm_toml(&machine(flash()));
    assert!(text.contains("[firmware]\ncode = \"/code\"") && !text.contains("boot ="), "{text}");
    let words = qemu::arguments(&machine(flash()), "host", &Board::Q35);
    assert!(!words.contains(&"-bios".into()), "{words:?}");
    assert_eq!(words.iter().filter(|word| word.contains("pflash")).count(), 2);
}
