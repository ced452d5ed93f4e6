//! The thread that has the context.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::super::buffer::Layout;
use super::super::gpu::GpuError;
use super::context::{Context, Image};

/// How long a GPU may take. One that hangs is reset by its driver in less; compiling the driver's own programs at the first
/// picture takes its time too.
const PATIENCE: Duration = Duration::from_secs(20);

/// A picture that the context has.
#[derive(Clone, Copy)]
pub(super) struct Imported {
    pub(super) id: u64,
    /// DRM fourcc of its copies.
    pub(super) format: u32,
}

type Reply<T> = SyncSender<Result<T, GpuError>>;

enum Job {
    Import(OwnedFd, Layout, Reply<Imported>),
    Copy(u64, Vec<u8>, Reply<Vec<u8>>),
    Discard(u64),
}

/// Ends when it is dropped.
pub(super) struct Worker {
    /// `None` at the end only.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// It has kept somebody waiting for too long, and may never end.
    silent: AtomicBool,
}

impl Worker {
    /// Starts it with the first of `nodes` that works.
    pub(super) fn start(nodes: Vec<PathBuf>) -> Result<Self, GpuError> {
        let (jobs, todo) = mpsc::channel();
        let (ready, started) = mpsc::sync_channel(1);
        let run = move || match Context::open(&nodes) {
            Ok(context) => {
                let _ = ready.send(Ok(()));
                serve(&context, &todo);
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        };
        let thread = thread::Builder::new().name("egl".into()).spawn(run).map_err(GpuError::Thread)?;
        let worker = Self { jobs: Some(jobs), thread: Some(thread), silent: AtomicBool::new(false) };
        worker.wait(&started)?;
        Ok(worker)
    }

    fn wait<T>(&self, answer: &Receiver<Result<T, GpuError>>) -> Result<T, GpuError> {
        answer.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            self.silent.store(true, Ordering::Relaxed);
            Err(GpuError::Silent(PATIENCE))
        })
    }

    fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, GpuError> {
        // Who has waited in vain once does not hold the display up again.
        if self.silent.load(Ordering::Relaxed) {
            return Err(GpuError::Silent(PATIENCE));
        }
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(job(reply));
        self.wait(&answer)
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Who waits for an answer hears that there is none.
            let _ = jobs.send(job);
        }
    }

    pub(super) fn import(&self, dmabuf: OwnedFd, layout: Layout) -> Result<Imported, GpuError> {
        self.ask(|reply| Job::Import(dmabuf, layout, reply))
    }

    pub(super) fn copy(&self, id: u64, bytes: Vec<u8>) -> Result<Vec<u8>, GpuError> {
        self.ask(|reply| Job::Copy(id, bytes, reply))
    }

    pub(super) fn discard(&self, id: u64) {
        self.send(Job::Discard(id));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        // The libraries of GPUs do not like to be in use while a process ends; one that hangs is left behind.
        if let Some(thread) = self.thread.take().filter(|_| !self.silent.load(Ordering::Relaxed)) {
            let _ = thread.join();
        }
    }
}

fn serve(context: &Context, todo: &Receiver<Job>) {
    let mut images = BTreeMap::new();
    let mut last = 0;
    // Nobody may wait for the answer any more.
    while let Ok(job) = todo.recv() {
        match job {
            Job::Import(dmabuf, layout, reply) => {
                let imported = context.import(&dmabuf, &layout).map(|image: Image| {
                    last += 1;
                    let imported = Imported { id: last, format: image.format() };
                    images.insert(last, image);
                    imported
                });
                let _ = reply.send(imported);
            }
            Job::Copy(id, bytes, reply) => {
                let copy = match images.get(&id) {
                    Some(image) => image.copy(bytes),
                    None => Err(GpuError::Copy("it is gone".into())),
                };
                let _ = reply.send(copy);
            }
            Job::Discard(id) => {
                images.remove(&id);
            }
        }
    }
}
