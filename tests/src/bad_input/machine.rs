//! The whole file, `[machine]`, `[cpu]`, `[host]`, `[smbios]` and addresses.

use super::{Case, case};

/// Cases that need nothing of the host.
pub(super) const CONFIG: &[Case] = &[
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
    case(
        "a control socket without its kind",
        "[machine]\ncontrol = \"/run/vm.sock\"\n",
        &[],
        &["vm.toml:2:", "unix:/run/vm.sock", "^"],
    ),
    case(
        "one socket for two",
        "[machine]\ncontrol = \"unix:a\"\n[display]\nvnc = \"unix:a\"\n",
        &[],
        &["vm.toml:2:", "the same socket"],
    ),
    case(
        "several errors at once",
        "nam = \"x\"\n[machine]\nmemory = \"1X\"\n[[disk]]\nreadonly = 3\n",
        &[],
        &["vm.toml:1:", "vm.toml:3:", "vm.toml:5:", "path"],
    ),
];
