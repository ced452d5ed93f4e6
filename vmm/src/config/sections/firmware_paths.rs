//! Where distributions install OVMF.
//!
//! The pairs are builds without the SMM requirement: a build that requires SMM does not start on a machine
//! that has none.

use std::path::{Path, PathBuf};

/// Code and variable template, in the order of preference: 4 MB builds first, as distributions do.
const PAIRS: [(&str, &str); 14] = [
    // Debian, Ubuntu
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    // Arch
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    // Fedora
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    // openSUSE
    ("/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
    // NixOS
    ("/run/libvirt/nix-ovmf/edk2-x86_64-code.fd", "/run/libvirt/nix-ovmf/edk2-i386-vars.fd"),
    ("/run/libvirt/nix-ovmf/OVMF_CODE.fd", "/run/libvirt/nix-ovmf/OVMF_VARS.fd"),
    (
        "/run/current-system/sw/share/qemu/edk2-x86_64-code.fd",
        "/run/current-system/sw/share/qemu/edk2-i386-vars.fd",
    ),
    // Gentoo
    ("/usr/share/edk2/OvmfX64/OVMF_CODE.fd", "/usr/share/edk2/OvmfX64/OVMF_VARS.fd"),
    ("/usr/share/edk2-ovmf/OVMF_CODE.fd", "/usr/share/edk2-ovmf/OVMF_VARS.fd"),
    // Older Arch
    ("/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd"),
    // Older Debian and Ubuntu
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    // The copy that comes with QEMU
    ("/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),
    ("/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"),
];

/// What to install where no firmware is found.
pub const INSTALL_HINT: &str = "install it (Debian and Ubuntu: `apt install ovmf`; Fedora: `dnf install \
     edk2-ovmf`; Arch: `pacman -S edk2-ovmf`; openSUSE: `zypper install qemu-ovmf-x86_64`), or name it by \
     `code` in [firmware]";

/// The first installed code image. `exists` tells whether the host has a file.
pub fn installed_code(exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    PAIRS.iter().map(|(code, _)| Path::new(code)).find(|code| exists(code)).map(PathBuf::from)
}

/// All installed code images whose variable template is there too, in the order of preference.
pub fn installed(exists: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let both = |(code, vars): &&(&str, &str)| exists(Path::new(code)) && exists(Path::new(vars));
    PAIRS.iter().filter(both).map(|(code, _)| PathBuf::from(code)).collect()
}

/// All files in the order of preference: code and template of each build.
pub fn files() -> impl Iterator<Item = &'static str> {
    PAIRS.iter().flat_map(|(code, vars)| [*code, *vars])
}

/// The variable template that belongs to a code image: of the same pair, or else of the same naming in the
/// same folder.
pub fn template_for(code: &Path) -> Option<PathBuf> {
    if let Some((_, vars)) = PAIRS.iter().find(|(known, _)| Path::new(known) == code) {
        return Some(PathBuf::from(vars));
    }
    let name = code.file_name()?.to_str()?;
    let vars = if name == "edk2-x86_64-code.fd" {
        // QEMU ships one template for both x86 builds.
        "edk2-i386-vars.fd".to_owned()
    } else if name.contains("CODE") {
        name.replacen("CODE", "VARS", 1)
    } else if name.contains("code") {
        name.replacen("code", "vars", 1)
    } else {
        return None;
    };
    Some(code.with_file_name(vars))
}
