//! What functions of these targets interrupt.

use std::io;
use std::sync::Arc;

use devices::interrupt::{IrqLine, MsiAllocator, MsiMessage, MsiVector};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub(crate) struct Line;

impl IrqLine for Line {
    fn set_level(&self, _: bool) {}
}

struct Vector(EventFd);

impl MsiVector for Vector {
    fn route(&self, _: Option<MsiMessage>) -> io::Result<()> {
        Ok(())
    }

    fn event(&self) -> &EventFd {
        &self.0
    }
}

pub(crate) struct Vectors;

impl MsiAllocator for Vectors {
    fn allocate(&self) -> io::Result<Arc<dyn MsiVector>> {
        Ok(Arc::new(Vector(EventFd::new(EFD_NONBLOCK)?)))
    }
}
