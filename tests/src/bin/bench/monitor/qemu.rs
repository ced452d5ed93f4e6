//! QEMU's command line for the machine.

use std::path::{Path, PathBuf};

use super::board::Board;
use super::machine::{Bus, Data, Flash, Inside, MTU, Machine, Way};
use super::ours::format;
use crate::Result;

/// The command of the QEMU below a folder `usr`.
pub(super) fn command(root: &Path) -> Result<Vec<String>> {
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

/// As lean as QEMU is for someone who knows it: nothing that the machine does not need, and nothing of what ours has left
/// out.
pub(super) fn arguments(machine: &Machine, cpu: &str, board: &Board) -> Vec<String> {
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
