//! Plots as SVG: text is left to the viewer's fonts, and colours follow its light or dark mode.

use anyhow::{Result, anyhow};
use plotters::{
    coord::{combinators::LogCoord, ranged1d::SegmentValue},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{number, results::Results};
use crate::figure::Figure;

const SIZE: (u32, u32) = (860, 400);
/// Lines and text; [`STYLE`] gives them their colours by these.
const INK: RGBColor = RGBColor(0x33, 0x33, 0x34);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xde);
/// Apart from each other also for the colour-blind, and readable on black and on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xb0, 0x8a, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x88, 0x88, 0x89),
];
/// What plotters writes as attributes is overruled by rules on these attributes.
const STYLE: &str = r##"<style>text{font-family:system-ui,sans-serif}
@media (prefers-color-scheme:dark){[fill="#333334"]{fill:#dcdcdd}[stroke="#333334"]{stroke:#dcdcdd}
[stroke="#DDDDDE"]{stroke:#444445}}</style>"##;

/// A plot that a report has a place for.
pub(super) struct Plot {
    /// Of the file, without its ending.
    pub(super) name: &'static str,
    /// What it shows.
    pub(super) title: &'static str,
    /// The section whose figures it shows.
    pub(super) section: &'static str,
    /// The whole SVG; `None` without figures.
    pub(super) svg: Option<String>,
}

/// All plots of a report.
///
/// # Errors
///
/// If plotters cannot draw one.
pub(super) fn all(results: &Results) -> Result<Vec<Plot>> {
    let plot = |name, title, section, svg| Plot { name, title, section, svg };
    Ok(vec![
        plot(
            "cost-net",
            "Cost of a TCP packet of a known flow over the MAC swap's, ns (minimum), against the number of flows",
            "data-path",
            cost(results, "net")?,
        ),
        plot("cost-raw", "The same with driver and all, ns (minimum)", "data-path", cost(results, "raw")?),
        plot(
            "mpps",
            "Live frames on veth, one core for everything, Mpps (median)",
            "veth",
            rates(results, ["veth", "tcp4-hit"])?,
        ),
        plot(
            "connections",
            "New connections per second, one core for everything (median)",
            "services",
            rates(results, ["services", "new-connections"])?,
        ),
    ])
}

/// The points of one line: flows and nanoseconds.
struct Line<'a> {
    subject: &'a str,
    points: Vec<(f64, f64)>,
}

fn cost(results: &Results, quantity: &str) -> Result<Option<String>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for figure in figures(results, ["data-path", "tcp4-hit"], quantity) {
        let point = (figure.flows.unwrap_or(1) as f64, figure.minimum);
        match lines.iter_mut().find(|line| line.subject == figure.subject) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { subject: &figure.subject, points: vec![point] }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    draw(!lines.is_empty(), |svg| draw_lines(svg, &lines))
}

fn rates(results: &Results, case: [&str; 2]) -> Result<Option<String>> {
    let bars: Vec<_> = figures(results, case, "rate").map(|figure| (label(figure), figure.median)).collect();
    draw(!bars.is_empty(), |svg| draw_bars(svg, &bars))
}

fn figures<'a>(
    results: &'a Results,
    [section, case]: [&'a str; 2],
    quantity: &'a str,
) -> impl Iterator<Item = &'a Figure> {
    let wanted =
        move |figure: &&Figure| figure.section == section && figure.case == case && figure.quantity == quantity;
    results.figures.iter().filter(wanted)
}

fn label(figure: &Figure) -> String {
    match figure.flows {
        Some(1) => format!("{}, 1 flow", figure.subject),
        Some(flows) => format!("{}, {} flows", figure.subject, number::binary(flows)),
        None => figure.subject.clone(),
    }
}

fn draw(any: bool, onto: impl FnOnce(&mut String) -> Result<()>) -> Result<Option<String>> {
    if !any {
        return Ok(None);
    }
    let mut svg = String::new();
    onto(&mut svg)?;
    Ok(Some(styled(&svg)))
}

/// With [`STYLE`] in it, scaling with the page.
fn styled(svg: &str) -> String {
    let (tag, rest) = svg.split_once('>').unwrap_or((svg, ""));
    format!("{tag}>{STYLE}{rest}")
}

fn draw_lines(svg: &mut String, lines: &[Line<'_>]) -> Result<()> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = points().map(|point| point.0).fold(1024.0, f64::max);
    let highest = points().map(|point| point.1).fold(1.0, f64::max);
    let flows: LogCoord<f64> = (0.8..most * 1.5).log_scale().into();
    let marks = [0, 5, 10, 13, 16, 18, 20, 22].map(|bits| f64::from(1_u32 << bits));
    let mut chart =
        builder(&root).build_cartesian_2d(flows.with_key_points(marks.to_vec()), 0.0..highest * 1.1).map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text())
        .x_label_formatter(&|flows| number::binary(*flows as u64))
        .y_label_formatter(&|value| number::figure(*value))
        .x_desc("flows")
        .y_desc("ns")
        .draw()
        .map_err(failed)?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.filled().stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(4))
            .map_err(failed)?
            .label(line.subject)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(text())
        .draw()
        .map_err(failed)?;
    root.present().map_err(failed)
}

fn draw_bars(svg: &mut String, bars: &[(String, f64)]) -> Result<()> {
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let highest = bars.iter().map(|bar| bar.1).fold(f64::MIN_POSITIVE, f64::max);
    let mut chart =
        builder(&root).build_cartesian_2d((0..bars.len()).into_segmented(), 0.0..highest * 1.1).map_err(failed)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text())
        .x_labels(bars.len() + 1)
        .x_label_formatter(&|place| name_of(place, bars))
        .y_label_formatter(&|value| number::figure(*value))
        .draw()
        .map_err(failed)?;
    let shapes = bars.iter().enumerate().map(|(i, (label, value))| {
        let corners = [(SegmentValue::Exact(i), 0.0), (SegmentValue::Exact(i + 1), *value)];
        let mut shape = Rectangle::new(corners, colour_of(label).filled());
        shape.set_margin(0, 0, 14, 14);
        shape
    });
    chart.draw_series(shapes).map_err(failed)?;
    let above = text().pos(Pos::new(HPos::Center, VPos::Bottom));
    let values = bars
        .iter()
        .enumerate()
        .map(|(i, (_, value))| Text::new(number::figure(*value), (SegmentValue::CenterOf(i), *value), above.clone()));
    chart.draw_series(values).map_err(failed)?;
    root.present().map_err(failed)
}

fn builder<'a, 'b>(
    root: &'a DrawingArea<SVGBackend<'b>, plotters::coord::Shift>,
) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(root);
    builder.margin(12).x_label_area_size(40).y_label_area_size(70);
    builder
}

fn name_of(place: &SegmentValue<usize>, bars: &[(String, f64)]) -> String {
    match place {
        SegmentValue::CenterOf(i) => bars.get(*i).map(|bar| bar.0.clone()).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Ours stands out.
fn colour_of(label: &str) -> RGBColor {
    if label.starts_with("evenkeel") { COLOURS[1] } else { COLOURS[0] }
}

/// Plotters writes a size divided by 1.24.
fn text() -> TextStyle<'static> {
    ("sans-serif", 16).into_font().color(&INK)
}

/// Plotters' errors borrow from what is being drawn.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a plot cannot be drawn: {error}")
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;
    use crate::output::results::tests::example;

    fn count(svg: &Document<'_>, tag: &str) -> usize {
        svg.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", tag))).count()
    }

    fn texts(svg: &Document<'_>) -> Vec<String> {
        svg.descendants()
            .filter(|node| node.is_text())
            .map(|node| node.text().unwrap_or_default().trim().to_owned())
            .collect()
    }

    #[test]
    fn a_line_for_each_subject_with_a_point_for_each_number_of_flows() {
        let plots = all(&example()).expect("drawn");
        let svg = plots[0].svg.as_deref().expect("there are figures");
        let svg = Document::parse(svg).expect("XML");
        let texts = texts(&svg);
        for text in ["evenkeel", "textbook", "1 M", "64 k", "flows", "ns"] {
            assert!(texts.iter().any(|found| found == text), "{text}: {texts:?}");
        }
        assert_eq!(count(&svg, "circle"), 4, "two subjects, two numbers of flows");
    }

    #[test]
    fn a_bar_for_each_rate_with_its_name_and_value() {
        let plots = all(&example()).expect("drawn");
        for (plot, expected) in [(2, ["evenkeel, 1 M flows", "2.10"]), (3, ["direct", "11_001"])] {
            let svg = Document::parse(plots[plot].svg.as_deref().expect("there are figures")).expect("XML");
            let texts = texts(&svg);
            for text in expected {
                assert!(texts.iter().any(|found| found == text), "{text}: {texts:?}");
            }
            assert_eq!(count(&svg, "rect"), 2);
        }
    }

    #[test]
    fn lines_and_text_change_with_the_mode() {
        let plots = all(&example()).expect("drawn");
        for plot in plots {
            let svg = plot.svg.expect("there are figures");
            let rule = svg.find("prefers-color-scheme:dark").expect("a style");
            let drawing = &svg[rule..][svg[rule..].find("</style>").expect("its end")..];
            for attribute in ["fill=\"#333334\"", "stroke=\"#DDDDDE\""] {
                assert!(svg.contains(&format!("[{attribute}]")) && drawing.contains(attribute), "{attribute}");
            }
            assert!(!drawing.contains("#000000") && !drawing.contains("#FFFFFF"), "{}: fixed colours", plot.name);
        }
    }

    #[test]
    fn without_figures_there_is_no_plot() {
        let results = Results { figures: Vec::new(), ..example() };
        assert!(all(&results).expect("nothing to draw").iter().all(|plot| plot.svg.is_none()));
    }
}
