//! Bars with whiskers as SVG, by hand: one look at medians and spreads. Knows nothing of what they mean.

use std::fmt::Write;

use crate::stats::Spread;

pub struct Group {
    pub title: String,
    pub bars: Vec<Bar>,
}

pub struct Bar {
    pub label: String,
    pub ours: bool,
    /// None: nothing was measured.
    pub spread: Option<Spread>,
}

const WIDTH: f64 = 900.0;
const LABELS: f64 = 240.0;
const ROW: f64 = 20.0;
const HEAD: f64 = 34.0;

/// Each group has its own scale, from zero: only bars of one group compare.
pub fn svg(title: &str, unit: &str, groups: &[Group]) -> String {
    let rows: usize = groups.iter().map(|group| group.bars.len()).sum();
    let height = 50.0 + groups.len() as f64 * HEAD + rows as f64 * ROW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\">{}</text>\n\
         <text x=\"12\" y=\"42\" fill=\"#666\">{}: median, with lowest and highest round</text>\n",
        escape(title),
        escape(unit)
    );
    let mut y = 50.0;
    for group in groups {
        let highest = group.bars.iter().filter_map(|bar| bar.spread).map(|s| s.max).fold(0.0, f64::max);
        let scale = if highest > 0.0 { (WIDTH - LABELS - 90.0) / highest } else { 0.0 };
        let _ = writeln!(
            out,
            "<text x=\"12\" y=\"{}\" font-weight=\"bold\">{}</text>",
            y + 24.0,
            escape(&group.title)
        );
        y += HEAD;
        for bar in &group.bars {
            draw(&mut out, bar, y, scale);
            y += ROW;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, bar: &Bar, y: f64, scale: f64) {
    let middle = y + ROW / 2.0;
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        LABELS - 8.0,
        middle + 4.0,
        escape(&bar.label)
    );
    let Some(spread) = bar.spread else {
        let _ = writeln!(out, "<text x=\"{LABELS}\" y=\"{}\" fill=\"#666\">no figure</text>", middle + 4.0);
        return;
    };
    let at = |value: f64| LABELS + value * scale;
    let color = if bar.ours { "#0a7d5a" } else { "#9aa5b1" };
    let _ = writeln!(
        out,
        "<rect x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{color}\"/>\
         <path d=\"M{:.1} {middle}H{:.1}M{:.1} {:.1}v8M{:.1} {:.1}v8\" stroke=\"#222\" fill=\"none\"/>\
         <text x=\"{:.1}\" y=\"{}\">{}</text>",
        y + 3.0,
        spread.median * scale,
        ROW - 6.0,
        at(spread.min),
        at(spread.max),
        at(spread.min),
        middle - 4.0,
        at(spread.max),
        middle - 4.0,
        at(spread.max) + 6.0,
        middle + 4.0,
        short(spread.median)
    );
}

fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
