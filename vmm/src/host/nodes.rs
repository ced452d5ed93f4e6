//! What a driver has made of a function: device nodes, block devices and network interfaces.
//!
//! All of them are directories below the function's own in the tree of devices; those that have a node name it in
//! `uevent` (Linux `Documentation/ABI/testing/sysfs-uevent`, `DEVNAME`, relative to `/dev`). Two are not to be found
//! there: NVIDIA's nodes, which its module registers without a device, and the shared namespaces of NVMe multipath.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use vocabulary::HostPciAddress;

use super::HostFiles;
use super::files::{names, text};
use super::sysfs::lends;

/// Deeper than any device below a function: a USB disk behind seven hubs is at about 20.
const DEEPEST: usize = 32;

/// What belongs to a function.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Belongings {
    /// Nodes, relative to `/dev`: `dri/card1`.
    pub(super) nodes: BTreeSet<String>,
    /// Disks and partitions as named in `/sys/class/block`.
    pub(super) blocks: BTreeSet<String>,
    /// Network interfaces.
    pub(super) interfaces: BTreeSet<String>,
}

impl Belongings {
    /// Finds what belongs to the function.
    pub(super) fn of(files: &HostFiles, address: HostPciAddress) -> Self {
        let mut found = Self::default();
        let Some(home) = files.function_home(address) else { return found };
        found.walk(&home, 0);
        let heads: Vec<_> = found.blocks.iter().filter_map(|name| multipath_head(name)).collect();
        for head in heads {
            if let Ok(home) = fs::canonicalize(files.path(format!("sys/class/block/{head}"))) {
                found.visit(&home, &head);
                found.walk(&home, 0);
            }
        }
        match files.driver(address).as_deref() {
            Some("nvidia") => found.nodes.extend(nvidia_nodes(files, address)),
            Some(driver) if lends(driver) => {
                let group = files.function(address).and_then(|function| function.iommu_group);
                found.nodes.extend(group.map(|group| format!("vfio/{group}")));
            }
            _ => {}
        }
        found
    }

    /// Finds what belongs to the device with this directory in the tree of devices.
    pub(super) fn below(home: &Path) -> Self {
        let mut found = Self::default();
        found.walk(home, 0);
        found
    }

    fn walk(&mut self, dir: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            // Links lead to other devices.
            if depth < DEEPEST && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                if let Some(name) = entry.file_name().to_str() {
                    self.visit(&path, name);
                }
                self.walk(&path, depth + 1);
            }
        }
    }

    fn visit(&mut self, path: &Path, name: &str) {
        if path.parent().is_some_and(|parent| parent.ends_with("net")) {
            self.interfaces.insert(name.to_owned());
        }
        let Ok(uevent) = text(&path.join("uevent")) else { return };
        let value = |key| uevent.lines().find_map(|line| line.strip_prefix(key));
        if let Some(node) = value("DEVNAME=") {
            self.nodes.insert(node.to_owned());
        }
        if matches!(value("DEVTYPE="), Some("disk" | "partition")) {
            self.blocks.insert(name.to_owned());
        }
    }
}

/// The namespace that a path of NVMe multipath leads to: `nvme0n1` for `nvme0c1n1`.
fn multipath_head(name: &str) -> Option<String> {
    let (subsystem, rest) = name.strip_prefix("nvme")?.split_once('c')?;
    let (controller, namespace) = rest.split_once('n')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (number(subsystem) && number(controller) && number(namespace))
        .then(|| format!("nvme{subsystem}n{namespace}"))
}

/// The GPU's node, by its minor number in the driver's own table; all GPUs' if that cannot be read. The driver's
/// common nodes (`nvidiactl`, `nvidia-uvm`) do not keep a single GPU.
fn nvidia_nodes(files: &HostFiles, address: HostPciAddress) -> Vec<String> {
    let information =
        files.text(format!("proc/driver/nvidia/gpus/{address}/information")).unwrap_or_default();
    let minor = information.lines().find_map(|line| line.strip_prefix("Device Minor:")?.trim().parse().ok());
    let minor: Option<u32> = minor;
    match minor {
        Some(minor) => vec![format!("nvidia{minor}")],
        None => {
            let is_gpu =
                |name: &String| name.strip_prefix("nvidia").is_some_and(|minor| minor.parse::<u32>().is_ok());
            names(&files.path("dev")).into_iter().filter(is_gpu).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_multipath() {
        for (name, head) in [
            ("nvme0c1n1", Some("nvme0n1")),
            ("nvme12c0n3", Some("nvme12n3")),
            ("nvme0n1", None),
            ("nvme0c1n1p1", None),
            ("nvmecn", None),
            ("sda", None),
        ] {
            assert_eq!(multipath_head(name).as_deref(), head, "{name}");
        }
    }
}
