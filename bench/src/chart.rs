//! Bars with whiskers, and lines over time, as SVG by hand: one look at medians and spreads, or at a growing figure. Knows no
//! figure's meaning.

use std::fmt::Write;

use crate::stats::Spread;

pub struct Group {
    pub title: String,
    pub bars: Vec<Bar>,
}

pub struct Bar {
    pub label: String,
    pub ours: bool,
    /// None: no measurement was made.
    pub spread: Option<Spread>,
}

const WIDTH: f64 = 900.0;
const LABELS: f64 = 240.0;
const ROW: f64 = 20.0;
const HEAD: f64 = 34.0;
/// Right of the bars, for their figures.
const ROOM: f64 = 90.0;

/// Each group has its own scale, from zero: only bars of one group compare. With `clip` all have one, and bars end there:
/// one that is a thousand times as long would leave nothing to see of the others.
pub fn svg(title: &str, unit: &str, groups: &[Group], clip: Option<f64>) -> String {
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
        let highest = clip.unwrap_or(highest);
        let scale = if highest > 0.0 { (WIDTH - LABELS - ROOM) / highest } else { 0.0 };
        let _ = writeln!(
            out,
            "<text x=\"12\" y=\"{}\" font-weight=\"bold\">{}</text>",
            y + 24.0,
            escape(&group.title)
        );
        y += HEAD;
        for bar in &group.bars {
            draw(&mut out, bar, y, scale, clip.unwrap_or(f64::INFINITY));
            y += ROW;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, bar: &Bar, y: f64, scale: f64, clip: f64) {
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
    let at = |value: f64| LABELS + value.min(clip) * scale;
    let color = if bar.ours { "#0a7d5a" } else { "#9aa5b1" };
    let _ = writeln!(
        out,
        "<rect x=\"{LABELS}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{color}\"/>\
         <path d=\"M{:.1} {middle}H{:.1}M{:.1} {:.1}v8M{:.1} {:.1}v8\" stroke=\"#222\" fill=\"none\"/>\
         <text x=\"{:.1}\" y=\"{}\">{}</text>",
        y + 3.0,
        spread.median.min(clip) * scale,
        ROW - 6.0,
        at(spread.min),
        at(spread.max),
        at(spread.min),
        middle - 4.0,
        at(spread.max),
        middle - 4.0,
        at(spread.max) + 6.0,
        middle + 4.0,
        if spread.median > clip { format!("→ {}", short(spread.median)) } else { short(spread.median) }
    );
}

/// A figure over time, in a panel of its own.
pub struct Line {
    pub title: String,
    pub points: Vec<(f64, f64)>,
}

const PANEL: f64 = 110.0;
const LEFT: f64 = 60.0;

/// Panels below each other with one axis of time and a scale each, from zero; `marks` are named moments.
pub fn lines(title: &str, unit: &str, lines: &[Line], marks: &[(f64, String)]) -> String {
    let height = 90.0 + lines.len() as f64 * (PANEL + HEAD);
    let last = lines.iter().flat_map(|line| &line.points).map(|(at, _)| *at).fold(0.0, f64::max);
    let x = |at: f64| LEFT + if last > 0.0 { at / last * (WIDTH - LEFT - 30.0) } else { 0.0 };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\">{}</text>\n",
        escape(title)
    );
    for (at, name) in marks {
        let at = x(*at);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} 52V{:.1}\" stroke=\"#ccc\"/><text x=\"{:.1}\" y=\"48\" fill=\"#666\">{}</text>",
            height - 30.0,
            at + 2.0,
            escape(name)
        );
    }
    let mut y = 50.0;
    for line in lines {
        let highest = line.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let scale = if highest > 0.0 { PANEL / highest } else { 0.0 };
        let bottom = y + HEAD + PANEL;
        let _ = writeln!(
            out,
            "<text x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{:.1}\" y=\"{bottom:.1}\" text-anchor=\"end\">0</text>\
             <path d=\"M{LEFT} {bottom:.1}H{:.1}\" stroke=\"#999\"/>",
            y + 26.0,
            escape(&line.title),
            LEFT - 6.0,
            y + HEAD + 8.0,
            short(highest),
            LEFT - 6.0,
            WIDTH - 30.0
        );
        let points: Vec<String> = line
            .points
            .iter()
            .map(|(at, value)| format!("{:.1},{:.1}", x(*at), bottom - value * scale))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#0a7d5a\" stroke-width=\"1.2\"/>",
            points.join(" ")
        );
        y += PANEL + HEAD;
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} {}</text></svg>",
        WIDTH - 30.0,
        y + 24.0,
        short(last),
        escape(unit)
    );
    out
}

fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_in_their_panels() {
        let line = Line { title: "a<b".to_string(), points: vec![(0.0, 1.0), (2.0, 4.0)] };
        let text = lines("t", "minutes", &[line], &[(1.0, "here".to_string())]);
        assert!(text.contains("a&lt;b") && text.contains("here") && text.contains("2.00 minutes"), "{text}");
        assert!(
            text.contains(&format!("{LEFT:.1},{:.1} {:.1},84.0", 194.0 - PANEL / 4.0, WIDTH - 30.0)),
            "{text}"
        );
    }

    #[test]
    fn a_bar_beyond_the_clip_says_so_and_stays_inside() {
        let bar = |median: f64| Bar {
            label: "a<b".to_string(),
            ours: false,
            spread: Some(Spread { median, min: median, max: median }),
        };
        let groups = [Group { title: "g".to_string(), bars: vec![bar(1.0), bar(5000.0)] }];
        let text = svg("t", "u", &groups, Some(10.0));
        assert!(text.contains("→ 5000") && text.contains("a&lt;b"), "{text}");
        assert!(text.contains(&format!("width=\"{:.1}\"", WIDTH - LABELS - ROOM)), "{text}");
        assert!(svg("t", "u", &groups, None).contains(">5000<"));
    }
}
