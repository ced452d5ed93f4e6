//! The text of a vm.toml: a pure function of what was decided, and the same for the same host. Comments say what each line is for, and
//! what else could stand there.

mod gpu;

use vocabulary::ByteSize;

use super::draft::Draft;
use super::page::{Page, pair};
use super::summary::needs_root;
use crate::cli::GuestOs;
use crate::wrapping::shell_word;

/// All of it.
pub(super) fn of(draft: &Draft<'_>) -> String {
    let mut page = Page::default();
    head(&mut page, draft);
    machine(&mut page, draft);
    cpu(&mut page, draft);
    firmware(&mut page, draft);
    tpm(&mut page, draft);
    gpu::dgpu(&mut page, draft);
    gpu::igpu(&mut page, draft);
    display(&mut page, draft);
    disks(&mut page, draft);
    network(&mut page, draft);
    serial(&mut page, draft);
    page.finish()
}

fn head(page: &mut Page, draft: &Draft<'_>) {
    let system = match draft.os {
        GuestOs::Windows => "Windows",
        GuestOs::Linux => "Linux",
        GuestOs::Other => "any system",
    };
    let host = &draft.survey.title;
    page.comment(&format!(
        "A virtual machine for {system} on {host}. `optimus-vmm init` has written this file from what it found there; from now on \
         it is yours. Relative paths start from the folder of this file. docs/vm-toml.md has every key, and `optimus-vmm plan` shows the \
         machine that comes out."
    ));
    let file = shell_word(&draft.config);
    let sudo = if needs_root(draft) { "sudo " } else { "" };
    page.off("");
    for (command, what) in [
        (format!("optimus-vmm doctor {file}"), "what stands in the way on this host"),
        (format!("{sudo}optimus-vmm run {file}"), "runs it"),
        (format!("{sudo}optimus-vmm ctl {} powerdown", draft.name), "shuts it down"),
    ] {
        page.off(&format!("    {command:<44} {what}"));
    }
    page.gap();
    let licence = match draft.os {
        GuestOs::Windows => ", and Windows ties its licence to them: keep it once Windows is activated",
        GuestOs::Linux | GuestOs::Other => "",
    };
    page.comment(&format!(
        "Its socket and files are called by this name. Its UUID and the address of its network card are made from it{licence}."
    ));
    page.text("name", &draft.name);
}

fn machine(page: &mut Page, draft: &Draft<'_>) {
    page.gap();
    page.section("[machine]");
    let total = match draft.survey.memory {
        Some(total) => format!("This host has {}.", ByteSize::from_mib(total >> 20)),
        None => "How much this host has could not be read.".into(),
    };
    let taken = match draft.gpu {
        Some(_) => {
            "All of it is taken from the host while the machine runs, since the GPU may write anywhere in it."
        }
        None => "It is taken from the host as the guest uses it.",
    };
    page.comment(&format!("The guest's memory. {total} {taken}"));
    page.text("memory", draft.memory);
    if draft.os == GuestOs::Windows {
        page.comment(
            "Seconds that the guest has to shut down once its power button was pressed. Windows may install updates then.",
        );
        page.plain("grace", 120);
    }
}

fn cpu(page: &mut Page, draft: &Draft<'_>) {
    page.gap();
    page.section("[cpu]");
    match (draft.os, draft.gpu.is_some()) {
        (GuestOs::Windows, true) => {
            page.comment(
                "For Windows on the GPU of such a laptop: the set of Hyper-V's interface with which it has been seen to run, and no name of \
                 a hypervisor that NVIDIA's driver knows. `os = \"windows\"` in place of this line shows Windows more of that interface, and an \
                 idle guest costs less then; docs/windows.md compares them.",
            );
            page.text("preset", "optimus");
        }
        (GuestOs::Windows, false) => {
            page.comment(
                "Hyper-V's clock and timers, by which Windows costs less of the host, and the real-time clock in local time.",
            );
            page.text("os", "windows");
        }
        (GuestOs::Linux, _) => {
            page.comment("Linux finds KVM's clock, and the real-time clock in UTC.");
            page.text("os", "linux");
        }
        (GuestOs::Other, _) => {
            page.comment("`\"windows\"` and `\"linux\"` give these systems the clocks that they know.");
            page.text("os", "other");
        }
    }
    let host = match draft.survey.cores {
        Some((fast, 0)) => format!("This host has {fast} of them."),
        Some((fast, slow)) => {
            format!("This host has {fast} fast ones, and {slow} slow ones, which guests are better without.")
        }
        None => "How many this host has could not be read.".into(),
    };
    page.comment(&format!(
        "The guest's cores. {host} It should keep one or two. `pin` gives each of the guest's cores one of the host's for itself, against stutter \
         (docs/latency.md)."
    ));
    page.plain("topology", format!("{{ sockets = 1, cores = {} }}", draft.cores));
    page.off(&pair("pin", "auto"));
}

fn firmware(page: &mut Page, draft: &Draft<'_>) {
    page.gap();
    match &draft.survey.firmware {
        Some(code) => {
            page.section("[firmware]");
            page.comment("The firmware's code (OVMF), as the distribution installs it. Without this line it is looked for at each start.");
            page.text("code", code.display());
        }
        None => {
            page.comment(&format!(
                "No OVMF was found in the places of distributions: {}. It is found by itself then; an image of your own is named by `code`.",
                draft.survey.install_firmware
            ));
            page.section("[firmware]");
        }
    }
    page.comment("This machine's own variables, such as its boot entries: copied from the distribution's template at the first run.");
    page.text("vars", format!("{}_VARS.fd", draft.name));
    if draft.gpu.is_none() {
        return;
    }
    page.gap();
    page.comment("The guest is called what the laptop's own firmware calls it, for drivers that look; serial numbers are left out.");
    page.section("[smbios]");
    page.plain("mirror_host", true);
    page.gap();
    page.comment(
        "NVIDIA's drivers for laptops look for a battery. Without these lines there is one that is always full, with the adapter plugged in; \
         this one follows the host's.",
    );
    page.off("[battery]");
    page.off(&pair("mode", "mirror"));
}

/// Only Windows asks for one.
fn tpm(page: &mut Page, draft: &Draft<'_>) {
    if draft.os != GuestOs::Windows {
        return;
    }
    page.gap();
    let state = format!("{}_TPM", draft.name);
    let what = format!(
        "A TPM by swtpm, which Windows 11 asks for. Its state is the folder `{state}` beside this file: keep it with the disk, since BitLocker's keys \
         are sealed to it. docs/tpm.md has more."
    );
    if draft.survey.swtpm {
        page.comment(&what);
        page.section("[tpm]");
    } else {
        page.comment(&format!("{what} swtpm is not installed here: {}.", draft.survey.install_swtpm));
        page.off("[tpm]");
    }
}

fn display(page: &mut Page, draft: &Draft<'_>) {
    page.gap();
    let shown = match draft.gpu {
        Some(_) if draft.has_virtual_gpu() => "",
        Some(_) => {
            " The GPU that is passed through needs no part in it: what the firmware has drawn on, the system's basic display driver goes on \
             to use."
        }
        None => "",
    };
    page.comment(&format!(
        "The guest's screen, with keyboard and mouse: `vncviewer 127.0.0.1::5900`.{shown} Every user of this host can connect to that; {} lets \
         nobody else in (docs/display.md).",
        format_args!("`{}`", pair("vnc", "unix:vnc.sock"))
    ));
    page.section("[display]");
    page.text("vnc", "127.0.0.1:5900");
    page.comment("The layout of your keyboard, for viewers that do not send the places of keys.");
    page.off(&pair("keyboard", "de"));
}

fn disks(page: &mut Page, draft: &Draft<'_>) {
    page.gap();
    let order = if draft.iso.is_some() {
        " The firmware tries it first, and goes on to the disc below while there is nothing on it."
    } else {
        ""
    };
    page.comment(&format!("The system's disk.{order}"));
    page.section("[[disk]]");
    page.text("path", &draft.disk_written);
    if draft.os == GuestOs::Windows {
        page.comment(
            "Windows and its Setup have a driver for NVMe. One on virtio, as without this line, costs less of the processors, once viostor of \
             the virtio-win image is installed; docs/windows.md tells how to get there.",
        );
        page.text("bus", "nvme");
    }
    page.plain("boot_index", 0);
    page.gap();
    match &draft.iso {
        Some(iso) => {
            page.comment(&format!(
                "The disc that the system is installed from. Remove the section, or `boot_index`, when it is installed; {} changes discs while \
                 the machine runs.",
                format_args!("`optimus-vmm ctl {} cdrom`", draft.name)
            ));
            page.section("[[cdrom]]");
            page.text("path", iso);
            page.plain("boot_index", 1);
        }
        None => {
            page.comment("A disc to install a system from.");
            page.off("[[cdrom]]");
            page.off(&pair("path", "install.iso"));
            page.off("boot_index = 1");
        }
    }
    if draft.os == GuestOs::Windows {
        page.gap();
        page.comment("A second drive with the drivers for virtio: the network card's (NetKVM), and that of disks (viostor).");
        page.off("[[cdrom]]");
        page.off(&pair("path", "virtio-win.iso"));
    }
}

fn network(page: &mut Page, draft: &Draft<'_>) {
    page.gap();
    let windows = match draft.os {
        GuestOs::Windows => " Windows' driver for it is NetKVM of the virtio-win image.",
        GuestOs::Linux | GuestOs::Other => "",
    };
    let (port, what) = match draft.os {
        GuestOs::Windows => ("tcp:3389->3389", "Remote Desktop at port 3389 of this host"),
        GuestOs::Linux | GuestOs::Other => ("tcp:2222->22", "`ssh -p 2222 localhost` on this host"),
    };
    let forward = format!("forward = [\"{port}\"]");
    if draft.survey.passt {
        page.comment(&format!(
            "A network card on passt, which needs no rights and works with Wi-Fi, too.{windows} docs/network.md has bridges."
        ));
        page.section("[[net]]");
        page.text("backend", "user");
        page.comment(&format!("{what} leads into the guest:"));
        page.off(&forward);
    } else {
        page.comment(&format!(
            "A network card on passt, which needs no rights and works with Wi-Fi, too, and which is not installed here: {}.{windows}",
            draft.survey.install_passt
        ));
        page.off("[[net]]");
        page.off(&pair("backend", "user"));
        page.off(&forward);
    }
}

fn serial(page: &mut Page, draft: &Draft<'_>) {
    page.gap();
    let (output, what) = match draft.os {
        GuestOs::Linux => (
            "stdio",
            "The first serial port is the terminal of `run`: a guest that is started with `console=ttyS0` offers a login there. Ctrl-A X ends the machine.",
        ),
        GuestOs::Windows => (
            "none",
            "The first serial port; `\"stdio\"` is the terminal of `run`, for Windows' Special Administration Console (`bcdedit /ems on`).",
        ),
        GuestOs::Other => ("none", "The first serial port; `\"stdio\"` is the terminal of `run`."),
    };
    page.comment(what);
    page.section("[serial]");
    page.text("output", output);
}
