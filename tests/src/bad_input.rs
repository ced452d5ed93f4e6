//! Wrong configurations and wrong files, and what `optimus-vmm run` must say of each.
//!
//! A case writes files into an empty directory and names words that the message must have. Cases of
//! [`CONFIG`] are judged before anything of the host is touched, so they run anywhere; those of [`FILES`] need
//! `/dev/kvm` and OVMF, so they run in the lab.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::lab::Firmware;
use crate::{Outcome, binary, ensure};

/// A wrong input.
#[derive(Debug)]
pub struct Case {
    /// What is wrong.
    pub name: &'static str,
    /// The file vm.toml. `@VARS@`, `@CODE@` and `@OVMF@` stand for good files and their directory.
    pub toml: &'static str,
    /// Other files.
    pub files: &'static [(&'static str, Content)],
    /// What the message must say.
    pub words: &'static [&'static str],
}

/// What a file of a case has in it.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// This text.
    Text(&'static str),
    /// So many bytes of nothing.
    Zeros(u64),
    /// So many bytes that mean nothing.
    Noise(usize),
    /// A directory.
    Directory,
    /// The beginning of a good code image.
    HalfCode,
    /// An empty qcow2 image, made by qemu-img.
    Qcow2,
    /// The same, but with another file as its backing image.
    Qcow2WithBacking,
}

const fn case(
    name: &'static str,
    toml: &'static str,
    files: &'static [(&'static str, Content)],
    words: &'static [&'static str],
) -> Case {
    Case { name, toml, files, words }
}

/// Cases that need nothing of the host.
pub const CONFIG: &[Case] = &[
    case("no toml", "name = ", &[], &["vm.toml:1:", "^"]),
    case("unknown key", "[machine]\nmemroy = \"1G\"\n", &[], &["vm.toml:2:1", "memroy", "memory", "^"]),
    case(
        "libvirt's other policies for ticks",
        "[machine]\nrtc_tickpolicy = \"delay\"\n",
        &[],
        &["vm.toml:2:18", "\"delay\" is another of libvirt's", "\"merge\" or \"catchup\"", "^"],
    ),
    case(
        "no policy for ticks",
        "[machine]\nrtc_tickpolicy = \"slew\"\n",
        &[],
        &["vm.toml:2:18", "\"slew\" is no policy", "\"merge\" or \"catchup\""],
    ),
    case("unknown section", "[machin]\nmemory = \"1G\"\n", &[], &["vm.toml:1:", "machin", "machine"]),
    case(
        "missing kernel without firmware",
        "[kernel]\nboot = \"direct\"\nimage = \"vmlinux\"\n",
        &[],
        &["vm.toml:3:", "vmlinux", "No such file"],
    ),
    case(
        "a kernel without firmware that is not one",
        "[kernel]\nimage = \"vmlinuz\"\nboot = \"direct\"\n",
        &[("vmlinuz", Content::Text("#!/bin/sh\necho I am no kernel\n"))],
        &["vm.toml:2:", "vmlinuz", "not a Linux kernel"],
    ),
    case(
        "an ELF file that is cut off",
        "[kernel]\nimage = \"vmlinux\"\nboot = \"direct\"\n",
        &[("vmlinux", Content::Text("\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0"))],
        &["vm.toml:2:", "vmlinux", "cannot be started without firmware"],
    ),
    case(
        "an unknown way to start a kernel",
        "[kernel]\nimage = \"vmlinux\"\nboot = \"pvh\"\n",
        &[],
        &["vm.toml:3:", "firmware", "direct"],
    ),
    case(
        "a USB controller with nothing at it",
        "[usb]\nenabled = true\ntablet = false\nmouse = false\n",
        &[],
        &["vm.toml:3:", "nothing plugged in", "`enabled = false`"],
    ),
    case(
        "a USB keyboard without a controller",
        "[usb]\nkeyboard = true\n",
        &[],
        &["vm.toml:2:", "no effect", "without [display]", "`enabled = true`"],
    ),
    case(
        "a USB device that there is not",
        "[usb]\ntabelt = false\n",
        &[],
        &["vm.toml:2:1", "tabelt", "tablet"],
    ),
    case(
        "a USB device of the host that nothing names",
        "[[usb_device]]\noptional = true\n",
        &[],
        &["vm.toml:1:", "names no device", "`id = \"VENDOR:PRODUCT\"`"],
    ),
    case(
        "half of a USB device's identity",
        "[[usb_device]]\nid = \"046d\"\n",
        &[],
        &["vm.toml:2:", "\"046d\"", "vendor and product", "046d:c52b"],
    ),
    case(
        "a USB root hub for a port",
        "[[usb_device]]\nport = \"usb1\"\n",
        &[],
        &["vm.toml:2:", "\"usb1\"", "1-4.2"],
    ),
    case(
        "a USB device twice",
        "[[usb_device]]\nid = \"046d:c52b\"\n[[usb_device]]\nid = \"46d:C52B\"\n",
        &[],
        &["vm.toml:4:", "another section (line 1)", "`port` or `serial`"],
    ),
    case(
        "a USB device without a USB controller",
        "[usb]\nenabled = false\n[[usb_device]]\nport = \"1-4\"\n",
        &[],
        &["vm.toml:2:", "need a USB controller", "`enabled = false`"],
    ),
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
    case(
        "a network card on an interface without a name",
        "[[net]]\nbackend = \"tap\"\n",
        &[],
        &["vm.toml:2:", "does not say which interface", "add `interface"],
    ),
    case(
        "a TPM of the host's with a state",
        "[tpm]\npath = \"/dev/tpmrm0\"\nstate = \"tpm\"\n",
        &[],
        &["vm.toml:3:", "`state` is about an emulated TPM", "leave `path` out"],
    ),
    case(
        "a TPM of the host's that is none",
        "[tpm]\npath = \"/dev/sda\"\n",
        &[],
        &["vm.toml:2:", "\"/dev/sda\" is not the device of a TPM", "/dev/tpmrm0"],
    ),
    case(
        "a network card with keys of another backend",
        "[[net]]\nbackend = \"tap\"\ninterface = \"tap0\"\nforward = [\"tcp:2222->22\"]\n",
        &[],
        &["vm.toml:4:", "`forward` is a key of other backends"],
    ),
    case(
        "input devices without a name",
        "[[evdev]]\noptional = true\n",
        &[],
        &["vm.toml:1:", "names no devices", "/dev/input/by-id"],
    ),
    case(
        "keys of an input device that there are not",
        "[[evdev]]\nkind = \"keyboard\"\ngrab_keys = \"ctrl-ctlr_r\"\n",
        &[],
        &["vm.toml:3:13", "no key \"ctlr_r\"", "^"],
    ),
    case(
        "taps on a mouse",
        "[[evdev]]\nkind = \"mouse\"\ntapping = true\n",
        &[],
        &["vm.toml:3:", "only touchpads have this"],
    ),
    case(
        "several queues of a network that has one",
        "[[net]]\nqueues = 4\n",
        &[],
        &["vm.toml:2:", "passt has one pair of queues", "backend = \"tap\""],
    ),
    case(
        "the kernel's help for a network that it knows nothing of",
        "[[net]]\nvhost = true\n",
        &[],
        &["vm.toml:2:", "`vhost` is a key of other backends"],
    ),
    case(
        "a group's address for a network card",
        "[[net]]\nmac = \"01:00:5e:00:00:01\"\n",
        &[],
        &["vm.toml:2:", "no station's address"],
    ),
    case(
        "a port that is forwarded twice",
        "[[net]]\nforward = [\"tcp:2222->22\", \"tcp:0.0.0.0:2222->80\"]\n",
        &[],
        &["vm.toml:2:", "tcp 2222", "forwarded twice"],
    ),
    case(
        "a mirror that is no switch",
        "[smbios]\nmirror_host = \"yes\"\n",
        &[],
        &["vm.toml:2:", "mirror_host", "true or false"],
    ),
    case("too little memory", "[machine]\nmemory = \"64M\"\n", &[], &["vm.toml:2:", "256M"]),
    case("decimal units", "[machine]\nmemory = \"2GB\"\n", &[], &["vm.toml:2:", "2G"]),
    case("too many processors", "[cpu]\ncount = 256\n", &[], &["vm.toml:2:", "255"]),
    case("no policy for registers", "[cpu]\nmsrs = \"zero\"\n", &[], &["vm.toml:2:", "fault", "ignore"]),
    case(
        "synthetic timers without what they need",
        "[cpu.hyperv]\nvpindex = true\nsynic = true\nstimer = true\n",
        &[],
        &["vm.toml:4:", "`stimer` needs `time`", "write `time = true`", "^"],
    ),
    case(
        "a hypervisor's interface without a hypervisor",
        "[cpu]\nhypervisor = false\nhyperv = { relaxed = true }\n",
        &[],
        &["vm.toml:3:", "(line 2)", "leave one of the two out"],
    ),
    case(
        "too large a topology",
        "[cpu]\ntopology = { sockets = 16, cores = 16, threads = 2 }\n",
        &[],
        &["vm.toml:2:", "16 × 16 × 2", "fewer processors"],
    ),
    case(
        "fewer lists of CPUs than vCPUs",
        "[cpu]\ncount = 2\npin = [[2]]\n",
        &[],
        &["vm.toml:3:7", "`pin` has 1 list for 2 vCPUs", "auto", "^"],
    ),
    case(
        "a vCPU without a CPU",
        "[cpu]\npin = [[]]\n",
        &[],
        &["vm.toml:2:7", "vCPU 0 has no CPU of the host", "^"],
    ),
    case(
        "a CPU that no host has",
        "[cpu]\npin = [\"0-1024\"]\n",
        &[],
        &["vm.toml:2:8", "no CPU 1024", "0 to 1023", "^"],
    ),
    case(
        "an unknown way to pin",
        "[cpu]\npin = \"all\"\n",
        &[],
        &["vm.toml:2:7", "\"auto\"", "[[2], [3]]", "^"],
    ),
    case(
        "isolation of vCPUs that run everywhere",
        "[host]\nisolate = true\n",
        &[],
        &["vm.toml:2:11", "`isolate` keeps programs off", "add `pin = \"auto\"` to [cpu]", "^"],
    ),
    case(
        "huge pages for memory that has none",
        "[host]\nhugepages = \"allocate\"\n",
        &[],
        &["vm.toml:2:13", "huge pages are to be allocated", "add `hugepages = \"2M\"` to [machine]", "^"],
    ),
    case(
        "another governor",
        "[host]\ngovernor = \"powersave\"\n",
        &[],
        &["vm.toml:2:12", "performance", "powersave", "^"],
    ),
    case(
        "an unknown thing to do when the host sleeps",
        "[host]\non_sleep = \"block\"\n",
        &[],
        &["vm.toml:2:12", "refuse", "pause", "shutdown", "ignore", "^"],
    ),
    case(
        "a shutdown for the host's sleep that ends nothing",
        "[host]\non_sleep = \"shutdown\"\n[machine]\non_poweroff = \"restart\"\n",
        &[],
        &["vm.toml:2:12", "does not end it", "write `on_poweroff = \"destroy\"` in [machine]", "^"],
    ),
    case(
        "polling for too long",
        "[cpu]\nhalt_poll_ns = 1000000000\n",
        &[],
        &["vm.toml:2:16", "from 0 to 10000000", "^"],
    ),
    case(
        "a video BIOS that is blank",
        "[dgpu]\nvbios = \"gpu.rom\"\n",
        &[("gpu.rom", Content::Zeros(4096))],
        &["vm.toml:2:", "gpu.rom", "it is blank", "^"],
    ),
    case("no video BIOS", "[dgpu]\nvbios = \"gpu.rom\"\n", &[], &["vm.toml:2:", "gpu.rom", "cannot read"]),
    case(
        "two devices at one address",
        "@FIRMWARE@[[disk]]\npath = \"a.img\"\naddress = \"00:04.0\"\n[[disk]]\npath = \"b.img\"\naddress = \"00:04.0\"\n",
        &[],
        &["vm.toml:9:", "00:04.0", "disk[0]"],
    ),
    case(
        "a device where the chipset is",
        "[[root_port]]\naddress = \"00:1f.0\"\n",
        &[],
        &["vm.toml:2:", "00:1f.0", "chipset"],
    ),
    case("a device behind no port", "[[disk]]\npath = \"a.img\"\naddress = \"07:00.0\"\n", &[], &["07:00.0"]),
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
    case(
        "a control socket without its kind",
        "[machine]\ncontrol = \"/run/vm.sock\"\n",
        &[],
        &["vm.toml:2:", "unix:/run/vm.sock", "^"],
    ),
    case(
        "sound by a way that there is not",
        "[audio]\nbackend = \"alsa\"\n",
        &[],
        &["vm.toml:2:", "pulse", "wav:PATH", "^"],
    ),
    case(
        "a latency without a sound server",
        "[audio]\nbackend = \"none\"\nlatency = 40\n",
        &[],
        &["vm.toml:3:", "for a sound server", "remove it", "^"],
    ),
    case(
        "less latency than there can be",
        "[audio]\nlatency = 1\n",
        &[],
        &["vm.toml:2:", "latency", "5", "^"],
    ),
    case(
        "one socket for two",
        "[machine]\ncontrol = \"unix:a\"\n[display]\nvnc = \"unix:a\"\n",
        &[],
        &["vm.toml:2:", "the same socket"],
    ),
    case(
        "the resolution of a display adapter that is not there",
        "[display]\nresolution = \"1280x720\"\n",
        &[],
        &["vm.toml:2:", "`resolution` belongs to a display adapter", "adapter = \"bochs\""],
    ),
    case(
        "a display adapter of an unknown kind",
        "[display]\nadapter = \"vga\"\n",
        &[],
        &["vm.toml:2:", "vga", "bochs"],
    ),
    case(
        "several errors at once",
        "nam = \"x\"\n[machine]\nmemory = \"1X\"\n[[disk]]\nreadonly = 3\n",
        &[],
        &["vm.toml:1:", "vm.toml:3:", "vm.toml:5:", "path"],
    ),
];

/// Cases that are seen when files and devices are opened.
pub const FILES: &[Case] = &[
    case("missing firmware", "[firmware]\ncode = \"none.fd\"\n", &[], &["none.fd", "No such file"]),
    case(
        "empty firmware",
        "[firmware]\ncode = \"code.fd\"\n",
        &[("code.fd", Content::Zeros(0))],
        &["code.fd", "empty"],
    ),
    case(
        "short firmware",
        "[firmware]\ncode = \"code.fd\"\n",
        &[("code.fd", Content::HalfCode)],
        &["code.fd", "truncated"],
    ),
    case(
        "odd size of firmware",
        "[firmware]\ncode = \"code.fd\"\n",
        &[("code.fd", Content::Noise(5000))],
        &["code.fd", "5000 bytes"],
    ),
    case(
        "oversized firmware",
        "[firmware]\ncode = \"code.fd\"\n",
        &[("code.fd", Content::Zeros(64 << 20))],
        &["code.fd", "at most"],
    ),
    case(
        "noise for firmware",
        "[firmware]\ncode = \"code.fd\"\n",
        &[("code.fd", Content::Noise(3_653_632))],
        &["code.fd", "not an OVMF image"],
    ),
    case(
        "a directory for firmware",
        "[firmware]\ncode = \"code.fd\"\n",
        &[("code.fd", Content::Directory)],
        &["code.fd"],
    ),
    case(
        "variables for code",
        "[firmware]\ncode = \"@VARS@\"\nvars_template = \"none.fd\"\n",
        &[],
        &["variable store"],
    ),
    case(
        "firmware that needs SMM",
        "[firmware]\ncode = \"@OVMF@/OVMF_CODE_4M.secboot.fd\"\nvars_template = \"@VARS@\"\n",
        &[],
        &["secboot.fd", "System Management Mode"],
    ),
    case(
        "firmware that needs SMM, and variables that are not there",
        "[firmware]\ncode = \"@OVMF@/OVMF_CODE_4M.secboot.fd\"\nvars_template = \"none.fd\"\n",
        &[],
        &["secboot.fd", "System Management Mode"],
    ),
    case(
        "variables of another size",
        "[firmware]\ncode = \"@CODE@\"\nvars = \"vars.fd\"\n",
        &[("vars.fd", Content::Zeros(131_072))],
        &["vars.fd", "131072", "540672"],
    ),
    case(
        "noise for variables",
        "[firmware]\ncode = \"@CODE@\"\nvars = \"vars.fd\"\n",
        &[("vars.fd", Content::Noise(540_672))],
        &["vars.fd", "not an OVMF variable store"],
    ),
    case(
        "missing template",
        "[firmware]\ncode = \"@CODE@\"\nvars_template = \"none.fd\"\n",
        &[],
        &["none.fd", "template"],
    ),
    case(
        "a template to be written",
        "[firmware]\ncode = \"@CODE@\"\nvars = \"@VARS@\"\nvars_template = \"@VARS@\"\n",
        &[],
        &["template"],
    ),
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
        "shared memory of another size",
        "@FIRMWARE@[[shmem]]\npath = \"memory\"\nfor = \"1920x1080\"\n",
        &[("memory", Content::Zeros(16 << 20))],
        &["shmem[0]", "memory", "has 16777216 bytes, and 33554432 are wanted", "rm "],
    ),
    case(
        "shared memory in a folder that is not there",
        "@FIRMWARE@[[shmem]]\npath = \"none/memory\"\nsize = \"1M\"\n",
        &[],
        &["shmem[0]", "none/memory", "No such file or directory", "folder must exist"],
    ),
    case(
        "a TPM's state that is a file",
        "@FIRMWARE@[tpm]\nstate = \"state\"\n",
        &[("state", Content::Text("no folder"))],
        &["tpm: ", "state is not a folder", "give another `state`"],
    ),
    case(
        "a folder of other things for a TPM's state",
        "@FIRMWARE@[tpm]\nstate = \".\"\n",
        &[],
        &["tpm: ", "none is the state of a TPM 2.0 (tpm2-00.permall)", "put the file back"],
    ),
    case(
        "a TPM of the host's that is not there",
        "@FIRMWARE@[tpm]\npath = \"/dev/tpmrm99\"\n",
        &[],
        &["tpm: ", "cannot open the host's TPM /dev/tpmrm99", "leave `path` out"],
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
    case("missing kernel", "@FIRMWARE@[kernel]\nimage = \"vmlinuz\"\n", &[], &["vmlinuz", "No such file"]),
    case(
        "a kernel that is not one",
        "@FIRMWARE@[kernel]\nimage = \"vmlinuz\"\n",
        &[("vmlinuz", Content::Text("#!/bin/sh\necho I am no kernel\n"))],
        &["vmlinuz", "not a Linux kernel"],
    ),
    case(
        "missing initrd",
        "@FIRMWARE@[kernel]\nimage = \"@KERNEL@\"\ninitrd = \"none.img\"\n",
        &[],
        &["none.img", "No such file"],
    ),
    case(
        "missing fw_cfg file",
        "@FIRMWARE@[[fw_cfg]]\nname = \"opt/a/b\"\nfile = \"none\"\n",
        &[],
        &["none", "opt/a/b"],
    ),
];

/// Runs a case; gives what is wrong with the answer.
pub fn check(case: &Case, statuses: &[i32]) -> Outcome {
    let directory = tempfile::Builder::new().prefix("optimus-bad-").tempdir()?;
    let directory = directory.path();
    for (name, content) in case.files {
        make(&directory.join(name), *content)?;
    }
    let usual = Firmware::USUAL;
    let lab = crate::lab::directory();
    // Where no firmware is installed, its absence would be found first. At the end it moves no line.
    let firmware =
        if case.toml.contains("FIRMWARE") || case.toml.contains("firmware") { "" } else { "\n@FIRMWARE@" };
    let toml = format!("{}{firmware}", case.toml)
        .replace("@FIRMWARE@", "[firmware]\ncode = \"@CODE@\"\nvars_template = \"@VARS@\"\n")
        .replace("@CODE@", &usual.code().display().to_string())
        .replace("@VARS@", &usual.vars().display().to_string())
        .replace("@OVMF@", &lab.join("ovmf").join(usual.release).display().to_string())
        .replace("@KERNEL@", &lab.join("guest/vmlinuz").display().to_string());
    let config = directory.join("vm.toml");
    std::fs::write(&config, &toml)?;

    let before = contents(directory)?;
    let output = Command::new(binary::path()?)
        .args(["run", "--headless", "--serial", "none", "--timeout", "20"])
        .arg(&config)
        .current_dir("/")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let explain =
        |what: &str| format!("{}: {what}\n--- vm.toml:\n{toml}\n--- standard error:\n{said}\n---", case.name);

    let status = output.status.code().unwrap_or(-1);
    ensure(statuses.contains(&status), explain(&format!("the exit status is {status}, not {statuses:?}")))?;
    for word in case.words {
        ensure(said.contains(word), explain(&format!("the message does not say '{word}'")))?;
    }
    // Warnings of the plan may come before.
    let whose =
        said.starts_with("optimus-vmm: ") || said.starts_with(" WARN ") && said.contains("\noptimus-vmm: ");
    ensure(whose, explain("the message does not say whose it is"))?;
    for ugly in ["panicked at", "Os {", "Some(", "Error {"] {
        ensure(!said.contains(ugly), explain(&format!("'{ugly}' is not for people")))?;
    }
    let after = contents(directory)?;
    let kept = before.iter().all(|file| after.contains(file));
    ensure(kept, explain("a file was changed"))
}

/// Names, sizes and modification times: what a refused run must leave as it was.
fn contents(directory: &Path) -> Outcome<Vec<(std::ffi::OsString, u64, std::time::SystemTime)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        all.push((entry.file_name(), metadata.len(), metadata.modified()?));
    }
    Ok(all)
}

fn make(path: &Path, content: Content) -> Outcome {
    let image = path.display().to_string();
    match content {
        Content::Text(text) => std::fs::write(path, text)?,
        Content::Zeros(size) => std::fs::File::create(path)?.set_len(size)?,
        Content::Noise(size) => {
            let mut state = 0x2545_f491_4f6c_dd1d_u64;
            let bytes = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            });
            std::fs::write(path, bytes.take(size).collect::<Vec<u8>>())?;
        }
        Content::Directory => std::fs::create_dir(path)?,
        Content::HalfCode => {
            let mut half = vec![0; 1 << 20];
            std::fs::File::open(Firmware::USUAL.code())?.read_exact_at(&mut half, 0)?;
            std::fs::write(path, half)?;
        }
        Content::Qcow2 => {
            crate::lab::call("qemu-img", &["create", "-q", "-f", "qcow2", &image, "16M"])?;
        }
        Content::Qcow2WithBacking => {
            let options =
                ["create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", &image, "16M"];
            crate::lab::call("qemu-img", &options)?;
        }
    }
    Ok(())
}
