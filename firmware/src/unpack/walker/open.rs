//! Opening one container of each kind, and what is said of those that cannot be opened in whole.

use std::io::Read;
use std::ops::Range;

use super::super::cabinet::Cabinet;
use super::super::hive::Hive;
use super::super::known::Format;
use super::super::owned::Owned;
use super::super::stream::{End, Stream, drain};
use super::super::zip_archive::Lone;
use super::super::{Container, Opened, Sink, Tool, bios_guard, dell, seven_zip, zip_archive};
use super::{MAX_NAME, Origin, Walker, printable};
use crate::uefi_volume::{self, Compressed, DecompressError};

/// Values of a registry key that have fewer bytes together hold no ROM.
const MIN_VALUES: usize = 512;

/// The way from an archive's reader to the walk.
struct Inside<'w, 'a> {
    place: String,
    depth: usize,
    walker: &'w mut Walker<'a>,
}

impl Sink for Inside<'_, '_> {
    fn room(&self) -> usize {
        self.walker.room()
    }

    fn count(&mut self, bytes: usize) -> bool {
        self.walker.count(bytes)
    }

    fn file(&mut self, name: &str, reader: &mut dyn Read) -> bool {
        let place = format!("{} > {}", self.place, printable(name, MAX_NAME));
        let room = self.walker.room();
        let mut out = Vec::new();
        let end = drain(reader, &mut out, room, &mut |count| self.walker.count(count));
        if !matches!(end, End::TooLarge | End::Locked) {
            self.walker.look_at_unpacked(&out, &place, Origin::Plain, self.depth);
        }
        self.walker.told_end(&place, end, room);
        self.walker.goes_on()
    }
}

impl Walker<'_> {
    /// Opens a container, unless it lies in one that was opened, and adds what belongs to it.
    pub(super) fn open(
        &mut self,
        bytes: &[u8],
        container: Container,
        place: &str,
        depth: usize,
        owned: &mut Owned,
    ) {
        let from = |at: usize| bytes.get(at..).unwrap_or_default();
        let shift = |range: Range<usize>, at: usize| range.start + at..range.end.saturating_add(at);
        match container {
            Container::Zip(end) => {
                if owned.contains(end - 1) {
                    return;
                }
                let archive = bytes.get(..end).unwrap_or_default();
                let mut sink = Inside { place: format!("{place} > zip"), depth, walker: self };
                let (range, troubles) = zip_archive::visit(archive, &mut sink);
                let opened = range.is_some();
                owned.add(range.unwrap_or_default());
                // What has no directory is looked at file by file, and an end alone is chance.
                if opened {
                    self.troubles(&format!("{place} > zip"), troubles);
                }
            }
            Container::External(tool, range) => {
                let part = bytes.get(range).unwrap_or_default();
                self.external(part, tool, place, depth);
            }
            Container::Section(section) => {
                if !owned.contains(section.data.start) && self.section(bytes, &section, place, depth) {
                    owned.add(section.data);
                }
            }
            Container::Stream(_, at)
            | Container::SevenZip(at)
            | Container::RotatedSevenZip(at)
            | Container::LoneZip(at)
            | Container::Pfs(at)
            | Container::BiosGuard(at)
            | Container::Cabinet(at)
            | Container::Hive(at)
            | Container::Known(at, _)
                if owned.contains(at) => {}
            Container::Stream(stream, at) => {
                if let Some(used) = self.stream(stream, from(at), at, place, depth) {
                    owned.add(at..at.saturating_add(used));
                }
            }
            Container::SevenZip(at) => {
                let place = format!("{place} > 7z at {at:#x}");
                match seven_zip::extent(from(at)) {
                    Some(range) => {
                        let mut sink = Inside { place: place.clone(), depth, walker: self };
                        let troubles = seven_zip::visit(from(at), &mut sink);
                        owned.add(shift(range, at));
                        self.troubles(&place, troubles);
                    }
                    // Programs that open archives hold the signature too.
                    None if at == 0 => self.note(format!("{place} cannot be opened: its start is damaged")),
                    None => {}
                }
            }
            Container::RotatedSevenZip(at) => {
                if let Some(archive) = seven_zip::rotate_back(from(at)) {
                    owned.add(at..at.saturating_add(archive.len()));
                    let place = format!("{place} > obfuscated 7z at {at:#x}");
                    if self.count(archive.len()) {
                        self.look_at_unpacked(&archive, &place, Origin::Plain, depth);
                    }
                }
            }
            Container::LoneZip(at) => {
                let room = self.room();
                if let Some(file) = zip_archive::lone(bytes, at, room, &mut |count| self.count(count)) {
                    owned.add(file.range.clone());
                    self.lone(file, &format!("{place} > zip"), depth);
                }
            }
            Container::Pfs(at) => {
                if let Some(joined) = dell::join_blocks(from(at), self.room()) {
                    owned.add(at..at.saturating_add(joined.size));
                    let place = format!("{place} > Dell PFS at {at:#x}");
                    if self.count(joined.bytes.len()) {
                        self.look_at_unpacked(&joined.bytes, &place, Origin::Plain, depth);
                    }
                }
            }
            Container::BiosGuard(at) => {
                if let Some(update) = bios_guard::ami(bytes, at, self.room()) {
                    let place = format!("{place} > AMI BIOS Guard at {at:#x}");
                    owned.add(update.range);
                    if update.cut {
                        self.note(format!(
                            "{place} ends too early: it was not downloaded or copied in whole"
                        ));
                    }
                    if self.count(update.joined.len()) {
                        self.look_at_unpacked(&update.joined, &place, Origin::Plain, depth);
                    }
                }
            }
            Container::Cabinet(at) => self.cabinet(bytes, at, place, depth, owned),
            Container::Hive(at) => {
                if let Some(hive) = Hive::parse(from(at)) {
                    owned.add(at..at.saturating_add(hive.size()));
                    self.hive(&hive, &format!("{place} > registry"), depth);
                }
            }
            Container::Known(at, format) => {
                let where_it_is = if at == 0 { String::new() } else { format!(" at {at:#x}") };
                let Format { name, remedy, .. } = format;
                self.note(format!(
                    "{place}{where_it_is} is {name}, which is not opened; unpack it with {remedy} and search what comes out"
                ));
            }
        }
    }

    /// Unpacks a stream, and gives how many bytes it has if it is one. Most signatures are chance, so nothing is said
    /// about those that are none.
    fn stream(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        at: usize,
        place: &str,
        depth: usize,
    ) -> Option<usize> {
        let room = self.room();
        // A file that begins with a signature of some length is what it says.
        let sure = at == 0 && !matches!(stream, Stream::Zlib | Stream::Lzma);
        let unpacked = stream.unpack(bytes, sure, room, &mut |count| self.count(count))?;
        let place = format!("{place} > {} at {at:#x}", stream.name());
        if unpacked.end != End::TooLarge {
            self.look_at_unpacked(&unpacked.bytes, &place, Origin::Plain, depth);
        }
        self.told_end(&place, unpacked.end, room);
        Some(unpacked.used)
    }

    /// Notes how reading ended, unless well.
    fn told_end(&mut self, place: &str, end: End, limit: usize) {
        let how = match end {
            End::Whole | End::Stopped => return,
            End::Cut => "ends too early: the file was not downloaded or copied in whole".into(),
            End::Locked => {
                "is encrypted with a password; unpack the archive with `7z x -pPASSWORD` and search what comes out".into()
            }
            End::Damaged => "is damaged: only what comes before was searched".into(),
            End::TooLarge => format!("cannot be unpacked: more than {limit} bytes come out of it"),
        };
        self.note(format!("{place} {how}"));
    }

    fn troubles(&mut self, place: &str, troubles: Vec<String>) {
        for trouble in troubles {
            self.note(format!("{place}: {trouble}"));
        }
    }

    /// A file of a zip archive without a directory.
    fn lone(&mut self, file: Lone, place: &str, depth: usize) {
        let Lone { name, bytes, end, .. } = file;
        self.note(format!(
            "{place}: the end of the archive is missing, where its directory is: the file was not downloaded or copied in \
             whole; what is there of it was searched"
        ));
        let place = format!("{place} > {}", printable(&name, MAX_NAME));
        match end {
            Ok(end) => {
                if !matches!(end, End::TooLarge | End::Locked) {
                    self.look_at_unpacked(&bytes, &place, Origin::Plain, depth);
                }
                let room = self.room();
                self.told_end(&place, end, room);
            }
            Err(why) => self.note(format!("{place} cannot be unpacked: {why}")),
        }
    }

    fn cabinet(&mut self, bytes: &[u8], at: usize, place: &str, depth: usize, owned: &mut Owned) {
        let rest = bytes.get(at..).unwrap_or_default();
        let inner = format!("{place} > cabinet at {at:#x}");
        let Some(cabinet) = Cabinet::parse(rest) else {
            if at == 0 {
                self.note(format!("{inner} cannot be opened: its directory is damaged or missing"));
            }
            return;
        };
        let end = at.saturating_add(cabinet.size()).min(bytes.len());
        if cabinet.foreign() {
            self.external(bytes.get(at..end).unwrap_or_default(), Tool::Cabextract, &inner, depth);
        } else {
            let mut sink = Inside { place: inner.clone(), depth, walker: self };
            let troubles = cabinet.visit(rest, &mut sink);
            self.troubles(&inner, troubles);
        }
        owned.add(at..end);
    }

    fn hive(&mut self, hive: &Hive<'_>, place: &str, depth: usize) {
        let room = self.room();
        let trouble = hive.visit(MIN_VALUES, room, &mut |key| {
            let place = format!("{place} > {}", printable(&key.path, MAX_NAME));
            if self.count(key.bytes.len()) {
                self.look_at_unpacked(&key.bytes, &place, Origin::Plain, depth);
            }
            self.goes_on()
        });
        self.troubles(place, trouble.into_iter().collect());
    }

    /// Unpacks a section. Returns whether it could be.
    fn section(&mut self, bytes: &[u8], section: &Compressed, place: &str, depth: usize) -> bool {
        let place = format!("{place} > {} at {:#x}", section.method.name(), section.data.start);
        let data = bytes.get(section.data.clone()).unwrap_or_default();
        match uefi_volume::decompress(section.method, data, self.room()) {
            Ok(readings) => {
                for out in readings {
                    if self.count(out.len()) {
                        self.look_at_unpacked(&out, &place, Origin::Sections, depth);
                    }
                }
                true
            }
            Err(error) => {
                if let DecompressError::TooLarge { limit } = error {
                    self.count(limit);
                }
                self.note(format!("{place} cannot be unpacked: {error}"));
                false
            }
        }
    }

    fn external(&mut self, bytes: &[u8], tool: Tool, place: &str, depth: usize) {
        let room = self.room();
        match self.surroundings.open_with(tool, bytes, room) {
            Ok(Opened { files, note }) => {
                if let Some(note) = note {
                    self.note(format!("{place}: {note}"));
                }
                let all = files.iter().map(|(_, out)| out.len()).sum();
                self.memory = self.memory.saturating_add(all);
                for (name, out) in files {
                    if self.count(out.len()) {
                        self.look_at_unpacked(
                            &out,
                            &format!("{place} > {}", printable(&name, MAX_NAME)),
                            Origin::Plain,
                            depth,
                        );
                    }
                }
                self.memory = self.memory.saturating_sub(all);
            }
            Err(note) => self.note(format!("{place}: {note}")),
        }
    }
}
