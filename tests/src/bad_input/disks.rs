//! Disks and drives for discs.

use super::{Case, Content, case};

/// Cases that need nothing of the host.
pub(super) const CONFIG: &[Case] = &[
    case(
        "a drive without a disc",
        "[[cdrom]]\nboot_index = 0\n",
        &[],
        &["vm.toml:1:", "this drive has no disc", "`empty = true`"],
    ),
    case(
        "an empty drive with a disc",
        "[[cdrom]]\npath = \"a.iso\"\nempty = true\n",
        &[],
        &["vm.toml:3:", "is to be empty", "remove either `path` or `empty`"],
    ),
    case(
        "a SATA disk that is not to be written to",
        "[[disk]]\npath = \"a.raw\"\nbus = \"sata\"\nreadonly = true\n",
        &[],
        &["vm.toml:4:", "cannot tell a guest that it must not write", "`bus = \"virtio\"`"],
    ),
    case(
        "a SATA disk with an address",
        "[[disk]]\npath = \"a.raw\"\nbus = \"sata\"\naddress = \"00:05.0\"\n",
        &[],
        &["vm.toml:4:", "00:1f.2", "remove `address`"],
    ),
    case(
        "sectors that the bus has not",
        "[[disk]]\npath = \"a.raw\"\nsectors = \"4kn\"\n",
        &[],
        &["vm.toml:3:", "only SATA disks", "`bus = \"sata\"`"],
    ),
    case(
        "a disc that a disk writes to",
        "[[disk]]\npath = \"a.raw\"\n[[cdrom]]\npath = \"a.raw\"\n",
        &[],
        &["vm.toml:4:", "a disk (line 2) has the same image and writes to it"],
    ),
    case("a disk without a format", "[[disk]]\npath = \"a.disk\"\n", &[], &["vm.toml:", "format", "a.disk"]),
    case(
        "a disk on no bus that there is",
        "[[disk]]\npath = \"a.img\"\nbus = \"ide\"\n",
        &[],
        &["vm.toml:3:", "\"virtio\"", "\"nvme\"", "^"],
    ),
    case(
        "a reaction to errors that there is not",
        "[[disk]]\npath = \"a.img\"\non_error = \"pause\"\n",
        &[],
        &["vm.toml:3:", "report", "stop", "^"],
    ),
    case(
        "a model where there is no place for one",
        "[[disk]]\npath = \"a.img\"\nmodel = \"WD Blue\"\nssd = true\n",
        &[],
        &["vm.toml:3:", "vm.toml:4:", "bus = \"virtio\"", "serial number", "leave `model` out"],
    ),
    case(
        "an NVMe disk that turns",
        "[[disk]]\npath = \"a.img\"\nbus = \"nvme\"\nmodel = \"WD Blue\"\nssd = false\n",
        &[],
        &["vm.toml:5:", "bus = \"nvme\"", "solid-state", "leave `ssd` out"],
    ),
    case(
        "a firmware revision that is too long",
        "[[disk]]\npath = \"a.img\"\nfirmware_revision = \"123456789\"\n",
        &[],
        &["vm.toml:3:", "9 bytes", "room for 8"],
    ),
];

/// Cases that are seen when files and devices are opened.
pub(super) const FILES: &[Case] = &[
    case(
        "missing disk",
        "@FIRMWARE@[[disk]]\npath = \"none.qcow2\"\n",
        &[],
        &["disk[0]", "none.qcow2", "does not exist"],
    ),
    case(
        "a directory for a disk",
        "@FIRMWARE@[[disk]]\npath = \"disk.img\"\n",
        &[("disk.img", Content::Directory)],
        &["disk.img", "directory"],
    ),
    case(
        "an empty disk",
        "@FIRMWARE@[[disk]]\npath = \"disk.img\"\n",
        &[("disk.img", Content::Zeros(0))],
        &["disk.img", "empty"],
    ),
    case(
        "raw for qcow2",
        "@FIRMWARE@[[disk]]\npath = \"disk.qcow2\"\n",
        &[("disk.qcow2", Content::Zeros(1 << 20))],
        &["disk.qcow2", "not a qcow2 image"],
    ),
    case(
        "half a sector",
        "@FIRMWARE@[[disk]]\npath = \"a.raw\"\nbus = \"sata\"\nsectors = \"4kn\"\n",
        &[("a.raw", Content::Zeros(4096 + 512))],
        &["disk[0]", "a.raw", "no whole sectors of 4096 bytes"],
    ),
    case(
        "missing disc",
        "@FIRMWARE@[[cdrom]]\npath = \"none.iso\"\n",
        &[],
        &["cdrom[0]", "none.iso", "does not exist", "correct its path"],
    ),
    case(
        "a download that is not one",
        "@FIRMWARE@[[cdrom]]\npath = \"a.iso\"\n",
        &[("a.iso", Content::Zeros(0))],
        &["cdrom[0]", "a.iso", "is empty"],
    ),
    case(
        "a disk's image for a disc",
        "@FIRMWARE@[[cdrom]]\npath = \"a.iso\"\n",
        &[("a.iso", Content::Qcow2)],
        &["cdrom[0]", "a.iso", "is a qcow2 image", "[[disk]]"],
    ),
    case(
        "qcow2 for raw",
        "@FIRMWARE@[[disk]]\npath = \"disk.img\"\n",
        &[("disk.img", Content::Qcow2)],
        &["disk.img", "is a qcow2 image"],
    ),
    case(
        "a backing image that was not allowed",
        "@FIRMWARE@[[disk]]\npath = \"disk.qcow2\"\n",
        &[("disk.qcow2", Content::Qcow2WithBacking)],
        &["disk.qcow2", "backing"],
    ),
    case(
        "a disk of half a sector",
        "@FIRMWARE@[[disk]]\npath = \"disk.img\"\n",
        &[("disk.img", Content::Zeros(1000))],
        &["disk.img", "1000 bytes"],
    ),
];
