//! An optical drive as an ATA device: PACKET and the few other commands of ATAPI (ATA8-ACS, 4.3 and 7.18).

use std::sync::Arc;

use crate::atapi::{Drive, Identity, PACKET, Read, Reply, Sense};

use super::device::{AtaDevice, Reset, Wire};
use super::fis::{Command, TaskFile};
use super::identify::{TransferMode, Words};
use super::registers::{ABRT, ERR, READY};
use super::table::Fault;

/// PxSIG of a packet device.
const SIGNATURE: u32 = 0xeb14_0101;
/// Interrupt reason at the end of a packet command: "command" and "to the host".
const COMPLETED: u16 = 3;

/// Commands (ATA8-ACS, table B.2).
mod op {
    pub(super) const DEVICE_RESET: u8 = 0x08;
    pub(super) const DIAGNOSTIC: u8 = 0x90;
    pub(super) const PACKET: u8 = 0xa0;
    pub(super) const IDENTIFY_PACKET: u8 = 0xa1;
    pub(super) const STANDBY_IMMEDIATE: u8 = 0xe0;
    pub(super) const IDLE: u8 = 0xe3;
    pub(super) const CHECK_POWER: u8 = 0xe5;
    pub(super) const SLEEP: u8 = 0xe6;
    pub(super) const FLUSH_CACHE: u8 = 0xe7;
    pub(super) const IDENTIFY: u8 = 0xec;
    pub(super) const SET_FEATURES: u8 = 0xef;
}

/// A drive at a port.
pub(super) struct PacketDevice {
    drive: Arc<Drive>,
    mode: TransferMode,
    /// A reset leaves the mode as it is, unless the machine is switched on.
    keeps: bool,
    /// An error of the host's has been logged; a guest that repeats its command shall not fill the log.
    logged: bool,
}

impl PacketDevice {
    pub(super) fn new(drive: Arc<Drive>) -> Self {
        Self { drive, mode: TransferMode::DEFAULT, keeps: true, logged: false }
    }

    fn identify(&self) -> [u8; 512] {
        let Identity { model, revision, serial } = self.drive.identity();
        let mut words = Words::new();
        // ATAPI, CD/DVD, removable, data request within 50 µs, packets of 12 bytes.
        words.set(0, 0x85c0);
        words.names(serial, revision, model);
        // DMA and LBA.
        words.set(49, 0x0300);
        words.set(50, 0x4000);
        words.transfer_modes(self.mode);
        // Serial ATA, first generation.
        words.set(76, 0x0002);
        // ATA/ATAPI-4 to 7.
        words.set(80, 0x00f0);
        // DEVICE RESET, PACKET, NOP: there, and in use.
        for (supported, enabled) in [(82, 85), (83, 86), (84, 87)] {
            let bits = if supported == 82 { 0x4210 } else { 0x4000 };
            words.set(supported, bits);
            words.set(enabled, bits);
        }
        // The words before are as told.
        words.set(86, 0);
        words.bytes()
    }

    /// PACKET.
    fn packet(
        &mut self,
        command: &Command,
        packet: &[u8; 16],
        wire: &mut dyn Wire,
    ) -> Result<TaskFile, Fault> {
        let dma = command.features & 1 != 0;
        // The most bytes at once, of which 0 means as many as there can be.
        let limit = match (command.lba >> 8) as u16 {
            0 => 0xfffe,
            limit => limit,
        };
        let announce = |wire: &mut dyn Wire, to_host, bytes: u64| {
            let bytes = bytes.min(limit.into()) as usize;
            if dma { Ok(()) } else { wire.announce(to_host, bytes, &done()) }
        };
        match self.drive.command(packet.get(..PACKET).unwrap_or_default()) {
            Reply::Done | Reply::Take(0) => Ok(done()),
            Reply::Fail(sense) => Ok(failed(sense)),
            Reply::Data(data) => {
                announce(wire, true, data.len() as u64)?;
                wire.send(&data)?;
                Ok(done())
            }
            Reply::Take(len) => {
                announce(wire, false, len.into())?;
                wire.receive(&mut vec![0; len.into()])?;
                Ok(done())
            }
            Reply::Read(read) => {
                announce(wire, true, read.remaining())?;
                self.read(read, wire)
            }
        }
    }

    fn read(&mut self, mut read: Read, wire: &mut dyn Wire) -> Result<TaskFile, Fault> {
        let mut data = Vec::new();
        loop {
            match read.next(&mut data) {
                Ok(true) => wire.send(&data)?,
                Ok(false) => return Ok(done()),
                Err(error) => {
                    // What a guest has given up leaves no sense data for what it does now.
                    wire.go_on()?;
                    if !std::mem::replace(&mut self.logged, true) {
                        let disc = self.drive.status().disc.unwrap_or_default();
                        tracing::error!(
                            "{disc}: cannot read block {} of the disc: {error}; the guest sees a medium error (later errors are not shown)",
                            read.block()
                        );
                    }
                    return Ok(failed(self.drive.unreadable(&read)));
                }
            }
        }
    }

    fn set_features(&mut self, command: &Command) -> TaskFile {
        const TRANSFER_MODE: u16 = 0x03;
        // Whether a reset forgets what was set.
        const KEEP: u16 = 0x66;
        const FORGET: u16 = 0xcc;
        match (command.features & 0xff, TransferMode::parse(command.count & 0xff)) {
            (TRANSFER_MODE, Some(mode)) => self.mode = self.mode.then(mode),
            (KEEP, _) => self.keeps = true,
            (FORGET, _) => self.keeps = false,
            _ => return aborted(),
        }
        TaskFile::DONE
    }
}

/// A packet command has succeeded.
fn done() -> TaskFile {
    TaskFile { count: COMPLETED, ..TaskFile::DONE }
}

/// A packet command has failed: the sense key tells of what kind the error is.
fn failed(sense: Sense) -> TaskFile {
    const ILLEGAL_REQUEST: u8 = 5;
    let abort = if sense.key == ILLEGAL_REQUEST { ABRT } else { 0 };
    TaskFile { status: READY | ERR, error: sense.key << 4 | abort, ..done() }
}

/// There is no such command.
fn aborted() -> TaskFile {
    TaskFile { status: READY | ERR, error: ABRT, ..TaskFile::DONE }
}

impl AtaDevice for PacketDevice {
    fn signature(&self) -> u32 {
        SIGNATURE
    }

    fn on_reset(&self) -> Box<dyn Fn(Reset) + Send + Sync> {
        let drive = Arc::clone(&self.drive);
        Box::new(move |kind| match kind {
            Reset::PowerOn => drive.power_on(),
            Reset::Bus => drive.reset(),
        })
    }

    fn execute(
        &mut self,
        command: &Command,
        packet: &[u8; 16],
        wire: &mut dyn Wire,
    ) -> Result<TaskFile, Fault> {
        match command.command {
            op::PACKET => self.packet(command, packet, wire),
            op::IDENTIFY_PACKET => {
                let words = self.identify();
                wire.announce(true, words.len(), &TaskFile::DONE)?;
                wire.send(&words)?;
                Ok(TaskFile::DONE)
            }
            // Not for this kind of device, which the registers tell.
            op::IDENTIFY => {
                Ok(TaskFile { status: READY | ERR, error: ABRT, ..TaskFile::signature(SIGNATURE) })
            }
            op::DEVICE_RESET => {
                self.drive.reset();
                self.reset(Reset::Bus);
                Ok(TaskFile::signature(SIGNATURE))
            }
            op::DIAGNOSTIC => Ok(TaskFile::signature(SIGNATURE)),
            op::SET_FEATURES => Ok(self.set_features(command)),
            op::STANDBY_IMMEDIATE..=op::IDLE | op::SLEEP | op::FLUSH_CACHE => Ok(TaskFile::DONE),
            op::CHECK_POWER => Ok(TaskFile { count: 0xff, ..TaskFile::DONE }),
            _ => Ok(aborted()),
        }
    }

    fn reset(&mut self, kind: Reset) {
        let Self { drive: _, mode, keeps, logged: _ } = self;
        if kind == Reset::PowerOn || !*keeps {
            *mode = TransferMode::DEFAULT;
        }
        *keeps |= kind == Reset::PowerOn;
    }
}
