//! The debug console port of Bochs and QEMU: bytes written to it are text of the firmware (edk2,
//! OvmfPkg/Library/PlatformDebugLibIoPort). A debug build of OVMF writes only if the port reads as 0xE9.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use crate::bus::{Action, BusDevice};

/// What the port reads as.
const PRESENT: u8 = 0xe9;

/// The debug console, one port.
pub struct Debugcon {
    /// `None` after a failed write: there is nobody left to tell.
    sink: Mutex<Option<Box<dyn Write + Send>>>,
}

impl Debugcon {
    /// A port whose text goes to `sink`. `sink` should not block: the vCPU that writes waits for it.
    pub fn new(sink: Box<dyn Write + Send>) -> Self {
        Self { sink: Mutex::new(Some(sink)) }
    }
}

impl BusDevice for Debugcon {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(PRESENT);
    }

    fn write(&self, _offset: u64, data: &[u8]) -> Action {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = sink.as_mut().map(|sink| sink.write_all(data).and_then(|()| sink.flush())) {
            *sink = None;
            tracing::warn!("cannot write the guest's debug console output, the rest of it is lost: {error}");
        }
        Action::None
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::test_support::Sink;

    #[test]
    fn text_reaches_the_sink() {
        let sink = Sink::default();
        let device = Debugcon::new(Box::new(sink.clone()));
        let mut byte = [0];
        device.read(0, &mut byte);
        assert_eq!(byte, [0xe9]);
        for byte in b"SEC\n" {
            assert_eq!(device.write(0, &[*byte]), Action::None);
        }
        assert_eq!(sink.take(), b"SEC\n");
    }

    #[test]
    fn failing_sink_is_given_up() {
        struct Broken(Arc<Mutex<u32>>);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                *self.0.lock().unwrap() += 1;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let attempts = Arc::new(Mutex::new(0));
        let device = Debugcon::new(Box::new(Broken(Arc::clone(&attempts))));
        let _ = device.write(0, b"a");
        let _ = device.write(0, b"b");
        assert_eq!(*attempts.lock().unwrap(), 1);
    }
}
