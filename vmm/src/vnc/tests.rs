//! Tests of the VNC server with a client of its own (`viewer`), which decodes with none of the server's code.

mod handshake;
mod hostile;
mod input;
mod keyboard;
mod pictures;
mod server;
mod viewer;

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use devices::display::{Change, Cursor, Frame, Rect, Screen, SizeRefusal, View};
use devices::input::{AbsoluteEvent, Input, Key, Layout, Leds, PointerEvent, Taken};
use vmm_sys_util::eventfd::EventFd;

use super::password::Password;
use super::session::{Context, End, REFUSAL, Session};

/// A screen that tests paint on.
#[derive(Default, Clone)]
pub(super) struct Canvas(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    frame: Frame,
    cursor: Option<Cursor>,
    views: Vec<Looker>,
    next: usize,
    /// The sizes that the guest was offered, if it can be.
    offers: Option<Vec<(u32, u32)>>,
}

struct Looker {
    id: usize,
    event: EventFd,
    change: Change,
    interested: bool,
    looks: usize,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let this = Self::default();
        this.resize(width, height);
        this
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn signal(&self, change: impl Fn(&mut Change)) {
        for view in &mut self.lock().views {
            change(&mut view.change);
            view.event.write(1).unwrap();
        }
    }

    pub(super) fn resize(&self, width: u32, height: u32) {
        let pixels = (0..width * height).map(|index| index.wrapping_mul(0x0001_0203) & 0xFF_FFFF).collect();
        self.lock().frame = Frame { width, height, pixels };
        self.signal(|change| {
            change.resized = true;
            change.damage = vec![Rect { x: 0, y: 0, width, height }];
        });
    }

    /// Paints a rectangle, pixel by pixel.
    pub(super) fn paint(&self, rect: Rect, colour: impl Fn(u32, u32) -> u32) {
        let mut state = self.lock();
        let width = state.frame.width;
        for y in rect.y..rect.y + rect.height {
            for x in rect.x..rect.x + rect.width {
                state.frame.pixels[(y * width + x) as usize] = colour(x, y) & 0xFF_FFFF;
            }
        }
        drop(state);
        self.signal(|change| change.damage.push(rect));
    }

    pub(super) fn point(&self, cursor: Option<Cursor>) {
        self.lock().cursor = cursor;
        self.signal(|change| (change.cursor_shape, change.cursor_moved) = (true, true));
    }

    pub(super) fn frame(&self) -> Frame {
        self.lock().frame.clone()
    }

    /// The guest hears of sizes that viewers want, up to 1000 columns.
    pub(super) fn takes_offers(&self) {
        self.lock().offers = Some(Vec::new());
    }

    pub(super) fn offers(&self) -> Vec<(u32, u32)> {
        self.lock().offers.clone().unwrap_or_default()
    }

    pub(super) fn views(&self) -> usize {
        self.lock().views.len()
    }

    pub(super) fn interested(&self) -> usize {
        self.lock().views.iter().filter(|view| view.interested).count()
    }

    pub(super) fn looks(&self) -> usize {
        self.lock().views.iter().map(|view| view.looks).sum()
    }
}

impl Screen for Canvas {
    fn view(&self) -> io::Result<Box<dyn View>> {
        let event = EventFd::new(libc::EFD_NONBLOCK)?;
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        let shared = event.try_clone()?;
        state.views.push(Looker { id, event: shared, change: Change::default(), interested: true, looks: 0 });
        Ok(Box::new(Copy { id, canvas: self.clone(), event, frame: Frame::default(), cursor: None }))
    }

    fn blank_reason(&self) -> Option<String> {
        self.lock().frame.pixels.is_empty().then(|| "the guest is out for lunch".to_owned())
    }

    fn offer_size(&self, width: u32, height: u32) -> Result<(), SizeRefusal> {
        match &mut self.lock().offers {
            None => Err(SizeRefusal::Fixed),
            Some(_) if width > 1000 => Err(SizeRefusal::TooLarge),
            Some(offers) => {
                offers.push((width, height));
                Ok(())
            }
        }
    }
}

struct Copy {
    id: usize,
    canvas: Canvas,
    event: EventFd,
    frame: Frame,
    cursor: Option<Cursor>,
}

impl View for Copy {
    fn changed(&self) -> &EventFd {
        &self.event
    }

    fn set_interest(&mut self, interested: bool) {
        let mut state = self.canvas.lock();
        state.views.iter_mut().find(|view| view.id == self.id).unwrap().interested = interested;
    }

    fn look(&mut self) -> Change {
        let _ = self.event.read();
        let mut state = self.canvas.lock();
        (self.frame, self.cursor) = (state.frame.clone(), state.cursor.clone());
        let view = state.views.iter_mut().find(|view| view.id == self.id).unwrap();
        view.looks += 1;
        std::mem::take(&mut view.change)
    }

    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.canvas.lock().views.retain(|view| view.id != self.id);
    }
}

/// A guest that writes down what it is given.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) events: Mutex<Vec<Note>>,
    /// It takes nothing.
    pub(super) stalled: Mutex<bool>,
    /// Its driver of the mouse has not started.
    pub(super) mouseless: Mutex<bool>,
    /// It uses a tablet.
    pub(super) absolute: Mutex<bool>,
    pub(super) leds: Mutex<Leds>,
    /// Who waits for it to take something.
    pub(super) room: Mutex<Vec<Arc<EventFd>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    Key(Key, bool),
    Pointer(PointerEvent),
    Absolute(AbsoluteEvent),
}

impl Notes {
    pub(super) fn take(&self) -> Vec<Note> {
        std::mem::take(&mut self.events.lock().unwrap())
    }
}

impl Input for Notes {
    fn key(&self, key: Key, pressed: bool) -> bool {
        let taken = !pressed || !*self.stalled.lock().unwrap();
        if taken {
            self.events.lock().unwrap().push(Note::Key(key, pressed));
        }
        taken
    }

    fn pointer(&self, event: PointerEvent) -> Taken {
        if *self.mouseless.lock().unwrap() {
            return Taken::Unwanted;
        }
        if *self.stalled.lock().unwrap() {
            return Taken::Full;
        }
        self.events.lock().unwrap().push(Note::Pointer(event));
        Taken::Yes
    }

    fn absolute(&self, event: AbsoluteEvent) -> Taken {
        if *self.stalled.lock().unwrap() {
            return Taken::Full;
        }
        self.events.lock().unwrap().push(Note::Absolute(event));
        Taken::Yes
    }

    fn is_absolute(&self) -> bool {
        *self.absolute.lock().unwrap()
    }

    fn signal_room(&self, event: &Arc<EventFd>) {
        self.room.lock().unwrap().push(Arc::clone(event));
    }

    fn leds(&self) -> Leds {
        *self.leds.lock().unwrap()
    }
}

/// A session and a clock, with the ends of a socket: what is written goes to the session, what is read comes from it.
pub(super) struct Direct {
    pub(super) session: Session,
    pub(super) now: Instant,
    pub(super) end: Option<End>,
}

impl Direct {
    pub(super) fn new(canvas: &Canvas, input: &Arc<Notes>, password: Option<&[u8]>) -> Self {
        Self::with_layout(canvas, input, password, Layout::default())
    }

    pub(super) fn with_layout(
        canvas: &Canvas,
        input: &Arc<Notes>,
        password: Option<&[u8]>,
        layout: Layout,
    ) -> Self {
        let context = Context {
            name: "test".into(),
            password: password.map(Password::new),
            screen: Arc::new(canvas.clone()),
            input: Arc::clone(input) as _,
            layout,
            refusal: REFUSAL,
            admit: Box::new(|_, _| Ok(())),
        };
        let now = Instant::now();
        Self { session: Session::new(0, Arc::new(context), *b"0123456789abcdef", now), now, end: None }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.advance();
    }

    /// As a client's thread does at each turn.
    pub(super) fn advance(&mut self) {
        if self.end.is_some() {
            return;
        }
        self.end = self.session.advance(self.now).err();
    }
}

impl Write for Direct {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.session.room());
        if count == 0 || self.end.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.session.receive(&bytes[..count], self.now);
        self.advance();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Direct {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.session.output().is_empty() {
            self.advance();
        }
        let count = buffer.len().min(self.session.output().len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&self.session.output()[..count]);
        self.session.was_sent(count, self.now);
        Ok(count)
    }
}

/// A script of bytes to write, and what comes back, with a session in between.
pub(super) fn talk(direct: &mut Direct, says: &[u8]) -> Vec<u8> {
    let (mut rest, mut heard) = (says, Vec::new());
    while !rest.is_empty() && direct.end.is_none() {
        let Ok(count) = direct.write(rest) else { break };
        rest = &rest[count..];
    }
    let _ = direct.read_to_end(&mut heard);
    heard
}
