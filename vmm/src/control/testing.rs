//! A client of a machine without devices, and without a socket between them: for fuzzing.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use vmm_sys_util::eventfd::EventFd;

use super::command::Context;
use super::dialogue::{Dialogue, Task};
use super::{Announcer, Facts, Machine, Msrs, Shape};
use crate::console::{InputSink, Tee};

struct Nowhere;

impl InputSink for Nowhere {
    fn accept(&self, data: &[u8]) -> usize {
        data.len()
    }
}

/// A machine and a client of it.
pub struct Conversation {
    machine: Machine,
    announcer: Announcer,
    dialogue: Dialogue,
}

impl Conversation {
    /// One that begins.
    ///
    /// # Errors
    ///
    /// The host has no file descriptor for it.
    pub fn new() -> std::io::Result<Self> {
        let facts = Facts {
            name: "vm".into(),
            uuid: uuid::Uuid::nil(),
            cpu: Shape { sockets: 1, cores: 2, threads: 1 },
            memory: 1 << 30,
            devices: Vec::new(),
            disks: Vec::new(),
            cdroms: Vec::new(),
            sound: None,
            nets: Vec::new(),
            chardevs: Vec::new(),
            vnc: None,
            evdev: None,
            usb: None,
            dgpu: crate::code43::Facts::default(),
        };
        let machine = Machine {
            facts,
            began: Instant::now(),
            exits: Box::new(|| 0),
            msrs: Box::new(Msrs::default),
            threads: Box::new(|| vec![1, 2]),
            schedules: Box::new(Vec::new),
            functions: Arc::new(Vec::new),
            ask: Box::new(|_| ()),
            run: Arc::new(|_, _| ()),
            output: Arc::<Tee>::default(),
            sink: Arc::new(Nowhere),
            room: EventFd::new(libc::EFD_NONBLOCK)?,
            screen: None,
            input: None,
            files: Arc::new([]),
        };
        Ok(Self { machine, announcer: Announcer::new()?, dialogue: Dialogue::default() })
    }

    /// Sends bytes, and returns what is heard. Commands that take time are done at once when all others have had their turn.
    pub fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut heard = Vec::new();
        // As much as is read of a socket at a time.
        for piece in bytes.chunks(4096) {
            self.dialogue.receive(piece);
            loop {
                let context = Context { machine: &self.machine, announcer: &self.announcer };
                while let Some(task) = self.dialogue.perform_next(&context) {
                    if task == Some(Task::Attach) {
                        self.dialogue.attach(0);
                    }
                }
                let sent = !self.dialogue.is_sent();
                assert!(
                    !self.dialogue.is_flooded(),
                    "so much is said to a client that it is taken for stalled"
                );
                heard.extend(self.dialogue.output().drain(..));
                if self.dialogue.is_working() {
                    self.dialogue.finished(Ok(json!({})));
                } else if !sent || !self.dialogue.has_turn(0) {
                    break;
                }
            }
        }
        heard
    }

    /// Whether the connection is one to the console, of which nothing more is understood.
    pub fn is_console(&self) -> bool {
        self.dialogue.is_console()
    }
}
