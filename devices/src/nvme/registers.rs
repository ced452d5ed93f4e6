//! The controller's properties in its BAR, below the doorbells (NVM Express Base Specification 2.0, 3.1.3). Only what they hold and what a
//! write to them asks for; the controller does it.

/// Entries that a queue has at most.
pub(super) const MAX_ENTRIES: u32 = 1024;

/// Offsets.
mod at {
    pub(super) const CAP: usize = 0x00;
    pub(super) const VS: usize = 0x08;
    pub(super) const INTMS: u64 = 0x0c;
    pub(super) const INTMC: u64 = 0x10;
    pub(super) const CC: u64 = 0x14;
    pub(super) const CSTS: usize = 0x1c;
    pub(super) const AQA: u64 = 0x24;
    pub(super) const ASQ: u64 = 0x28;
    pub(super) const ACQ: u64 = 0x30;
}

/// Version 1.4: what the identification and the log pages follow.
pub(super) const VERSION: u32 = 0x0001_0400;

/// CAP: queues of 1024 entries, contiguous in memory (CQR); ready within 10 seconds (TO); the NVM command set; pages of 4 KiB; doorbells
/// side by side.
const CAPABILITIES: u64 = (MAX_ENTRIES as u64 - 1) | 1 << 16 | 20 << 24 | 1 << 37;

/// CC.
const ENABLE: u32 = 1;
/// Command set, memory page size and arbitration, of which there is one each: 0.
const CHOICES: u32 = 0x3ff0;
const SHUTDOWN: u32 = 3 << 14;
/// All that the host can write.
const CONFIGURATION: u32 = 0x00ff_fff1;

/// CSTS.
const READY: u32 = 1;
const FATAL: u32 = 1 << 1;
const SHUTDOWN_COMPLETE: u32 = 2 << 2;

/// What a write asks the controller to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    /// CC.EN from 0 to 1.
    Enable,
    /// CC.EN from 1 to 0.
    Disable,
    /// CC.SHN from 0 to another value; a controller that is not enabled has little to do.
    ShutDown,
    /// The vectors that are masked for INTx have changed.
    Mask,
}

/// Where the admin queues are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AdminPlaces {
    /// Guest-physical address of the submission queue, of the completion queue, and their entries.
    pub(super) submission: (u64, u32),
    pub(super) completion: (u64, u32),
}

/// The properties.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Registers {
    configuration: u32,
    status: u32,
    masked: u32,
    admin_attributes: u32,
    admin_submission: u64,
    admin_completion: u64,
}

impl Registers {
    /// All of them, as they are read.
    fn image(&self) -> [u8; 0x40] {
        let Self { configuration, status, masked, admin_attributes, admin_submission, admin_completion } =
            self;
        let mut image = [0; 0x40];
        let mut set = |at: usize, value: &[u8]| {
            image.iter_mut().skip(at).zip(value).for_each(|(byte, value)| *byte = *value);
        };
        set(at::CAP, &CAPABILITIES.to_le_bytes());
        set(at::VS, &VERSION.to_le_bytes());
        set(at::INTMS as usize, &masked.to_le_bytes());
        set(at::INTMC as usize, &masked.to_le_bytes());
        set(at::CC as usize, &configuration.to_le_bytes());
        set(at::CSTS, &status.to_le_bytes());
        set(at::AQA as usize, &admin_attributes.to_le_bytes());
        set(at::ASQ as usize, &admin_submission.to_le_bytes());
        set(at::ACQ as usize, &admin_completion.to_le_bytes());
        image
    }

    /// Reads any bytes; those behind the properties are 0.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        let image = self.image();
        let from = image.iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
        data.fill(0);
        data.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }

    /// Writes a whole dword.
    pub(super) fn write(&mut self, offset: u64, value: u32) -> Wish {
        match offset {
            at::INTMS => self.masked |= value,
            at::INTMC => self.masked &= !value,
            at::CC => return self.configure(value & CONFIGURATION),
            at::AQA => self.admin_attributes = value & 0x0fff_0fff,
            at::ASQ => set_low(&mut self.admin_submission, value & !0xfff),
            0x2c => set_high(&mut self.admin_submission, value),
            at::ACQ => set_low(&mut self.admin_completion, value & !0xfff),
            0x34 => set_high(&mut self.admin_completion, value),
            _ => {}
        }
        if matches!(offset, at::INTMS | at::INTMC) { Wish::Mask } else { Wish::Nothing }
    }

    fn configure(&mut self, value: u32) -> Wish {
        let before = std::mem::replace(&mut self.configuration, value);
        match (before & ENABLE != 0, value & ENABLE != 0) {
            (false, true) => Wish::Enable,
            (true, false) => Wish::Disable,
            _ if before & SHUTDOWN == 0 && value & SHUTDOWN != 0 => Wish::ShutDown,
            _ => Wish::Nothing,
        }
    }

    /// Where the admin queues are to be. `None` if the host has chosen what there is not.
    pub(super) fn admin_places(&self) -> Option<AdminPlaces> {
        let entries = |shift: u32| {
            let entries = (self.admin_attributes >> shift & 0xfff) + 1;
            (2..=4096).contains(&entries).then_some(entries)
        };
        (self.configuration & CHOICES == 0).then_some(())?;
        Some(AdminPlaces {
            submission: (self.admin_submission, entries(0)?),
            completion: (self.admin_completion, entries(16)?),
        })
    }

    /// Whether the host has set the sizes of entries that there are, for submission and completion queues: 64 and 16 bytes.
    pub(super) fn entry_sizes_fit(&self) -> (bool, bool) {
        (self.configuration >> 16 & 0xf == 6, self.configuration >> 20 & 0xf == 4)
    }

    /// Vectors that do not assert INTx, a bit each.
    pub(super) fn masked(&self) -> u32 {
        self.masked
    }

    /// The controller works.
    pub(super) fn set_ready(&mut self) {
        self.status = READY;
    }

    /// It cannot go on without a reset.
    pub(super) fn set_fatal(&mut self) {
        self.status |= FATAL;
    }

    /// It has been shut down.
    pub(super) fn set_shut_down(&mut self) {
        self.status |= SHUTDOWN_COMPLETE;
    }

    /// Whether it works.
    pub(super) fn is_ready(&self) -> bool {
        self.status & (READY | FATAL) == READY
    }

    /// What a controller reset (CC.EN) leaves: the configuration and where the admin queues are.
    pub(super) fn disable(&mut self) {
        self.status = 0;
        self.masked = 0;
    }
}

fn set_low(register: &mut u64, value: u32) {
    *register = *register & !0xffff_ffff | u64::from(value);
}

fn set_high(register: &mut u64, value: u32) {
    *register = *register & 0xffff_ffff | u64::from(value) << 32;
}
