//! How often a thread has slept (getrusage(2)): a call that has taken long has waited for something, or the host's scheduler has had others run.
#![allow(unsafe_code, reason = "rustix does not offer getrusage")]

/// How often the calling thread has given its processor up to wait for something, since it began.
pub(super) fn count() -> i64 {
    // SAFETY: all zeroes are a valid `rusage`, which consists of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is writable for the duration of the call.
    let result = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    debug_assert_eq!(result, 0, "it fails for unknown arguments only");
    usage.ru_nvcsw
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    #[test]
    fn waiting_counts_and_working_does_not() {
        let before = super::count();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        assert_eq!(super::count(), before);
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(super::count(), before + 1);
    }
}
