//! What is said in the end: the files, what is left to do, and the next command.

use vocabulary::{ByteSize, DiskFormat};

use super::draft::{Draft, names_no_laptop};
use super::files::Disk;
use super::os_word;
use crate::cli::GuestOs;
use crate::wrapping::{shell_word, wrap};

/// The doctor's findings about rights and about who has the GPU, which `host setup` mends.
const MENDED_BY_SETUP: [&str; 3] = ["gpu-driver", "locked-memory", "rights"];

/// All of it; `in_the_way` are the names of the findings that keep the machine from starting.
pub(super) fn text(draft: &Draft<'_>, in_the_way: &[&str]) -> String {
    let mut out = String::new();
    let mut say = |text: &str| wrap(&mut out, 0, text);
    let with = match draft.gpu {
        Some(gpu) => format!(" with the GPU {} ({:04x}:{:04x})", gpu.address, gpu.ids.0, gpu.ids.1),
        None => String::new(),
    };
    say(&format!(
        "{}: a machine for {}{with}, {} of memory, {}",
        draft.config.display(),
        match os_word(draft.os) {
            "windows" => "Windows",
            "linux" => "Linux",
            _ => "any system",
        },
        draft.memory,
        cores(draft.cores),
    ));
    say(&disk(draft.disk.path(), &draft.disk, draft.disk_size));
    for note in notes(draft) {
        say(&format!("note: {note}"));
    }
    let file = shell_word(&draft.config);
    if in_the_way.is_empty() && draft.survey.live {
        let sudo = if needs_root(draft) { "sudo " } else { "" };
        say(&format!(
            "Next: `{sudo}optimus-vmm run {file}`, and a VNC viewer at 127.0.0.1:5900 for its screen"
        ));
    } else if in_the_way.is_empty() {
        say(&format!("Next, on that host: `optimus-vmm doctor {file}`"));
    } else {
        say(&format!(
            "Next: `optimus-vmm doctor {file}`, which says how to mend what stands in the way: {}",
            in_the_way.join(", ")
        ));
        let mended = |id: &&str| MENDED_BY_SETUP.contains(id);
        if draft.survey.live && draft.gpu.is_some() && in_the_way.iter().any(mended) {
            say(&format!(
                "`optimus-vmm host setup --dry-run {file}` shows what gives users rights for good, and with `--bind boot` what binds the devices at boot"
            ));
        }
    }
    out
}

pub(super) fn cores(number: u32) -> String {
    if number == 1 { "1 core".into() } else { format!("{number} cores") }
}

/// Whether `run` has to change drivers, which this user may not.
pub(super) fn needs_root(draft: &Draft<'_>) -> bool {
    !draft.survey.root && draft.gpu.is_some_and(|gpu| !gpu.bound)
}

fn disk(path: &std::path::Path, disk: &Disk, size: ByteSize) -> String {
    let path = path.display();
    match disk {
        Disk::There(_) => format!("{path}: a disk that exists, and is used as it is"),
        Disk::New(_, format) => {
            let format = match format {
                DiskFormat::Raw => "raw",
                DiskFormat::Qcow2 => "qcow2",
            };
            format!("{path}: a new disk of {size} ({format}), which takes up space only as the guest writes")
        }
    }
}

/// What may want doing before or after the first run.
fn notes(draft: &Draft<'_>) -> Vec<String> {
    let mut notes = draft.survey.unanswered.clone();
    if let Some(gpu) = draft.gpu {
        if !draft.survey.others.is_empty() {
            let others: Vec<_> = draft.survey.others.iter().map(ToString::to_string).collect();
            notes.push(format!(
                "further NVIDIA GPUs: {}; `--gpu ADDRESS` passes another through",
                others.join(", ")
            ));
        }
        if names_no_laptop(gpu) && draft.subsystem.is_none() {
            notes.push("the GPU names no laptop now: fill in `subsystem` in [dgpu], without which Windows finds no driver for it".into());
        }
        if !gpu.own_rom && draft.vbios.is_none() {
            notes.push(
                "the GPU's driver may need its video BIOS: `vbios` in [dgpu] tells where to get it".into(),
            );
        }
    }
    if draft.survey.firmware.is_none() {
        notes.push(format!(
            "no OVMF was found, without which nothing boots: {}",
            draft.survey.install_firmware
        ));
    }
    if !draft.survey.passt {
        notes.push(format!(
            "no passt was found, and the machine has no network: {}, and see [[net]]",
            draft.survey.install_passt
        ));
    }
    if draft.os == GuestOs::Windows && !draft.survey.swtpm {
        notes.push(format!(
            "no swtpm was found, and the machine has no TPM, which Windows 11 asks for: {}, and see [tpm]",
            draft.survey.install_swtpm
        ));
    }
    notes
}
