//! A 16550A serial port: rust-vmm's register model ([`vm_superio::Serial`]; "PC16550D" datasheet, National
//! Semiconductor) with the bus, a lock, a sink and a source that waits for room around it.

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_superio::serial::{Error, SerialEvents};
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

use crate::bus::{Action, BusDevice};
use crate::bytewise;

/// Modem control register; its bit 4 turns the port on itself, away from the outside.
const MCR: u64 = 4;

/// Each write to the event is one edge of the interrupt.
struct Edge(Arc<EventFd>);

impl Trigger for Edge {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Tells a source that was turned away when to come back.
struct Room {
    event: EventFd,
    wanted: AtomicBool,
}

impl Room {
    fn announce(&self) {
        if self.wanted.swap(false, Ordering::Relaxed)
            && let Err(error) = self.event.write(1)
        {
            crate::limited_warn!("cannot wake the serial port's input: {error}");
        }
    }
}

impl SerialEvents for Room {
    fn buffer_read(&self) {}

    fn out_byte(&self) {}

    fn tx_lost_byte(&self) {
        crate::limited_warn!("serial port output is being lost: nobody takes it");
    }

    fn in_buffer_empty(&self) {
        self.announce();
    }
}

type Uart = Serial<Edge, Arc<Room>, Box<dyn Write + Send>>;

/// A serial port, [`LEN`] ports.
pub struct SerialPort {
    uart: Mutex<Uart>,
    room: Arc<Room>,
    irq: Arc<EventFd>,
}

impl SerialPort {
    /// A port that interrupts by writing to `irq`, sends to `output` and, after [`SerialPort::input`] could not take
    /// everything, writes to `room` when it can take more.
    ///
    /// `output` should not block: the vCPU that writes waits for it. What it refuses with an error is lost, as on a wire
    /// that nobody listens to.
    pub fn new(irq: EventFd, output: Box<dyn Write + Send>, room: EventFd) -> Arc<Self> {
        let room = Arc::new(Room { event: room, wanted: AtomicBool::new(false) });
        let irq = Arc::new(irq);
        let uart = Serial::with_events(Edge(Arc::clone(&irq)), Arc::clone(&room), output);
        Arc::new(Self { uart: Mutex::new(uart), room, irq })
    }

    fn lock(&self) -> MutexGuard<'_, Uart> {
        self.uart.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands `data` to the guest and returns how many of its bytes fitted into the receive FIFO.
    pub fn input(&self, data: &[u8]) -> usize {
        let mut uart = self.lock();
        let fits = uart.fifo_capacity().min(data.len());
        let taken = match uart.enqueue_raw_bytes(data) {
            Ok(taken) => taken,
            Err(Error::FullFifo) => 0,
            Err(Error::Trigger(error) | Error::IOError(error)) => {
                // The bytes are in the FIFO; a guest that polls finds them.
                crate::limited_warn!("cannot interrupt the guest for serial input: {error}");
                fits
            }
        };
        if taken < data.len() {
            self.room.wanted.store(true, Ordering::Relaxed);
        }
        taken
    }

    /// Empties the FIFO and puts all registers in their power-on state.
    pub fn reset(&self) {
        let Self { uart, room, irq } = self;
        let mut uart = uart.lock().unwrap_or_else(PoisonError::into_inner);
        let output = std::mem::replace(uart.writer_mut(), Box::new(io::sink()));
        *uart = Serial::with_events(Edge(Arc::clone(irq)), Arc::clone(room), output);
        room.announce();
    }
}

impl BusDevice for SerialPort {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut uart = self.lock();
        bytewise::read(offset, data, |at| match u8::try_from(at) {
            Ok(at @ 0..=7) => uart.read(at),
            _ => 0xff,
        });
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut uart = self.lock();
        bytewise::write(offset, data, |at, value| {
            if let Ok(register @ 0..=7) = u8::try_from(at)
                && let Err(Error::Trigger(error)) = uart.write(register, value)
            {
                // EAGAIN from a full counter: the interrupt is pending all the same.
                crate::limited_debug!("serial interrupt not signalled: {error}");
            }
            if at == MCR {
                // Loopback refuses input; leaving it may be what a waiting source needs.
                self.room.announce();
            }
            Action::None
        })
    }
}
