//! What the payload's exits end at: a port and four bytes of memory that read as zero, and the port by which it says that a command is
//! done.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use devices::bus::{Action, BusDevice};

/// The registers, at ports or in memory.
pub(super) struct Registers {
    /// How much later than it could it answers, for who checks the measure.
    pub(super) delay: Duration,
    /// Hears the doorbell.
    pub(super) ring: Sender<()>,
}

impl BusDevice for Registers {
    fn read(&self, _: u64, data: &mut [u8]) {
        // Exactly, and without the scheduler: this is what is measured.
        if !self.delay.is_zero() {
            let began = Instant::now();
            while began.elapsed() < self.delay {
                std::hint::spin_loop();
            }
        }
        data.fill(0);
    }

    fn write(&self, _: u64, _: &[u8]) -> Action {
        // Who does not listen any more needs no answer.
        let _ = self.ring.send(());
        Action::None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn answers_are_as_late_as_is_asked_for() {
        let (ring, rung) = channel();
        let delay = Duration::from_micros(50);
        let registers = Registers { delay, ring };
        let began = Instant::now();
        let mut data = [1; 4];
        registers.read(0, &mut data);
        assert!(began.elapsed() >= delay);
        assert_eq!(data, [0; 4]);
        let _ = registers.write(1, &[0]);
        assert_eq!(rung.try_recv(), Ok(()));
    }
}
