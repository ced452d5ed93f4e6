//! Where the guest is: the selected item, the offset within, and all contents that change.

use std::io;
use std::ops::Range;

use super::Configuration;
use super::item::{Body, Item, WritableFile, copy_from, keys};

/// Bytes read ahead for the data port: one read of a file for thousands of single-byte accesses.
const READ_AHEAD: u32 = 4096;

/// Bit 14 of a selector asked for writing, once.
const IGNORED_KEY_BIT: u16 = 0x4000;

/// The name under which newer OVMF takes the kernel.
const KERNEL_FILE: &str = "etc/boot/kernel";

pub(super) struct State {
    /// Index of the selected item; `None` for a key that does not exist.
    selected: Option<usize>,
    offset: u32,
    /// Upper half of the descriptor's address, until the lower one arrives.
    pub(super) dma_high: u32,
    writable: Vec<Vec<u8>>,
    /// The made contents of each group.
    groups: Vec<Option<Vec<Vec<u8>>>>,
    /// Bytes of the selected item from this offset on.
    ahead: (u32, Vec<u8>),
    /// Kept between DMA transfers.
    pub(super) buffer: Vec<u8>,
    read_before: bool,
    kernel_read_before: bool,
    /// The user has been told of a failure that the guest can repeat at will.
    warned: bool,
}

impl State {
    pub(super) fn new(config: &Configuration) -> Self {
        Self {
            selected: index_of(config, keys::SIGNATURE),
            offset: 0,
            dma_high: 0,
            writable: config.writable.iter().map(|file| vec![0; file.len]).collect(),
            groups: config.groups.iter().map(|_| None).collect(),
            ahead: (0, Vec::new()),
            buffer: Vec::new(),
            read_before: false,
            kernel_read_before: false,
            warned: false,
        }
    }

    pub(super) fn reset(&mut self, config: &Configuration) {
        let Self {
            selected,
            offset,
            dma_high,
            writable,
            groups,
            ahead,
            buffer: _,
            read_before,
            kernel_read_before,
            warned: _,
        } = self;
        *selected = index_of(config, keys::SIGNATURE);
        *offset = 0;
        *dma_high = 0;
        for (contents, file) in writable.iter_mut().zip(&config.writable) {
            contents.fill(0);
            file.listener.reset();
        }
        groups.fill_with(|| None);
        *ahead = (0, Vec::new());
        *read_before = false;
        *kernel_read_before = false;
    }

    pub(super) fn select(&mut self, config: &Configuration, key: u16) {
        self.selected = index_of(config, key & !IGNORED_KEY_BIT);
        self.offset = 0;
        self.ahead.1.clear();
        let Some(item) = self.item(config) else { return };
        if let Body::Lazy(group, _) = item.body {
            self.make(config, group);
        }
        if let (Some(observer), Some(name)) = (&config.observer, &item.name) {
            observer.selected(name);
        }
    }

    pub(super) fn skip(&mut self, len: u32) {
        self.offset = self.offset.saturating_add(len);
    }

    /// Reads on by `buf.len()` bytes. After an error the offset is where it was.
    pub(super) fn read(&mut self, config: &Configuration, buf: &mut [u8]) -> io::Result<()> {
        if let (false, Some(observer)) = (std::mem::replace(&mut self.read_before, true), &config.observer) {
            observer.first_read();
        }
        let item = self.item(config);
        let rest = item.map_or(0, |item| item.len.saturating_sub(self.offset));
        let rest = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
        let (within, beyond) = buf.split_at_mut(rest);
        beyond.fill(0);
        if let (Some(item), false) = (item, within.is_empty()) {
            self.fetch(item, within).inspect_err(|source| self.warn(item, source))?;
        }
        self.skip(u32::try_from(buf.len()).unwrap_or(u32::MAX));

        let kernel = |item: &Item| item.key == keys::KERNEL_DATA || item.name.as_deref() == Some(KERNEL_FILE);
        if item.is_some_and(|item| kernel(item) && item.len != 0 && self.offset >= item.len)
            && let (false, Some(observer)) =
                (std::mem::replace(&mut self.kernel_read_before, true), &config.observer)
        {
            observer.kernel_read();
        }
        Ok(())
    }

    /// As [`State::read`], for small accesses in a row. What cannot be read is zeros: a port has no way to say so.
    pub(super) fn read_ahead(&mut self, config: &Configuration, data: &mut [u8]) {
        let is_file = |item: &Item| matches!(item.body, Body::Fixed(_));
        if let Some(item) = self.item(config).filter(|item| is_file(item) && self.offset < item.len)
            && data.len() < READ_AHEAD as usize
        {
            let cached = |state: &Self| state.offset.checked_sub(state.ahead.0).map(|at| at as usize);
            let hit = |state: &Self| {
                cached(state).is_some_and(|at| at.saturating_add(data.len()) <= state.ahead.1.len())
            };
            if !hit(self) {
                let mut ahead = std::mem::take(&mut self.ahead.1);
                ahead.resize(READ_AHEAD.min(item.len - self.offset) as usize, 0);
                if let Err(source) = self.fetch(item, &mut ahead) {
                    self.warn(item, &source);
                    ahead.clear();
                }
                self.ahead = (self.offset, ahead);
            }
        }
        if self.read(config, data).is_err() {
            data.fill(0);
            self.skip(u32::try_from(data.len()).unwrap_or(u32::MAX));
        }
    }

    /// The selected file, its contents and the next `len` bytes in them, if the guest may write there.
    pub(super) fn writable_range<'a>(
        &'a mut self,
        config: &'a Configuration,
        len: u32,
    ) -> Option<(&'a WritableFile, &'a mut Vec<u8>, Range<usize>)> {
        let Body::Writable(index) = self.item(config)?.body else { return None };
        let start = usize::try_from(self.offset).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        let contents = self.writable.get_mut(index).filter(|contents| end <= contents.len())?;
        Some((config.writable.get(index)?, contents, start..end))
    }

    /// Everything in a file; the guest's selection stays what it is.
    pub(super) fn whole(&mut self, config: &Configuration, name: &str) -> Option<io::Result<Vec<u8>>> {
        let index = file_of(config, name)?;
        let item = config.items.get(index)?;
        if let Body::Lazy(group, _) = item.body {
            self.make(config, group);
        }
        let before = (self.offset, std::mem::take(&mut self.ahead.1));
        self.offset = 0;
        let mut bytes = vec![0; usize::try_from(item.len).ok()?];
        let read = self.fetch(item, &mut bytes);
        (self.offset, self.ahead.1) = before;
        Some(read.map(|()| bytes))
    }

    /// Writes into a file that the guest can write, and tells its listener.
    pub(super) fn overwrite(
        &mut self,
        config: &Configuration,
        name: &str,
        offset: u32,
        bytes: &[u8],
    ) -> Option<()> {
        let Body::Writable(index) = config.items.get(file_of(config, name)?)?.body else { return None };
        let contents = self.writable.get_mut(index)?;
        let start = usize::try_from(offset).ok()?;
        contents.get_mut(start..start.checked_add(bytes.len())?)?.copy_from_slice(bytes);
        config.writable.get(index)?.listener.written(contents);
        Some(())
    }

    fn item<'a>(&self, config: &'a Configuration) -> Option<&'a Item> {
        config.items.get(self.selected?)
    }

    /// Fills `buf`, which lies within the item, from the present offset on.
    fn fetch(&self, item: &Item, buf: &mut [u8]) -> io::Result<()> {
        let ahead = self.offset.checked_sub(self.ahead.0);
        if ahead.and_then(|at| copy_from(&self.ahead.1, at, buf)).is_some() {
            return Ok(());
        }
        let made = match item.body {
            Body::Fixed(ref content) => return content.read_at(self.offset, buf),
            Body::Writable(index) => self.writable.get(index),
            Body::Lazy(group, member) => {
                self.groups.get(group).and_then(|made| made.as_ref()).and_then(|made| made.get(member))
            }
        };
        // A group that could not be made reads as zeros; that was reported.
        if made.and_then(|bytes| copy_from(bytes, self.offset, buf)).is_none() {
            buf.fill(0);
        }
        Ok(())
    }

    fn make(&mut self, config: &Configuration, index: usize) {
        let (Some(group), Some(made)) = (config.groups.get(index), self.groups.get_mut(index)) else {
            return;
        };
        if made.is_some() {
            return;
        }
        let problem = match (group.provider)() {
            Ok(mut contents) => {
                let fits = contents.len() == group.sizes.len()
                    && contents.iter().zip(&group.sizes).all(|(bytes, size)| bytes.len() <= *size);
                if fits {
                    for (bytes, size) in contents.iter_mut().zip(&group.sizes) {
                        bytes.resize(*size, 0);
                    }
                    *made = Some(contents);
                    return;
                }
                "they are larger than the room that was set aside for them".to_owned()
            }
            Err(error) => error.to_string(),
        };
        // Not tried again before a reset: all members must be of one making.
        *made = Some(Vec::new());
        let first =
            config.items.iter().find(|item| matches!(item.body, Body::Lazy(group, _) if group == index));
        let name = first.and_then(|item| item.name.as_deref()).unwrap_or_default();
        crate::limited_error!(
            "cannot make the firmware tables that belong to fw_cfg file {name}: {problem}; the guest will find none"
        );
    }

    fn warn(&mut self, item: &Item, source: &io::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            let name = item.name.clone().unwrap_or_else(|| format!("item {:#06x}", item.key));
            tracing::warn!("cannot read fw_cfg {name} for the guest: {source}; it may not start");
        }
    }
}

fn file_of(config: &Configuration, name: &str) -> Option<usize> {
    config.items.iter().position(|item| item.name.as_deref() == Some(name))
}

fn index_of(config: &Configuration, key: u16) -> Option<usize> {
    config.items.binary_search_by_key(&key, |item| item.key).ok()
}
