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
        /// Machine type and BIOS.
        board: Board,
    },
}

/// A machine type of QEMU's, as lean as it can be, and what starts it if there is no flash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Board {
    /// For people.
    pub(crate) name: &'static str,
    /// Whether the guest of the lab can use the disk and the random number generator.
    pub(crate) complete: bool,
    machine: &'static str,
    bios: &'static str,
}

impl Board {
    const Q35_LEAN: &str = "q35,accel=kvm,smm=off,hpet=off,vmport=off,usb=off,sata=off";

    /// What is compared everywhere, with OVMF or a payload in the flash.
    pub(crate) const Q35: Self =
        Self { name: "QEMU q35, SeaBIOS", complete: true, machine: Self::Q35_LEAN, bios: "bios-256k.bin" };

    /// All that start a kernel by themselves.
    pub(crate) const DIRECT: [Self; 5] = [
        Self::Q35,
        Self { name: "QEMU q35, qboot", bios: "qboot.rom", ..Self::Q35 },
        // SeaBIOS starts the kernel by an option ROM, qboot without.
        Self {
            name: "QEMU microvm, SeaBIOS",
            complete: true,
            machine: "microvm,accel=kvm,pcie=on,pit=off,pic=off",
            bios: "bios-microvm.bin",
        },
        Self {
            name: "QEMU microvm, qboot",
            complete: true,
            machine: "microvm,accel=kvm,pcie=on,pit=off,pic=off,x-option-roms=off",
            bios: "qboot.rom",
        },
        // The leanest. Its devices are behind virtio-mmio, for which the guest's initramfs has no driver.
        Self {
            name: "QEMU microvm, no PCI or ACPI",
            complete: false,
            machine: "microvm,accel=kvm,acpi=off,pit=off,pic=off,x-option-roms=off",
            bios: "qboot.rom",
        },
    ];

    /// The transport of virtio devices, the end of their names.
    fn transport(&self) -> &'static str {
        if self.complete { "pci" } else { "device" }
    }
}

/// What fills the flash.
#[derive(Debug, Clone)]
pub(crate) enum Flash {
    /// A payload in place of the firmware.
    Payload(PathBuf),
    /// OVMF: code, and variables that the guest may write.
    Ovmf(PathBuf, PathBuf),
    /// There is no flash: the kernel starts directly, with QEMU by the board's BIOS.
    Absent,
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
    /// A raw image, which the guest may not write to if it has a serial number.
    pub(crate) disk: PathBuf,
    /// The serial number of a disk that guests look for by it.
    pub(crate) serial: Option<&'static str>,
    /// Further lines of ours in `[cpu]`.
    pub(crate) cpu_keys: &'static [&'static str],
    /// Kernel, initial RAM disk and command line.
    pub(crate) kernel: Option<(PathBuf, PathBuf, String)>,
    /// The host's address of a function that is passed through, bound to vfio-pci.
    pub(crate) device: Option<String>,
    /// The socket of a VNC server, for a machine with a screen (ramfb).
    pub(crate) vnc: Option<PathBuf>,
    /// A network card, and the image with the guest's tools.
    pub(crate) net: Option<(Way, PathBuf)>,
    /// What is needed to measure a disk.
    pub(crate) data: Option<Data>,
    /// A program that measures, for QEMU.
    pub(crate) inside: Option<Inside>,
}

/// A program with PVH's entry that QEMU starts, and who else reads and writes the guest's memory.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    /// The program, an ELF file.
    pub(crate) payload: PathBuf,
    /// The file that is the guest's memory.
    pub(crate) memory: PathBuf,
}

/// What carries a network card's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// passt.
    Passt,
    /// The TAP interface tap0, between which and the guest the monitor moves frames.
    Tap,
    /// The same interface, with the kernel's vhost-net.
    Vhost,
}

impl Way {
    /// All.
    pub(crate) const ALL: [Self; 3] = [Self::Passt, Self::Tap, Self::Vhost];

    /// The one with this name.
    pub(crate) fn of_name(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        let way = Self::ALL.into_iter().find(|way| way.name() == name);
        way.ok_or_else(|| format!("--way takes one of {names}, not '{name}'").into())
    }

    /// Its name, for people and as an option.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Passt => "passt",
            Self::Tap => "tap",
            Self::Vhost => "vhost",
        }
    }
}

/// The longest packet of all cards, which is told to the guest and to passt.
pub(crate) const MTU: &str = "1500";

impl Machine {
    /// Where QEMU finds passt.
    pub(crate) fn passt(&self) -> PathBuf {
        self.directory.join("passt.sock")
    }
}

/// What the guest sees a disk at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bus {
    /// virtio-blk.
    Virtio,
    /// An NVMe controller of its own.
    Nvme,
    /// A port of an AHCI controller.
    Sata,
}

impl Bus {
    /// All.
    pub(crate) const ALL: [Self; 3] = [Self::Virtio, Self::Nvme, Self::Sata];

    /// The one with this name.
    pub(crate) fn of_name(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        let bus = Self::ALL.into_iter().find(|bus| bus.name() == name);
        bus.ok_or_else(|| format!("--bus takes one of {names}, not '{name}'").into())
    }

    /// Its name, for people, as an option and in vm.toml.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Nvme => "nvme",
            Self::Sata => "sata",
        }
    }
}

/// Two more disks, known by their serial numbers.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    /// Where the guest finds `data`.
    pub(crate) bus: Bus,
    /// The image of `data`.
    pub(crate) path: PathBuf,
    /// Whether it is raw, else it is qcow2.
    pub(crate) raw: bool,
    /// The image of `tools`, which is only read.
    pub(crate) tools: PathBuf,
}

impl Monitor {
    /// QEMU, always the lab's: on the emulated host, whose root file system it is in, as it stands there; on this machine with
    /// the libraries of that file system. One that the path leads to may be of any age, and results could not be compared.
    pub(crate) fn find_qemu(lab: &Path, cpu: &'static str) -> Result<Self> {
        let in_lab = std::env::var_os("OPTIMUS_IN_LAB").is_some();
        let command = Self::qemu_of(&if in_lab { "/usr".into() } else { lab.join("root/usr") })?;
        Ok(Self::Qemu { command, cpu, board: Board::Q35 })
    }

    /// The command of the QEMU below a folder `usr`.
    fn qemu_of(root: &Path) -> Result<Vec<String>> {
        let program = root.join("bin/qemu-system-x86_64");
        if !program.exists() {
            return Err(format!(
                "there is no QEMU at {}: it is the lab's that is compared with; run scripts/lab setup, or set OPTIMUS_LAB_DIR",
                program.display()
            )
            .into());
        }
        let text = |path: PathBuf| path.display().to_string();
        if root == Path::new("/usr") {
            return Ok(vec![text(program)]);
        }
        Ok(vec![
            text(root.join("lib64/ld-linux-x86-64.so.2")),
            "--library-path".into(),
            text(root.join("lib/x86_64-linux-gnu")),
            text(program),
            "-L".into(),
            text(root.join("share/qemu")),
            "-L".into(),
            text(root.join("share/seabios")),
        ])
    }

    /// Where the program is.
    pub(crate) fn program(&self) -> String {
        match self {
            Self::Ours { program } => program.display().to_string(),
            Self::Qemu { command, .. } => {
                let program = command.iter().find(|word| word.ends_with("/qemu-system-x86_64"));
                program.cloned().unwrap_or_default()
            }
        }
    }

    /// The same with another board, which is QEMU's alone.
    pub(crate) fn with_board(mut self, new: Board) -> Self {
        if let Self::Qemu { board, .. } = &mut self {
            *board = new;
        }
        self
    }

    /// The same with another CPU model, which is QEMU's alone.
    pub(crate) fn with_cpu(mut self, new: &'static str) -> Self {
        if let Self::Qemu { cpu, .. } = &mut self {
            *cpu = new;
        }
        self
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

    /// Writes our configuration of the machine.
    pub(crate) fn configuration(machine: &Machine) -> Result<PathBuf> {
        fs::create_dir_all(&machine.directory)?;
        let config = machine.directory.join("bench.toml");
        fs::write(&config, vm_toml(machine))?;
        Ok(config)
    }

    /// The command that runs the machine.
    pub(crate) fn command(&self, machine: &Machine) -> Result<Command> {
        fs::create_dir_all(&machine.directory)?;
        match self {
            Self::Ours { program } => {
                let config = Self::configuration(machine)?;
                let mut command = Command::new(program);
                command.args(["run", "--headless"]).arg(config);
                Ok(command)
            }
            Self::Qemu { command, cpu, board } => {
                let mut command = start(command)?;
                command.args(qemu_arguments(machine, cpu, board));
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
    let Machine { memory, cpus, flash, disk, serial, cpu_keys, kernel, device, vnc, net, data, .. } = machine;
    let firmware = match flash {
        Flash::Payload(image) => format!("[firmware]\nkind = \"raw\"\ncode = {}\n", quoted(image)),
        Flash::Ovmf(code, vars) => {
            format!("[firmware]\ncode = {}\nvars = {}\n", quoted(code), quoted(vars))
        }
        Flash::Absent => String::new(),
    };
    let boot = if matches!(flash, Flash::Absent) { "boot = \"direct\"\n" } else { "" };
    let kernel = kernel.as_ref().map_or_else(String::new, |(image, initrd, cmdline)| {
        let (image, initrd) = (quoted(image), quoted(initrd));
        format!("[kernel]\nimage = {image}\ninitrd = {initrd}\ncmdline = \"{cmdline}\"\n{boot}")
    });
    let device = device.as_ref().map_or_else(String::new, |host| {
        format!("[[vfio]]\nhost = \"{host}\"\nguest = \"01:00.0\"\nroot_port = true\nmanage = false\n")
    });
    let display = vnc.as_ref().map_or_else(String::new, |socket| {
        let address = serde_json::Value::from(format!("unix:{}", socket.display()));
        format!("[display]\nvnc = {address}\n")
    });
    let cpu_keys: String = cpu_keys.iter().map(|line| format!("{line}\n")).collect();
    let serial =
        serial.map_or_else(String::new, |serial| format!("serial = \"{serial}\"\nreadonly = true\n"));
    let net = net.as_ref().map_or_else(String::new, |(way, tools)| {
        let way = match way {
            Way::Passt => "backend = \"user\"",
            // As QEMU is told to.
            Way::Tap => "backend = \"tap\"\ninterface = \"tap0\"\nvhost = false",
            Way::Vhost => "backend = \"tap\"\ninterface = \"tap0\"\nvhost = true",
        };
        format!(
            "[[disk]]\npath = {}\nformat = \"raw\"\nserial = \"tools\"\nreadonly = true\n[[net]]\nmtu = {MTU}\n{way}\n",
            quoted(tools)
        )
    });
    let data = data.as_ref().map_or_else(String::new, |Data { bus, path, raw, tools }| {
        let (bus, path, format, tools) = (bus.name(), quoted(path), format(*raw), quoted(tools));
        format!(
            "[[disk]]\npath = {path}\nbus = \"{bus}\"\nformat = \"{format}\"\nserial = \"data\"\n\
             [[disk]]\npath = {tools}\nreadonly = true\nserial = \"tools\"\n"
        )
    });
    format!(
        "[machine]\nmemory = \"{memory}M\"\npvpanic = false\n[cpu]\ncount = {cpus}\n{cpu_keys}{firmware}\
         [[disk]]\npath = {}\nformat = \"raw\"\n{serial}{net}{data}{device}{kernel}{display}",
        quoted(disk)
    )
}

/// What both call a format.
fn format(raw: bool) -> &'static str {
    if raw { "raw" } else { "qcow2" }
}

/// As lean as QEMU is for someone who knows it: nothing that the machine does not need, and nothing of what ours has left
/// out.
fn qemu_arguments(machine: &Machine, cpu: &str, board: &Board) -> Vec<String> {
    let Machine { memory, cpus, flash, disk, serial, kernel, device, vnc, net, data, inside, .. } = machine;
    let mut arguments: Vec<String> = [
        "-nodefaults",
        "-no-user-config",
        // Threads have names, by which vCPUs are found; QEMU 10.0 and older give them only if told to.
        "-name",
        "bench,debug-threads=on",
        "-display",
        "none",
        "-cpu",
        cpu,
        "-serial",
        "stdio",
    ]
    .map(String::from)
    .into();
    let mut option = |name: &str, value: String| arguments.extend([name.into(), value]);
    let backend = if inside.is_some() { ",memory-backend=ram" } else { "" };
    option("-machine", format!("{}{backend}", board.machine));
    if let Some(Inside { payload, memory: file }) = inside {
        let file = file.display();
        option("-object", format!("memory-backend-file,id=ram,size={memory}M,mem-path={file},share=on"));
        option("-kernel", payload.display().to_string());
    }
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
    let readonly = if serial.is_some() { ",readonly=on" } else { "" };
    option("-drive", format!("if=none,id=disk,format=raw,file={}{readonly}", disk.display()));
    let serial = serial.map_or_else(String::new, |serial| format!(",serial={serial}"));
    let transport = board.transport();
    option("-device", format!("virtio-rng-{transport}"));
    option("-device", format!("virtio-blk-{transport},drive=disk{serial}"));
    if let Some((way, tools)) = net {
        option("-drive", format!("if=none,id=tools,format=raw,readonly=on,file={}", tools.display()));
        option("-device", format!("virtio-blk-{transport},drive=tools,serial=tools"));
        let backend = match way {
            Way::Passt => format!("stream,server=off,addr.type=unix,addr.path={}", machine.passt().display()),
            Way::Tap => "tap,ifname=tap0,script=no,downscript=no,vhost=off".into(),
            Way::Vhost => "tap,ifname=tap0,script=no,downscript=no,vhost=on".into(),
        };
        option("-netdev", format!("{backend},id=net"));
        option("-device", format!("virtio-net-{transport},netdev=net,host_mtu={MTU},romfile="));
    }
    if let Some(Data { bus, path, raw, tools }) = data {
        // As those who want it fast configure it; a queue for each vCPU is virtio's default.
        let (path, format) = (path.display(), format(*raw));
        option("-drive", format!("if=none,id=data,format={format},aio=io_uring,discard=unmap,file={path}"));
        match bus {
            Bus::Virtio => {
                option("-object", "iothread,id=data".into());
                option("-device", format!("virtio-blk-{transport},drive=data,iothread=data,serial=data"));
            }
            // Neither of these two takes an iothread.
            Bus::Nvme => option("-device", "nvme,drive=data,serial=data,ioeventfd=on".into()),
            Bus::Sata => {
                option("-device", "ich9-ahci,id=sata".into());
                option("-device", "ide-hd,drive=data,bus=sata.0,serial=data".into());
            }
        }
        option("-drive", format!("if=none,id=tools,format=raw,readonly=on,file={}", tools.display()));
        option("-device", format!("virtio-blk-{transport},drive=tools,serial=tools"));
    }
    match flash {
        Flash::Payload(image) => {
            option("-drive", format!("if=pflash,format=raw,readonly=on,file={}", image.display()));
        }
        Flash::Ovmf(code, vars) => {
            option("-drive", format!("if=pflash,format=raw,readonly=on,file={}", code.display()));
            option("-drive", format!("if=pflash,format=raw,file={}", vars.display()));
        }
        Flash::Absent => option("-bios", board.bios.into()),
    }
    if let Some((image, initrd, cmdline)) = kernel {
        option("-kernel", image.display().to_string());
        option("-initrd", initrd.display().to_string());
        option("-append", cmdline.clone());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(flash: Flash) -> Machine {
        Machine {
            directory: "/d".into(),
            memory: 512,
            cpus: 1,
            flash,
            disk: "/disk".into(),
            serial: None,
            cpu_keys: &[],
            kernel: Some(("/kernel".into(), "/initrd".into(), "quiet".into())),
            device: None,
            vnc: None,
            net: None,
            data: None,
            inside: None,
        }
    }

    #[test]
    fn both_have_the_same_card() {
        for (way, ours, theirs) in [
            (
                Way::Passt,
                "backend = \"user\"",
                "stream,server=off,addr.type=unix,addr.path=/d/passt.sock,id=net",
            ),
            (Way::Tap, "vhost = false", "tap,ifname=tap0,script=no,downscript=no,vhost=off,id=net"),
            (Way::Vhost, "vhost = true", "tap,ifname=tap0,script=no,downscript=no,vhost=on,id=net"),
        ] {
            let machine = Machine { net: Some((way, "/tools".into())), ..machine(Flash::Absent) };
            let text = vm_toml(&machine);
            assert!(text.contains(ours) && text.contains("serial = \"tools\""), "{text}");
            let words = qemu_arguments(&machine, "host", &Board::Q35);
            assert!(words.iter().any(|word| word == theirs), "{words:?}");
        }
    }

    #[test]
    fn both_have_the_disk_at_the_same_bus() {
        for (bus, theirs) in [
            (Bus::Virtio, "virtio-blk-pci,drive=data,iothread=data,serial=data"),
            (Bus::Nvme, "nvme,drive=data,serial=data,ioeventfd=on"),
            (Bus::Sata, "ide-hd,drive=data,bus=sata.0,serial=data"),
        ] {
            assert_eq!(Bus::of_name(bus.name()).unwrap(), bus);
            let data = Data { bus, path: "/data".into(), raw: true, tools: "/tools".into() };
            let machine = Machine { data: Some(data), ..machine(Flash::Absent) };
            let text = vm_toml(&machine);
            assert!(text.contains(&format!("path = \"/data\"\nbus = \"{}\"\n", bus.name())), "{text}");
            let words = qemu_arguments(&machine, "host", &Board::Q35);
            assert!(words.iter().any(|word| word == theirs), "{words:?}");
            // A controller for the drive, and an iothread only for the one that takes it.
            let has = |word: &str| words.iter().any(|other| other == word);
            assert_eq!(has("ich9-ahci,id=sata"), bus == Bus::Sata);
            assert_eq!(has("iothread,id=data"), bus == Bus::Virtio);
        }
        assert!(Bus::of_name("ide").is_err());
    }

    #[test]
    fn a_kernel_starts_directly_where_no_flash_is() {
        let ours = vm_toml(&machine(Flash::Absent));
        assert!(ours.contains("boot = \"direct\"") && !ours.contains("[firmware]"), "{ours}");
        for board in Board::DIRECT {
            let words = qemu_arguments(&machine(Flash::Absent), "host", &board);
            let after = |option: &str| words.iter().skip_while(|word| *word != option).nth(1).cloned();
            assert_eq!(after("-machine").as_deref(), Some(board.machine));
            assert_eq!(after("-bios").as_deref(), Some(board.bios));
            assert_eq!(after("-kernel").as_deref(), Some("/kernel"));
            assert!(!words.iter().any(|word| word.contains("pflash")), "{words:?}");
            let disk =
                if board.complete { "virtio-blk-pci,drive=disk" } else { "virtio-blk-device,drive=disk" };
            assert!(words.iter().any(|word| word == disk), "{words:?}");
        }
    }

    /// Whatever the path leads to.
    #[test]
    fn qemu_is_the_labs() {
        let lab = tempfile::tempdir().unwrap();
        let usr = lab.path().join("root/usr");
        let error = Monitor::qemu_of(&usr).unwrap_err().to_string();
        assert!(error.contains("scripts/lab setup") && error.contains(&usr.display().to_string()), "{error}");
        fs::create_dir_all(usr.join("bin")).unwrap();
        let program = usr.join("bin/qemu-system-x86_64");
        fs::write(&program, "").unwrap();
        let command = Monitor::qemu_of(&usr).unwrap();
        assert!(
            command.iter().all(|word| word.starts_with('-') || Path::new(word).starts_with(&usr)),
            "{command:?}"
        );
        let qemu = Monitor::Qemu { command, cpu: "host", board: Board::Q35 };
        assert_eq!(qemu.program(), program.display().to_string());
    }

    #[test]
    fn a_program_that_measures_has_memory_that_others_see() {
        let inside = Some(Inside { payload: "/payload".into(), memory: "/memory".into() });
        let machine = Machine { kernel: None, inside, ..machine(Flash::Absent) };
        let words = qemu_arguments(&machine, "host", &Board::Q35).join(" ");
        for expected in [
            "-machine q35,accel=kvm,smm=off,hpet=off,vmport=off,usb=off,sata=off,memory-backend=ram ",
            "-object memory-backend-file,id=ram,size=512M,mem-path=/memory,share=on ",
            "-kernel /payload ",
        ] {
            assert!(words.contains(expected), "{words}");
        }
    }

    #[test]
    fn firmware_gets_the_kernel_where_it_is() {
        let flash = || Flash::Ovmf("/code".into(), "/vars".into());
        let ours = vm_toml(&machine(flash()));
        assert!(ours.contains("[firmware]\ncode = \"/code\"") && !ours.contains("boot ="), "{ours}");
        let words = qemu_arguments(&machine(flash()), "host", &Board::Q35);
        assert!(!words.contains(&"-bios".into()), "{words:?}");
        assert_eq!(words.iter().filter(|word| word.contains("pflash")).count(), 2);
    }
}
