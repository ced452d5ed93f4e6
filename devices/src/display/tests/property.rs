//! Whoever looks, whenever, and whatever is drawn how: at the end all have the true picture, and every pixel that became
//! different was in the damage.

use proptest::prelude::*;

use super::*;

const WIDTH: u32 = 100;
const HEIGHT: u32 = 70;
const LEN: u64 = (WIDTH * HEIGHT * 4) as u64;

#[derive(Debug, Clone)]
enum Step {
    /// Offset, count and colour, in pixels.
    Draw(u64, u64, u32),
    /// Moves the firmware's picture.
    Move(u64),
    /// Shows one of two planes, or none.
    Plane(Option<bool>),
    Turn(Effort),
    Watch(bool),
    Unwatch,
    Look(usize),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..LEN / 4, 1..400u64, any::<u32>()).prop_map(|(at, count, colour)| Step::Draw(at, count, colour)),
        1 => (0..8u64).prop_map(Step::Move),
        1 => prop::option::of(any::<bool>()).prop_map(Step::Plane),
        3 => prop_oneof![Just(Effort::Written), Just(Effort::Sample), Just(Effort::Everything)].prop_map(Step::Turn),
        2 => any::<bool>().prop_map(Step::Watch),
        1 => Just(Step::Unwatch),
        4 => (0..3usize).prop_map(Step::Look),
        1 => Just(Step::Reset),
    ]
}

struct World {
    bench: Bench,
    base: Option<u64>,
    planes: [Arc<Memory>; 2],
    shown: Option<usize>,
    lookers: Vec<(Copy, u64)>,
}

impl World {
    fn new() -> Self {
        let planes = [1, 2].map(|id| Memory::new(id, LEN as usize, 0));
        let lookers = (0..3).map(|_| (Copy::default(), 0)).collect();
        Self { bench: Bench::new(), base: None, planes, shown: None, lookers }
    }

    fn truth(&self) -> Frame {
        let mut bytes = vec![0; LEN as usize];
        match (self.shown, self.base) {
            (Some(plane), _) => bytes.clone_from(&self.planes[plane].bytes.lock().unwrap()),
            (None, Some(base)) => self.bench.ram.read_slice(&mut bytes, GuestAddress(base)).unwrap(),
            (None, None) => return Frame::default(),
        }
        let mut pixels = vec![0; bytes.len() / 4];
        PixelFormat::Xrgb8888.convert(&bytes, &mut pixels);
        Frame { width: WIDTH, height: HEIGHT, pixels }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Draw(at, count, colour) => {
                let count = count.min(LEN / 4 - at) as usize;
                let bytes = colour.to_le_bytes().repeat(count);
                match (self.shown, self.base) {
                    (Some(plane), _) => self.planes[plane].draw(at as usize * 4, &bytes),
                    (None, Some(base)) => {
                        self.bench.ram.write_slice(&bytes, GuestAddress(base + at * 4)).unwrap();
                        let end = (at * 4 + bytes.len() as u64).next_multiple_of(4096);
                        self.bench.tracker.written.lock().unwrap().push((at * 4) & !0xfff..end);
                    }
                    (None, None) => {}
                }
            }
            Step::Move(to) => {
                // Overlapping places: what is at one is seen at the other, in part.
                let base = (1 << 20) + to * 4096;
                // The kernel reports written pages by their address: those of the former place count at the new one, wherever
                // they are in it.
                let mut written = self.bench.tracker.written.lock().unwrap();
                if !written.is_empty() && self.base != Some(base) {
                    written.clear();
                    written.push(0..LEN.next_multiple_of(4096));
                }
                drop(written);
                self.base = Some(base);
                self.bench.ramfb.written(&file(base, XR24, WIDTH, HEIGHT, 0));
            }
            Step::Plane(which) => {
                self.shown = which.map(usize::from);
                *self.bench.gpu.primary.lock().unwrap() = None;
                if let Some(plane) = self.shown {
                    self.bench.gpu.show(&self.planes[plane], WIDTH, HEIGHT);
                }
            }
            Step::Turn(effort) => {
                self.bench.core.refresh(effort);
            }
            Step::Watch(idle) => {
                // As the thread does it.
                if self.bench.core.watch(idle) {
                    self.bench.core.refresh(Effort::Everything);
                }
            }
            Step::Unwatch => self.bench.core.unwatch(),
            Step::Look(which) => self.look(which),
            Step::Reset => {
                WriteListener::reset(self.bench.ramfb.as_ref());
                self.bench.core.reset();
                (self.base, self.shown) = (None, None);
            }
        }
    }

    fn look(&mut self, which: usize) {
        let truth = self.truth();
        let (copy, seen) = &mut self.lookers[which];
        let before = copy.frame.clone();
        self.bench.core.refresh(Effort::Written);
        let change = self.bench.core.copy(*seen, copy);
        *seen = self.bench.core.generation();
        assert!(copy.frame == truth, "looker {which} sees something else");
        assert_eq!(change.resized, (before.width, before.height) != (truth.width, truth.height));
        let damaged = |x, y| {
            change.damage.iter().any(|rect| {
                (rect.x..rect.x + rect.width).contains(&x) && (rect.y..rect.y + rect.height).contains(&y)
            })
        };
        for y in 0..truth.height {
            for x in 0..truth.width {
                let index = (y * WIDTH + x) as usize;
                let same = !change.resized && before.pixels[index] == truth.pixels[index];
                assert!(same || damaged(x, y), "{x}, {y} is new");
            }
        }
    }
}

proptest! {
    #[test]
    fn lookers_end_with_the_true_picture(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
        }
        for which in 0..3 {
            world.look(which);
        }
    }
}
