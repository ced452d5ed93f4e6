//! Memory of this process that only the start needed.
#![allow(unsafe_code, reason = "the allocator and the kernel are told by functions of the C library")]

use std::ffi::{c_int, c_void};
use std::ops::Range;

const PAGE: usize = 4096;

/// Gives it back: the start is over, and the machine may run for days.
pub(super) fn give_back() {
    give_back_heap();
    for part in program() {
        let_go(&part);
    }
}

/// Gives back the pages that the start used and left free: the unpacked firmware, words of the command line. The allocator
/// would keep them between what is still in use.
fn give_back_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes its own locks and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Unmaps pages of the program, half of which are code and constants of the start alone. They stay in the page cache, from
/// where each comes back when it is used again.
fn let_go(part: &Range<usize>) {
    // SAFETY: these are pages of the program's file that cannot be written, so their contents are the file's, and the file of
    // a program that runs cannot be changed (execve(2), ETXTBSY). After an error they merely stay.
    unsafe { libc::madvise(part.start as *mut c_void, part.len(), libc::MADV_DONTNEED) };
}

/// The parts of the program that cannot be written, in whole pages.
fn program() -> Vec<Range<usize>> {
    /// Adds the parts of an object to the list that `parts` points to. Not asked again: the program is the first.
    unsafe extern "C" fn add(object: *mut libc::dl_phdr_info, _size: usize, parts: *mut c_void) -> c_int {
        // SAFETY: the C library lends a description that is complete and valid during this call.
        let object = unsafe { &*object };
        // SAFETY: there are so many headers, in memory that stays.
        let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
        // SAFETY: this is the list of `program`, which waits and lends it to nobody else.
        let parts = unsafe { &mut *parts.cast::<Vec<Range<usize>>>() };
        let fixed = headers.iter().filter(|header| {
            header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 && header.p_memsz > 0
        });
        parts.extend(fixed.map(|header| {
            let start = object.dlpi_addr.wrapping_add(header.p_vaddr) as usize;
            let end = start.saturating_add(header.p_memsz as usize);
            // No two parts share a page, since each has its own protection.
            start / PAGE * PAGE..end.next_multiple_of(PAGE)
        }));
        1
    }
    let mut parts: Vec<Range<usize>> = Vec::new();
    // SAFETY: `add` takes what it is given here, the list, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut parts).cast()) };
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::smaps::mapped_pages;

    /// How many of the pages that begin at `starts` are in memory (mincore(2)).
    #[cfg(target_env = "gnu")]
    fn resident(starts: &[usize]) -> usize {
        let mut count = 0;
        for start in starts {
            let mut state = 0;
            // SAFETY: one page is asked for, and `state` has room for its byte. An address without memory is an error.
            let asked = unsafe { libc::mincore(*start as *mut c_void, PAGE, &raw mut state) };
            count += usize::from(asked == 0 && state & 1 != 0);
        }
        count
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn free_pages_between_others_are_given_back() {
        let chunks: Vec<Vec<u8>> = (0..1000).map(|_| vec![1; 4 * PAGE]).collect();
        // A page that lies in the middle of each.
        let pages: Vec<usize> =
            chunks.iter().map(|chunk| (chunk.as_ptr() as usize + PAGE).next_multiple_of(PAGE)).collect();
        assert_eq!(resident(&pages), 1000);
        let kept: Vec<_> = chunks.into_iter().enumerate().filter(|(index, _)| index % 8 == 7).collect();
        give_back_heap();
        // Some may have been taken again by then.
        let left = resident(&pages);
        assert!((kept.len()..500).contains(&left), "{left} of 1000");
    }

    #[test]
    fn the_program_goes_and_comes_back() {
        let parts = program();
        let total: usize = parts.iter().map(|part| part.len() / PAGE).sum();
        let sum = || -> u64 {
            let bytes = parts.iter().flat_map(|part| part.clone().step_by(PAGE));
            // SAFETY: readable pages of the program.
            bytes.map(|at| u64::from(unsafe { (at as *const u8).read_volatile() })).sum()
        };
        let mapped = || -> usize { parts.iter().map(|part| mapped_pages(part).all).sum() };
        let before = sum();
        let all = mapped();
        assert!(all > total * 3 / 4, "{all} of {total}");
        // What runs now is back already, and other tests run beside this one: on a busy machine between the two steps.
        let goes = (0..100).any(|_| {
            parts.iter().for_each(let_go);
            mapped() < total / 2
        });
        assert!(goes, "{} of {total}", mapped());
        assert_eq!(sum(), before);
    }
}
