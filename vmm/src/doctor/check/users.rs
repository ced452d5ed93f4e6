//! Who has the GPU, and what makes each let go.

use super::group::is_lent;
use super::{Verdict, function, listed};
use crate::doctor::distribution::Distribution;
use crate::doctor::facts::Facts;

/// Branches of NVIDIA's open modules whose count of users may never reach zero, so that taking a GPU from them waits for ever.
const STICKY: std::ops::Range<u32> = 590..610;

pub(super) fn driver(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let Some(gpu) = facts.gpu() else { return Vec::new() };
    let Some(own) = gpu.function() else { return Vec::new() };
    let source = format!("{}/driver", function(own.address));
    let config = facts.machine.as_ref().map(|machine| machine.path.as_str());
    let bind = || distribution.bind_at_boot(config);
    let name = match own.driver.as_deref() {
        None => {
            return vec![Verdict::ok(
                "no driver has the GPU: `manage = true` binds it to vfio-pci, and by hand docs/host.md does",
                source,
            )];
        }
        Some(name) if is_lent(Some(name)) => {
            let rest: Vec<_> = gpu
                .slot
                .iter()
                .filter(|other| {
                    other.address != own.address
                        && other.driver.as_deref().is_some_and(|driver| !is_lent(Some(driver)))
                })
                .map(|other| format!("{} ({})", other.address, other.driver.as_deref().unwrap_or_default()))
                .collect();
            return vec![if rest.is_empty() {
                Verdict::ok(format!("{name} has the GPU"), source)
            } else {
                Verdict::note(
                    format!("{name} has the GPU, and drivers of the host have {}", listed(&rest)),
                    source,
                    "the other functions go along by default: `manage = true` binds them too",
                )
            }];
        }
        Some(name) => name,
    };
    let users = facts.users.as_ref();
    let version = users.and_then(|users| users.nvidia.as_ref()).filter(|_| name == "nvidia");
    let Some((version, open)) = version else {
        return vec![Verdict::ok(
            format!("{name} has the GPU: `manage = true` takes it for a run, and gives it back"),
            source,
        )];
    };
    let branch: u32 = version.split('.').next().and_then(|branch| branch.parse().ok()).unwrap_or_default();
    let kind = if *open { "open" } else { "proprietary" };
    let found = format!("nvidia {version} ({kind}) has the GPU");
    vec![if *open && STICKY.contains(&branch) {
        Verdict::warning(
            found,
            format!("{source}, /proc/driver/nvidia/version"),
            "owners report of this branch that the driver may wait in the kernel for ever when the GPU is taken from it, until a reboot",
        )
        .with_fix(format!("keep the GPU for guests from boot on: {}; or use a driver of another branch", bind()))
    } else {
        Verdict::note(
            found,
            format!("{source}, /proc/driver/nvidia/version"),
            "`manage = true` takes it for a run once nothing uses it; NVIDIA's driver may hang if something does",
        )
        .with_fix(format!("where the GPU is for guests only, keep it for them from boot on: {}", bind()))
    }]
}

pub(super) fn users(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let (Some(gpu), Some(users)) = (facts.gpu(), &facts.users) else { return Vec::new() };
    let mut verdicts = Vec::new();
    for process in &users.processes {
        let nodes = listed(&process.nodes);
        verdicts.push(
            Verdict::blocks(
                format!("{} (process {}) has {nodes} open", process.command, process.pid),
                format!("/proc/{}/fd", process.pid),
                "the GPU is not taken from a process that has it",
            )
            .with_fix(process.cure.clone()),
        );
    }
    for used in &users.uses {
        // The message ends with what to do.
        let (what, cure) = used.what.split_once(": ").unwrap_or((&used.what, "end this use"));
        let found = format!("{}: {what}", used.address);
        let source = format!("{} and /proc", function(used.address));
        // A member of another slot only counts if it goes along, which the group's finding says.
        verdicts.push(Verdict::blocks(found, source, "it would be taken from under the host").with_fix(cure));
    }
    let held_by_modules: Vec<_> = users
        .references
        .iter()
        .filter(|(module, count)| **count > 0 && module.as_str() == "nvidia_drm")
        .map(|(module, count)| format!("{module} ({count} references)"))
        .collect();
    if !held_by_modules.is_empty() && gpu.function().and_then(|own| own.driver.as_deref()) == Some("nvidia") {
        verdicts.push(
            Verdict::warning(
                format!("the kernel itself uses the GPU: {}", held_by_modules.join(", ")),
                "/sys/module/nvidia_drm/refcnt",
                "a compositor, a console or a monitor's I2C bus holds NVIDIA's display driver; taking the GPU from it may hang",
            )
            .with_fix(
                "log out, `sudo systemctl isolate multi-user.target`, and `sudo modprobe -r nvidia_drm nvidia_modeset nvidia_uvm nvidia`, which says \
                 what still uses them; keep the desktop off the GPU: `KWIN_DRM_DEVICES` (KDE), a udev rule with TAG+=\"mutter-device-ignore\" (GNOME), \
                 `WLR_DRM_DEVICES` (wlroots)",
            ),
        );
    }
    if users.unseen > 0 {
        verdicts.push(
            Verdict::note(
                format!("{} processes of other users could not be looked at", users.unseen),
                "/proc/PID/fd",
                "one of them may have the GPU",
            )
            .with_fix("`sudo optimus-vmm doctor` sees all of them"),
        );
    }
    if verdicts.is_empty() {
        verdicts.push(Verdict::ok(
            "nobody uses the GPU or what shares its group",
            "/proc/PID/fd, /proc/self/mountinfo, /proc/swaps",
        ));
    }
    verdicts
}

pub(super) fn consoles(facts: &Facts, distribution: Distribution) -> Vec<Verdict> {
    let (Some(_), Some(users)) = (facts.gpu(), &facts.users) else { return Vec::new() };
    let source = "/sys/class/graphics/fb*/device, /sys/class/vtconsole/*/bind";
    let names: Vec<_> = users.framebuffers.iter().map(|fb| format!("{} ({})", fb.name, fb.driver)).collect();
    if names.is_empty() || users.consoles.is_empty() {
        return vec![Verdict::ok("no text console is on the GPU", source)];
    }
    let unbind: Vec<_> = users
        .consoles
        .iter()
        .map(|name| format!("`echo 0 | sudo tee /sys/class/vtconsole/{name}/bind`"))
        .collect();
    let for_good = match users.framebuffers.iter().any(|fb| fb.driver.starts_with("nvidia")) {
        true => format!(". For good: {}", distribution.add_parameters("nvidia-drm.fbdev=0")),
        false => String::new(),
    };
    vec![
        Verdict::warning(
            format!("text consoles are on the GPU: {}", names.join(", ")),
            source,
            "they keep its driver busy when it is to let go",
        )
        .with_fix(format!("until the next boot: {}{for_good}", unbind.join(" and "))),
    ]
}

pub(super) fn switches(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let (Some(_), Some(users)) = (facts.gpu(), &facts.users) else { return Vec::new() };
    let source = "/sys/module, /proc/PID/comm";
    if users.switches.is_empty() {
        return vec![Verdict::ok("nothing that switches the GPU is running", source)];
    }
    let fix = |what: &String| match what.split(' ').next() {
        Some("cardwired") => "set it to its mode hybrid or manual, or let it leave optimus-vmm alone",
        Some("supergfxd") => "`sudo systemctl disable --now supergfxd`, after `supergfxctl --mode Hybrid`",
        Some("the") => "`sudo modprobe -r bbswitch`, after `echo ON | sudo tee /proc/acpi/bbswitch`",
        _ => "stop its service, and keep it from starting at boot",
    };
    let of = |what: &String| {
        Verdict::warning(
            format!("{what} switches GPUs"),
            source,
            "it may power the GPU down, hide its files or change its driver in the middle of a run",
        )
        .with_fix(fix(what))
    };
    users.switches.iter().map(of).collect()
}
