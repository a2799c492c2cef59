//! What was measured, as a picture: bars of ratios with their intervals, in SVG by hand.

use crate::launch::{Row, Table};
use crate::statistics::Interval;

/// Of the whole picture.
const WIDTH: f64 = 760.0;
/// Where bars begin: the peers' names are left of it.
const LEFT: f64 = 190.0;
/// Where the longest bar ends: numbers are right of it.
const RIGHT: f64 = WIDTH - 130.0;
/// Of one bar, of two bars and the space below them, and of what is above all.
const BAR: f64 = 11.0;
const ROW: f64 = 34.0;
const TOP: f64 = 66.0;

/// Colours that stand out from white and from black, and a text that follows the reader's choice.
const STYLE: &str = "<style>\
text{font:12px sans-serif;fill:#6e6e6e}.title{font-size:14px;font-weight:bold}\
.wall{fill:#3b82c4}.cpu{fill:#d98324}.line{stroke:#8a8a8a;stroke-width:1}\
@media(prefers-color-scheme:dark){text{fill:#c4c4c4}}\
@media(prefers-color-scheme:light){text{fill:#3a3a3a}}</style>";

/// The ratios of one payload's table, wall time and CPU time.
pub(crate) fn of_launches(table: &Table) -> String {
    let rows: Vec<&Row> = table.rows.iter().filter(|row| row.wall_ratio.is_some()).collect();
    let highs = rows.iter().flat_map(|row| [row.wall_ratio, row.cpu_ratio]).flatten();
    let most = highs.map(|ratio| ratio.high).fold(1.0, f64::max);
    let scale = (RIGHT - LEFT) / most;
    let height = TOP + ROW * rows.len() as f64 + 16.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">\n\
         <title>What a launch costs, as a multiple of the C program with the same duties</title>\n\
         {STYLE}\n\
         <text class=\"title\" x=\"12\" y=\"22\">A launch of {}, x the C program with the same duties</text>\n",
        escaped(table.payload)
    );
    for (x, class, label) in [(LEFT, "wall", "wall time"), (LEFT + 110.0, "cpu", "CPU time")] {
        text += &format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"36\" width=\"{BAR}\" height=\"{BAR}\"/>\
             <text x=\"{}\" y=\"46\">{label}</text>\n",
            x + BAR + 6.0
        );
    }
    text += &format!(
        "<text x=\"{}\" y=\"46\">medians with their 95 % intervals</text>\n",
        LEFT + 220.0
    );
    for (at, row) in rows.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        text += &format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 10.0,
            y + BAR + 4.0,
            escaped(row.peer)
        );
        text += &bar(row.wall_ratio, "wall", y, scale);
        text += &bar(row.cpu_ratio, "cpu", y + BAR + 1.0, scale);
    }
    // Where the C program is.
    let one = LEFT + scale;
    text += &vertical(one, TOP - 6.0, height - 10.0);
    text + "</svg>\n"
}

fn bar(ratio: Option<Interval>, class: &str, y: f64, scale: f64) -> String {
    let Some(ratio) = ratio else { return String::new() };
    let x = |value: f64| LEFT + value * scale;
    let middle = y + BAR / 2.0;
    let line = format!(
        "<line class=\"line\" x1=\"{:.1}\" y1=\"{middle}\" x2=\"{:.1}\" y2=\"{middle}\"/>",
        x(ratio.low),
        x(ratio.high)
    );
    let ends = [ratio.low, ratio.high].map(|value| vertical(x(value), y + 2.0, y + BAR - 2.0));
    format!(
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\"/>{line}{}\
         <text x=\"{:.1}\" y=\"{}\">{:.2}</text>\n",
        x(ratio.middle) - LEFT,
        ends.concat(),
        x(ratio.high.max(ratio.middle)) + 6.0,
        y + BAR - 1.0,
        ratio.middle
    )
}

fn vertical(x: f64, from: f64, to: f64) -> String {
    format!("<line class=\"line\" x1=\"{x:.1}\" y1=\"{from}\" x2=\"{x:.1}\" y2=\"{to}\"/>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
