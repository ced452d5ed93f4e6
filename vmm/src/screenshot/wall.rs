//! A screen for tests, on which a picture hangs.

use std::io;
use std::sync::Mutex;

use devices::display::{Change, Cursor, Frame, Screen, View};
use vmm_sys_util::eventfd::EventFd;

/// Blank until something hangs there.
#[derive(Default)]
pub(crate) struct Wall(Mutex<Frame>);

impl Wall {
    /// With a picture.
    pub(crate) fn with(frame: Frame) -> Self {
        Self(Mutex::new(frame))
    }

    /// White.
    pub(crate) fn show(&self, width: u32, height: u32) {
        let pixels = vec![0xff_ffff; (width * height) as usize];
        *self.0.lock().unwrap() = Frame { width, height, pixels };
    }
}

struct Look(EventFd, Frame);

impl Screen for Wall {
    fn view(&self) -> io::Result<Box<dyn View>> {
        Ok(Box::new(Look(EventFd::new(0)?, self.0.lock().unwrap().clone())))
    }

    fn blank_reason(&self) -> Option<String> {
        (self.0.lock().unwrap().width == 0).then(|| "no driver yet".into())
    }
}

impl View for Look {
    fn changed(&self) -> &EventFd {
        &self.0
    }

    fn set_interest(&mut self, _: bool) {}

    fn look(&mut self) -> Change {
        Change::default()
    }

    fn frame(&self) -> &Frame {
        &self.1
    }

    fn cursor(&self) -> Option<&Cursor> {
        None
    }
}
