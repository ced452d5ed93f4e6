//! What a client has of the screen, and the updates that bring it up to date: FramebufferUpdate, RFC 6143 §7.6.1.

mod picture;
mod region;
mod resize;

use devices::display::{Rect, SizeRefusal, View};
use devices::input::Leds;

use super::encode::{Block, Encoder};
use super::features::{Features, LedKind, pseudo};
use super::pixel::{Converter, PixelFormat};
use super::protocol::Area;
use region::{Region, intersection, pieces};
use resize::Resize;

/// The screen while the guest shows nothing yet.
const NOTHING: (u32, u32) = (640, 480);
/// A larger screen is cut off: rectangles of it could not be counted in 16 bits.
const LARGEST: u32 = 16384;

/// A client's copy of the screen, and what it has not been sent yet.
pub(super) struct Painter {
    view: Box<dyn View>,
    name: String,
    converter: Converter,
    encoder: Encoder,
    /// The pixels of one rectangle at a time.
    block: Block,
    features: Features,
    /// The screen's size as the client knows it, or is to know it with the next update.
    size: (u32, u32),
    damage: Region,
    resize: Option<Resize>,
    new_name: bool,
    new_cursor: bool,
    new_keys: bool,
    new_motion: bool,
    /// The guest's pointer can be put at a place.
    absolute: bool,
    /// The client was told that it cannot.
    motion_told: bool,
    /// The LEDs as the client knows them.
    sent_leds: Option<Leds>,
    leds: Leds,
    /// Where the pointer was drawn for a client that does not.
    drawn: Option<Rect>,
}

impl Painter {
    /// Starts with what is to be seen now.
    pub(super) fn new(view: Box<dyn View>, name: String) -> Self {
        let mut this = Self {
            view,
            name,
            converter: Converter::new(PixelFormat::NATIVE),
            encoder: Encoder::default(),
            block: Block::default(),
            features: Features::default(),
            size: NOTHING,
            damage: Region::default(),
            resize: None,
            new_name: false,
            new_cursor: false,
            new_keys: false,
            new_motion: false,
            absolute: false,
            motion_told: false,
            sent_leds: None,
            leds: Leds::default(),
            drawn: None,
        };
        this.view.look();
        this.size = this.current_size();
        this.damage_all();
        this.damage_pointer();
        this
    }

    pub(super) fn view(&mut self) -> &mut dyn View {
        &mut *self.view
    }

    /// ServerInit.
    pub(super) fn introduce(&self, out: &mut Vec<u8>) {
        let (width, height) = self.size;
        put_u16s(out, &[width, height]);
        out.extend_from_slice(&PixelFormat::NATIVE.to_bytes());
        put_text(out, &self.name);
    }

    pub(super) fn set_format(&mut self, format: PixelFormat) {
        self.converter = Converter::new(format);
        self.damage_all();
        self.new_cursor = self.features.cursor;
    }

    pub(super) fn set_features(&mut self, features: Features) {
        let before = std::mem::replace(&mut self.features, features);
        self.encoder.level = features.level;
        // What a client has just begun to understand; and no news of what it has ceased to.
        let news = |new: &mut bool, now: bool, before: bool| *new = now && (*new || !before);
        let features = &self.features;
        news(&mut self.new_keys, features.extended_keys, before.extended_keys);
        news(&mut self.new_motion, features.pointer_motion, before.pointer_motion);
        self.motion_told &= features.pointer_motion;
        news(&mut self.new_cursor, features.cursor, before.cursor);
        news(&mut self.new_name, features.name, before.name);
        if !features.resizes() {
            self.resize = None;
        }
        if features.extended_desktop_size && !before.extended_desktop_size {
            self.resize = Some(Resize::Server);
        }
        if features.cursor != before.cursor {
            // The client begins to draw the pointer, or ceases to.
            self.damage_pointer();
        }
        self.fit();
    }

    /// Whether the guest's pointer can be put at a place. Viewers that can send motion are told when that changes.
    pub(super) fn set_absolute(&mut self, absolute: bool) {
        self.new_motion |= absolute != self.absolute && self.features.pointer_motion;
        self.absolute = absolute;
    }

    /// Whether the client was told to send motion instead of places.
    pub(super) fn wants_motion(&self) -> bool {
        self.motion_told
    }

    /// The size of the screen that the client sees, all of it or, if it cannot follow a new size, a part.
    pub(super) fn screen_size(&self) -> (u32, u32) {
        let frame = self.view.frame();
        match (frame.width, frame.height) {
            (0, _) | (_, 0) => self.size,
            whole => whole,
        }
    }

    pub(super) fn features(&self) -> &Features {
        &self.features
    }

    /// A name that says more than the last one.
    pub(super) fn set_name(&mut self, name: String) {
        if name != self.name {
            self.name = name;
            self.new_name = self.features.name;
        }
    }

    pub(super) fn set_leds(&mut self, leds: Leds) {
        self.leds = leds;
    }

    /// Tells the client what became of its wish for another size.
    pub(super) fn answer_resize(&mut self, offered: Result<(), SizeRefusal>) {
        // A size that the client has to hear of goes first, and is an answer, too.
        if self.features.extended_desktop_size && self.resize != Some(Resize::Server) {
            self.resize = Some(Resize::Client(offered));
        }
    }

    /// The client wants all of an area.
    pub(super) fn repeat(&mut self, area: Area) {
        if let Some(rect) = intersection(rect_of(area), self.whole()) {
            self.damage.add(rect);
        }
    }

    /// Whether nothing is shown.
    pub(super) fn is_blank(&self) -> bool {
        self.view.frame().pixels.is_empty()
    }

    /// Takes over what the view has of new.
    pub(super) fn look(&mut self) {
        let change = self.view.look();
        if change.resized {
            self.damage_all();
            self.fit();
        }
        let whole = self.whole();
        for rect in change.damage.into_iter().filter_map(|rect| intersection(rect, whole)) {
            self.damage.add(rect);
        }
        if !self.features.cursor {
            if change.cursor_shape || change.cursor_moved {
                self.damage_pointer();
            }
        } else if change.cursor_shape {
            self.new_cursor = true;
        }
    }

    /// Appends an update of this area; false if there is nothing to send.
    pub(super) fn update(&mut self, area: Area, out: &mut Vec<u8>) -> bool {
        let area = rect_of(area);
        let resized = self.resize.is_some();
        // A new size goes alone: what the client asked for was an area of the old screen.
        if !resized && !self.damage.touches(area) && !self.has_news() {
            return false;
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let mut count = self.put_news(out);
        if !resized {
            for rect in self.damage.take(area) {
                for piece in pieces(rect, self.features.encoding.largest()) {
                    self.put_piece(piece, out);
                    count += 1;
                }
            }
        }
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        if let Some(place) = out.get_mut(start + 2..start + 4) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        true
    }

    fn has_news(&self) -> bool {
        self.new_name || self.new_cursor || self.new_keys || self.new_motion || self.news_of_leds().is_some()
    }

    fn news_of_leds(&self) -> Option<LedKind> {
        self.features.leds.filter(|_| self.sent_leds != Some(self.leds))
    }

    /// Pseudo-rectangles; how many.
    fn put_news(&mut self, out: &mut Vec<u8>) -> u32 {
        let mut count = 0;
        let (width, height) = self.size;
        let mut head = |out: &mut Vec<u8>, [x, y, width, height]: [u32; 4], number: i32| {
            put_head(out, Rect { x, y, width, height }, number);
            count += 1;
        };
        if let Some(resize) = self.resize.take() {
            if self.features.extended_desktop_size {
                let (reason, status) = resize.reason_and_status();
                head(out, [reason, status, width, height], pseudo::EXTENDED_DESKTOP_SIZE);
                // One screen, number 0, at the origin, without flags.
                out.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                put_u16s(out, &[width, height]);
                out.extend_from_slice(&[0; 4]);
            } else {
                head(out, [0, 0, width, height], pseudo::DESKTOP_SIZE);
            }
        }
        if std::mem::take(&mut self.new_keys) {
            head(out, [0, 0, width, height], pseudo::EXTENDED_KEYS);
        }
        if std::mem::take(&mut self.new_motion) {
            // x is 0 for a pointer that moves relatively.
            head(out, [u32::from(self.absolute), 0, width, height], pseudo::POINTER_MOTION);
            self.motion_told = !self.absolute;
        }
        if std::mem::take(&mut self.new_name) {
            head(out, [0; 4], pseudo::DESKTOP_NAME);
            put_text(out, &self.name);
        }
        if let Some(kind) = self.news_of_leds() {
            let Leds { scroll, num, caps } = self.leds;
            let bits = u8::from(scroll) | u8::from(num) << 1 | u8::from(caps) << 2;
            match kind {
                LedKind::Qemu => {
                    head(out, [0; 4], pseudo::LED_STATE);
                    out.push(bits);
                }
                LedKind::Vmware => {
                    head(out, [0; 4], pseudo::VMWARE_LED_STATE);
                    out.extend_from_slice(&u32::from(bits).to_be_bytes());
                }
            }
            self.sent_leds = Some(self.leds);
        }
        if std::mem::take(&mut self.new_cursor) {
            self.put_cursor(out);
            count += 1;
        }
        count
    }

    /// The pointer's picture with a mask of what of it is seen. Without a picture the client shows none.
    fn put_cursor(&self, out: &mut Vec<u8>) {
        let Some(cursor) = self.view.cursor().filter(|cursor| cursor.width <= 1024 && cursor.height <= 1024)
        else {
            return put_head(out, Rect { x: 0, y: 0, width: 0, height: 0 }, pseudo::CURSOR);
        };
        let place = Rect { x: cursor.hot_x, y: cursor.hot_y, width: cursor.width, height: cursor.height };
        put_head(out, place, pseudo::CURSOR);
        let (width, height) = (cursor.width as usize, cursor.height as usize);
        let pixel = |index: usize| cursor.pixels.get(index).copied().unwrap_or(0);
        for index in 0..width * height {
            self.converter.put(out, self.converter.value(pixel(index)));
        }
        for row in 0..height {
            for group in 0..width.div_ceil(8) {
                let bits = (0..8)
                    .map(|bit| group * 8 + bit)
                    .map(|x| u8::from(x < width && pixel(row * width + x) >> 24 >= 0x80));
                out.push(bits.fold(0, |byte, bit| byte << 1 | bit));
            }
        }
    }

    fn put_piece(&mut self, rect: Rect, out: &mut Vec<u8>) {
        let encoding = self.features.encoding;
        put_head(out, rect, encoding.number());
        let pointer = self.view.cursor().filter(|_| !self.features.cursor);
        picture::block(self.view.frame(), pointer, rect, &self.converter, &mut self.block);
        self.encoder.encode(encoding, &self.converter, &self.block, out);
    }

    fn current_size(&self) -> (u32, u32) {
        let (width, height) = self.screen_size();
        (width.min(LARGEST), height.min(LARGEST))
    }

    /// Has the client follow the screen's size, if it can.
    fn fit(&mut self) {
        let size = self.current_size();
        if size != self.size && self.features.resizes() {
            self.size = size;
            self.resize = Some(Resize::Server);
            self.damage_all();
        }
    }

    fn whole(&self) -> Rect {
        let (width, height) = self.size;
        Rect { x: 0, y: 0, width, height }
    }

    fn damage_all(&mut self) {
        self.damage.clear();
        self.damage.add(self.whole());
    }

    /// Where the pointer was, and where it is.
    fn damage_pointer(&mut self) {
        let new = self.view.cursor().and_then(|cursor| cursor.place(self.size));
        let whole = self.whole();
        let old = std::mem::replace(&mut self.drawn, new).and_then(|old| intersection(old, whole));
        [old, new].into_iter().flatten().for_each(|rect| self.damage.add(rect));
    }
}

fn rect_of(area: Area) -> Rect {
    let Area { x, y, width, height } = area;
    Rect { x: x.into(), y: y.into(), width: width.into(), height: height.into() }
}

fn put_u16s(out: &mut Vec<u8>, values: &[u32]) {
    for value in values {
        out.extend_from_slice(&u16::try_from(*value).unwrap_or(u16::MAX).to_be_bytes());
    }
}

fn put_head(out: &mut Vec<u8>, Rect { x, y, width, height }: Rect, number: i32) {
    put_u16s(out, &[x, y, width, height]);
    out.extend_from_slice(&number.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
