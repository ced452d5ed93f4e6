//! What this user may do. Of another host's files nothing can be said.

use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde::{Deserialize, Serialize};

use super::{Context, gpu};

/// A node of the host's, and whether this user may open it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Node {
    /// `/dev/kvm`.
    pub(in crate::doctor) path: String,
    pub(in crate::doctor) usable: bool,
}

/// This user's rights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Rights {
    /// Whether anything was looked at.
    pub(in crate::doctor) known: bool,
    pub(in crate::doctor) root: bool,
    /// Nodes that exist.
    pub(in crate::doctor) nodes: Vec<Node>,
    /// Whether all of the host's input devices may be read; `None` where there are none.
    #[serde(default)]
    pub(in crate::doctor) input: Option<bool>,
}

impl Rights {
    pub(super) fn read(context: &Context) -> Self {
        if !context.is_live() {
            return Self::default();
        }
        let files = context.files();
        let gpu = gpu::chosen(&files, context.dgpu);
        let group =
            gpu.and_then(|gpu| files.function(gpu)?.iommu_group).map(|group| format!("/dev/vfio/{group}"));
        let nodes = ["/dev/kvm", "/dev/vfio/vfio", "/dev/iommu"].into_iter().map(str::to_owned).chain(group);
        let nodes = nodes.filter(|path| std::path::Path::new(path).exists()).map(|path| Node {
            usable: accessat(CWD, path.as_str(), Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS)
                .is_ok(),
            path,
        });
        let root = rustix::process::geteuid().is_root();
        Self { known: true, root, nodes: nodes.collect(), input: input() }
    }
}

/// Whether this user may read all input devices.
fn input() -> Option<bool> {
    let entries = std::fs::read_dir("/dev/input").ok()?.flatten();
    let nodes = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"event"));
    let readable = |path| accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS).is_ok();
    nodes.map(|node| readable(node.path())).reduce(|all, each| all && each)
}
