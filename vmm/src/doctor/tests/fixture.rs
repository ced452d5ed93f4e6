//! A host made of files, from a short description.
//!
//! Each line of a description is a word and its values; `#` begins a comment. What a description leaves out, the host does not have.
//!
//! | line | makes |
//! |---|---|
//! | `model VENDOR \| PRODUCT \| VERSION \| BIOS \| DATE \| CHASSIS` | `sys/class/dmi/id`; `?` leaves one out |
//! | `os ID LIKE NAME…` | os-release; `-` for no LIKE |
//! | `kernel RELEASE` | osrelease, with vfio-pci and KVM among its modules |
//! | `cmdline WORDS…` | the kernel's command line |
//! | `cpu VENDOR FLAG BITS MODEL…` | cpuinfo; `?` for unknown bits |
//! | `pci ADDRESS IDS CLASS DRIVER SUBSYSTEM GROUP [PORT]` | a function; `-` for none, `?` for unknown |
//! | `connector ADDRESS CARD NAME STATUS` | a DRM connector |
//! | `process PID COMMAND NODE ADDRESS` | a process that has a node of a function |
//! | `attribute ADDRESS NAME TEXT…` | an attribute of a function |
//! | `file PATH TEXT…` | a file |
//! | `link PATH TARGET` | a symbolic link |
//! | `folder PATH` | an empty folder |

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::doctor::facts::{Context, Facts};
use crate::doctor::report::Report;

/// A host.
pub(crate) struct Fixture(TempDir);

impl Fixture {
    /// Makes it. OVMF, passt and swtpm are installed as on Arch, and there is a KVM.
    pub(crate) fn new(description: &str) -> Self {
        let fixture = Self(tempfile::tempdir().unwrap());
        for path in ["usr/share/edk2/x64/OVMF_CODE.4m.fd", "usr/share/edk2/x64/OVMF_VARS.4m.fd", "dev/kvm"] {
            fixture.file(path, "");
        }
        for program in ["usr/bin/passt", "usr/bin/swtpm"] {
            fixture.file(program, "");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(fixture.root().join(program), mode).unwrap();
        }
        for path in ["sys/bus/pci/devices", "sys/kernel/iommu_groups"] {
            fixture.folder(path);
        }
        description.lines().for_each(|line| fixture.line(line));
        fixture
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, below: &str) -> PathBuf {
        let path = self.root().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn file(&self, below: &str, text: &str) {
        fs::write(self.path(below), text).unwrap();
    }

    fn folder(&self, below: &str) {
        fs::create_dir_all(self.root().join(below)).unwrap();
    }

    fn link(&self, below: &str, target: &str) {
        symlink(target, self.path(below)).unwrap();
    }

    /// One line of a description.
    pub(super) fn line(&self, line: &str) {
        let line = line.split(" #").next().unwrap().trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let after = |count: usize| words[count..].join(" ");
        match word {
            "" | "#" => {}
            "model" => self.model(rest),
            "os" => {
                let like = words[1].replace('-', "");
                self.file(
                    "etc/os-release",
                    &format!("ID={}\nID_LIKE=\"{like}\"\nPRETTY_NAME=\"{}\"\n", words[0], after(2)),
                );
            }
            "kernel" => {
                self.file("proc/sys/kernel/osrelease", &format!("{rest}\n"));
                let modules = "kernel/vfio-pci.ko.zst:\nkernel/kvm-intel.ko.zst:\nkernel/kvm-amd.ko.zst:\n";
                self.file(&format!("lib/modules/{rest}/modules.dep"), modules);
            }
            "cmdline" => self.file("proc/cmdline", &format!("{rest}\n")),
            "cpu" => {
                let mut text = format!(
                    "processor\t: 0\nvendor_id\t: {}\nmodel name\t: {}\nflags\t\t: fpu {} de\n",
                    words[0],
                    after(3),
                    words[1]
                );
                if words[2] != "?" {
                    text.push_str(&format!("address sizes\t: {} bits physical, 48 bits virtual\n", words[2]));
                }
                self.file("proc/cpuinfo", &format!("{text}\nprocessor\t: 1\n"));
            }
            "pci" => self.function(&words),
            "connector" => {
                let [address, card, name, status] = words[..] else { panic!("{line}") };
                let file = format!("sys/bus/pci/devices/0000:{address}/drm/{card}/{card}-{name}/status");
                self.file(&file, &format!("{status}\n"));
            }
            "process" => {
                let [pid, command, node, address] = words[..] else { panic!("{line}") };
                self.file(&format!("proc/{pid}/comm"), &format!("{command}\n"));
                self.link(&format!("proc/{pid}/fd/7"), node);
                let name = node.trim_start_matches("/dev/");
                let home = format!("sys/bus/pci/devices/0000:{address}/node/{}", name.replace('/', "-"));
                self.file(&format!("{home}/uevent"), &format!("DEVNAME={name}\n"));
            }
            "attribute" => {
                self.file(
                    &format!("sys/bus/pci/devices/0000:{}/{}", words[0], words[1]),
                    &format!("{}\n", after(2).replace("\\n", "\n")),
                );
            }
            "file" => {
                self.file(words[0], &format!("{}\n", after(1).replace("\\n", "\n").replace("\\t", "\t")))
            }
            "link" => self.link(words[0], words[1]),
            "folder" => self.folder(words[0]),
            other => panic!("unknown word {other}: {line}"),
        }
    }

    fn model(&self, rest: &str) {
        let names =
            ["sys_vendor", "product_name", "product_version", "bios_version", "bios_date", "chassis_type"];
        for (name, text) in names.into_iter().zip(rest.split('|').map(str::trim)) {
            if text != "?" {
                self.file(&format!("sys/class/dmi/id/{name}"), &format!("{text}\n"));
            }
        }
    }

    fn function(&self, words: &[&str]) {
        let [address, ids, class, driver, subsystem, group, ref port @ ..] = words[..] else {
            panic!("{words:?}")
        };
        let home = match port {
            [] => format!("sys/devices/pci0000:00/0000:{address}"),
            [port, ..] => format!("sys/devices/pci0000:00/0000:{port}/0000:{address}"),
        };
        let attribute = |name: &str, text: &str| self.file(&format!("{home}/{name}"), &format!("0x{text}\n"));
        let (vendor, device) = ids.split_once(':').unwrap();
        attribute("vendor", vendor);
        attribute("device", device);
        attribute("class", class);
        if let Some((vendor, device)) = subsystem.split_once(':') {
            attribute("subsystem_vendor", vendor);
            attribute("subsystem_device", device);
        }
        self.link(&format!("sys/bus/pci/devices/0000:{address}"), &format!("../../../{}", &home[4..]));
        if driver != "-" {
            self.link(&format!("{home}/driver"), &format!("/sys/bus/pci/drivers/{driver}"));
        }
        if group != "-" {
            self.link(&format!("{home}/iommu_group"), &format!("/sys/kernel/iommu_groups/{group}"));
            self.link(
                &format!("sys/kernel/iommu_groups/{group}/devices/0000:{address}"),
                &format!("../../../../bus/pci/devices/0000:{address}"),
            );
        }
    }

    /// Where it is read.
    pub(super) fn context(&self) -> Context {
        Context { sysroot: Some(self.root().into()), ..Context::default() }
    }

    /// All that is known of it.
    pub(super) fn facts(&self) -> Facts {
        Facts::of(&self.context())
    }

    /// What is said of it.
    pub(super) fn report(&self) -> Report {
        Report::new(&self.facts())
    }
}
