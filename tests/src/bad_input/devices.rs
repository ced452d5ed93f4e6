//! Input, USB, networks, sound, screens, GPUs, TPMs and shared memory.

use super::{Case, Content, case};

/// Cases that need nothing of the host.
pub(super) const CONFIG: &[Case] = &[
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
        "a video BIOS that is blank",
        "[dgpu]\nvbios = \"gpu.rom\"\n",
        &[("gpu.rom", Content::Zeros(4096))],
        &["vm.toml:2:", "gpu.rom", "it is blank", "^"],
    ),
    case("no video BIOS", "[dgpu]\nvbios = \"gpu.rom\"\n", &[], &["vm.toml:2:", "gpu.rom", "cannot read"]),
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
];

/// Cases that are seen when files and devices are opened.
pub(super) const FILES: &[Case] = &[
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
];
