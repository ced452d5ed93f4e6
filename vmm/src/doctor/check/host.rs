//! The system: what did not answer, distribution, vfio-pci, firmware, helpers, rights.

use super::{Verdict, listed};
use crate::doctor::distribution::{Distribution, Family, Package};
use crate::doctor::facts::Facts;
use crate::doctor::facts::modules::Module;

pub(super) fn unanswered(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let of = |unanswered: &crate::doctor::facts::Unanswered| {
        let name = unanswered.probe.name();
        Verdict::blocks(
            format!("the probe {name} {}", unanswered.why),
            format!("the child that reads ({name})"),
            "the kernel waits for a device or its driver, or a file is where nobody answers; what it was to read is missing here",
        )
        .with_fix("`sudo dmesg | tail -50` tells what hangs; `--patience 60` gives a slow host more time; a driver that hangs is gone after a reboot")
    };
    facts.unanswered.iter().map(of).collect()
}

pub(super) fn distribution(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(system) = &facts.system else { return Vec::new() };
    let kernel = system.kernel.as_deref().unwrap_or("of an unknown release");
    let found = format!("{}, Linux {kernel}", system.name);
    let source = "/etc/os-release, /proc/sys/kernel/osrelease";
    vec![match distribution.family {
        Family::Other => Verdict::note(
            found,
            source,
            "its commands are not known here: the advice says what to change, not how",
        ),
        _ => Verdict::ok(found, source),
    }]
}

pub(super) fn vfio(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(system) = &facts.system else { return Vec::new() };
    let source = "/sys/module/vfio_pci, modules.dep";
    vec![match system.module("vfio_pci") {
        Module::Present => Verdict::ok("vfio-pci is loaded", source),
        Module::Available => Verdict::ok("vfio-pci can be loaded", source),
        Module::Unknown => Verdict::note(
            "vfio-pci is not loaded, and whether there is one cannot be read",
            source,
            "it is loaded when it is needed, if there is one",
        ),
        Module::Absent => Verdict::blocks(
            "this kernel has no vfio-pci",
            source,
            "no PCI device can be lent",
        )
        .with_fix(match distribution.family {
            Family::Arch => "`sudo pacman -Syu` and reboot: after an update of the kernel, modules of the one that still runs are gone",
            _ => "use your distribution's own kernel, or build yours with CONFIG_VFIO_PCI; after an update of the kernel, reboot",
        }),
    }]
}

pub(super) fn firmware(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(programs) = &facts.programs else { return Vec::new() };
    let shown: Vec<_> = programs.firmware.iter().map(|path| path.display().to_string()).collect();
    let source = "the places of OVMF's packages";
    match shown.as_slice() {
        [] => {
            // A vm.toml may name its own; whether it does, its own finding says.
            let found = "no OVMF with a template of variables";
            let means = "machines that name no `code` in [firmware] do not start";
            let install = distribution.install(Package::Ovmf);
            vec![
                match facts.machine {
                    Some(_) => Verdict::note(found, source, means),
                    None => Verdict::blocks(found, source, means),
                }
                .with_fix(install),
            ]
        }
        [first] => vec![Verdict::ok(first.clone(), source)],
        [first, rest @ ..] => vec![Verdict::ok(format!("{first}; also {}", listed(rest)), source)],
    }
}

pub(super) fn network(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(programs) = &facts.programs else { return Vec::new() };
    let helper = match &programs.bridge_helper {
        Some(path) => format!("qemu-bridge-helper: {}", path.display()),
        None => "no qemu-bridge-helper, which only bridges need".into(),
    };
    let source = "/usr/bin and the system's other directories";
    vec![match &programs.passt {
        Some(path) => Verdict::ok(format!("passt: {}; {helper}", path.display()), source),
        None => Verdict::warning(
            format!("no passt; {helper}"),
            source,
            "a machine with `[[net]]` does not start, unless its backend is another",
        )
        .with_fix(distribution.install(Package::Passt)),
    }]
}

pub(super) fn tpm(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(programs) = &facts.programs else { return Vec::new() };
    let source = "/usr/bin and the system's other directories";
    vec![match &programs.swtpm {
        Some(path) => Verdict::ok(format!("swtpm: {}", path.display()), source),
        None => Verdict::note(
            "no swtpm",
            source,
            "a machine with `[tpm]` does not start; Windows 11 asks for one",
        )
        .with_fix(distribution.install(Package::Swtpm)),
    }]
}

pub(super) fn rights(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(rights) = facts.rights.as_ref().filter(|rights| rights.known) else { return Vec::new() };
    let source = "access(2) of the nodes, as this user";
    if rights.root {
        return vec![Verdict::ok("root", source)];
    }
    let mut verdicts = Vec::new();
    let usable: Vec<_> =
        rights.nodes.iter().filter(|node| node.usable).map(|node| node.path.clone()).collect();
    let denied: Vec<_> =
        rights.nodes.iter().filter(|node| !node.usable).map(|node| node.path.as_str()).collect();
    if denied.contains(&"/dev/kvm") {
        verdicts.push(
            Verdict::blocks("this user may not open /dev/kvm", source, "no machine starts")
                .with_fix("`sudo usermod -aG kvm $USER`, and log in again; or run as root"),
        );
    }
    let vfio: Vec<_> = denied.into_iter().filter(|path| *path != "/dev/kvm").collect();
    if !vfio.is_empty() {
        verdicts.push(
            Verdict::warning(
                format!("this user may not open {}", listed(&vfio)),
                source,
                "only root's machines can have devices of the host",
            )
            .with_fix(format!(
                "run with `sudo`; or, for devices that are bound already, {}",
                distribution.rights(facts.machine.as_ref().map(|machine| machine.path.as_str()))
            )),
        );
    }
    if rights.input == Some(false) {
        verdicts.push(
            Verdict::note(
                "this user may not read all devices below /dev/input",
                source,
                "machines with `[[evdev]]` get no keyboard and mouse of the host",
            )
            .with_fix("if one is to: `sudo usermod -aG input $USER`, and log in again; programs of this user then see what is typed everywhere"),
        );
    }
    if facts.lends() && facts.machine.as_ref().is_none_or(|machine| machine.manages) {
        verdicts.push(Verdict::note(
            "not root",
            source,
            "`manage = true` needs root: the driver of a device is changed; `sudo optimus-vmm doctor` also sees the processes of other users",
        ));
    }
    if verdicts.is_empty() {
        verdicts.push(Verdict::ok(format!("this user may open {}", listed(&usable)), source));
    }
    verdicts
}
