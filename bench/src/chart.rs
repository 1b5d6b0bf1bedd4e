//! A bar chart in SVG: medians, with a line up to p95.

use std::fmt::Write as _;

use crate::samples::Samples;

const WIDTH: f64 = 900.0;
const LABELS: f64 = 320.0;
const BAR: f64 = 26.0;

/// One bar per figure, all of one unit; none where nothing was measured.
pub fn bars(figures: &[(&str, &Samples)]) -> String {
    let longest = figures
        .iter()
        .filter_map(|(_, samples)| samples.quantile(0.95))
        .fold(1.0, f64::max);
    let scale = (WIDTH - LABELS - 90.0) / longest;
    let mut svg = String::new();
    let mut y = 10.0;
    let mut rows = String::new();
    for (name, samples) in figures {
        let Some((middling, high)) = samples.median().zip(samples.quantile(0.95)) else {
            continue;
        };
        let (median, high) = (middling * scale, high * scale);
        let name = name.replace('&', "&amp;").replace('<', "&lt;");
        let middle = y + BAR / 2.0;
        // Writing to a String cannot fail.
        let _ = write!(
            rows,
            "<text x='{}' y='{}' text-anchor='end'>{name}</text>\
             <rect x='{LABELS}' y='{y}' width='{median:.1}' height='{}' fill='#4878a8'/>\
             <line x1='{:.1}' y1='{middle}' x2='{:.1}' y2='{middle}' stroke='#222'/>\
             <text x='{:.1}' y='{}'>{middling:.0} ms</text>",
            LABELS - 8.0,
            middle + 4.0,
            BAR - 6.0,
            LABELS + median,
            LABELS + high,
            LABELS + high + 6.0,
            middle + 4.0,
        );
        y += BAR;
    }
    let _ = write!(
        svg,
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{}' \
         font-family='sans-serif' font-size='12'>{rows}</svg>",
        y + 10.0
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let svg = bars(&[
            ("a<b & c", &Samples::once(1.0)),
            ("failed", &Samples(vec![None])),
        ]);
        assert!(svg.contains("a&lt;b &amp; c") && svg.ends_with("</svg>"));
        assert!(!svg.contains("failed") && !svg.contains("NaN"));
    }
}
