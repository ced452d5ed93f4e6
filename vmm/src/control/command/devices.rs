//! Commands that look at disks, character devices and the VNC server.

use ::devices::disk::DISC_BLOCK;
use ::devices::virtio::blk::Handle;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::VncAddress;

use super::{Command, Context, Nothing, Slow, quick, slow};
use crate::control::machine::{CdDrive, CharDevice, Disk, Vnc};
use crate::control::protocol::{Refusal, short};

#[derive(Serialize, JsonSchema)]
struct Block {
    device: String,
    /// QEMU's word for a disk whose kind the guest decides.
    r#type: &'static str,
    removable: bool,
    locked: bool,
    /// Of a drive with a tray.
    #[serde(skip_serializing_if = "Option::is_none")]
    tray_open: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inserted: Option<Inserted>,
}

/// The image of a disk. There is no throttling, which QMP reports as zeroes, and there are no commands for nodes.
#[derive(Serialize, JsonSchema)]
struct Inserted {
    file: String,
    #[serde(rename = "node-name")]
    node_name: String,
    /// Nodes behind it.
    children: Vec<Child>,
    /// Whether this process uses it, and not one that it migrates to.
    active: bool,
    ro: bool,
    drv: &'static str,
    backing_file_depth: u32,
    encrypted: bool,
    detect_zeroes: &'static str,
    bps: u32,
    bps_rd: u32,
    bps_wr: u32,
    iops: u32,
    iops_rd: u32,
    iops_wr: u32,
    image: Image,
    cache: Cache,
    write_threshold: u32,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Child {
    child: String,
    node_name: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Image {
    filename: String,
    format: &'static str,
    /// In bytes.
    virtual_size: u64,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Cache {
    writeback: bool,
    direct: bool,
    no_flush: bool,
}

#[derive(Serialize, JsonSchema)]
struct VncInfo {
    enabled: bool,
    #[serde(flatten)]
    server: Option<VncServer>,
}

#[derive(Serialize, JsonSchema)]
struct VncServer {
    host: String,
    family: &'static str,
    service: String,
    auth: &'static str,
}

/// What a disk is to grow to: by `device` or `node-name`, which are the same here, to so many bytes.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Resize {
    device: Option<String>,
    node_name: Option<String>,
    size: u64,
}

impl Resize {
    fn plan(self, context: &Context<'_>) -> Result<Slow, Refusal> {
        let Self { device, node_name, size } = self;
        let ((Some(name), None) | (None, Some(name))) = (device, node_name) else {
            return Err(Refusal::new("either 'device' or 'node-name' says which disk"));
        };
        let mut disks = (0..).zip(&context.machine.facts.disks);
        let disk = disks.find(|(index, _)| disk_name(*index) == name).map(|(_, disk)| disk);
        let disk = disk.ok_or_else(|| Refusal::no_device(format!("Device '{}' not found", short(&name))))?;
        let handle = disk.handle.clone().ok_or_else(|| {
            Refusal::new(format!("{} is on a bus whose disks do not grow while the guest runs", short(&name)))
        })?;
        Ok(Slow::Grow(handle, size))
    }
}

pub(super) fn commands() -> Vec<Command> {
    vec![
        quick("query-block", |context, Nothing {}| Ok(blocks(context))),
        slow::<Resize, Nothing>("block_resize", |context, resize| resize.plan(context)),
        quick("query-chardev", |context, Nothing {}| Ok(context.machine.facts.chardevs.clone())),
        quick("query-vnc", |context, Nothing {}| {
            let server = context.machine.facts.vnc.as_ref().map(server);
            Ok(VncInfo { enabled: server.is_some(), server })
        }),
    ]
}

/// How the disk of an index is called.
fn disk_name(index: usize) -> String {
    format!("disk[{index}]")
}

fn blocks(context: &Context<'_>) -> Vec<Block> {
    let disk = |(index, disk): (usize, &Disk)| Block {
        device: disk_name(index),
        r#type: "unknown",
        removable: false,
        locked: false,
        tray_open: None,
        inserted: Some(inserted(disk_name(index), disk)),
    };
    let drive = |CdDrive { name, drive }: &CdDrive| {
        let status = drive.status();
        let disc = status.disc.map(|path| Disk {
            path: path.into(),
            format: "raw",
            size: u64::from(status.blocks) * DISC_BLOCK,
            read_only: true,
            direct: false,
            handle: None,
        });
        Block {
            device: name.clone(),
            r#type: "unknown",
            removable: true,
            locked: status.locked,
            tray_open: Some(status.open),
            inserted: disc.map(|disc| inserted(name.clone(), &disc)),
        }
    };
    let facts = &context.machine.facts;
    facts.disks.iter().enumerate().map(disk).chain(facts.cdroms.iter().map(drive)).collect()
}

/// An image as QMP describes it.
fn inserted(node_name: String, disk: &Disk) -> Inserted {
    let file = disk.path.to_string_lossy().into_owned();
    Inserted {
        file: file.clone(),
        node_name,
        children: Vec::new(),
        active: true,
        ro: disk.read_only,
        drv: disk.format,
        backing_file_depth: 0,
        encrypted: false,
        detect_zeroes: "off",
        bps: 0,
        bps_rd: 0,
        bps_wr: 0,
        iops: 0,
        iops_rd: 0,
        iops_wr: 0,
        image: Image {
            filename: file,
            format: disk.format,
            virtual_size: disk.handle.as_ref().map_or(disk.size, Handle::size),
        },
        cache: Cache { writeback: true, direct: disk.direct, no_flush: false },
        write_threshold: 0,
    }
}

fn server(vnc: &Vnc) -> VncServer {
    let auth = if vnc.password { "vnc" } else { "none" };
    match &vnc.address {
        VncAddress::Tcp(address) => VncServer {
            host: address.ip().to_string(),
            family: if address.is_ipv4() { "ipv4" } else { "ipv6" },
            service: address.port().to_string(),
            auth,
        },
        VncAddress::Unix(path) => {
            VncServer { host: String::new(), family: "unix", service: path.display().to_string(), auth }
        }
    }
}

/// The disks in words.
pub(super) fn block_text(context: &Context<'_>) -> String {
    let described = |(index, disk): (usize, &Disk)| {
        let access = if disk.read_only { ", read-only" } else { "" };
        let cache = if disk.direct { "writeback, direct" } else { "writeback" };
        let (name, path, format) = (disk_name(index), disk.path.display(), disk.format);
        format!("{name}: {path} ({format}{access})\r\n    Cache mode:       {cache}\r\n")
    };
    let drive = |CdDrive { name, drive }: &CdDrive| {
        let status = drive.status();
        let disc = status.disc.map_or("[not inserted]".into(), |disc| format!("{disc} (raw, read-only)"));
        let lock = if status.locked { "locked" } else { "not locked" };
        let tray = if status.open { "open" } else { "closed" };
        format!("{name}: {disc}\r\n    Removable device: {lock}, tray {tray}\r\n")
    };
    let facts = &context.machine.facts;
    let disks: Vec<_> =
        facts.disks.iter().enumerate().map(described).chain(facts.cdroms.iter().map(drive)).collect();
    disks.join("\r\n")
}

/// The character devices in words.
pub(super) fn chardev_text(context: &Context<'_>) -> String {
    let described = |device: &CharDevice| format!("{}: filename={}\r\n", device.label, device.filename);
    context.machine.facts.chardevs.iter().map(described).collect()
}

/// The VNC server in words.
pub(super) fn vnc_text(context: &Context<'_>) -> String {
    match context.machine.facts.vnc.as_ref().map(server) {
        None => "None\r\n".into(),
        Some(VncServer { host, family, service, auth }) => {
            format!("default:\r\n  Server: {host}:{service} ({family})\r\n    Auth: {auth} (Sub: none)\r\n")
        }
    }
}
