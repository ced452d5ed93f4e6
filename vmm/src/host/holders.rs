//! Which processes hold a device: those with a descriptor of one of its nodes, by `/proc/PID/fd` (proc(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;

use vocabulary::HostPciAddress;

use super::HostFiles;
use super::files::names;
use super::nodes::Belongings;

/// A process that holds a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its command, of which the kernel keeps 15 characters.
    pub command: String,
    /// The nodes it has open: `/dev/dri/card1`.
    pub nodes: BTreeSet<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = self.nodes.iter().map(String::as_str).collect();
        write!(f, "{} (process {}) has {}", self.command, self.pid, nodes.join(", "))
    }
}

impl Holder {
    /// What makes it let go.
    pub(crate) fn cure(&self) -> String {
        let is = |names: &[&str]| names.iter().any(|name| self.command.starts_with(name));
        if is(&["nvidia-persist"]) {
            "`sudo systemctl stop nvidia-persistenced`".into()
        } else if is(&["pipewire", "wireplumber"]) {
            "`systemctl --user stop pipewire.socket pipewire-pulse.socket pipewire wireplumber`".into()
        } else if is(&["pulseaudio"]) {
            "`systemctl --user stop pulseaudio.socket pulseaudio.service`".into()
        } else if is(&[
            "Xorg",
            "Xwayland",
            "gnome-shell",
            "kwin",
            "sway",
            "Hyprland",
            "weston",
            "gdm",
            "sddm",
            "systemd-logind",
        ]) {
            "log out, and stop the display server with `sudo systemctl isolate multi-user.target` or keep it off this \
             device in its configuration"
                .into()
        } else if is(&["qemu", "optimus-vmm", "cloud-hyperviso", "crosvm"]) {
            format!("shut down the virtual machine of process {}", self.pid)
        } else {
            format!("`sudo kill {}`", self.pid)
        }
    }
}

/// Who holds some devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// The processes, in order of their numbers.
    pub found: Vec<Holder>,
    /// How many processes could not be looked at: another user's, or more privileged than this one.
    pub unseen: usize,
}

impl Holders {
    /// What makes all of them let go, each thing once.
    pub(crate) fn cure(&self) -> String {
        let cures: BTreeSet<_> = self.found.iter().map(Holder::cure).collect();
        cures.into_iter().collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found: Vec<_> = self.found.iter().map(ToString::to_string).collect();
        f.write_str(&found.join("; "))?;
        if self.unseen > 0 {
            let between = if found.is_empty() { "" } else { "; " };
            write!(
                f,
                "{between}{} processes of other users or with more privileges could not be looked at",
                self.unseen
            )?;
        }
        Ok(())
    }
}

impl HostFiles {
    /// Finds the processes, other than this one, that hold a node of one of `functions`: of whatever its driver has
    /// made of it, or of VFIO.
    pub fn holders(&self, functions: &[HostPciAddress]) -> Holders {
        let nodes = functions.iter().flat_map(|address| Belongings::of(self, *address).nodes).collect();
        self.holders_of(&nodes)
    }

    /// As [`Self::holders`], for nodes named relative to `/dev`.
    pub(super) fn holders_of(&self, nodes: &BTreeSet<String>) -> Holders {
        let mut holders = Holders::default();
        if nodes.is_empty() {
            return holders;
        }
        let mut by_pid = BTreeMap::new();
        for pid in names(&self.path("proc")).iter().filter_map(|name| name.parse::<u32>().ok()) {
            if pid == std::process::id() {
                continue;
            }
            match self.open_nodes(pid, nodes) {
                Ok(open) if !open.is_empty() => {
                    by_pid.insert(pid, open);
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => holders.unseen += 1,
                // Without such nodes, or gone since.
                _ => {}
            }
        }
        let holder = |(pid, nodes)| Holder {
            pid,
            command: self
                .text(format!("proc/{pid}/comm"))
                .unwrap_or_else(|_| "a process that has ended".into()),
            nodes,
        };
        holders.found = by_pid.into_iter().map(holder).collect();
        holders
    }

    fn open_nodes(&self, pid: u32, nodes: &BTreeSet<String>) -> io::Result<BTreeSet<String>> {
        let mut open = BTreeSet::new();
        for descriptor in fs::read_dir(self.path(format!("proc/{pid}/fd")))?.flatten() {
            let target = match fs::read_link(descriptor.path()) {
                Ok(target) => target,
                // The folder is open to root, but what a descriptor leads to is told only to those who may trace the
                // process: ptrace(2). That is then so of all of them.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
                Err(_) => continue,
            };
            let Some(target) = target.to_str().and_then(|target| target.strip_prefix("/dev/")) else {
                continue;
            };
            let node = target.strip_suffix(" (deleted)").unwrap_or(target);
            if nodes.contains(node) {
                open.insert(format!("/dev/{node}"));
            }
        }
        Ok(open)
    }
}
