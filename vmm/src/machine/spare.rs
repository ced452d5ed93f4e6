//! The heap of this process, when the machine runs.
#![allow(unsafe_code, reason = "the allocator is told by a function of the C library")]

/// Gives back the pages that the start used and left free: the schema of vm.toml, the unpacked firmware, tables that were
/// made to be measured. The allocator would keep them between what is still in use, for as long as the machine runs.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes its own locks and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    const PAGE: usize = 4096;

    /// How many of the pages that begin at `starts` are in memory (mincore(2)).
    fn resident(starts: &[usize]) -> usize {
        let mut count = 0;
        for start in starts {
            let mut state = 0;
            // SAFETY: one page is asked for, and `state` has room for its byte. An address without memory is an error.
            let asked = unsafe { libc::mincore(*start as *mut libc::c_void, PAGE, &raw mut state) };
            count += usize::from(asked == 0 && state & 1 != 0);
        }
        count
    }

    #[test]
    fn free_pages_between_others_are_given_back() {
        let chunks: Vec<Vec<u8>> = (0..1000).map(|_| vec![1; 4 * PAGE]).collect();
        // A page that lies in the middle of each.
        let pages: Vec<usize> =
            chunks.iter().map(|chunk| (chunk.as_ptr() as usize + PAGE).next_multiple_of(PAGE)).collect();
        assert_eq!(resident(&pages), 1000);
        let kept: Vec<_> = chunks.into_iter().enumerate().filter(|(index, _)| index % 8 == 7).collect();
        super::give_back();
        // Some may have been taken again by then.
        let left = resident(&pages);
        assert!((kept.len()..500).contains(&left), "{left} of 1000");
    }
}
