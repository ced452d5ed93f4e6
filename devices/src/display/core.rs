//! What is on the screen: chooses between the virtual GPU's plane, the display adapter's mode and the firmware's surface, in this order, and keeps
//! the copy that all lookers share.

use std::io;
use std::sync::Arc;

use super::bochs::{Bochs, Unshown};
use super::plane::PlaneSource;
use super::pointer::{Pointer, cursor_of};
use super::ramfb::Ramfb;
use super::scan::{Effort, Scan};
use super::surface::{Pixels, Surface};
use super::tiles::Shadow;
use super::view::Copy;
use super::written::WriteTracker;
use super::{Change, Cursor, SizeRefusal};

/// Refreshes in a row that may fail before the picture is taken away.
const PATIENCE: u32 = 8;

/// Where pictures come from. At least one of the first three, or the screen stays blank.
#[derive(Default)]
pub struct Sources {
    /// The firmware's framebuffer.
    pub ramfb: Option<Arc<Ramfb>>,
    /// The display adapter, which covers it while a mode is set.
    pub adapter: Option<Arc<Bochs>>,
    /// The virtual GPU's planes, which cover both while there are some.
    pub planes: Option<Arc<dyn PlaneSource>>,
    /// Reports written pages of guest memory.
    pub tracker: Option<Arc<dyn WriteTracker>>,
    /// Reports written pages of the adapter's memory.
    pub adapter_tracker: Option<Arc<dyn WriteTracker>>,
}

/// What is to be seen at the moment.
enum Chosen {
    Surface(Surface, Option<Cursor>),
    /// Nothing, and why.
    Blank(String),
}

pub(super) struct Core {
    sources: Sources,
    surface: Option<Surface>,
    scan: Scan,
    shadow: Shadow,
    pointer: Pointer,
    /// Rises with every change.
    generation: u64,
    /// Refreshes in a row that could not read the surface.
    failures: u32,
}

impl Core {
    pub(super) fn new(sources: Sources) -> Self {
        Self {
            sources,
            surface: None,
            scan: Scan::new(),
            shadow: Shadow::default(),
            pointer: Pointer::default(),
            // A looker that has seen nothing is at 0.
            generation: 1,
            failures: 0,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Why there is nothing to see, as of now. One row is read at most.
    pub(super) fn blank_reason(&self) -> Option<String> {
        let forgiven = self.shadow.size() != (0, 0) && self.failures < PATIENCE;
        match self.choose() {
            Chosen::Surface(..) if forgiven => None,
            Chosen::Surface(surface, _) => {
                let error = surface.read_rows(0..1, &mut Vec::new()).err()?;
                Some(format!("what the guest shows cannot be read: {error}"))
            }
            Chosen::Blank(reason) => Some(reason),
        }
    }

    /// Begins to watch the surface for writes, for refreshes to come.
    pub(super) fn watch(&mut self, idle: bool) -> bool {
        let Some(surface) = &self.surface else { return false };
        let tracker = match surface.pixels {
            Pixels::Adapter(..) => &self.sources.adapter_tracker,
            Pixels::Ram(..) | Pixels::Plane(_) => &self.sources.tracker,
        };
        tracker.as_ref().is_some_and(|tracker| self.scan.watch(surface, tracker.as_ref(), idle))
    }

    /// Nobody looks any more: the guest's memory is left alone.
    pub(super) fn unwatch(&mut self) {
        self.scan.unwatch();
    }

    /// The machine was reset: neither firmware nor driver show anything. fw_cfg has reset the file by itself.
    pub(super) fn reset(&mut self) {
        if let Some(planes) = &self.sources.planes {
            planes.reset();
        }
        self.surface = None;
        self.scan.unwatch();
    }

    /// Looks at the guest, and says whether anything is different.
    pub(super) fn refresh(&mut self, effort: Effort) -> bool {
        let next = self.generation + 1;
        let (surface, cursor) = match self.choose() {
            Chosen::Surface(surface, cursor) => (Some(surface), cursor),
            Chosen::Blank(_) => (None, None),
        };
        let mut changed = self.pointer.update(cursor, next);
        let same = match (&self.surface, &surface) {
            (Some(old), Some(new)) => old.is(new),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.scan.unwatch();
        }
        let (surface, different) = match surface {
            None => (None, self.blank()),
            Some(surface) => {
                let effort = if same { effort } else { Effort::Everything };
                match self.scan(&surface, effort, next) {
                    Ok(different) => (Some(surface), different),
                    Err(_) => {
                        self.failures = self.failures.saturating_add(1);
                        // It may have been replaced just now. What was read before it failed may be news.
                        (None, self.failures < PATIENCE || self.blank())
                    }
                }
            }
        };
        changed |= different;
        self.surface = surface;
        if changed {
            self.generation = next;
        }
        changed
    }

    /// Shows nothing, and says whether that is different.
    fn blank(&mut self) -> bool {
        let different = self.shadow.size() != (0, 0);
        self.shadow = Shadow::default();
        different
    }

    /// Brings the shadow up to date with `surface`. After an error the shadow is of the same size as before.
    fn scan(&mut self, surface: &Surface, effort: Effort, generation: u64) -> io::Result<bool> {
        let resized = self.shadow.size() != (surface.width, surface.height);
        let mut fresh = resized.then(|| Shadow::new(surface.width, surface.height, generation));
        let shadow = fresh.as_mut().unwrap_or(&mut self.shadow);
        // After an error, what was reported as written may be unread.
        let different =
            self.scan.run(surface, shadow, effort, generation).inspect_err(|_| self.scan.unwatch())?;
        if let Some(fresh) = fresh {
            self.shadow = fresh;
        }
        self.failures = 0;
        Ok(different || resized)
    }

    fn choose(&self) -> Chosen {
        let mut why = None;
        if let Some(planes) = &self.sources.planes {
            match planes.primary() {
                Ok(Some(plane)) if plane.format != 0 && plane.size != 0 => {
                    return match Surface::of_plane(&plane) {
                        Ok(surface) => {
                            let cursor = planes.cursor().ok().flatten();
                            Chosen::Surface(surface, cursor.as_ref().and_then(cursor_of))
                        }
                        Err(refusal) => Chosen::Blank(refusal.to_string()),
                    };
                }
                Ok(_) => {}
                Err(error) => why = Some(format!("the virtual GPU does not tell what it shows: {error}")),
            }
        }
        let mut off = None;
        if let Some(adapter) = &self.sources.adapter {
            match adapter.surface() {
                Ok(surface) => return Chosen::Surface(surface, None),
                Err(reason @ Unshown::Off) => off = Some(reason.to_string()),
                Err(reason) => return Chosen::Blank(reason.to_string()),
            }
        }
        let Some(ramfb) = &self.sources.ramfb else {
            if let Some(reason) = off {
                return Chosen::Blank(self.with_planes(reason, why));
            }
            return Chosen::Blank(why.unwrap_or_else(|| match self.sources.planes {
                Some(_) => "the guest's driver for its virtual GPU has not started, or shows no plane yet: wait, or see \
                            on the guest's console whether it has the driver. Before that only `ramfb = true` in \
                            [igpu] shows something"
                    .to_owned(),
                None => "this machine has no screen".to_owned(),
            }));
        };
        match ramfb.surface() {
            Some(surface) => Chosen::Surface(surface, None),
            None => Chosen::Blank(self.with_planes(ramfb.blank_reason(), why)),
        }
    }

    /// Why nothing is shown, where a virtual GPU could show something, too; `why` is what keeps that from it.
    fn with_planes(&self, reason: String, why: Option<String>) -> String {
        match (why, &self.sources.planes) {
            (Some(why), _) => format!("{reason}; {why}"),
            (None, Some(_)) => format!("{reason}; and the guest's driver shows no plane yet"),
            (None, None) => reason,
        }
    }

    /// Offers the guest a size, through what it has to hear of it.
    pub(super) fn offer_size(&self, width: u32, height: u32) -> Result<(), SizeRefusal> {
        let adapter = self.sources.adapter.as_ref().ok_or(SizeRefusal::Fixed)?;
        // Who looks sees the virtual GPU's plane, and not the adapter's panel.
        if matches!(self.choose(), Chosen::Surface(Surface { pixels: Pixels::Plane(_), .. }, _)) {
            return Err(SizeRefusal::Fixed);
        }
        adapter.set_panel(width, height)
    }

    /// Brings a looker's copy from generation `seen` to the present one.
    pub(super) fn copy(&self, seen: u64, copy: &mut Copy) -> Change {
        let damage = self.shadow.newer(seen);
        let resized = (copy.frame.width, copy.frame.height) != self.shadow.size();
        self.shadow.copy(&damage, &mut copy.frame);
        let (cursor_shape, cursor_moved) = self.pointer.since(seen);
        if cursor_shape || cursor_moved {
            copy.cursor = self.pointer.cursor().cloned();
        }
        Change { resized, damage, cursor_shape, cursor_moved }
    }
}
