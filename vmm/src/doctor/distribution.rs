//! What to do, in the words of the host's distribution: how its kernel's command line is changed, its initramfs renewed, its packages
//! installed. Commands stand between backticks.

use super::facts::system::SETUP;
use super::facts::{Facts, System};
use crate::host::HostFiles;
use crate::wrapping::shell_word;

/// Distributions that do these things alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Arch,
    /// Debian, Ubuntu and what is made from them.
    Debian,
    Fedora,
    Suse,
    NixOs,
    /// One that is not known.
    Other,
}

impl Family {
    /// That of the system whose files these are.
    pub(crate) fn of(files: &HostFiles) -> Self {
        family(&System::named(files))
    }
}

/// What can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Package {
    Ovmf,
    Passt,
    Swtpm,
    AcpiCall,
}

/// How a host is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Distribution {
    pub(super) family: Family,
    /// There is `/etc/default/grub`.
    grub: bool,
    /// There is `/etc/kernel/cmdline`.
    kernel_cmdline: bool,
    /// `host setup` was here.
    set_up: bool,
}

impl Distribution {
    /// That of a host.
    pub(super) fn of(facts: &Facts) -> Self {
        let Some(system) = &facts.system else {
            return Self { family: Family::Other, grub: false, kernel_cmdline: false, set_up: false };
        };
        let has = |file: &str| system.boot.iter().any(|other| other == file);
        Self {
            family: family(system),
            grub: has("etc/default/grub"),
            kernel_cmdline: has("etc/kernel/cmdline"),
            set_up: has(SETUP),
        }
    }

    /// Adds words to the kernel's command line.
    pub(super) fn add_parameters(self, words: &str) -> String {
        let shell = format!("GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT {words}\"");
        let append =
            |file: &str, then: &str| format!("`echo '{shell}' | sudo tee -a {file} && {then}`, and reboot");
        match self.family {
            Family::Debian if self.grub => append("/etc/default/grub.d/optimus-vmm.cfg", "sudo update-grub"),
            Family::Arch if self.grub => {
                append("/etc/default/grub", "sudo grub-mkconfig -o /boot/grub/grub.cfg")
            }
            Family::Suse if self.grub => {
                append("/etc/default/grub", "sudo grub2-mkconfig -o /boot/grub2/grub.cfg")
            }
            Family::Fedora => format!("`sudo grubby --update-kernel=ALL --args=\"{words}\"`, and reboot"),
            Family::NixOs => {
                let list: Vec<_> = words.split(' ').map(|word| format!("\"{word}\"")).collect();
                let list = list.join(" ");
                format!(
                    "add `boot.kernelParams = [ {list} ];` to /etc/nixos/configuration.nix, `sudo nixos-rebuild boot`, and reboot"
                )
            }
            Family::Arch if self.kernel_cmdline => {
                format!(
                    "`sudo sed -i '1s/$/ {words}/' /etc/kernel/cmdline && sudo mkinitcpio -P`, and reboot"
                )
            }
            Family::Arch => {
                format!(
                    "add `{words}` to the line `options` of each file in /boot/loader/entries, or where your boot loader has the kernel's command line, and reboot"
                )
            }
            Family::Debian | Family::Suse | Family::Other => {
                format!(
                    "add `{words}` to the kernel's command line, where your boot loader has it, and reboot"
                )
            }
        }
    }

    /// Takes a word from the kernel's command line.
    pub(super) fn remove_parameter(self, word: &str) -> String {
        match self.family {
            Family::Fedora => {
                format!("`sudo grubby --update-kernel=ALL --remove-args=\"{word}\"`, and reboot")
            }
            Family::NixOs => {
                format!(
                    "take `{word}` from `boot.kernelParams` in your configuration, `sudo nixos-rebuild boot`, and reboot"
                )
            }
            _ => {
                let (file, then) = match self.family {
                    Family::Debian if self.grub => {
                        ("/etc/default/grub or a file in /etc/default/grub.d", "`sudo update-grub`")
                    }
                    Family::Arch if self.grub => {
                        ("/etc/default/grub", "`sudo grub-mkconfig -o /boot/grub/grub.cfg`")
                    }
                    Family::Suse if self.grub => {
                        ("/etc/default/grub", "`sudo grub2-mkconfig -o /boot/grub2/grub.cfg`")
                    }
                    Family::Arch if self.kernel_cmdline => ("/etc/kernel/cmdline", "`sudo mkinitcpio -P`"),
                    _ => {
                        return format!(
                            "take `{word}` from the kernel's command line, where your boot loader has it, and reboot"
                        );
                    }
                };
                format!("take `{word}` from {file}, {then}, and reboot")
            }
        }
    }

    /// Sets an option of a module for good.
    pub(super) fn module_option(self, module: &str, option: &str) -> String {
        match self.family {
            Family::NixOs => format!(
                "add `boot.extraModprobeConfig = \"options {module} {option}\";` to /etc/nixos/configuration.nix, `sudo nixos-rebuild boot`, and reboot"
            ),
            _ => format!(
                "`echo 'options {module} {option}' | sudo tee -a /etc/modprobe.d/optimus-vmm.conf`, and reboot"
            ),
        }
    }

    /// Has vfio-pci take devices at each boot, before their drivers can: those of the vm.toml, if there is one.
    pub(super) fn bind_at_boot(self, config: Option<&str>) -> String {
        let config = word(config);
        match self.family {
            Family::NixOs => format!(
                "`optimus-vmm host setup --bind boot{config}` prints the lines for /etc/nixos/configuration.nix"
            ),
            _ => format!("`sudo optimus-vmm host setup --bind boot{config}`, and reboot"),
        }
    }

    /// Gives the nodes of VFIO to the group kvm. A setup that was made may have bound devices at boot, and gives these rights as well:
    /// another is not advised then, for it might undo that.
    pub(super) fn rights(self, config: Option<&str>) -> String {
        let config = word(config);
        match self.family {
            _ if self.set_up => MEMBER.into(),
            Family::NixOs => format!(
                "`optimus-vmm host setup --bind run{config}` prints the lines for /etc/nixos/configuration.nix, which give them to the group kvm"
            ),
            _ => format!(
                "`sudo optimus-vmm host setup --bind run{config}`, which gives them to the group kvm, `sudo usermod -aG kvm $USER`, and reboot"
            ),
        }
    }

    /// Lets users of the group kvm lock guest memory.
    pub(super) fn unlimited_memlock(self, config: Option<&str>) -> String {
        match self.family {
            _ if self.set_up => MEMBER.into(),
            Family::NixOs => "add `security.pam.loginLimits = [ { domain = \"@kvm\"; type = \"-\"; item = \"memlock\"; value = \"unlimited\"; } ];` to \
                              /etc/nixos/configuration.nix, `sudo nixos-rebuild switch`, and log in again"
                .into(),
            _ => format!(
                "`sudo optimus-vmm host setup --bind run{}`, and log in again as a member of the group kvm; root needs none of it",
                word(config)
            ),
        }
    }

    /// Sets a variable of the kernel now and for good.
    pub(super) fn sysctl(self, setting: &str) -> String {
        match self.family {
            Family::NixOs => {
                let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
                format!(
                    "add `boot.kernel.sysctl.\"{name}\" = {value};` to /etc/nixos/configuration.nix, and `sudo nixos-rebuild switch`"
                )
            }
            _ => format!(
                "`echo {setting} | sudo tee /etc/sysctl.d/80-optimus-vmm.conf && sudo sysctl --system`"
            ),
        }
    }

    /// Installs a package.
    pub(super) fn install(self, package: Package) -> String {
        let names = match package {
            Package::Ovmf => ["edk2-ovmf", "ovmf", "edk2-ovmf", "qemu-ovmf-x86_64", "qemu"],
            Package::Passt => ["passt"; 5],
            Package::Swtpm => ["swtpm"; 5],
            Package::AcpiCall => ["acpi_call-dkms", "acpi-call-dkms", "", "", "acpi_call"],
        };
        let [arch, debian, fedora, suse, nixos] = names;
        match self.family {
            Family::Arch => format!("`sudo pacman -S {arch}`"),
            Family::Debian => format!("`sudo apt install {debian}`"),
            Family::Fedora if !fedora.is_empty() => format!("`sudo dnf install {fedora}`"),
            Family::Suse if !suse.is_empty() => format!("`sudo zypper install {suse}`"),
            Family::NixOs if package == Package::AcpiCall => {
                "add `boot.extraModulePackages = [ config.boot.kernelPackages.acpi_call ];` to /etc/nixos/configuration.nix, and `sudo nixos-rebuild switch`"
                    .into()
            }
            Family::NixOs => {
                format!("add `environment.systemPackages = [ pkgs.{nixos} ];` to /etc/nixos/configuration.nix, and `sudo nixos-rebuild switch`")
            }
            _ if package == Package::AcpiCall => {
                "build the module acpi_call (https://github.com/nix-community/acpi_call); this distribution has no package of it".into()
            }
            _ => format!("install what your distribution calls `{debian}`"),
        }
    }
}

/// What is left to do where `host setup` was.
const MEMBER: &str = "`sudo usermod -aG kvm $USER` (or the group of `host setup --group`), and log in again: that group has these rights already";

/// A file as a word more of a command.
fn word(config: Option<&str>) -> String {
    config.map(|path| format!(" {}", shell_word(path.as_ref()))).unwrap_or_default()
}

fn family(system: &System) -> Family {
    let names = std::iter::once(system.id.as_str()).chain(system.like.iter().map(String::as_str));
    let known = |name: &str| {
        Some(match name {
            "arch" | "archlinux" | "manjaro" | "endeavouros" | "cachyos" => Family::Arch,
            "debian" | "ubuntu" => Family::Debian,
            "fedora" | "rhel" | "centos" => Family::Fedora,
            "nixos" => Family::NixOs,
            "suse" | "opensuse" | "sles" => Family::Suse,
            name if name.starts_with("opensuse") => Family::Suse,
            _ => return None,
        })
    };
    names.into_iter().find_map(known).unwrap_or(Family::Other)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    const FAMILIES: [Family; 6] =
        [Family::Arch, Family::Debian, Family::Fedora, Family::Suse, Family::NixOs, Family::Other];

    fn all() -> impl Iterator<Item = Distribution> {
        FAMILIES.into_iter().flat_map(|family| {
            [(true, false), (false, true), (false, false)].map(|(grub, kernel_cmdline)| Distribution {
                family,
                grub,
                kernel_cmdline,
                set_up: false,
            })
        })
    }

    #[test]
    fn families_by_os_release() {
        for (id, like, expected) in [
            ("arch", "", Family::Arch),
            ("manjaro", "arch", Family::Arch),
            ("ubuntu", "debian", Family::Debian),
            ("linuxmint", "ubuntu debian", Family::Debian),
            ("fedora", "", Family::Fedora),
            ("nobara", "fedora", Family::Fedora),
            ("opensuse-tumbleweed", "opensuse suse", Family::Suse),
            ("nixos", "", Family::NixOs),
            ("gentoo", "", Family::Other),
            ("", "", Family::Other),
        ] {
            let like = like.split(' ').map(str::to_owned).collect();
            let system = System { id: id.into(), like, ..System::default() };
            assert_eq!(family(&system), expected, "{id}");
        }
    }

    /// Each command is one that a shell understands.
    #[test]
    fn commands_have_the_shells_syntax() {
        let mut commands = 0;
        for distribution in all() {
            let texts = [
                distribution.add_parameters("intel_iommu=on iommu=pt"),
                distribution.remove_parameter("intel_iommu=off"),
                distribution.module_option("vfio-pci", "disable_idle_d3=1"),
                distribution.bind_at_boot(None),
                distribution.bind_at_boot(Some("my vm's.toml")),
                distribution.rights(Some("my vm's.toml")),
                distribution.unlimited_memlock(None),
                distribution.sysctl("kernel.split_lock_mitigate=0"),
                distribution.install(Package::Ovmf),
                distribution.install(Package::AcpiCall),
            ];
            for text in texts {
                let quoted = text.split('`').skip(1).step_by(2).filter(|quoted| quoted.contains("sudo "));
                for command in quoted {
                    let done = Command::new("sh").args(["-n", "-c", command]).output().unwrap();
                    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
                    commands += 1;
                }
            }
        }
        assert!(commands > 60, "{commands}");
    }

    /// Another setup might undo what the first has bound at boot.
    #[test]
    fn where_a_setup_was_another_is_not_advised() {
        for distribution in all() {
            let after = Distribution { set_up: true, ..distribution };
            for text in [after.rights(Some("vm.toml")), after.unlimited_memlock(None)] {
                assert!(text.contains("usermod -aG kvm") && !text.contains("--bind"), "{text}");
            }
            let text = distribution.rights(Some("my vm.toml"));
            assert!(text.contains("host setup --bind run 'my vm.toml'"), "{text}");
        }
    }

    /// The line that GRUB's configuration gets is one that it understands, twice too: GRUB's configuration is a shell's.
    #[test]
    fn grub_gets_the_words() {
        let told = Distribution { family: Family::Arch, grub: true, kernel_cmdline: false, set_up: false };
        let text = told.add_parameters("intel_iommu=on");
        let echo = text.split('`').nth(1).and_then(|command| command.split(" | sudo tee").next()).unwrap();
        let line = Command::new("sh").args(["-c", echo]).output().unwrap().stdout;
        let line = String::from_utf8(line).unwrap();
        let script = format!(
            "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"\n{line}{line}echo \"$GRUB_CMDLINE_LINUX_DEFAULT\"\n"
        );
        let mut shell = Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let said = shell.wait_with_output().unwrap().stdout;
        assert_eq!(String::from_utf8(said).unwrap(), "quiet splash intel_iommu=on intel_iommu=on\n");
    }
}
