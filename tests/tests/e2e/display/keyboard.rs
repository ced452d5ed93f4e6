//! The USB keyboard where no system's driver runs: the firmware's shell, GRUB and the firmware's menus, all of which get keys from edk2's UsbKbDxe. The
//! firmware's driver of the PS/2 keyboard is taken away first, by the shell's own command, so that nothing else can bring a key.

use tests::machine::Machine;
use tests::run::{Options, Running};
use tests::{Outcome, image, lab};

use super::ctl;
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] =
    &[scenario("firmware_and_boot_loader_hear_the_usb_keyboard_alone", 15, hear)];

fn hear() -> Outcome {
    let machine = Machine::new()?.with_memory("256M").with_screen("");
    let disk = image::bootable(&machine.file("esp.img"), &std::fs::read(lab::guest("grubcd.efi")?)?)?;
    let path = disk.path.display().to_string();
    lab::call("mmove", &["-i", &path, "::/EFI/BOOT/BOOTX64.EFI", "::/grub.efi"])?;
    let mut machine = machine.with_disk(disk);
    machine.sections = "[usb]\nkeyboard = true\n".into();
    let mut running = machine.start(&Options { interactive: true, ..Options::default() })?;
    running.expect("Shell>")?;
    without_ps2(&mut running)?;

    ctl(["type", "echo Heard-%lasterror%-here\n"])?;
    running.expect(r"Heard-0x0-here")?;
    // For `ctl type`, a backslash is two.
    ctl(["type", r"FS0:\\grub.efi\n"])?;
    running.expect("grub>")?;
    ctl(["type", "echo GRUB-$grub_platform\n"])?;
    running.expect("GRUB-efi")?;
    ctl(["type", "exit\n"])?;
    running.expect(r"Shell>|FS0:\\>")?;
    ctl(["type", "exit\n"])?;
    // The first page of the firmware's menus; its second line leads to another.
    running.expect("Boot Maintenance Manager")?;
    ctl(["key", "down"])?;
    ctl(["key", "ret"])?;
    running.expect("Devices List")?;
    running.kill().map(drop)
}

/// Takes the firmware's driver from the PS/2 keyboard, by commands through the serial port. What the shell prints has colours.
fn without_ps2(running: &mut Running) -> Outcome {
    let handle = |groups: Vec<String>| groups.get(1).cloned().unwrap_or_default();
    running.send("drivers\r")?;
    let driver = handle(running.expect(r"([0-9A-F]+)\x1b\[0m[^\r\n]* PS/2 Keyboard Driver")?);
    running.expect("Shell>")?;
    running.send(&format!("dh -d -v {driver}\r"))?;
    let device = handle(running.expect(r"Ctrl\[(?:\x1b\[[0-9;]*m)*([0-9A-F]+)\x1b")?);
    running.expect("Shell>")?;
    running.send(&format!("disconnect {device} {driver}\r"))?;
    running.expect(r"Result Success")?;
    running.expect("Shell>").map(drop)
}
