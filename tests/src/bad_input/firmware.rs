//! What the machine starts: firmware, its variables, kernels and fw_cfg files.

use super::{Case, Content, case};

/// Cases that need nothing of the host.
pub(super) const CONFIG: &[Case] = &[
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
];

/// Cases that are seen when files and devices are opened.
pub(super) const FILES: &[Case] = &[
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
