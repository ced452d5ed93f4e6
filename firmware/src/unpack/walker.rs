//! The walk through containers in containers.

mod open;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use super::owned::Owned;
use super::{Damaged, Found, Limits, Stopped, Surroundings, Survey, carve};
use crate::option_rom::{Candidate, Search};
use crate::uefi_volume::Unread;

/// Video ROMs to keep, intact or damaged.
const MAX_ROMS: usize = 64;
/// Nothing is in fewer bytes than these.
const MIN_SIZE: usize = 24;
/// Notes for the user, at most.
const MAX_NOTES: usize = 20;

/// Characters of a file's name that are shown, at most.
const MAX_NAME: usize = 200;
/// Characters of a note, at most.
const MAX_NOTE: usize = 4000;

/// A text of strangers, fit for a terminal: names in archives may hold anything.
fn printable(text: &str, most: usize) -> String {
    let clean = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(most).map(clean).collect()
}

/// Where a thing comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Anywhere.
    Plain,
    /// It is a row of UEFI sections.
    Sections,
}

pub(super) struct Walker<'a> {
    limits: &'a Limits,
    surroundings: &'a mut dyn Surroundings,
    survey: Survey,
    start: Instant,
    unpacked: u64,
    /// Bytes of unpacked things that are being looked at.
    memory: usize,
    hasher: RandomState,
    /// Size and hash of what was looked at.
    seen: HashSet<(usize, u64)>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(limits: &'a Limits, surroundings: &'a mut dyn Surroundings) -> Self {
        Self {
            limits,
            surroundings,
            survey: Survey::default(),
            start: Instant::now(),
            unpacked: 0,
            memory: 0,
            hasher: RandomState::new(),
            seen: HashSet::new(),
        }
    }

    pub(super) fn into_survey(self) -> Survey {
        self.survey
    }

    /// Looks at a thing and at what is in it.
    pub(super) fn look(&mut self, bytes: &[u8], place: &str, origin: Origin, depth: usize) {
        if bytes.len() < MIN_SIZE
            || !self.goes_on()
            || !self.seen.insert((bytes.len(), self.hasher.hash_one(bytes)))
        {
            return;
        }
        if self.survey.things >= self.limits.things {
            self.survey.stopped = Some(Stopped::Things(self.limits.things));
            return;
        }
        self.survey.things += 1;
        self.surroundings.looking_at(place, bytes.len());
        let candidates = self.find_roms(bytes, place);
        let carved = carve::carve(bytes, origin == Origin::Sections);
        self.survey.volumes += carved.volumes;
        if carved.cut {
            self.note(format!(
                "{place}: there are too many signatures of containers in it; the rest was left out"
            ));
        }
        let mut owned = Owned::default();
        if depth >= self.limits.depth {
            if !carved.containers.is_empty() {
                self.note(format!(
                    "{place}: containers deeper than {} levels were not opened",
                    self.limits.depth
                ));
            }
        } else {
            for container in carved.containers {
                if !self.goes_on() {
                    break;
                }
                self.open(bytes, container, place, depth, &mut owned);
            }
        }
        for Unread { offset, why } in carved.unread {
            if !owned.contains(offset) {
                self.note(format!("{place} at {offset:#x}: {why}"));
            }
        }
        for candidate in candidates {
            if !owned.contains(candidate.start) {
                self.keep(candidate, place);
            }
        }
    }

    /// Whether neither time nor another limit has ended the search.
    fn goes_on(&mut self) -> bool {
        if self.survey.stopped.is_none() && self.start.elapsed() > self.limits.time {
            self.survey.stopped = Some(Stopped::Time(self.limits.time));
        }
        self.survey.stopped.is_none()
    }

    /// Counts bytes that came out. Returns whether the search goes on.
    fn count(&mut self, bytes: usize) -> bool {
        self.unpacked = self.unpacked.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.unpacked > self.limits.unpacked && self.survey.stopped.is_none() {
            self.survey.stopped = Some(Stopped::Unpacked(self.limits.unpacked));
        }
        self.goes_on()
    }

    /// How many bytes the next thing may have.
    fn room(&self) -> usize {
        self.limits.memory.saturating_sub(self.memory)
    }

    fn note(&mut self, note: String) {
        let note = printable(&note, MAX_NOTE);
        if self.survey.notes.contains(&note) {
            return;
        }
        match self.survey.notes.len() < MAX_NOTES {
            true => self.survey.notes.push(note),
            false => self.survey.more_notes = self.survey.more_notes.saturating_add(1),
        }
    }

    fn look_at_unpacked(&mut self, bytes: &[u8], place: &str, origin: Origin, depth: usize) {
        self.memory = self.memory.saturating_add(bytes.len());
        self.look(bytes, place, origin, depth + 1);
        self.memory = self.memory.saturating_sub(bytes.len());
    }

    /// The video ROMs that lie in `bytes` as they are.
    fn find_roms<'b>(&mut self, bytes: &'b [u8], place: &str) -> Vec<Candidate<'b>> {
        let mut candidates = Vec::new();
        let mut search = Search::new(bytes);
        for candidate in search.by_ref() {
            if !self.goes_on() {
                break;
            }
            if candidate.rom.is_display() {
                candidates.push(candidate);
            }
        }
        if search.gave_up() {
            self.note(format!("{place}: there are too many false ROM headers in it; the rest was left out"));
        }
        candidates
    }

    fn keep(&mut self, candidate: Candidate<'_>, place: &str) {
        let intact = candidate.is_intact();
        let Candidate { start, window, rom } = candidate;
        let place = format!("{place} at {start:#x}");
        let image = rom.chain(window);
        if let Some(known) = self.survey.roms.iter_mut().find(|known| known.image == image) {
            known.copies += 1;
            return;
        }
        if !intact && self.survey.damaged.iter().any(|known| known.rom == rom) {
            return;
        }
        if self.survey.roms.len().saturating_add(self.survey.damaged.len()) >= MAX_ROMS
            || image.len() > self.room() && intact
        {
            self.note("there are too many video ROMs in it; some were left out".into());
        } else if intact {
            // What is kept stays in memory.
            self.memory = self.memory.saturating_add(image.len());
            self.survey.roms.push(Found { image, rom, place, copies: 1 });
        } else {
            self.survey.damaged.push(Damaged { rom, place });
        }
    }
}
