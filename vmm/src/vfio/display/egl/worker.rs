//! The thread that has the context.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::buffer::Layout;
use super::super::gpu::GpuError;
use super::context::{Context, Image};

/// How long EGL may take to start, and to take a picture: it loads libraries and compiles programs of its own. So long it may
/// take to an end, too, unless it has been waited for in vain already.
const START: Duration = Duration::from_secs(90);
/// How long a copy may take. The display waits for it, and with it all who look and type.
const COPY: Duration = Duration::from_secs(5);
/// How long is waited at the end for a GPU that was silent.
const LAST: Duration = Duration::from_secs(5);

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
    silent: Arc<AtomicBool>,
}

impl Worker {
    /// Starts it with the first of `nodes` that works.
    pub(super) fn start(nodes: Vec<PathBuf>) -> Result<Self, GpuError> {
        let (jobs, todo) = mpsc::channel();
        let (ready, started) = mpsc::sync_channel(1);
        let silent = Arc::<AtomicBool>::default();
        let heard = Arc::clone(&silent);
        let run = move || match Context::open(&nodes) {
            Ok(context) => {
                let _ = ready.send(Ok(()));
                serve(&context, &todo, &heard);
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        };
        let thread = thread::Builder::new().name("egl".into()).spawn(run).map_err(GpuError::Thread)?;
        let worker = Self { jobs: Some(jobs), thread: Some(thread), silent };
        worker.wait(&started, START)?;
        Ok(worker)
    }

    fn wait<T>(&self, answer: &Receiver<Result<T, GpuError>>, patience: Duration) -> Result<T, GpuError> {
        answer.recv_timeout(patience).unwrap_or_else(|_| {
            self.silent.store(true, Ordering::Relaxed);
            Err(GpuError::Silent)
        })
    }

    fn ask<T>(&self, patience: Duration, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, GpuError> {
        // Who has waited in vain does not hold the display up again before the GPU is done with that.
        if self.silent.load(Ordering::Relaxed) {
            return Err(GpuError::Silent);
        }
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(job(reply));
        self.wait(&answer, patience)
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Who waits for an answer hears that there is none.
            let _ = jobs.send(job);
        }
    }

    pub(super) fn import(&self, dmabuf: OwnedFd, layout: Layout) -> Result<Imported, GpuError> {
        self.ask(START, |reply| Job::Import(dmabuf, layout, reply))
    }

    pub(super) fn copy(&self, id: u64, bytes: Vec<u8>) -> Result<Vec<u8>, GpuError> {
        self.ask(COPY, |reply| Job::Copy(id, bytes, reply))
    }

    pub(super) fn discard(&self, id: u64) {
        self.send(Job::Discard(id));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return };
        // The libraries of GPUs do not like to be in use while a process ends.
        let limit = Instant::now() + if self.silent.load(Ordering::Relaxed) { LAST } else { START };
        while !thread.is_finished() && Instant::now() < limit {
            thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

fn serve(context: &Context, todo: &Receiver<Job>, silent: &AtomicBool) {
    let mut images = BTreeMap::new();
    let mut last = 0;
    // Nobody may wait for the answer any more.
    while let Ok(job) = todo.recv() {
        match job {
            Job::Import(dmabuf, layout, reply) => {
                // The first copy is the slow one, and shows whether there can be others.
                let tried = context.import(&dmabuf, &layout).and_then(|image: Image| {
                    image.copy(Vec::new())?;
                    Ok(image)
                });
                match tried {
                    Ok(image) => {
                        last += 1;
                        // One that nobody waits for any more is let go.
                        if reply.send(Ok(Imported { id: last, format: image.format() })).is_ok() {
                            images.insert(last, image);
                        }
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
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
        silent.store(false, Ordering::Relaxed);
    }
}
