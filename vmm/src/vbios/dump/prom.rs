//! The GPU's own EEPROM, which NVIDIA's GPUs show in BAR 0 (NV_PROM_DATA in the register lists of NVIDIA's open kernel
//! modules), by way of VFIO: no driver of the host is needed. GPUs of laptops since Turing have one.

use devices::vfio::host::{HostDevice, region};
use vocabulary::VfioBackend;

use super::{Gpu, Source};
use crate::kvm;
use crate::vfio::Vfio;

/// NVIDIA's vendor ID.
const NVIDIA: u16 = 0x10de;
/// Where the EEPROM is in BAR 0, and how much of it.
const WINDOW: u64 = 0x30_0000;
const WINDOW_LEN: usize = 0x10_0000;
/// The Command register, and its Memory Space Enable bit (PCIe 6.0, 7.5.1.1.3).
const COMMAND: u64 = 0x04;
const MEMORY_SPACE: u8 = 1 << 1;

/// The EEPROM's window.
pub(in crate::vbios) struct Prom;

impl Source for Prom {
    fn name(&self) -> &'static str {
        "EEPROM in BAR 0 (VFIO)"
    }

    fn read(&mut self, gpu: &Gpu) -> Result<Vec<u8>, String> {
        if gpu.vendor != NVIDIA {
            return Err("only GPUs of NVIDIA's have it there".into());
        }
        // VFIO lends devices without a VM too, but everything here is made for one, and an empty one costs nothing.
        let vm = kvm::open().map_err(|error| error.to_string())?.create_vm().map_err(|error| {
            format!("cannot create a virtual machine to read it in: {}", kvm::io_error(error))
        })?;
        let vfio = Vfio::new(&vm, VfioBackend::Auto).map_err(|error| error.to_string())?;
        let device = vfio.open(gpu.address.into()).map_err(|error| error.to_string())?;
        read(device.as_ref())
    }
}

/// Reads the window dword by dword: the GPU answers no other way.
pub(in crate::vbios) fn read(device: &dyn HostDevice) -> Result<Vec<u8>, String> {
    let size = device.region(0).map_or(0, |region| region.size);
    if size < WINDOW + WINDOW_LEN as u64 {
        return Err(format!("BAR 0 has {size:#x} bytes and ends before it"));
    }
    let failed =
        |what: &str, error: std::io::Error| format!("cannot {what}: {error}; `sudo dmesg` may say why");
    let mut command = [0; 2];
    device
        .read(region::CONFIG, COMMAND, &mut command)
        .map_err(|error| failed("read its Command register", error))?;
    let on = [command[0] | MEMORY_SPACE, command[1]];
    device
        .write(region::CONFIG, COMMAND, &on)
        .map_err(|error| failed("switch its memory decoding on", error))?;
    let mut bytes = vec![0; WINDOW_LEN];
    let mut offset = WINDOW;
    let mut result = Ok(());
    for dword in bytes.chunks_mut(4) {
        result = device.read(0, offset, dword).map_err(|error| failed("read BAR 0", error));
        if result.is_err() {
            break;
        }
        offset += 4;
    }
    // As it was found; closing the device resets it anyway where that is possible.
    let restored = device.write(region::CONFIG, COMMAND, &command);
    result?;
    restored.map_err(|error| failed("switch its memory decoding back", error))?;
    if bytes.iter().all(|byte| *byte == 0xff) || bytes.iter().all(|byte| *byte == 0) {
        return Err("nothing answers there: a laptop's GPU before Turing has no EEPROM of its own".into());
    }
    Ok(bytes)
}
