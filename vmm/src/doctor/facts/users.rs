//! Who uses the GPU: processes, file systems and the like of its functions, consoles, modules, and programs that switch it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vocabulary::HostPciAddress;

use super::gpu;
use crate::host::{HostFiles, InUse};

/// A process that holds a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Process {
    pub(in crate::doctor) pid: u32,
    pub(in crate::doctor) command: String,
    /// `/dev/dri/card1`.
    pub(in crate::doctor) nodes: Vec<String>,
    /// What makes it let go.
    pub(in crate::doctor) cure: String,
}

/// Another use of a function; the text ends with what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Use {
    pub(in crate::doctor) address: HostPciAddress,
    pub(in crate::doctor) what: String,
}

/// A framebuffer of the GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Framebuffer {
    /// `fb0`.
    pub(in crate::doctor) name: String,
    /// Who has made it: `nvidia-drmdrmfb`.
    pub(in crate::doctor) driver: String,
}

/// Who uses the GPU's functions, and those of its group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Users {
    pub(in crate::doctor) processes: Vec<Process>,
    /// Processes that could not be looked at.
    pub(in crate::doctor) unseen: usize,
    pub(in crate::doctor) uses: Vec<Use>,
    pub(in crate::doctor) framebuffers: Vec<Framebuffer>,
    /// Consoles on framebuffers that are bound: `vtcon1`.
    pub(in crate::doctor) consoles: Vec<String>,
    /// References to NVIDIA's modules.
    pub(in crate::doctor) references: BTreeMap<String, u32>,
    /// NVIDIA's driver, and whether it is the open one.
    pub(in crate::doctor) nvidia: Option<(String, bool)>,
    /// Programs and modules that switch the GPU or hide it.
    pub(in crate::doctor) switches: Vec<String>,
}

/// NVIDIA's modules, in the order in which they are removed.
pub(in crate::doctor) const NVIDIA_MODULES: [&str; 4] =
    ["nvidia_drm", "nvidia_modeset", "nvidia_uvm", "nvidia"];
/// What NVIDIA's driver says of itself.
pub(in crate::doctor) const NVIDIA_VERSION: &str = "proc/driver/nvidia/version";
/// Programs that power GPUs down, hide them or change their drivers, by their commands.
pub(in crate::doctor) const SWITCHERS: [&str; 4] =
    ["cardwired", "supergfxd", "optimus-manager", "bumblebeed"];

impl Users {
    pub(super) fn read(files: &HostFiles, named: Option<HostPciAddress>) -> Self {
        let Some(gpu) = gpu::chosen(files, named) else { return Self::default() };
        let mut users = Self {
            references: NVIDIA_MODULES
                .iter()
                .filter_map(|module| {
                    let count = files.text(format!("sys/module/{module}/refcnt")).ok()?;
                    Some(((*module).to_owned(), count.parse().ok()?))
                })
                .collect(),
            nvidia: files.text(NVIDIA_VERSION).ok().and_then(|text| nvidia_driver(&text)),
            switches: switches(files),
            ..Self::default()
        };
        let mut processes = BTreeMap::new();
        for address in gpu::affected(files, gpu) {
            for used in files.uses(address) {
                let InUse::Held { holders } = used else {
                    users.uses.push(Use { address, what: used.to_string() });
                    continue;
                };
                users.unseen = users.unseen.max(holders.unseen);
                for holder in holders.found {
                    let process = processes.entry(holder.pid).or_insert_with(|| Process {
                        pid: holder.pid,
                        cure: holder.cure(),
                        command: holder.command.clone(),
                        nodes: Vec::new(),
                    });
                    process.nodes.extend(holder.nodes);
                }
            }
        }
        users.processes = processes.into_values().collect();
        if users.processes.is_empty() {
            users.unseen = files.holders(&gpu::affected(files, gpu)).unseen;
        }
        let framebuffer = |name: String| {
            let device = files.link_name(format!("sys/class/graphics/{name}/device"))?;
            (device == gpu.to_string()).then(|| Framebuffer {
                driver: files.text(format!("sys/class/graphics/{name}/name")).unwrap_or_default(),
                name,
            })
        };
        users.framebuffers = files.names("sys/class/graphics").into_iter().filter_map(framebuffer).collect();
        let on_framebuffer = |name: &String| {
            let text =
                |attribute| files.text(format!("sys/class/vtconsole/{name}/{attribute}")).unwrap_or_default();
            text("name").contains("frame buffer") && text("bind") == "1"
        };
        users.consoles = files.names("sys/class/vtconsole").into_iter().filter(on_framebuffer).collect();
        users
    }
}

/// Version and kind of NVIDIA's driver, by its first line: `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.45.04  Release Build`.
fn nvidia_driver(text: &str) -> Option<(String, bool)> {
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    let numeric = |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    let version = line.split_whitespace().find(numeric)?;
    Some((version.to_owned(), line.contains("Open Kernel Module")))
}

fn switches(files: &HostFiles) -> Vec<String> {
    let mut found = Vec::new();
    if files.path("sys/module/bbswitch").exists() {
        found.push("the module bbswitch".to_owned());
    }
    for pid in files.names("proc").into_iter().filter(|name| name.parse::<u32>().is_ok()) {
        let command = files.text(format!("proc/{pid}/comm")).unwrap_or_default();
        // The kernel keeps 15 characters.
        if SWITCHERS.iter().any(|name| name.get(..15).unwrap_or(name) == command) {
            found.push(format!("{command} (process {pid})"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_of_nvidias() {
        for (text, expected) in [
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.45.04  Release Build  (archlinux@)\nGCC version: 15.2.1\n",
                Some(("595.45.04", true)),
            ),
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.256.02  Thu May  2\n",
                Some(("470.256.02", false)),
            ),
            ("GCC version: 15.2.1\n", None),
        ] {
            let expected = expected.map(|(version, open): (&str, bool)| (version.to_owned(), open));
            assert_eq!(nvidia_driver(text), expected);
        }
    }
}
