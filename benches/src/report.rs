//! Tables in Markdown that read well in a terminal, and latency against load as SVG.

use std::fmt::{self, Write};

/// A table. Its first column is text, the others are figures unless it is told otherwise.
#[derive(Debug, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
    text_columns: Vec<usize>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[&str]) -> Self {
        Self {
            rows: vec![columns.iter().map(ToString::to_string).collect()],
            text_columns: vec![0],
        }
    }

    /// These columns are text, too.
    pub fn with_text_columns(mut self, columns: &[usize]) -> Self {
        self.text_columns.extend_from_slice(columns);
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.rows.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                let width = self.width(column);
                if self.text_columns.contains(&column) {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            f.write_str("|\n")?;
            if index == 0 {
                for column in 0..row.len() {
                    let dashes = "-".repeat(self.width(column));
                    if self.text_columns.contains(&column) {
                        write!(f, "| {dashes} ")?;
                    } else {
                        write!(f, "| {}: ", &dashes[1..])?;
                    }
                }
                f.write_str("|\n")?;
            }
        }
        Ok(())
    }
}

/// Lines over two logarithmic axes.
#[derive(Debug, Clone)]
pub struct Chart {
    title: String,
    x: String,
    y: String,
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Colours that are told apart by those who see few.
const COLOURS: [&str; 8] = [
    "#000000", "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#999999",
];

impl Chart {
    /// A chart without lines.
    pub fn new(title: &str, x: &str, y: &str) -> Self {
        Self {
            title: title.to_owned(),
            x: x.to_owned(),
            y: y.to_owned(),
            lines: Vec::new(),
        }
    }

    /// Adds a line through these points, which are positive.
    pub fn line(&mut self, name: &str, points: Vec<(f64, f64)>) {
        self.lines.push((name.to_owned(), points));
    }

    /// The chart as an SVG file.
    pub fn to_svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let across = Axis::around(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let up = Axis::around(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        put_text(&mut svg, WIDTH / 2.0 - 50.0, 20.0, "middle", &self.title);
        put_text(
            &mut svg,
            WIDTH / 2.0 - 50.0,
            HEIGHT - 12.0,
            "middle",
            &self.x,
        );
        put_text(&mut svg, 8.0, TOP - 12.0, "start", &self.y);
        for tick in across.ticks() {
            let at = across.at(tick);
            put_line(&mut svg, (at, TOP), (at, HEIGHT - BOTTOM));
            put_text(
                &mut svg,
                at,
                HEIGHT - BOTTOM + 18.0,
                "middle",
                &tick_text(tick),
            );
        }
        for tick in up.ticks() {
            let at = up.at(tick);
            put_line(&mut svg, (LEFT, at), (WIDTH - RIGHT, at));
            put_text(&mut svg, LEFT - 6.0, at + 4.0, "end", &tick_text(tick));
        }
        for (index, (name, points)) in self.lines.iter().enumerate() {
            let at = |point: &(f64, f64)| (across.at(point.0), up.at(point.1));
            let points: Vec<_> = points.iter().map(at).collect();
            put_series(&mut svg, index, name, &points);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// A logarithmic axis.
struct Axis {
    min: f64,
    max: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut min, mut max) = (f64::MAX, f64::MIN_POSITIVE);
        for value in values {
            min = min.min(value);
            max = max.max(value);
        }
        let min = min.min(max).max(f64::MIN_POSITIVE);
        Self {
            min: min / 1.2,
            max: max * 1.2,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value / self.min).ln() / (self.max / self.min).ln();
        self.from + (self.to - self.from) * part
    }

    /// One, two and five of each power of ten.
    fn ticks(&self) -> Vec<f64> {
        let powers = self.min.log10().floor() as i32..=self.max.log10().ceil() as i32;
        let all = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
        all.filter(|tick| (self.min..=self.max).contains(tick))
            .collect()
    }
}

fn tick_text(tick: f64) -> String {
    if tick >= 1e6 {
        format!("{}M", tick / 1e6)
    } else if tick >= 1e3 {
        format!("{}k", tick / 1e3)
    } else {
        format!("{tick}")
    }
}

fn put_line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#dddddd\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// A line with its points, which may be only one, and its name beside the chart.
fn put_series(svg: &mut String, index: usize, name: &str, points: &[(f64, f64)]) {
    let colour = COLOURS[index % COLOURS.len()];
    let at = |(x, y): &(f64, f64)| format!("{x:.1},{y:.1}");
    let path = points.iter().map(at).collect::<Vec<_>>().join(" ");
    let _ = writeln!(
        svg,
        "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
    );
    for (x, y) in points {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
        );
    }
    let (x, y) = (WIDTH - RIGHT + 16.0, TOP + 10.0 + 20.0 * index as f64);
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
        y - 6.0
    );
    put_text(svg, x + 20.0, y, "start", name);
}

fn put_text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown_and_stands_straight() {
        let mut table = Table::new(&["who", "µs"]);
        table.row(["floor".into(), "1.00".into()]);
        let text = table.to_string();
        assert_eq!(
            text,
            "| who   |   µs |\n| ----- | ---: |\n| floor | 1.00 |\n"
        );
    }

    #[test]
    fn a_chart_keeps_its_points_on_the_paper() {
        let mut chart = Chart::new("latency", "req/s", "µs");
        chart.line("floor", vec![(1000.0, 20.0), (200_000.0, 900.0)]);
        let svg = chart.to_svg();
        assert!(svg.contains(">10k<") && svg.contains(">500<"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
