//! Tables of figures: printed, and written as JSON and as a plot.

use std::{
    fs,
    path::{Path, PathBuf},
};

use plotters::prelude::{
    ChartBuilder, Color as _, Histogram, IntoDrawingArea as _, IntoSegmentedCoord as _, RGBColor,
    SVGBackend, SegmentValue, WHITE,
};
use serde_json::{Map, Value, json};

use crate::{Outcome, Setting};

/// Of the bars.
const COLOUR: RGBColor = RGBColor(0x2f, 0x6f, 0xb0);

/// One line: what was measured, and its figures by name.
pub(crate) struct Row {
    label: String,
    figures: Vec<(&'static str, f64)>,
}

impl Row {
    /// A line without figures.
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), figures: Vec::new() }
    }

    /// With one more figure. Its name says the unit.
    pub(crate) fn with(mut self, name: &'static str, figure: f64) -> Self {
        self.figures.push((name, round(figure)));
        self
    }

    /// With one more figure, where there is one.
    pub(crate) fn with_some(self, name: &'static str, figure: Option<f64>) -> Self {
        match figure {
            Some(figure) => self.with(name, figure),
            None => self,
        }
    }

    /// A figure by its name.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(known, _)| *known == name).map(|(_, figure)| *figure)
    }

    /// What was measured.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }
}

/// The result of a scenario.
pub(crate) struct Table {
    name: &'static str,
    title: String,
    plotted: &'static str,
    rows: Vec<Row>,
}

impl Table {
    /// An empty table; `plotted` is the figure that is drawn.
    pub(crate) fn new(name: &'static str, title: impl Into<String>, plotted: &'static str) -> Self {
        Self { name, title: title.into(), plotted, rows: Vec::new() }
    }

    /// One more line; told at once, for a scenario can be long.
    pub(crate) fn push(&mut self, row: Row) {
        let figures: Vec<_> =
            row.figures.iter().map(|(name, figure)| format!("{name} {figure}")).collect();
        print_line(&format!("{}: {}", row.label, figures.join(", ")));
        self.rows.push(row);
    }

    /// Prints the table and writes `<name>.json` and `<name>.svg`.
    pub(crate) fn finish(&self, setting: &Setting) -> Outcome<()> {
        let directory = directory(setting)?;
        print_line(&format!("\n{}\n\n{}", self.title, self.markdown()));
        let path = directory.join(format!("{}.json", self.name));
        fs::write(&path, serde_json::to_string_pretty(&self.json(setting))? + "\n")?;
        let plot = directory.join(format!("{}.svg", self.name));
        self.plot(&plot)?;
        print_line(&format!("written to {} and {}", path.display(), plot.display()));
        Ok(())
    }

    fn columns(&self) -> Vec<&'static str> {
        let mut columns = Vec::new();
        for (name, _) in self.rows.iter().flat_map(|row| &row.figures) {
            if !columns.contains(name) {
                columns.push(*name);
            }
        }
        columns
    }

    fn markdown(&self) -> String {
        let columns = self.columns();
        let mut lines = vec![
            format!("| | {} |", columns.join(" | ")),
            format!("|---|{}", "---:|".repeat(columns.len())),
        ];
        for row in &self.rows {
            let cells: Vec<_> = columns
                .iter()
                .map(|name| row.get(name).map_or_else(String::new, |figure| figure.to_string()))
                .collect();
            lines.push(format!("| {} | {} |", row.label, cells.join(" | ")));
        }
        lines.join("\n")
    }

    fn json(&self, setting: &Setting) -> Value {
        let row = |row: &Row| {
            let mut object = Map::new();
            object.insert("label".to_owned(), json!(row.label));
            let figures = row.figures.iter();
            object.extend(figures.map(|(name, figure)| ((*name).to_owned(), json!(figure))));
            Value::Object(object)
        };
        json!({
            "scenario": self.name,
            "title": self.title,
            "quick": setting.quick,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }

    /// Bars of one figure.
    fn plot(&self, path: &Path) -> Outcome<()> {
        let bars: Vec<_> =
            self.rows.iter().filter_map(|row| Some((&row.label, row.get(self.plotted)?))).collect();
        let labels: Vec<&String> = bars.iter().map(|(label, _)| *label).collect();
        let highest = bars.iter().map(|(_, figure)| *figure).fold(f64::MIN_POSITIVE, f64::max);
        let area = SVGBackend::new(path, (860, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{}: {}", self.name, self.plotted), ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(36)
            .y_label_area_size(72)
            .build_cartesian_2d(labels.as_slice().into_segmented(), 0.0..highest * 1.08)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .y_desc(self.plotted)
            .x_label_formatter(&|segment| match segment {
                SegmentValue::CenterOf(label) | SegmentValue::Exact(label) => (*(*label)).clone(),
                SegmentValue::Last => String::new(),
            })
            .draw()?;
        let series = Histogram::vertical(&chart)
            .style(COLOUR.filled())
            .margin(12)
            .data(labels.iter().zip(bars.iter().map(|(_, figure)| *figure)));
        chart.draw_series(series)?;
        area.present()?;
        Ok(())
    }
}

fn directory(setting: &Setting) -> Outcome<PathBuf> {
    let directory = match &setting.out {
        Some(out) => out.clone(),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results")),
    };
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Figures are what this program is for.
#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
pub fn print_line(line: &str) {
    println!("{line}");
}

/// Three digits behind the point are more than such a measurement can tell.
pub fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// A count for dividing.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn as_f64(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or_default() as f64
}
