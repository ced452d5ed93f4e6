//! The closed list of findings. Each name stays what it is, and docs/doctor.md is made from this.

use super::{
    Check, Subject, Verdict, gpu, group, host, igpu, iommu, machine, memory, processor, scheme, users,
};
use crate::doctor::distribution::Distribution;
use crate::doctor::facts::Facts;

const fn host_check(
    id: &'static str,
    check: fn(&Facts, Distribution) -> Vec<Verdict>,
    reads: &'static str,
    explain: &'static str,
) -> Check {
    Check { id, subject: Subject::Host, reads, explain, check }
}

const fn lending_check(
    id: &'static str,
    check: fn(&Facts, Distribution) -> Vec<Verdict>,
    reads: &'static str,
    explain: &'static str,
) -> Check {
    Check { id, subject: Subject::Lending, reads, explain, check }
}

/// All of them, in the order in which to mend them.
pub(in crate::doctor) const CHECKS: [Check; 35] = [
    host_check(
        "unanswered",
        host::unanswered,
        "every probe, in a process of its own",
        "A part of the host did not answer in time. The kernel waits for a device or its driver then, often for good: after a driver was \
         taken from a device in use, or when a file is on a network that is gone. `sudo dmesg | tail` tells more; what was to be read is \
         missing in the report. `--patience` gives slow hosts more time. A hang in a driver ends with a reboot.",
    ),
    host_check(
        "distribution",
        host::distribution,
        "/etc/os-release, /proc/sys/kernel/osrelease",
        "Which distribution this is decides how commands are written: Arch, Debian and Ubuntu, Fedora, openSUSE and NixOS, and those that \
         name one of them in ID_LIKE. For others the advice says what to change and not with which command.",
    ),
    lending_check(
        "scheme",
        scheme::scheme,
        "class and vendor of each display controller, connectors below /sys/class/drm, the chassis of SMBIOS",
        "How the laptop's two GPUs are wired. MUXless: the NVIDIA GPU is a 3D controller (class 0302) without any output; the guest is \
         watched through a virtual monitor, the host keeps all screens. With outputs (class 0300): HDMI or DisplayPort sockets lead to the \
         NVIDIA GPU, and the panel to the other. MUXed: a switch leads the panel to either, by the firmware setup. dGPU only: the other GPU is \
         switched off, and the host has no screen while a guest has the GPU. The class tells the wiring; the same chip is built in both ways.",
    ),
    lending_check(
        "screens",
        scheme::screens,
        "boot_vga of the GPU, status of its connectors below drm/",
        "Screens that are connected to the GPU show nothing of the host while a guest has it. If the GPU is the host's primary display, the \
         desktop must be moved to the other one first: plug monitors in elsewhere, or switch the MUX to hybrid in the firmware setup.",
    ),
    host_check(
        "virtualization",
        processor::virtualization,
        "flags in /proc/cpuinfo",
        "Guests run by VT-x (vmx) or AMD-V (svm). The kernel hides the flag where the firmware setup has it switched off: look for Intel \
         Virtualization Technology or SVM Mode there.",
    ),
    host_check(
        "kvm",
        processor::kvm,
        "/dev/kvm, opened; its version and capabilities asked",
        "The kernel's virtual machine monitor, a module for Intel and another for AMD. It must have in-kernel interrupt controllers, irqfd and \
         read-only memory, which kernels from 5.10 on do.",
    ),
    lending_check(
        "iommu",
        iommu::iommu,
        "/sys/kernel/iommu_groups, /sys/class/iommu, tables DMAR and IVRS in /sys/firmware/acpi/tables",
        "Without an IOMMU a guest with a device could read and write all of the host's memory, so no device is lent. A host without \
         the firmware's table has it switched off in the firmware setup (VT-d, AMD-Vi, IOMMU); one with the table and without groups has it \
         switched off in the kernel.",
    ),
    lending_check(
        "interrupt-remapping",
        iommu::remapping,
        "names of interrupt controllers in /proc/interrupts, allow_unsafe_interrupts of vfio_iommu_type1 and iommufd",
        "An IOMMU that remaps interrupts keeps a guest from sending any interrupt to the host. The kernel lends no device where it does not, \
         unless a parameter of the module says that guests are trusted. Firmware setups call it x2APIC or interrupt remapping; \
         `intremap=off` and `nointremap` switch it off.",
    ),
    lending_check(
        "kernel-parameters",
        iommu::parameters,
        "/proc/cmdline",
        "Words of the kernel's command line that bear on lending devices. `iommu=pt` leaves the host's own devices untranslated, which is \
         faster and harmless. `pcie_acs_override` takes devices apart that are not: they can reach each other behind the IOMMU's back. \
         `pcie_aspm=off` made giving GPUs back fail. What switches the IOMMU off, stands in the way.",
    ),
    lending_check(
        "vfio",
        host::vfio,
        "/sys/module, modules.dep and modules.builtin of the running kernel",
        "vfio-pci is the driver that lends PCI functions. With `manage = true` it is loaded when it is needed; otherwise it must be loaded and \
         bound before.",
    ),
    lending_check(
        "gpu-driver",
        users::driver,
        "driver of the GPU's function, /proc/driver/nvidia/version",
        "The host's driver lets go of the GPU when the machine starts with `manage = true`, and gets it back at its end. NVIDIA's open \
         modules of 590 to 609 may wait in the kernel for ever when they are taken from a GPU that is in use or was; binding the GPU to \
         vfio-pci at boot avoids that. With `manage = false` it must be bound to vfio-pci already.",
    ),
    lending_check(
        "gpu-group",
        group::group,
        "iommu_group of the GPU, and driver, class and interfaces of each member",
        "All functions of an IOMMU group go to one guest, or stay without a driver, for they can reach each other unseen. Bridges and ports do \
         not count. Ports of Intel's processors of the 6th to the 10th generation have no ACS, so that the port is in the GPU's group: this is \
         normal. A GPU behind a port of the chipset may share its group with Wi-Fi or a disk: these are lost to the host. `pcie_acs_override` of \
         patched kernels hides that, at the price of safety.",
    ),
    lending_check(
        "gpu-users",
        users::users,
        "/proc/PID/fd, /proc/self/mountinfo, /proc/swaps, routes, holders of block devices",
        "Who uses the GPU, or something else of its group. A driver does not let go of a device in use, and NVIDIA's may then hang for good: so \
         a start is refused, with what ends each use. Processes of others are seen by root only.",
    ),
    lending_check(
        "gpu-consoles",
        users::consoles,
        "/sys/class/graphics/fb*/device, /sys/class/vtconsole/*/bind",
        "The kernel's text consoles draw on a framebuffer of the GPU, which keeps its driver busy. `nvidia-drm.fbdev=0` and the other GPU as \
         primary display avoid it; `vtconsole/…/bind` takes the consoles away until the next boot.",
    ),
    lending_check(
        "gpu-switches",
        users::switches,
        "/sys/module/bbswitch, commands of all processes",
        "bbswitch, supergfxd, cardwired and the like power the GPU down, hide its files from programs or bind drivers by themselves. Each may do \
         so in the middle of a run.",
    ),
    lending_check(
        "gpu-power",
        gpu::power,
        "power/runtime_status, power/control, power_state and d3cold_allowed of the GPU; its configuration header, if it is awake",
        "A GPU that sleeps is woken by a start, and is not woken here. One that reads all ones has no power or has left the bus. Some laptops \
         do not bring a GPU back from D3cold: it is kept out of it while a guest has it, and `disable_idle_d3=1` of vfio-pci does so for good.",
    ),
    lending_check(
        "gpu-reset",
        gpu::reset,
        "reset_method of the GPU",
        "Between two guests the GPU is reset. Few laptops' GPUs can be reset alone (FLR); the others are by their bus, for which all functions of \
         the slot must be lent together, as `functions = \"all\"` does.",
    ),
    lending_check(
        "gpu-functions",
        gpu::functions,
        "functions of the GPU's slot",
        "Beside the GPU its slot may have audio, USB and a USB-C controller. They go along by default. That there is no audio function is normal: \
         laptops without outputs at the GPU switch it off.",
    ),
    lending_check(
        "gpu-memory",
        gpu::bars,
        "resource of the GPU, address sizes in /proc/cpuinfo",
        "A GPU with a resizable BAR may ask for 8 or 16 GiB of addresses, above the guest's memory and within the processor's physical address \
         bits. Where that fails, switch Resizable BAR off in the firmware setup.",
    ),
    lending_check(
        "subsystem",
        gpu::subsystem,
        "subsystem_vendor and subsystem_device of the GPU and its other functions",
        "Windows' driver knows the laptop by the GPU's subsystem. Some GPUs read zero until a driver has initialised them, and a GPU that was off at \
         boot may too. `subsystem` in [dgpu] gives the guest the laptop's; Windows on the laptop itself shows it in the hardware IDs (SUBSYS_…). \
         That the audio function reads zero or NVIDIA's own is normal: it gets the GPU's then.",
    ),
    lending_check(
        "vbios",
        gpu::vbios,
        "class and device ID of the GPU, its rom file, whether acpi_call can be loaded",
        "Where the driver in the guest gets the video BIOS. Since Turing the GPU has one of its own. A laptop's GPU from before has it in the \
         laptop's firmware, and `vbios` in [dgpu] must name a copy. `optimus-vmm vbios dump` and `vbios find` get one: see docs/vbios.md.",
    ),
    host_check(
        "igpu",
        igpu::igpu,
        "IDs of the other display controllers, /sys/class/mdev_bus, sriov_totalvfs, whether i915 has the parameter max_vfs",
        "What the laptop's other GPU can give a guest: virtual GPUs by GVT-g (Intel's 5th to 10th generation), virtual functions by SR-IOV (from the \
         12th on), or neither (the 11th, and AMD's). A guest does without; its screen is then the firmware's framebuffer, or a virtual \
         monitor of the dGPU.",
    ),
    host_check(
        "memory",
        memory::memory,
        "/proc/meminfo",
        "Guest memory is taken when the guest uses it, and at once when a device is passed through. What is available now should be above it.",
    ),
    lending_check(
        "locked-memory",
        memory::locked,
        "/proc/self/limits, capabilities in /proc/self/status",
        "All memory of a guest with a device is pinned, and counts against the limit of locked memory (`ulimit -l`). Root is exempt.",
    ),
    host_check(
        "huge-pages",
        memory::huge,
        "/sys/kernel/mm/transparent_hugepage/enabled, /sys/kernel/mm/hugepages",
        "Guest memory in pages of 2 MiB costs less to translate. The kernel makes them by itself (`always` or `madvise`); reserved pools are \
         only needed for `hugepages` in [machine].",
    ),
    host_check(
        "apic",
        processor::apic,
        "enable_apicv and enable_ipiv of kvm_intel, avic of kvm_amd",
        "With APICv or AVIC interrupts reach a guest without an exit. It makes passed-through devices quicker; nothing fails without.",
    ),
    host_check(
        "msrs",
        processor::msrs,
        "ignore_msrs of the module kvm",
        "Guests, Windows' Intel driver above all, read registers that KVM does not know. `msrs` in [cpu] decides what they get, for one machine \
         alone; the module's parameter overrules that for all.",
    ),
    host_check(
        "split-lock",
        processor::split_lock,
        "/proc/sys/kernel/split_lock_mitigate",
        "Games and copy protections lock memory across cache lines. The kernel slows a thread that does so to a crawl, which in a guest stops a \
         whole vCPU for ten milliseconds at a time.",
    ),
    host_check(
        "governor",
        processor::governor,
        "cpufreq of CPU 0",
        "The governor `powersave` of acpi-cpufreq holds the lowest frequency. Drivers that choose frequencies by themselves (intel_pstate, amd-pstate) use the \
         word for their normal way.",
    ),
    host_check(
        "clocksource",
        processor::clocksource,
        "/sys/devices/system/clocksource/clocksource0/current_clocksource",
        "Guests read the time without an exit only while the host itself uses the TSC. The kernel drops it for good when it looks unstable, which \
         `sudo dmesg | grep -i tsc` tells; firmware updates and `tsc=reliable` have helped.",
    ),
    host_check(
        "firmware",
        host::firmware,
        "where distributions install OVMF: pairs of code and variables without the SMM requirement",
        "The guest's UEFI firmware. The first of the list is taken, unless `code` in [firmware] names another.",
    ),
    host_check(
        "network",
        host::network,
        "passt in the system's directories, qemu-bridge-helper where QEMU puts it",
        "passt carries the frames of `[[net]]` without any rights, also over Wi-Fi. The bridge helper is for `backend = \"bridge\"` only.",
    ),
    host_check(
        "tpm",
        host::tpm,
        "swtpm in the system's directories",
        "swtpm is the TPM of machines with `[tpm]`, which Windows 11 asks for.",
    ),
    host_check(
        "rights",
        host::rights,
        "access to /dev/kvm, /dev/vfio, /dev/iommu and /dev/input by this user",
        "Binding devices (`manage = true`) takes root. Without, /dev/kvm and the GPU's node in /dev/vfio must be the user's, by the group kvm as a rule. \
         Keyboards and mice of the host for a guest (`[[evdev]]`) take membership of the group input.",
    ),
    host_check(
        "vm-toml",
        machine::file,
        "the vm.toml, the files that it names, KVM, and the devices that it lends",
        "Everything that `run` would refuse of this machine on this host, with its lines. Not looked at are places that a run writes to: sockets, \
         terminals, files of consoles.",
    ),
];
