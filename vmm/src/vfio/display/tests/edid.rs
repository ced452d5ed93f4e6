//! A display is plugged into a made-up device that keeps the kernel's rules.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::super::edid::{
    Connector, DOWN, LINK, MAX_HEIGHT, MAX_SIZE, MAX_WIDTH, OFFSET, Registers, SIZE, UP, crashes,
};

const BLOB: u64 = 2048;
/// What makes a display.
const PLUGGED: [(u64, u32); 4] = [(LINK, DOWN), (SIZE, 128), (BLOB, 128), (LINK, UP)];

struct Device {
    memory: Mutex<Vec<u8>>,
    /// Writes, in order: where, and what to a register or how many bytes of the EDID.
    log: Mutex<Vec<(u64, u32)>>,
    changed: Condvar,
    /// Writes there fail.
    broken: Option<u64>,
}

impl Device {
    fn new(limit: (u32, u32), room: u32, broken: Option<u64>) -> Arc<Self> {
        let device = Self {
            memory: Mutex::new(vec![0; 4096]),
            log: Mutex::default(),
            changed: Condvar::new(),
            broken,
        };
        for (at, value) in
            [(OFFSET, BLOB as u32), (MAX_SIZE, room), (MAX_WIDTH, limit.0), (MAX_HEIGHT, limit.1), (LINK, UP)]
        {
            device.set(at, value);
        }
        Arc::new(device)
    }

    fn set(&self, at: u64, value: u32) {
        self.memory.lock().unwrap()[at as usize..][..4].copy_from_slice(&value.to_le_bytes());
    }

    fn get(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.memory.lock().unwrap()[at as usize..][..4].try_into().unwrap())
    }

    /// The writes so far, and those to come until the display is plugged in.
    fn writes_until_up(&self) -> Vec<(u64, u32)> {
        let log = self.log.lock().unwrap();
        let wait = self.changed.wait_timeout_while(log, Duration::from_secs(60), |_| self.get(LINK) != UP);
        std::mem::take(&mut wait.unwrap().0)
    }

    /// Columns and rows of the preferred mode.
    fn preferred(&self) -> (u32, u32) {
        let memory = self.memory.lock().unwrap();
        let byte = |at: usize| u32::from(memory[BLOB as usize + at]);
        (byte(56) | (byte(58) & 0xf0) << 4, byte(59) | (byte(61) & 0xf0) << 4)
    }
}

impl Registers for Device {
    fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if offset < 24 && (data.len() != 4 || !offset.is_multiple_of(4)) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        data.copy_from_slice(&self.memory.lock().unwrap()[offset as usize..][..data.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let register = offset < 24 && data.len() == 4 && matches!(offset, SIZE | LINK);
        let blob = offset >= BLOB && offset + data.len() as u64 <= BLOB + u64::from(self.get(SIZE));
        if self.broken == Some(offset) || !(register || blob) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut log = self.log.lock().unwrap();
        self.memory.lock().unwrap()[offset as usize..][..data.len()].copy_from_slice(data);
        log.push((offset, if register { self.get(offset) } else { data.len() as u32 }));
        self.changed.notify_all();
        Ok(())
    }
}

fn connector(device: &Arc<Device>, wanted: (u32, u32)) -> Connector {
    Connector::new("mdev 1", Arc::clone(device) as _, wanted)
}

#[test]
fn unplugged_described_and_plugged_in() {
    let device = Device::new((1920, 1200), 128, None);
    let connector = connector(&device, (1920, 1080));
    connector.plug();
    assert_eq!(device.writes_until_up(), PLUGGED);
    assert_eq!(device.preferred(), (1920, 1080));
}

#[test]
fn no_larger_than_the_device_can_show() {
    for (limit, expected) in [((1024, 768), (1024, 768)), ((0, 0), (2560, 1600)), ((1920, 0), (1920, 1600))] {
        let device = Device::new(limit, 0x400, None);
        connector(&device, (2560, 1600)).plug();
        assert_eq!(device.preferred(), expected);
    }
}

#[test]
fn what_cannot_be_done_leaves_the_display_plugged_in() {
    for (wanted, room) in [((8000, 6000), 128), ((1920, 1080), 127)] {
        let device = Device::new((0, 0), room, None);
        connector(&device, wanted).plug();
        assert_eq!(device.get(LINK), UP);
        assert_eq!(device.writes_until_up(), []);
    }
    let device = Device::new((0, 0), 128, Some(LINK));
    connector(&device, (1920, 1080)).plug();
    assert_eq!(device.writes_until_up(), [], "the first step fails, so there is no other");
}

#[test]
fn a_reset_that_forgets_is_made_up_for() {
    let device = Device::new((0, 0), 128, None);
    let connector = connector(&device, (1280, 800));
    connector.plug();
    device.writes_until_up();
    connector.after_reset();
    assert_eq!(device.writes_until_up(), [], "nothing was forgotten");
    for (register, value) in [(LINK, DOWN), (SIZE, 0)] {
        device.set(register, value);
        connector.after_reset();
        assert_eq!(device.writes_until_up(), PLUGGED);
    }
}

#[test]
fn the_end_does_not_wait() {
    let device = Device::new((0, 0), 128, None);
    let connector = connector(&device, (1280, 800));
    connector.plug();
    drop(connector);
    assert_eq!(Arc::strong_count(&device), 1, "nobody holds the device any more");
}

#[test]
fn broadwell_under_two_kernels() {
    let broadwell = (0x8086, 0x1616);
    for (ids, release, expected) in [
        (broadwell, "5.7.0-1-amd64", true),
        (broadwell, "5.8.18", true),
        (broadwell, "5.6.19", false),
        (broadwell, "5.9.0", false),
        (broadwell, "6.7.1", false),
        (broadwell, "5.70.0", false),
        ((0x8086, 0x5916), "5.8.0", false),
        ((0x10de, 0x1616), "5.8.0", false),
        (broadwell, "", false),
    ] {
        assert_eq!(crashes(ids, release), expected, "{release}");
    }
}
