//! Values for each cluster of a file, of which most are zero: memory is taken only around those that are not.

use std::io;

/// Values that share an allocation.
const CHUNK: usize = 512;
/// Most bytes for one array: counts for 32 TiB of usual clusters, if all are used.
const LIMIT: usize = 1 << 30;

/// An array that grows as it is written.
#[derive(Debug, Default)]
pub(super) struct Sparse<T> {
    chunks: Vec<Option<Box<[T; CHUNK]>>>,
    bytes: usize,
}

impl<T: Copy + Default> Sparse<T> {
    /// The value at `index`.
    pub(super) fn get(&self, index: u64) -> T {
        let (chunk, at) = place(index);
        let chunk = self.chunks.get(chunk).and_then(Option::as_deref);
        chunk.and_then(|chunk| chunk.get(at)).copied().unwrap_or_default()
    }

    /// The value at `index`, to change.
    pub(super) fn entry(&mut self, index: u64) -> io::Result<&mut T> {
        let (chunk, at) = place(index);
        if chunk >= self.chunks.len() {
            self.take(chunk.saturating_sub(self.chunks.len()).saturating_mul(size_of::<usize>()))?;
            self.chunks.resize_with(chunk + 1, || None);
        }
        if matches!(self.chunks.get(chunk), Some(None)) {
            self.take(CHUNK * size_of::<T>())?;
        }
        let slot = self.chunks.get_mut(chunk).ok_or(io::ErrorKind::OutOfMemory)?;
        let chunk = slot.get_or_insert_with(|| Box::new([T::default(); CHUNK]));
        chunk.get_mut(at).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Indices and values that are not the default.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, T)>
    where
        T: PartialEq,
    {
        let chunks = self.chunks.iter().enumerate();
        let chunks = chunks.filter_map(|(at, chunk)| Some((at * CHUNK, chunk.as_deref()?)));
        chunks
            .flat_map(|(first, chunk)| (first as u64..).zip(chunk.iter().copied()))
            .filter(|(_, value)| *value != T::default())
    }

    fn take(&mut self, bytes: usize) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > LIMIT {
            return Err(io::Error::other("its metadata is scattered too widely to be kept in memory"));
        }
        Ok(())
    }
}

fn place(index: u64) -> (usize, usize) {
    (usize::try_from(index / CHUNK as u64).unwrap_or(usize::MAX), (index % CHUNK as u64) as usize)
}

/// A set of clusters by their numbers.
#[derive(Debug, Default)]
pub(super) struct ClusterSet(Sparse<u64>);

impl ClusterSet {
    pub(super) fn contains(&self, cluster: u64) -> bool {
        self.0.get(cluster / 64) >> (cluster % 64) & 1 != 0
    }

    /// Adds `cluster`; says whether it was new.
    pub(super) fn insert(&mut self, cluster: u64) -> io::Result<bool> {
        let word = self.0.entry(cluster / 64)?;
        let bit = 1 << (cluster % 64);
        let new = *word & bit == 0;
        *word |= bit;
        Ok(new)
    }

    pub(super) fn remove(&mut self, cluster: u64) {
        if self.contains(cluster)
            && let Ok(word) = self.0.entry(cluster / 64)
        {
            *word &= !(1 << (cluster % 64));
        }
    }
}
