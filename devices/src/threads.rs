//! Threads that devices start. A queue's worker begins when the guest's driver is ready, in the thread of the vCPU that said
//! so, and would inherit what the host's scheduler was told of that one: the CPUs that it is pinned to.

use std::io;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle};

static PREPARE: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Has each thread that a device starts from now on call `prepare` first. Only the first call of a process has an effect.
pub fn prepare_with(prepare: impl Fn() + Send + Sync + 'static) {
    let _ = PREPARE.set(Box::new(prepare));
}

/// Starts a thread with a name, of which the kernel keeps 15 bytes.
///
/// # Errors
/// The host has no thread for it.
pub(crate) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(prepare) = PREPARE.get() {
            prepare();
        }
        work();
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local!(static PREPARED: Cell<u32> = const { Cell::new(0) });

    #[test]
    fn threads_are_prepared_before_they_work() {
        prepare_with(|| PREPARED.set(PREPARED.get() + 1));
        prepare_with(|| PREPARED.set(7));
        start("test", || assert_eq!(PREPARED.get(), 1)).unwrap().join().unwrap();
        assert_eq!(PREPARED.get(), 0, "this thread is another one");
    }
}
