//! A run drawn into a file: one curve for each figure, over time.

use std::path::Path;

use bench::Outcome;
use plotters::prelude::{
    ChartBuilder, IntoDrawingArea as _, PathElement, RGBColor, SVGBackend, WHITE,
};

/// Of the curves.
const COLOUR: RGBColor = RGBColor(0x2f, 0x6f, 0xb0);

/// What was measured at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) hours: f64,
    pub(crate) memory_mib: f64,
    pub(crate) open_files: f64,
    pub(crate) disk_mib: f64,
    pub(crate) latency_ms: f64,
    /// In bytes.
    pub(crate) disk_per_event: f64,
}

type Curve = (&'static str, fn(&Sample) -> f64);

const CURVES: [Curve; 4] = [
    ("memory, MiB", |sample| sample.memory_mib),
    ("open files", |sample| sample.open_files),
    ("disk, MiB", |sample| sample.disk_mib),
    ("a page of logs, ms", |sample| sample.latency_ms),
];

/// Draws the figures below one another.
pub(crate) fn draw(path: &Path, samples: &[Sample]) -> Outcome<()> {
    let last = samples.last().map_or(0.0, |sample| sample.hours * 60.0).max(f64::MIN_POSITIVE);
    let area = SVGBackend::new(path, (860, 960)).into_drawing_area();
    area.fill(&WHITE)?;
    for (part, (name, of)) in area.split_evenly((CURVES.len(), 1)).iter().zip(CURVES) {
        let highest = samples.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
        let mut chart = ChartBuilder::on(part)
            .caption(name, ("sans-serif", 16))
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..last, 0.0..highest * 1.08)?;
        chart.configure_mesh().x_desc("minutes").draw()?;
        let points = samples.iter().map(|sample| (sample.hours * 60.0, of(sample)));
        let curve = PathElement::new(points.collect::<Vec<_>>(), COLOUR);
        chart.draw_series(std::iter::once(curve))?;
    }
    area.present()?;
    Ok(())
}
