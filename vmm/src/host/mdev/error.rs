//! Why a machine cannot have a mediated device.

use uuid::Uuid;
use vocabulary::{MdevParent, MdevType};

use super::{HostMdev, Offer};
use crate::host::Holders;
use crate::host::check::list;

/// Why a mediated device cannot be had. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum MdevError {
    /// There is none, and nobody has defined one.
    #[error(
        "this host has no mediated device {uuid}, and mdevctl has defined none: `ls /sys/bus/mdev/devices` and `mdevctl \
         list --defined` list them; `parent` and `type` in place of `mdev` make one at each start"
    )]
    Missing {
        /// The UUID.
        uuid: Uuid,
    },
    /// mdevctl's definition is of no use to us.
    #[error(
        "cannot make the mediated device {uuid} from {path}: {why}. Start it with `sudo mdevctl start -u {uuid}`"
    )]
    Definition {
        /// The file.
        path: String,
        /// The UUID.
        uuid: Uuid,
        /// What is wrong with it.
        why: String,
    },
    /// The device makes no others.
    #[error("{parent} makes no mediated devices: {why}; {cure}")]
    NoParent {
        /// The device.
        parent: MdevParent,
        /// Why.
        why: String,
        /// What to do.
        cure: String,
    },
    /// The parent makes others than this.
    #[error("{parent} offers no type {kind}: {}", offered(offers))]
    NoType {
        /// The parent.
        parent: MdevParent,
        /// What was asked for.
        kind: MdevType,
        /// What there is.
        offers: Vec<Offer>,
    },
    /// The parent has no room for another.
    #[error("{parent} has no room for another {kind}: {}", room(users, offers))]
    Full {
        /// The parent.
        parent: MdevParent,
        /// What was asked for.
        kind: MdevType,
        /// What takes the room.
        users: Vec<HostMdev>,
        /// What there is.
        offers: Vec<Offer>,
    },
    /// The UUID is that of another device.
    #[error(
        "the mediated device {} exists already and is {} of {}, not {kind} of {parent}: choose another `uuid`, or remove it \
         with `echo 1 | sudo tee /sys/bus/mdev/devices/{}/remove`",
        device.uuid, device.kind, device.parent, device.uuid
    )]
    Other {
        /// What there is.
        device: Box<HostMdev>,
        /// Where it should be from.
        parent: MdevParent,
        /// What it should be.
        kind: MdevType,
    },
    /// It does not exist, though it did or should.
    #[error(
        "cannot pass mdev {uuid} through: this host has none of this UUID. `ls /sys/bus/mdev/devices` lists them"
    )]
    Gone {
        /// The UUID.
        uuid: Uuid,
    },
    /// VFIO does not lend it.
    #[error(
        "the mediated device {uuid} has no driver that lends it: load it with `sudo modprobe -a vfio_mdev kvmgt` (newer \
         kernels have no vfio_mdev), then remove the device and start again; `sudo dmesg | tail` may tell more"
    )]
    NoDriver {
        /// The UUID.
        uuid: Uuid,
    },
    /// VFIO has not registered it.
    #[error(
        "the mediated device {uuid} has the driver {driver} and is in no IOMMU group, so VFIO does not know it: `sudo dmesg \
         | tail` may tell why; kernels without CONFIG_VFIO_GROUP are not supported with mediated devices"
    )]
    NoGroup {
        /// The UUID.
        uuid: Uuid,
        /// Its driver.
        driver: String,
    },
    /// Another process has it.
    #[error("the mediated device {uuid} is in use: {holders}: {}", holders.cure())]
    InUse {
        /// The UUID.
        uuid: Uuid,
        /// Who has it.
        holders: Holders,
    },
    /// We may not make one.
    #[error(
        "no permission to make mediated devices of {parent}: run with `sudo`, or make it beforehand with `sudo mdevctl start \
         -u {uuid} -p {parent} -t {kind}` and write `mdev = \"{uuid}\"` in [igpu] (docs/host.md)"
    )]
    Denied {
        /// The UUID.
        uuid: Uuid,
        /// The parent.
        parent: MdevParent,
        /// The type.
        kind: MdevType,
    },
}

fn offered(offers: &[Offer]) -> String {
    match offers {
        [] => "it offers none at all; `sudo dmesg | grep -i gvt` may tell why".into(),
        offers => format!("write one of those it offers: {}", list(offers)),
    }
}

fn room(users: &[HostMdev], offers: &[Offer]) -> String {
    let fitting: Vec<_> =
        offers.iter().filter(|offer| offer.available.is_some_and(|room| room > 0)).collect();
    let smaller = match fitting.as_slice() {
        [] => String::new(),
        fitting => format!("choose a type there is room for: {}; or ", list(fitting)),
    };
    match users {
        [] => format!(
            "{smaller}give the GPU a larger aperture in the firmware setup (256 MB hold one i915-GVTg of the kind _4 or two \
             of the kind _8)"
        ),
        users => {
            let users: Vec<_> = users.iter().map(|user| format!("{} ({})", user.uuid, user.kind)).collect();
            format!(
                "{} {} it. {smaller}remove one that is not in use: `echo 1 | sudo tee \
                 /sys/bus/mdev/devices/UUID/remove`",
                users.join(", "),
                if users.len() == 1 { "takes" } else { "take" },
            )
        }
    }
}
