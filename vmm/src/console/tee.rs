//! What a console wrote last, for readers beside the console's own: they come and go, and hold up nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

/// What a new reader is shown of the past.
const BACKLOG: u64 = 64 << 10;
/// What is kept, so that a reader may be a little late.
const KEPT: usize = 256 << 10;

/// The end of a console's output, with the numbers of its bytes.
#[derive(Debug, Default)]
pub struct Tee(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// Bytes written so far, the kept ones included.
    total: u64,
    /// Rung with every output, while somebody listens.
    wakeup: Option<Arc<EventFd>>,
}

impl State {
    /// The number of the first byte that is kept.
    fn first(&self) -> u64 {
        self.total.saturating_sub(self.bytes.len() as u64)
    }
}

impl Tee {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the console wrote.
    pub(crate) fn push(&self, output: &[u8]) {
        let mut state = self.lock();
        let kept = output.get(output.len().saturating_sub(KEPT)..).unwrap_or(output);
        state.bytes.extend(kept);
        let surplus = state.bytes.len().saturating_sub(KEPT);
        state.bytes.drain(..surplus);
        state.total = state.total.saturating_add(output.len() as u64);
        if let Some(wakeup) = &state.wakeup {
            // Fails only when the counter is full: then it rings already.
            let _ = wakeup.write(1);
        }
    }

    /// Signals `wakeup` from now on when there is more; `None` stops it.
    pub(crate) fn listen(&self, wakeup: Option<Arc<EventFd>>) {
        self.lock().wakeup = wakeup;
    }

    /// Where a new reader begins: some of the past comes first.
    pub(crate) fn start(&self) -> u64 {
        let state = self.lock();
        state.total.saturating_sub(BACKLOG).max(state.first())
    }

    /// The number of the byte that will be written next.
    pub(crate) fn end(&self) -> u64 {
        self.lock().total
    }

    /// Appends at most `most` bytes from number `from` on to `out`. Returns the number of the next. What is no longer kept
    /// is left out.
    pub(crate) fn read(&self, from: u64, most: usize, out: &mut VecDeque<u8>) -> u64 {
        let state = self.lock();
        let from = from.clamp(state.first(), state.total);
        let skip = usize::try_from(from.saturating_sub(state.first())).unwrap_or(usize::MAX);
        let before = out.len();
        out.extend(state.bytes.iter().skip(skip).take(most));
        from.saturating_add(out.len().saturating_sub(before) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tee: &Tee, from: u64, most: usize) -> (Vec<u8>, u64) {
        let mut out = VecDeque::new();
        let next = tee.read(from, most, &mut out);
        (out.into(), next)
    }

    #[test]
    fn readers_go_on_where_they_were() {
        let tee = Tee::default();
        assert_eq!(read(&tee, tee.start(), 9), (vec![], 0));
        tee.push(b"abcdef");
        assert_eq!(read(&tee, 0, 4), (b"abcd".to_vec(), 4));
        assert_eq!(read(&tee, 4, 4), (b"ef".to_vec(), 6));
        assert_eq!(read(&tee, 6, 4), (vec![], 6));
        assert_eq!(read(&tee, u64::MAX, 4), (vec![], 6));
    }

    #[test]
    fn the_past_is_bounded() {
        let tee = Tee::default();
        for round in 0..9 {
            tee.push(&vec![round; 100 << 10]);
        }
        assert_eq!(tee.start(), (900 << 10) - BACKLOG);
        let (all, next) = read(&tee, 0, usize::MAX);
        assert_eq!((all.len(), next), (KEPT, 900 << 10));
        tee.push(&vec![7; KEPT + 5]);
        assert_eq!(read(&tee, 0, usize::MAX).0, vec![7; KEPT]);
    }

    #[test]
    fn the_bell_rings_for_who_listens_only() {
        let (tee, wakeup) = (Tee::default(), Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap()));
        tee.push(b"a");
        assert!(wakeup.read().is_err());
        tee.listen(Some(Arc::clone(&wakeup)));
        tee.push(b"b");
        assert_eq!(wakeup.read().unwrap(), 1);
        tee.listen(None);
        tee.push(b"c");
        assert!(wakeup.read().is_err());
    }
}
