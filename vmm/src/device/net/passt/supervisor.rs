//! While a machine runs, a thread reads what its passt has to say and waits for its end, which only a fault brings. Then the guest's link
//! goes down, and another passt is started.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use devices::net::cable::Cable;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use rustix::thread::{CapabilitySet, capabilities};

use super::{Passt, is_noise};

/// How long to wait before another passt is started: after its first end, its second, and all others.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(2), Duration::from_secs(30)];
/// One that has worked for so long ends for a reason of its own: the first pause is due again.
const WORKED: Duration = Duration::from_secs(60);
/// How long one may take to end when it is told to.
const END: Duration = Duration::from_secs(5);
/// A line of passt's is cut off behind so many bytes.
const LONGEST_LINE: u64 = 1024;

impl Passt {
    /// Looks after `child` on a thread of its own.
    pub(in crate::device::net) fn supervise(
        self,
        child: Child,
        key: &str,
        cable: Arc<Cable>,
    ) -> io::Result<Supervisor> {
        let shared = Arc::new(Shared::default());
        shared.state().child = Some(Pid::from_child(&child));
        let (theirs, key, ours) = (Arc::clone(&shared), key.to_owned(), Arc::clone(&cable));
        let thread = thread::Builder::new()
            .name("passt".into())
            .spawn(move || look_after(&self, child, &key, &cable, &theirs))?;
        Ok(Supervisor { shared, cable: ours, thread: Some(thread) })
    }
}

/// Reports what a passt has to say until it ends.
fn report(child: &mut Child, key: &str) {
    let Some(errors) = child.stderr.take() else { return };
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while matches!(errors.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        if !is_noise(&text) {
            devices::limited_warn!("{key}: passt: {}", text.trim());
        }
        line.clear();
    }
}

fn look_after(passt: &Passt, mut child: Child, key: &str, cable: &Cable, shared: &Shared) {
    let mut pauses = pauses();
    loop {
        let begun = Instant::now();
        // It closes its standard error once it runs, and writes to the system's log then.
        report(&mut child, key);
        let status = shared.reap(&mut child);
        if shared.is_over() {
            return;
        }
        cable.disconnect();
        match status {
            Ok(status) => tracing::warn!("{key}: passt has ended ({status}): the guest's link is down"),
            Err(error) => tracing::warn!("{key}: passt is lost ({error}): the guest's link is down"),
        }
        if !may_start() {
            tracing::warn!(
                "{key}: a machine of root's gives up the right to start passt a second time: the link stays down until the machine is \
                 started anew"
            );
            return;
        }
        if begun.elapsed() >= WORKED {
            pauses = self::pauses();
        }
        child = loop {
            let Some(pause) = pauses.next() else { return };
            if shared.wait(pause) {
                return;
            }
            match passt.start_and_settle(key) {
                Ok((peer, mut child)) => {
                    if !shared.take_over(&child, || cable.connect(peer)) {
                        let _ = child.kill();
                        let _ = child.wait();
                        return;
                    }
                    tracing::info!("{key}: passt runs again");
                    break child;
                }
                // The link stays down: one that goes up and down again would have the guest ask for an address each time.
                Err(why) => devices::limited_warn!("{key}: the link stays down for now: {why}"),
            }
        };
    }
}

/// How long to wait before each attempt to start another passt.
fn pauses() -> impl Iterator<Item = Duration> {
    let [.., last] = PAUSES;
    PAUSES.into_iter().chain(std::iter::repeat(last))
}

/// Whether passt would work. As root it becomes another user first.
fn may_start() -> bool {
    !rustix::process::geteuid().is_root()
        || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SETUID))
}

#[derive(Debug, Default)]
struct State {
    /// The process that runs and has not been waited for.
    child: Option<Pid>,
    over: bool,
}

/// What the thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another process is the one to end, and `connect` is done before anybody can; `false` when the machine ends already.
    fn take_over(&self, child: &Child, connect: impl FnOnce()) -> bool {
        let mut state = self.state();
        if !state.over {
            state.child = Some(Pid::from_child(child));
            connect();
        }
        !state.over
    }

    /// Waits for the end of a process. Its number is nobody's afterwards.
    fn reap(&self, child: &mut Child) -> io::Result<ExitStatus> {
        // Its number is its own until it is reaped, which is done while nobody can signal it.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(Pid::from_child(child)), options) {}
        let mut state = self.state();
        state.child = None;
        child.wait()
    }

    fn is_over(&self) -> bool {
        self.state().over
    }

    /// Waits for `time`; `true` when the machine ends meanwhile.
    fn wait(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), time, |state| !state.over);
        waited.unwrap_or_else(PoisonError::into_inner).0.over
    }
}

/// Looks after a passt. Dropped, it ends it.
#[derive(Debug)]
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    cable: Arc<Cable>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.over = true;
            // A machine of root's may not: there passt is another user's.
            if let Some(child) = state.child {
                let _ = kill_process(child, Signal::TERM);
            }
        }
        // It ends by itself when our end of its socket is closed, which the card's worker does.
        self.cable.disconnect();
        self.shared.changed.notify_all();
        let Some(thread) = self.thread.take() else { return };
        let begun = Instant::now();
        while !thread.is_finished() {
            // Devices of the host are to be given back, whatever this program does.
            if begun.elapsed() > END {
                tracing::warn!("passt does not end: it is left behind");
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::net::passt::settle;
    use crate::device::net::passt::tests::passt;

    /// As root, it is another user's, whom a machine that has given up its powers cannot signal.
    #[test]
    fn it_ends_with_the_machine_that_may_not_signal_it() {
        let ended = thread::spawn(|| {
            let passt = passt(&[]);
            let (peer, mut child) = passt.start().unwrap();
            settle(&mut child, "net[0]").unwrap();
            let process = Pid::from_child(&child);
            let cable = Cable::new(peer, true).unwrap();
            let supervisor = passt.supervise(child, "net[0]", cable).unwrap();
            crate::privileges::drop_unneeded();
            let begun = Instant::now();
            drop(supervisor);
            (begun.elapsed(), rustix::process::test_kill_process(process))
        });
        let (took, gone) = ended.join().unwrap();
        assert_eq!(gone, Err(rustix::io::Errno::SRCH), "it is left behind");
        assert!(took < END, "{took:?}");
    }

    /// By the program itself.
    #[test]
    fn one_that_is_killed_is_replaced() {
        let passt = passt(&[]);
        let (peer, child) = passt.start().unwrap();
        let first = Pid::from_child(&child);
        let cable = Cable::new(peer, true).unwrap();
        let supervisor = passt.supervise(child, "net[0]", Arc::clone(&cable)).unwrap();
        kill_process(first, Signal::KILL).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let second = loop {
            assert!(Instant::now() < deadline, "no other passt comes");
            match supervisor.shared.state().child {
                Some(child) if child != first && cable.is_up() => break child,
                _ => thread::sleep(Duration::from_millis(10)),
            }
        };
        drop(supervisor);
        let gone = rustix::process::test_kill_process(second);
        assert_eq!(gone, Err(rustix::io::Errno::SRCH), "it is left behind");
    }

    /// As when its port is taken while it is away. The link must not go up for one that ends at once. The program is a shell that is told
    /// what becomes of it.
    #[test]
    fn one_that_ends_at_once_is_no_link() {
        const SHELL: &str = "echo >>\"$1/starts\"; [ -e \"$1/works\" ] || { echo 'the port is taken' >&2; exit 1; }; exec cat 2>&- >/dev/null";
        let folder = tempfile::tempdir().unwrap();
        let works = folder.path().join("works");
        std::fs::write(&works, "").unwrap();
        let arguments = ["-c".into(), SHELL.into(), "passt".into(), folder.path().into()].into();
        let passt = Passt { program: "/bin/sh".into(), arguments, longest_frame: 1518 };
        let (peer, child) = passt.start_and_settle("net[0]").unwrap();
        let first = Pid::from_child(&child);
        let cable = Cable::new(peer, true).unwrap();
        let supervisor = passt.supervise(child, "net[0]", Arc::clone(&cable)).unwrap();
        std::fs::remove_file(&works).unwrap();
        kill_process(first, Signal::KILL).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let wait = |what: &str, done: &dyn Fn() -> bool| {
            while !done() {
                assert!(Instant::now() < deadline, "{what}");
                thread::sleep(Duration::from_millis(10));
            }
        };
        let starts = || std::fs::read(folder.path().join("starts")).unwrap().len();
        wait("it is not started again", &|| starts() >= 2);
        // That one fails, and the next one comes after two seconds, or another half a minute where this thread was slower than that.
        thread::sleep(PAUSES[1] / 2);
        assert!(!cable.announcing(), "the link has gone up");
        std::fs::write(&works, "").unwrap();
        wait("no other passt comes", &|| cable.is_up());
        drop(supervisor);
    }
}
