//! The two monitors, told to run the same machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// One of the two.
#[derive(Debug, Clone)]
pub(crate) enum Monitor {
    /// optimus-vmm.
    Ours {
        /// The program.
        program: PathBuf,
    },
    /// QEMU with KVM.
    Qemu {
        /// The program and what must come first on its command line.
        command: Vec<String>,
        /// The CPU model: `host`, with what KVM here needs changed.
        cpu: &'static str,
    },
}

/// What fills the flash.
#[derive(Debug, Clone)]
pub(crate) enum Flash {
    /// A payload in place of the firmware.
    Payload(PathBuf),
    /// OVMF: code, and variables that the guest may write.
    Ovmf(PathBuf, PathBuf),
}

/// The machine: COM1 on standard output, a virtio-blk disk, a virtio random number generator, no display unless asked for.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Where files are put.
    pub(crate) directory: PathBuf,
    /// MiB of memory.
    pub(crate) memory: u64,
    /// vCPUs.
    pub(crate) cpus: u32,
    /// The flash.
    pub(crate) flash: Flash,
    /// A raw image.
    pub(crate) disk: PathBuf,
    /// Kernel, initial RAM disk and command line.
    pub(crate) kernel: Option<(PathBuf, PathBuf, String)>,
    /// The host's address of a function that is passed through, bound to vfio-pci.
    pub(crate) device: Option<String>,
    /// The socket of a VNC server, for a machine with a screen (ramfb).
    pub(crate) vnc: Option<PathBuf>,
}

impl Monitor {
    /// Finds QEMU: in the path, or else in the lab's root file system.
    pub(crate) fn find_qemu(lab: &Path, cpu: &'static str) -> Result<Self> {
        let name = "qemu-system-x86_64";
        let root = lab.join("root/usr");
        let libraries = root.join("lib/x86_64-linux-gnu");
        let text = |path: PathBuf| path.display().to_string();
        let in_path = std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists())
        });
        let command = match in_path {
            Some(program) => vec![text(program)],
            None if root.join("bin").join(name).exists() => vec![
                text(root.join("lib64/ld-linux-x86-64.so.2")),
                "--library-path".into(),
                text(libraries),
                text(root.join("bin").join(name)),
                "-L".into(),
                text(root.join("share/qemu")),
                "-L".into(),
                text(root.join("share/seabios")),
            ],
            None => {
                return Err(
                    format!("there is no {name}, neither in the path nor in {}", lab.display()).into()
                );
            }
        };
        Ok(Self::Qemu { command, cpu })
    }

    /// What it calls itself.
    pub(crate) fn version(&self) -> Result<String> {
        let mut command = match self {
            Self::Ours { program } => Command::new(program),
            Self::Qemu { command, .. } => start(command)?,
        };
        let output = command.arg("--version").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    }

    /// The command that runs the machine.
    pub(crate) fn command(&self, machine: &Machine) -> Result<Command> {
        fs::create_dir_all(&machine.directory)?;
        match self {
            Self::Ours { program } => {
                let config = machine.directory.join("bench.toml");
                fs::write(&config, vm_toml(machine))?;
                let mut command = Command::new(program);
                command.args(["run", "--headless"]).arg(config);
                Ok(command)
            }
            Self::Qemu { command, cpu } => {
                let mut command = start(command)?;
                command.args(qemu_arguments(machine, cpu));
                Ok(command)
            }
        }
    }
}

fn start(command: &[String]) -> Result<Command> {
    let (program, arguments) = command.split_first().ok_or("no command for QEMU")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Characters that TOML and JSON strings share.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.display().to_string()).to_string()
}

fn vm_toml(machine: &Machine) -> String {
    let Machine { memory, cpus, flash, disk, kernel, device, vnc, .. } = machine;
    let firmware = match flash {
        Flash::Payload(image) => format!("kind = \"raw\"\ncode = {}", quoted(image)),
        Flash::Ovmf(code, vars) => format!("code = {}\nvars = {}", quoted(code), quoted(vars)),
    };
    let kernel = kernel.as_ref().map_or_else(String::new, |(image, initrd, cmdline)| {
        format!("[kernel]\nimage = {}\ninitrd = {}\ncmdline = \"{cmdline}\"\n", quoted(image), quoted(initrd))
    });
    let device = device.as_ref().map_or_else(String::new, |host| {
        format!("[[vfio]]\nhost = \"{host}\"\nguest = \"01:00.0\"\nroot_port = true\nmanage = false\n")
    });
    let display = vnc.as_ref().map_or_else(String::new, |socket| {
        let address = serde_json::Value::from(format!("unix:{}", socket.display()));
        format!("[display]\nvnc = {address}\n")
    });
    format!(
        "[machine]\nmemory = \"{memory}M\"\npvpanic = false\n[cpu]\ncount = {cpus}\n[firmware]\n{firmware}\n\
         [[disk]]\npath = {}\nformat = \"raw\"\n{device}{kernel}{display}",
        quoted(disk)
    )
}

/// As lean as QEMU is for someone who knows it: nothing that the machine does not need, and nothing of what ours has left
/// out.
fn qemu_arguments(machine: &Machine, cpu: &str) -> Vec<String> {
    let Machine { memory, cpus, flash, disk, kernel, device, vnc, .. } = machine;
    let mut arguments: Vec<String> = [
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-machine",
        "q35,accel=kvm,smm=off,hpet=off,vmport=off,usb=off,sata=off",
        "-cpu",
        cpu,
        "-device",
        "virtio-rng-pci",
        "-device",
        "virtio-blk-pci,drive=disk",
        "-serial",
        "stdio",
    ]
    .map(String::from)
    .into();
    let mut option = |name: &str, value: String| arguments.extend([name.into(), value]);
    option("-m", format!("{memory}M"));
    option("-smp", cpus.to_string());
    if let Some(host) = device {
        option("-device", "pcie-root-port,id=root-port,chassis=1,addr=10.0".into());
        option("-device", format!("vfio-pci,host={host},bus=root-port"));
    }
    if let Some(socket) = vnc {
        option("-device", "ramfb".into());
        option("-vnc", format!("unix:{}", socket.display()));
    }
    option("-drive", format!("if=none,id=disk,format=raw,file={}", disk.display()));
    match flash {
        Flash::Payload(image) => {
            option("-drive", format!("if=pflash,format=raw,readonly=on,file={}", image.display()));
        }
        Flash::Ovmf(code, vars) => {
            option("-drive", format!("if=pflash,format=raw,readonly=on,file={}", code.display()));
            option("-drive", format!("if=pflash,format=raw,file={}", vars.display()));
        }
    }
    if let Some((image, initrd, cmdline)) = kernel {
        option("-kernel", image.display().to_string());
        option("-initrd", initrd.display().to_string());
        option("-append", cmdline.clone());
    }
    arguments
}
