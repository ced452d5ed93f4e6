//! A session without a socket for fuzzing: bytes of a client, and a screen and a clock that go their own way.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use devices::display::{Change, Cursor, Frame, Rect, Screen, View};
use devices::input::{Input, Key, Layout, Leds, PointerEvent, Taken};
use vmm_sys_util::eventfd::EventFd;

use super::password::Password;
use super::protocol;
use super::session::{Context, REFUSAL, Session};

/// The largest screen: small, since encoding is most of the work.
const LARGEST: u32 = 48;
/// The blank screen in four bytes a pixel, and what encodings add to it.
const LARGEST_UPDATE: usize = 640 * 480 * 4 * 9 / 8;
/// The most that may wait for a client beside one update.
const ANSWERS: usize = 40 << 10;

/// A script of a client, the screen and the clock, by its bytes. The first one is a set of flags: 1 asks for a password, 2 makes
/// the guest take nothing, 4 sets Caps Lock, 8 has a German keyboard. Then each step begins with a byte: up to 0xEF so many bytes that the client sends
/// follow; 0xF0 paints (x, y, width, height, colour); 0xF1 resizes (width, height); 0xF2 lets time pass (16 bits of
/// milliseconds); 0xF3 lets the client read (16 bits of bytes); 0xF4 changes the pointer (x, y); 0xF5 lets the guest take
/// what it did not, or nothing more; any other lets it read all.
///
/// # Panics
/// What is kept for a client grows beyond its bounds, the session asks to be called again at once for ever, or keys stay
/// pressed when it is over.
pub fn converse(script: &[u8]) {
    let Some((flags, mut rest)) = script.split_first() else { return };
    let guest = Arc::new(Guest {
        stalled: AtomicBool::new(flags & 2 != 0),
        caps: flags & 4 != 0,
        held: Mutex::default(),
    });
    let canvas = Canvas(Arc::new(Mutex::new(State::new())));
    let context = Context {
        name: "fuzz".into(),
        password: (flags & 1 != 0).then(|| Password::new(b"secret")),
        screen: Arc::new(canvas.clone()),
        input: Arc::clone(&guest) as _,
        layout: if flags & 8 != 0 { Layout::by_name("de").unwrap_or_default() } else { Layout::default() },
        refusal: REFUSAL,
        admit: Box::new(|_, _| Ok(())),
    };
    let mut now = Instant::now();
    let mut session = Session::new(0, Arc::new(context), *b"0123456789abcdef", now);
    while let Some((step, after)) = rest.split_first() {
        rest = after;
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at(count.min(rest.len()));
            rest = left;
            taken
        };
        let over = match *step {
            count @ ..=0xEF => {
                let bytes = take(count.into());
                !hear(&mut session, bytes, now)
            }
            0xF0 => {
                if let [x, y, width, height, colour] = *take(5) {
                    canvas.paint([x, y, width, height], colour);
                }
                !advance(&mut session, now)
            }
            0xF1 => {
                if let [width, height] = *take(2) {
                    canvas.resize(width.into(), height.into());
                }
                !advance(&mut session, now)
            }
            0xF2 => {
                if let [low, high] = *take(2) {
                    now += Duration::from_millis(u16::from_le_bytes([low, high]).into());
                }
                !advance(&mut session, now)
            }
            0xF4 => {
                if let [x, y] = *take(2) {
                    canvas.point(x.into(), y.into());
                }
                !advance(&mut session, now)
            }
            0xF5 => {
                guest.stalled.fetch_xor(true, Ordering::Relaxed);
                !advance(&mut session, now)
            }
            kind => {
                let most = match (kind, take(if kind == 0xF3 { 2 } else { 0 })) {
                    (0xF3, &[low, high]) => u16::from_le_bytes([low, high]).into(),
                    _ => usize::MAX,
                };
                let count = session.output().len().min(most);
                if count > 0 {
                    session.was_sent(count, now);
                }
                !advance(&mut session, now)
            }
        };
        if over {
            break;
        }
    }
    drop(session);
    assert!(guest.held().is_empty(), "keys stay pressed: {:?}", guest.held());
    assert_eq!(canvas.lock().views, 0);
}

/// Gives the session what it has room for, as a socket would; whether it goes on.
fn hear(session: &mut Session, mut bytes: &[u8], now: Instant) -> bool {
    while !bytes.is_empty() {
        let (part, rest) = bytes.split_at(session.room().min(bytes.len()));
        if part.is_empty() {
            break;
        }
        session.receive(part, now);
        bytes = rest;
        if !advance(session, now) {
            return false;
        }
    }
    true
}

/// A turn of a client's thread; whether the session goes on.
fn advance(session: &mut Session, now: Instant) -> bool {
    // Some turns may be due at once, but not for ever.
    for turn in 0.. {
        assert!(turn < 100, "the session is never done");
        if session.advance(now).is_err() {
            return false;
        }
        if session.due().is_none_or(|due| due > now) {
            break;
        }
    }
    assert!(session.output().len() < LARGEST_UPDATE + ANSWERS, "{} bytes wait", session.output().len());
    assert!(session.room() <= protocol::LONGEST);
    true
}

struct Guest {
    stalled: AtomicBool,
    caps: bool,
    held: Mutex<BTreeSet<Key>>,
}

impl Guest {
    fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Input for Guest {
    fn key(&self, key: Key, pressed: bool) -> bool {
        let stalled = self.is_stalled();
        if !pressed {
            self.held().remove(&key);
        } else if !stalled {
            self.held().insert(key);
        }
        !pressed || !stalled
    }

    fn pointer(&self, _: PointerEvent) -> Taken {
        if self.is_stalled() { Taken::Full } else { Taken::Yes }
    }

    /// The session has a turn after each step.
    fn signal_room(&self, _: &Arc<EventFd>) {}

    fn leds(&self) -> Leds {
        Leds { caps: self.caps, ..Leds::default() }
    }
}

struct State {
    frame: Frame,
    cursor: Option<Cursor>,
    change: Change,
    changed: Option<EventFd>,
    views: usize,
}

impl State {
    fn new() -> Self {
        let mut new = Self {
            frame: Frame::default(),
            cursor: None,
            change: Change::default(),
            changed: None,
            views: 0,
        };
        new.resize(32, 24);
        new
    }

    fn resize(&mut self, width: u32, height: u32) {
        let pixels = (0..width * height).map(|index| (index / 7 * 0x01_0203) & 0xFF_FFFF).collect();
        self.frame = Frame { width, height, pixels };
        self.change.resized = true;
        self.change.damage = vec![Rect { x: 0, y: 0, width, height }];
        self.signal();
    }

    fn signal(&self) {
        if let Some(changed) = &self.changed {
            let _ = changed.write(1);
        }
    }
}

#[derive(Clone)]
struct Canvas(Arc<Mutex<State>>);

impl Canvas {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paint(&self, [x, y, width, height]: [u8; 4], colour: u8) {
        let mut state = self.lock();
        let Frame { width: columns, height: rows, .. } = state.frame;
        let (x, y) = (u32::from(x).min(columns), u32::from(y).min(rows));
        let rect =
            Rect { x, y, width: u32::from(width).min(columns - x), height: u32::from(height).min(rows - y) };
        let row = usize::try_from(columns).unwrap_or(usize::MAX).max(1);
        let part = |from: u32, length: u32| from..from + length;
        for (line, at) in state.frame.pixels.chunks_mut(row).zip(0..) {
            for (pixel, column) in line.iter_mut().zip(0..) {
                if part(rect.y, rect.height).contains(&at) && part(rect.x, rect.width).contains(&column) {
                    *pixel = ((u32::from(colour) * 0x01_0305) ^ column) & 0xFF_FFFF;
                }
            }
        }
        // One rectangle, for those of a change do not overlap.
        state.change.damage = if state.change.damage.is_empty() {
            vec![rect]
        } else {
            vec![Rect { x: 0, y: 0, width: columns, height: rows }]
        };
        state.signal();
    }

    fn resize(&self, width: u32, height: u32) {
        // One without pixels is a blank one.
        let (width, height) = (width % (LARGEST + 1), height % (LARGEST + 1));
        let (width, height) = if width * height == 0 { (0, 0) } else { (width, height) };
        self.lock().resize(width, height);
    }

    fn point(&self, x: u32, y: u32) {
        let mut state = self.lock();
        state.cursor = (x != 0).then(|| Cursor {
            x: x.cast_signed() - 3,
            y: y.cast_signed() - 3,
            hot_x: 1,
            hot_y: 2,
            width: 4,
            height: 3,
            pixels: (0..12).map(|index| index * 0x1111_1111).collect(),
        });
        (state.change.cursor_shape, state.change.cursor_moved) = (y & 1 != 0, true);
        state.signal();
    }
}

impl Screen for Canvas {
    fn view(&self) -> io::Result<Box<dyn View>> {
        let changed = EventFd::new(libc::EFD_NONBLOCK)?;
        let mut state = self.lock();
        let Frame { width, height, .. } = state.frame;
        state.change = Change {
            resized: true,
            damage: vec![Rect { x: 0, y: 0, width, height }],
            cursor_shape: true,
            cursor_moved: true,
        };
        state.changed = Some(changed.try_clone()?);
        state.views += 1;
        Ok(Box::new(Look { canvas: self.clone(), changed, frame: Frame::default(), cursor: None }))
    }

    fn blank_reason(&self) -> Option<String> {
        self.lock().frame.pixels.is_empty().then(|| "nothing is shown".to_owned())
    }
}

struct Look {
    canvas: Canvas,
    changed: EventFd,
    frame: Frame,
    cursor: Option<Cursor>,
}

impl View for Look {
    fn changed(&self) -> &EventFd {
        &self.changed
    }

    fn set_interest(&mut self, _: bool) {}

    fn look(&mut self) -> Change {
        let _ = self.changed.read();
        let mut state = self.canvas.lock();
        (self.frame, self.cursor) = (state.frame.clone(), state.cursor.clone());
        std::mem::take(&mut state.change)
    }

    fn frame(&self) -> &Frame {
        &self.frame
    }

    fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.canvas.lock().views -= 1;
    }
}
