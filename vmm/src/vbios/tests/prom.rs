//! The EEPROM window of a made-up GPU.

use std::io;
use std::sync::Mutex;

use devices::memory::HostMemory;
use devices::vfio::host::{HostDevice, IrqInfo, RegionInfo, ResetDone, region};
use vmm_sys_util::eventfd::EventFd;

use crate::vbios::dump::prom;

const WINDOW: u64 = 0x30_0000;

/// A GPU with BAR 0 only, which answers dwords, and only while memory decoding is on.
struct Gpu {
    size: u64,
    content: Option<u8>,
    command: Mutex<Vec<[u8; 2]>>,
}

impl Gpu {
    fn new(size: u64, content: Option<u8>) -> Self {
        Self { size, content, command: Mutex::new(vec![[0x01, 0x04]]) }
    }

    fn commands(&self) -> Vec<[u8; 2]> {
        self.command.lock().unwrap().clone()
    }
}

impl HostDevice for Gpu {
    fn name(&self) -> &str {
        "0000:01:00.0"
    }
    fn region(&self, index: u32) -> Option<RegionInfo> {
        (index == 0).then(|| RegionInfo { size: self.size, areas: Vec::new() })
    }
    fn read(&self, index: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let [low, _] = *self.commands().last().unwrap();
        match (index, self.content) {
            (region::CONFIG, _) => data.copy_from_slice(self.commands().last().unwrap()),
            (0, Some(content)) if low & 2 != 0 && data.len() == 4 && offset >= WINDOW => {
                data.fill(content);
                if offset == WINDOW {
                    data[..2].copy_from_slice(&[0x55, 0xaa]);
                }
            }
            _ => return Err(io::Error::from_raw_os_error(libc::EIO)),
        }
        Ok(())
    }
    fn write(&self, index: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        assert_eq!((index, offset), (region::CONFIG, 4));
        self.command.lock().unwrap().push(data.try_into().unwrap());
        Ok(())
    }
    fn map(&self, _: u32, _: u64, _: u64) -> io::Result<HostMemory> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn irq(&self, _: u32) -> IrqInfo {
        IrqInfo::default()
    }
    fn set_triggers(&self, _: u32, _: u32, _: &[Option<&EventFd>]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn disable_irq(&self, _: u32) -> io::Result<()> {
        Ok(())
    }
    fn set_intx_unmask(&self, _: &EventFd) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn mask_intx(&self) -> io::Result<()> {
        Ok(())
    }
    fn unmask_intx(&self) -> io::Result<()> {
        Ok(())
    }
    fn wait_for_dma(&self) -> bool {
        false
    }
    fn announce_reset(&self) {}
    fn reset(&self) -> io::Result<ResetDone> {
        Ok(ResetDone::Nothing)
    }
}

#[test]
fn the_window_is_read_by_dwords_while_memory_decodes() {
    let gpu = Gpu::new(16 << 20, Some(7));
    let bytes = prom::read(&gpu).unwrap();
    assert_eq!((bytes.len(), &bytes[..5]), (1 << 20, &[0x55, 0xaa, 7, 7, 7][..]));
    assert_eq!(gpu.commands(), [[0x01, 0x04], [0x03, 0x04], [0x01, 0x04]], "put back as it was");
}

#[test]
fn a_gpu_without_the_window_says_so() {
    let short = Gpu::new(1 << 20, Some(7));
    assert_eq!(prom::read(&short).unwrap_err(), "BAR 0 has 0x100000 bytes and ends before it");
    let dead = Gpu::new(16 << 20, None);
    assert!(prom::read(&dead).unwrap_err().starts_with("cannot read BAR 0: Input/output error"));
    assert_eq!(dead.commands().last(), Some(&[0x01, 0x04]), "put back as it was");
}
