//! Counts the instructions that a monitor's vCPU thread executes in user space between two entries to the guest, by
//! single steps (ptrace(2)). Unlike time this is exact, however busy the machine is.
#![allow(unsafe_code, reason = "ptrace and waitpid have no safe wrapper among our crates")]

use std::fs;
use std::io;

use crate::Result;

/// `KVM_RUN` (linux/kvm.h).
const KVM_RUN: u64 = 0xae80;
/// The two bytes of the instruction `syscall`.
const SYSCALL: i64 = 0x050f;
/// Most steps before this gives up.
const STEPS: usize = 2_000_000;

/// A thread that is traced and stopped.
struct Traced(libc::pid_t);

impl Traced {
    fn attach(thread: libc::pid_t) -> Result<Self> {
        // SAFETY: these requests take no pointers.
        unsafe {
            check(libc::ptrace(libc::PTRACE_SEIZE, thread, 0, 0))?;
            check(libc::ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0))?;
        }
        let traced = Self(thread);
        traced.wait()?;
        Ok(traced)
    }

    /// Waits until the thread has stopped, and gives the signal that it stopped for.
    fn wait(&self) -> Result<i32> {
        let mut status = 0;
        // SAFETY: `status` is writable for the call.
        check(i64::from(unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) }))?;
        if libc::WIFSTOPPED(status) {
            Ok(libc::WSTOPSIG(status))
        } else {
            Err("the traced thread has ended".into())
        }
    }

    fn step(&self) -> Result<()> {
        let mut signal = 0;
        loop {
            // SAFETY: this request takes a signal number and no pointers.
            check(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.0, 0, signal) })?;
            signal = self.wait()?;
            if signal == libc::SIGTRAP {
                return Ok(());
            }
        }
    }

    /// Whether the next instruction enters the guest.
    fn enters_guest(&self) -> Result<bool> {
        // SAFETY: all bits zero are a value of this plain data.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: `registers` is writable for the call and of the type that this request fills.
        check(unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.0, 0, &raw mut registers) })?;
        if registers.rax != libc::SYS_ioctl.cast_unsigned() || registers.rsi != KVM_RUN {
            return Ok(false);
        }
        // SAFETY: this request reads the other process's memory; an address that is not mapped gives an error.
        let code = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, self.0, registers.rip, 0) };
        Ok(code & 0xffff == SYSCALL)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // SAFETY: this request takes no pointers. The thread may be gone, which is as good.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) };
    }
}

fn check(result: i64) -> Result<()> {
    if result == -1 { Err(format!("cannot trace: {}", io::Error::last_os_error()).into()) } else { Ok(()) }
}

/// The instructions between two entries, for each of `count` exits in a row, of the first vCPU of the process.
pub(crate) fn per_exit(pid: u32, count: usize) -> Result<Vec<f64>> {
    let thread = Traced::attach(vcpu_thread(pid)?)?;
    let (mut samples, mut since) = (Vec::new(), None);
    for _ in 0..STEPS {
        if thread.enters_guest()? {
            samples.extend(since);
            since = Some(0.0);
            if samples.len() == count {
                return Ok(samples);
            }
        }
        thread.step()?;
        since = since.map(|steps| steps + 1.0);
    }
    Err("the vCPU does not come back from its exits".into())
}

fn vcpu_thread(pid: u32) -> Result<libc::pid_t> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if crate::procfs::runs_vcpu(&name) {
            return Ok(task.file_name().to_string_lossy().parse()?);
        }
    }
    Err(format!("process {pid} has no thread for a vCPU").into())
}
