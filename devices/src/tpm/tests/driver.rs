//! A driver of the interface, which can access it in any width.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bus::{Action, BusDevice};
use crate::tpm::Crb;
use crate::tpm::registers::*;

/// TPM2_Startup(CLEAR).
pub(super) const STARTUP: &str = "80010000000c000001440000";
/// TPM2_Shutdown(CLEAR).
pub(super) const SHUTDOWN: &str = "80010000000c000001450000";
/// TPM2_GetRandom of eight bytes.
pub(super) const GET_RANDOM: &str = "80010000000c0000017b0008";
/// TPM2_PCR_Read of SHA-256, PCR 16.
pub(super) const READ_PCR: &str = "8001000000140000017e00000001000b03000001";
/// A command with an authorisation by the empty password: its code, its handle, and its parameters.
pub(super) fn authorised(code: u32, handle: &str, parameters: &str) -> Vec<u8> {
    // TPM_RS_PW, no nonce, no attributes, no password.
    let body = bytes(&format!("{handle}00000009400000090000000000{parameters}"));
    let size = 10 + body.len() as u32;
    [&[0x80, 2][..], &size.to_be_bytes(), &code.to_be_bytes(), &body].concat()
}

/// TPM2_PCR_Extend of SHA-256, PCR 16.
pub(super) fn extend_pcr() -> Vec<u8> {
    authorised(0x182, "00000010", &format!("00000001000b{}", "01".repeat(32)))
}

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The code of a response.
pub(super) fn code(response: &[u8]) -> u32 {
    u32::from_be_bytes(response[6..10].try_into().unwrap())
}

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn read32(tpm: &Crb, at: u64) -> u32 {
    let mut data = [0; 4];
    tpm.read(at, &mut data);
    u32::from_le_bytes(data)
}

pub(super) fn write32(tpm: &Crb, at: u64, value: u32) {
    assert_eq!(tpm.write(at, &value.to_le_bytes()), Action::None);
}

/// The driver.
pub(super) struct Driver {
    pub(super) tpm: Arc<Crb>,
    /// Bytes of an access: 1, 2, 4 or 8.
    pub(super) width: usize,
}

impl Driver {
    pub(super) fn new(tpm: Arc<Crb>) -> Self {
        Self { tpm, width: 4 }
    }

    pub(super) fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        for (index, piece) in data.chunks_mut(self.width).enumerate() {
            self.tpm.read(at + (index * self.width) as u64, piece);
        }
        data
    }

    fn register(&self, at: u64) -> u32 {
        // A register has four bytes, and so has the access to it where the driver uses wider ones.
        let width = self.width.min(4);
        Self { tpm: Arc::clone(&self.tpm), width }
            .get(at, 4)
            .iter()
            .rev()
            .fold(0, |all, byte| all << 8 | u32::from(*byte))
    }

    pub(super) fn put(&self, at: u64, data: &[u8]) {
        for (index, piece) in data.chunks(self.width).enumerate() {
            assert_eq!(self.tpm.write(at + (index * self.width) as u64, piece), Action::None);
        }
    }

    fn set(&self, at: u64, value: u32) {
        let width = self.width.min(4);
        Self { tpm: Arc::clone(&self.tpm), width }.put(at, &value.to_le_bytes());
    }

    /// Requests the locality, and leaves the state Idle.
    pub(super) fn ready(&self) {
        self.set(LOC_CTRL, 1);
        assert_eq!(self.register(LOC_STS) & 1, 1, "the locality is granted");
        assert_eq!(self.register(LOC_STATE) & 0b1001_1110, 0b1000_0010, "locality 0 is active");
        self.set(CTRL_REQ, 1);
        assert_eq!(self.register(CTRL_REQ), 0);
        assert_eq!(self.register(CTRL_STS), 0);
    }

    /// Begins a command.
    pub(super) fn start(&self, command: &[u8]) {
        self.ready();
        self.put(u64::from(self.register(CMD_LADDR)) - vocabulary::tpm::CRB.base(), command);
        self.set(CTRL_START, 1);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.register(CTRL_START) != 0
    }

    /// Waits for the response to the command under way.
    pub(super) fn response(&self) -> Vec<u8> {
        until("the command does not end", || !self.is_busy());
        let at = u64::from(self.register(RSP_ADDR)) - vocabulary::tpm::CRB.base();
        let header = self.get(at, 16);
        let size = u32::from_be_bytes(header[2..6].try_into().unwrap()) as usize;
        assert!((10..=self.register(RSP_SIZE) as usize).contains(&size), "{header:x?}");
        let mut response = self.get(at, size.next_multiple_of(8));
        response.truncate(size);
        response
    }

    pub(super) fn send(&self, command: &[u8]) -> Vec<u8> {
        self.start(command);
        let response = self.response();
        self.set(CTRL_REQ, 2);
        response
    }
}
