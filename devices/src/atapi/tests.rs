//! The drive by its commands: what QEMU's tests of its drive check, and what Windows' class driver and Linux ask.

mod answers;
mod changes;

use std::sync::Arc;

use super::*;

/// A disc whose block `n` is full of the low byte of `n`; some cannot be read.
pub(crate) struct Pattern {
    pub(crate) blocks: u32,
    pub(crate) bad: std::ops::Range<u32>,
}

impl Pattern {
    pub(crate) fn new(blocks: u32) -> Arc<Self> {
        Arc::new(Self { blocks, bad: 0..0 })
    }
}

impl Medium for Pattern {
    fn blocks(&self) -> u32 {
        self.blocks
    }

    fn read(&self, block: u32, data: &mut [u8]) -> io::Result<()> {
        for (at, chunk) in (block..).zip(data.chunks_mut(BLOCK)) {
            assert!(at < self.blocks, "only what there is is read");
            if self.bad.contains(&at) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            chunk.fill(at as u8);
        }
        Ok(())
    }
}

pub(crate) fn identity() -> Identity {
    Identity { model: "ACME DVD-ROM".into(), revision: "1.0".into(), serial: "S1".into() }
}

/// A drive with a disc of so many blocks, whose attentions have been heard.
fn with_disc(blocks: u32) -> Arc<Drive> {
    settled(Drive::new(identity(), Some(("a.iso".into(), Pattern::new(blocks) as _))))
}

fn empty() -> Arc<Drive> {
    settled(Drive::new(identity(), None))
}

fn settled(drive: Arc<Drive>) -> Arc<Drive> {
    assert_eq!(code(drive.command(&packet(&[0]))), (6, 0x29, 0));
    drive
}

/// A command of 12 bytes.
pub(crate) fn packet(bytes: &[u8]) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[..bytes.len()].copy_from_slice(bytes);
    packet
}

/// The sense of a failed command, zeroes of others.
fn code(reply: Reply) -> (u8, u8, u8) {
    match reply {
        Reply::Fail(Sense { key, code, qualifier, .. }) => (key, code, qualifier),
        _ => (0, 0, 0),
    }
}

fn ready(drive: &Drive) -> (u8, u8, u8) {
    code(drive.command(&packet(&[0])))
}

/// The answer to a command.
fn ask(drive: &Drive, bytes: &[u8]) -> Vec<u8> {
    match drive.command(&packet(bytes)) {
        Reply::Data(data) => data,
        Reply::Fail(sense) => panic!("{sense:?}"),
        _ => Vec::new(),
    }
}

/// Sense key and codes of REQUEST SENSE.
fn sense(drive: &Drive) -> (u8, u8, u8) {
    let data = ask(drive, &[3, 0, 0, 0, 18]);
    assert_eq!(data.len(), 18);
    assert_eq!(data[7], 10);
    (data[2] & 0xf, data[12], data[13])
}

/// Event and status of GET EVENT STATUS NOTIFICATION, as Windows polls it.
fn poll(drive: &Drive) -> (u8, u8) {
    let data = ask(drive, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]);
    assert_eq!(data[..4], [0, 6, 4, 0x10]);
    assert_eq!(data.len(), 8);
    (data[4], data[5])
}

/// All that a read delivers, or the block that it fails at.
fn bytes(drive: &Drive, command: &[u8]) -> Result<Vec<u8>, u32> {
    let Reply::Read(mut read) = drive.command(&packet(command)) else { panic!("no read") };
    let (mut all, mut piece) = (Vec::new(), Vec::new());
    let expected = read.remaining();
    loop {
        match read.next(&mut piece) {
            Ok(true) => all.extend(&piece),
            Ok(false) => {
                assert_eq!(all.len() as u64, expected);
                return Ok(all);
            }
            Err(_) => return Err(drive.unreadable(&read).information.unwrap()),
        }
    }
}
