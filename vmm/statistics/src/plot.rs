//! A report as a picture: for each measure its distribution over a logarithmic axis of time, with the baseline's mirrored below, and its numbers
//! beside it.
//!
//! A picture is a list of rectangles and texts (`scene`), which is written as SVG (`svg`) or drawn as PNG (`raster`). There is no font to be
//! looked for on the host: a PNG has letters of a bitmap font that is built in, an SVG names a family of fonts and leaves room for any.

mod axis;
mod raster;
mod scene;
mod svg;

use axis::Axis;
use scene::{Anchor, CELL, Colour, LINE, Scene};

use crate::report::{Measure, Owner, Report};
use crate::{Row, Verdict, compare, time};

/// Pixels of the picture's width.
const WIDTH: f64 = 1240.0;
/// Where labels, distributions and numbers begin, and where they end.
const LABELS: f64 = 24.0;
const FIELD: (f64, f64) = (340.0, 880.0);
const NUMBERS: f64 = 900.0;
const END: f64 = WIDTH - 24.0;
/// Pixels of a column of a distribution.
const COLUMN: f64 = 2.0;
/// The greatest height of a distribution.
const HEIGHT: f64 = 34.0;
/// The least that is seen of a single event.
const LEAST: f64 = 1.5;
/// How far marks stand out beyond a distribution.
const MARK: f64 = 6.0;
/// Most lines on what was not measured.
const MOST_MISSING: usize = 8;

const BACKGROUND: Colour = Colour(0xff_ff_ff);
const INK: Colour = Colour(0x1b_1f_24);
const FAINT: Colour = Colour(0x6a_73_7d);
const GRID: Colour = Colour(0xe4_e7_eb);
const BASELINE: Colour = Colour(0xa8_b0_b8);
const GOOD: Colour = Colour(0x1a_7f_37);
const BAD: Colour = Colour(0xc0_39_2b);

/// The picture of a report, with or without a baseline.
#[derive(Debug, Clone, Copy)]
pub struct Plot<'a> {
    report: &'a Report,
    baseline: Option<&'a Report>,
}

impl<'a> Plot<'a> {
    /// A picture of this report alone.
    pub fn new(report: &'a Report) -> Self {
        Self { report, baseline: None }
    }

    /// The same with an earlier report beside it.
    pub fn beside(self, baseline: &'a Report) -> Self {
        Self { baseline: Some(baseline), ..self }
    }

    /// The picture as SVG.
    pub fn svg(&self) -> String {
        svg::write(&self.scene(), &self.report.program)
    }

    /// The picture as PNG.
    ///
    /// # Errors
    /// If the picture is too large for the format, which that of a report is not.
    pub fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        raster::encode(&self.scene())
    }

    fn scene(&self) -> Scene {
        let mut scene = Scene::new(WIDTH, BACKGROUND);
        let measures: Vec<&Measure> =
            self.report.measures.iter().filter(|measure| measure.histogram.samples() > 0).collect();
        let rows = self.baseline.map(|baseline| compare(self.report, baseline)).unwrap_or_default();
        let mut y = self.head(&mut scene, &measures);
        let of_baseline = |measure: &Measure| self.baseline?.measure(&measure.id);
        let both = measures.iter().flat_map(|measure| [Some(*measure), of_baseline(measure)]).flatten();
        if let Some(axis) = Axis::around(both.filter_map(|measure| measure.histogram.range()), FIELD) {
            let strip =
                if self.baseline.is_some() { 2.0 * (HEIGHT + MARK) + 14.0 } else { HEIGHT + MARK + 14.0 };
            grid(&mut scene, &axis, y, strip * measures.len() as f64 + 8.0);
            y += LINE + 12.0;
            for measure in measures {
                let row = rows.iter().find(|row| row.id == measure.id);
                draw(&mut scene, &axis, measure, of_baseline(measure), row, y);
                y += strip;
            }
            axis.labels().for_each(|(x, text)| scene.text(x, y + 2.0, &text, FAINT, Anchor::Middle));
            y += LINE + 10.0;
        } else {
            scene.text(LABELS, y, "Nothing was measured.", INK, Anchor::Start);
            y += LINE + 10.0;
        }
        self.foot(&mut scene, y);
        scene
    }

    /// Title, host and legend; gives where the field begins.
    fn head(&self, scene: &mut Scene, measures: &[&Measure]) -> f64 {
        let host = &self.report.host;
        let mut y = 18.0;
        let known = |texts: &[&Option<String>]| {
            texts.iter().filter_map(|text| text.as_deref()).collect::<Vec<_>>().join(" · ")
        };
        let title = known(&[&Some(self.report.program.clone()), &host.cpu, &host.kernel]);
        scene.bold(LABELS, y, &fit(&title, END - LABELS), INK);
        y += LINE + 2.0;
        let machine = &self.report.machine;
        let vcpus = if machine.vcpus == 1 { "1 vCPU".into() } else { format!("{} vCPUs", machine.vcpus) };
        let machine = known(&[
            &Some(format!("{} MiB, {vcpus}", machine.memory_mib)),
            &machine.device.as_ref().map(|device| format!("device {device}")),
            &host.governor.as_ref().map(|governor| format!("governor {governor}")),
            &host.power.as_ref().map(|power| format!("on {power}")),
        ]);
        scene.text(LABELS, y, &fit(&machine, END - LABELS), FAINT, Anchor::Start);
        y += LINE + 8.0;
        let mut x = LABELS;
        for owner in [Owner::Hardware, Owner::Kernel, Owner::Monitor, Owner::Host] {
            if measures.iter().any(|measure| measure.owner == owner) {
                x = legend(scene, x, y, colour(owner), name(owner));
            }
        }
        if let Some(baseline) = self.baseline {
            let text = format!("baseline, below the line: {}", baseline.program);
            legend(scene, x, y, BASELINE, &fit(&text, END - x - 20.0));
        }
        y += LINE + 10.0;
        for (x, text) in columns().into_iter().zip(["median", "99 %", "99.9 %", "max"]) {
            scene.text(x, y, text, FAINT, Anchor::End);
        }
        y
    }

    /// How the picture is read, what was not measured, and how high all of it is.
    fn foot(&self, scene: &mut Scene, mut y: f64) {
        let reading = "Time of an event. Height: how many events took that long, logarithmic. Triangle: median; line: 99 %.";
        scene.text(LABELS, y, reading, FAINT, Anchor::Start);
        y += LINE + 4.0;
        let missing = &self.report.missing;
        for one in missing.iter().take(MOST_MISSING) {
            let text = format!("Not measured: {}: {}", one.title, one.why);
            scene.text(LABELS, y, &fit(&text, END - LABELS), FAINT, Anchor::Start);
            y += LINE;
        }
        if let Some(more @ 1..) = missing.len().checked_sub(MOST_MISSING) {
            scene.text(LABELS, y, &format!("Not measured: {more} more"), FAINT, Anchor::Start);
            y += LINE;
        }
        scene.height = y + 12.0;
    }
}

/// Right ends of the columns of numbers.
fn columns() -> [f64; 4] {
    let each = (END - NUMBERS) / 4.0;
    [1.0, 2.0, 3.0, 4.0].map(|column| NUMBERS + column * each)
}

fn grid(scene: &mut Scene, axis: &Axis, top: f64, height: f64) {
    for (x, text) in axis.labels() {
        scene.text(x, top, &text, FAINT, Anchor::Middle);
        scene.rect(x - 0.5, top + LINE + 2.0, 1.0, height, GRID);
    }
}

/// One measure: title, distributions, numbers.
fn draw(
    scene: &mut Scene,
    axis: &Axis,
    measure: &Measure,
    before: Option<&Measure>,
    row: Option<&Row>,
    top: f64,
) {
    let line = top + HEIGHT + MARK + 2.0;
    scene.rect(FIELD.0, line, FIELD.1 - FIELD.0, 1.0, GRID);
    bars(scene, axis, measure, colour(measure.owner), |height| (line - height, height));
    if let Some(before) = before {
        bars(scene, axis, before, BASELINE, |height| (line + 1.0, height));
    }
    let text = line - 2.0 * LINE + 2.0;
    scene.text(LABELS, text, &fit(&measure.title, FIELD.0 - LABELS - 12.0), INK, Anchor::Start);
    let number =
        |count: u64, what: &str| format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" });
    let samples = format!(
        "{}, {}",
        number(measure.histogram.samples(), "event"),
        number(measure.rounds.len() as u64, "round")
    );
    scene.text(LABELS, text + LINE, &samples, FAINT, Anchor::Start);
    numbers(scene, measure, text + LINE, INK);
    if let Some(before) = before {
        numbers(scene, before, text + 2.0 * LINE, FAINT);
    }
    if let Some(row) = row {
        let colour = match (row.change.verdict, row.change.word()) {
            (Verdict::Missed, _) => BAD,
            (_, "faster") => GOOD,
            _ => FAINT,
        };
        scene.text(LABELS, text + 2.0 * LINE, &change(row), colour, Anchor::Start);
    }
}

/// What has changed, in a line.
fn change(row: &Row) -> String {
    let ratio = row.change.ratio.map_or_else(String::new, |ratio| format!("×{ratio:.2} "));
    let interval = row.change.interval;
    let interval =
        interval.map_or_else(String::new, |both| format!("({:.2} to {:.2}) ", both.low, both.high));
    format!("{ratio}{interval}{}", row.change.word())
}

fn numbers(scene: &mut Scene, measure: &Measure, y: f64, colour: Colour) {
    let Some(summary) = measure.summary() else { return };
    let texts = [Some(summary.median), Some(summary.p99), summary.p999, Some(summary.max)];
    for (x, nanoseconds) in columns().into_iter().zip(texts) {
        scene.text(x, y, &nanoseconds.map_or_else(|| "-".into(), time), colour, Anchor::End);
    }
}

/// A distribution, and marks at its median and 99th percentile. `place` says where a column of some height begins, and how high it is.
fn bars(
    scene: &mut Scene,
    axis: &Axis,
    measure: &Measure,
    colour: Colour,
    place: impl Fn(f64) -> (f64, f64),
) {
    let mut counts = vec![0_u64; ((FIELD.1 - FIELD.0) / COLUMN) as usize];
    let last = counts.len().saturating_sub(1);
    for (nanoseconds, count) in measure.histogram.buckets() {
        let column = ((axis.place(nanoseconds) - FIELD.0) / COLUMN) as usize;
        if let Some(sum) = counts.get_mut(column.min(last)) {
            *sum = sum.saturating_add(count);
        }
    }
    let logarithm = |count: u64| (count as f64).ln_1p();
    let most = logarithm(counts.iter().copied().max().unwrap_or(1));
    for (column, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (y, height) = place((logarithm(*count) / most * HEIGHT).max(LEAST));
        scene.rect(FIELD.0 + column as f64 * COLUMN, y, COLUMN, height, colour);
    }
    // Beyond the distribution, which they would hide: a triangle of three steps that points at the median, and a line.
    let mut mark = |share: f64, width: f64, from: f64, to: f64| {
        if let Some(nanoseconds) = measure.histogram.quantile(share) {
            let ((inner, height), (outer, further)) = (place(HEIGHT + from), place(HEIGHT + to));
            let y = if outer < inner { outer } else { inner + height };
            scene.rect(axis.place(nanoseconds) - width / 2.0, y, width, further - height, INK);
        }
    };
    for step in [1.0, 2.0, 3.0] {
        mark(0.5, 2.0 * step, MARK * (step - 1.0) / 3.0, MARK * step / 3.0);
    }
    mark(0.99, 1.0, 0.0, MARK);
}

fn legend(scene: &mut Scene, x: f64, y: f64, colour: Colour, text: &str) -> f64 {
    scene.rect(x, y + 3.0, 10.0, 10.0, colour);
    scene.text(x + 16.0, y, text, FAINT, Anchor::Start);
    x + 16.0 + text.chars().count() as f64 * CELL + 24.0
}

/// Colours that people with any kind of vision tell apart (Okabe and Ito).
fn colour(owner: Owner) -> Colour {
    Colour(match owner {
        Owner::Hardware => 0x00_9e_73,
        Owner::Kernel => 0x00_72_b2,
        Owner::Monitor => 0xe6_9f_00,
        Owner::Host => 0xcc_79_a7,
    })
}

fn name(owner: Owner) -> &'static str {
    match owner {
        Owner::Hardware => "the device and the bus",
        Owner::Kernel => "processor and kernel",
        Owner::Monitor => "the program that runs it",
        Owner::Host => "what else the host does",
    }
}

/// A text that fits into a width, with dots for what does not.
fn fit(text: &str, width: f64) -> String {
    let most = (width / CELL) as usize;
    if text.chars().count() <= most {
        return text.into();
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
