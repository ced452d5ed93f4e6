//! Drawings of reports as a laptop might give them: the same in both formats, times where they belong, and texts that fit.

use super::*;
use crate::report::testing::report;
use crate::{Advice, AdviceKind, Figure, Histogram, Host, Machine, Missing};

/// A report as one of a laptop might be, with this much more time in what is the monitor's.
fn laptop(program: &str, slower: f64) -> Report {
    let mut random = 1_u64;
    let mut even = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 11) as f64 / (1_u64 << 53) as f64
    };
    let of = [
        ("exit.cpuid", "empty exit (CPUID)", Owner::Kernel, 1_050.0),
        ("exit.port", "port write, into our process", Owner::Monitor, 2_400.0),
        ("exit.mmio", "MMIO read, into our process", Owner::Monitor, 3_100.0),
        ("config.ecam", "configuration read by ECAM", Owner::Monitor, 3_700.0),
        ("bar.read", "read of an mmapped BAR", Owner::Hardware, 820.0),
        ("bar.write", "write to an mmapped BAR", Owner::Hardware, 21.0),
        ("msi.latency", "MSI, from a register to the handler", Owner::Kernel, 7_900.0),
        ("pin.small.1g", "pin and map 1 GiB of small pages", Owner::Kernel, 212_000_000.0),
        ("jitter.spin", "interruption of a spinning vCPU", Owner::Host, 4_000.0),
    ];
    let measures = of.map(|(id, title, owner, least)| {
        let mut measure = Measure::new(id, title, owner, Figure::Median);
        let least = if owner == Owner::Monitor { least * slower } else { least };
        for _ in 0..12 {
            let mut round = Histogram::default();
            let events = if least > 1e6 { 1 } else { 1000 };
            for _ in 0..events {
                let tail = if even() < 0.002 { 8.0 + 30.0 * even() } else { 0.0 };
                round.record(least * (1.0 + 0.08 * (even() + even()) + 0.02 / (0.02 + even()) * 0.2 + tail));
            }
            measure.round(&round);
        }
        measure
    });
    Report {
        program: program.into(),
        unix_seconds: 1_796_000_000,
        duration: 31.0,
        host: Host {
            cpu: Some("13th Gen Intel(R) Core(TM) i7-13700H".into()),
            kernel: Some("Linux 6.12.117".into()),
            governor: Some("powersave".into()),
            power: Some("mains".into()),
            ..Host::default()
        },
        machine: Machine { memory_mib: 8192, vcpus: 4, device: Some("0000:01:00.0 10de:28e0".into()) },
        measures: measures.into(),
        missing: vec![Missing {
            id: "intx.latency".into(),
            title: "INTx, from a register to the handler".into(),
            why: "the device has no INTx pin".into(),
        }],
        counters: Vec::new(),
        advice: vec![Advice { kind: AdviceKind::Change, text: "set the governor to performance".into() }],
    }
}

fn pixels(file: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    (info.width, info.height, bytes)
}

/// How many pixels have exactly this colour.
fn count((_, _, bytes): &(u32, u32, Vec<u8>), Colour(colour): Colour) -> usize {
    let [_, red, green, blue] = colour.to_be_bytes();
    bytes.chunks(3).filter(|pixel| *pixel == [red, green, blue]).count()
}

#[test]
fn both_formats_show_the_same() {
    let (now, before) = (laptop("optimus-vmm 0.2.0", 1.4), laptop("optimus-vmm 0.1.0", 1.0));
    let alone = Plot::new(&now);
    let beside = alone.beside(&before);
    // To be looked at: PLOTS=DIRECTORY cargo test -p statistics both_formats.
    if let Some(directory) = std::env::var_os("PLOTS") {
        let directory = std::path::Path::new(&directory);
        for (name, plot) in [("alone", alone), ("beside", beside)] {
            std::fs::write(directory.join(name).with_extension("svg"), plot.svg()).unwrap();
            std::fs::write(directory.join(name).with_extension("png"), plot.png().unwrap()).unwrap();
        }
    }
    let (svg, png) = (beside.svg(), pixels(&beside.png().unwrap()));
    assert!(
        svg.contains(&format!("width=\"{}\" height=\"{}\"", png.0, png.1)),
        "{}",
        svg.lines().next().unwrap()
    );
    for text in [
        "port write, into our process",
        "slower</text>",
        "no slower</text>",
        "12,000 events, 12 rounds",
        "Not measured: INTx, from a register to the handler: the device has no INTx pin",
        "baseline, below the line: optimus-vmm 0.1.0",
        "governor powersave",
        ">100 ms</text>",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    for colour in
        [colour(Owner::Hardware), colour(Owner::Kernel), colour(Owner::Monitor), colour(Owner::Host)]
    {
        assert!(count(&png, colour) > 250, "{colour:?}: {}", count(&png, colour));
    }
    assert!(count(&png, BASELINE) > 2000 && count(&png, BAD) > 5);
    let alone = pixels(&alone.png().unwrap());
    assert!(count(&alone, BASELINE) == 0 && alone.1 < png.1);
}

#[test]
fn a_distribution_stands_where_its_times_are() {
    let report = report(&[1000.0; 10]);
    let scene = Plot::new(&report).scene();
    let axis = Axis::around(report.measures[0].histogram.range().into_iter(), FIELD).unwrap();
    let kernel = colour(Owner::Kernel);
    let bars: Vec<(f64, f64)> = scene
        .marks
        .iter()
        .filter_map(|mark| match mark {
            scene::Mark::Rect { x, width, height, colour, .. } if *colour == kernel && *width == COLUMN => {
                Some((*x, *height))
            }
            _ => None,
        })
        .collect();
    let (first, last) = (bars.first().unwrap(), bars.last().unwrap());
    assert!((first.0 - axis.place(1000.0)).abs() <= COLUMN, "{first:?}");
    assert!((last.0 - axis.place(30_000.0)).abs() <= COLUMN, "{last:?}");
    // Ten events of 10,010 are lower than the rest, and still seen.
    assert!(last.1 < first.1 && last.1 > LEAST, "{first:?} {last:?}");
    assert!(bars.iter().all(|(_, height)| *height <= HEIGHT));
}

#[test]
fn texts_are_escaped_and_fit() {
    let mut report = report(&[1000.0; 3]);
    report.program = "<script>&\"".into();
    report.measures[0].title = "a title that is much too long for the place it has, and then some".into();
    report.missing = vec![report.missing[0].clone(); 20];
    let svg = Plot::new(&report).svg();
    assert!(svg.contains("&lt;script&gt;&amp;&quot;") && !svg.contains("<script>"));
    assert!(svg.contains(">a title that is much too long for the pl...<"), "{svg}");
    assert!(svg.contains("Not measured: 12 more"));
    assert_eq!(grouped(1_234_567), "1,234,567");
}

#[test]
fn nothing_is_a_picture_too() {
    let mut report = report(&[]);
    assert!(Plot::new(&report).svg().contains("Nothing was measured."));
    report.measures.clear();
    assert!(pixels(&Plot::new(&report).beside(&report).png().unwrap()).1 > 50);
}
