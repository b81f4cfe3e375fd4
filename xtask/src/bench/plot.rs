//! Curves as a picture (SVG).
//!
//! Must never draw a difference that is not above what can be measured. Start at [`picture`].

use std::fmt::Write as _;

use super::figures::{Decision, Figures, KINDS, SIZES, TARGETS};

const PANEL: f64 = 300.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 60.0;
const GAP: f64 = 30.0;
/// Powers of ten of the lowest and the highest nanosecond that are drawn.
const LOWEST: f64 = 2.0;
const HIGHEST: f64 = 8.0;
/// Envoy's differences below this are the measurement's own.
const NOISE_MICROSECONDS: f64 = 2.0;
const COLOURS: [&str; 3] = ["#1b9e77", "#7570b3", "#d95f02"];
const TICKS: [(f64, &str); 7] =
    [(2.0, "100 ns"), (3.0, "1 µs"), (4.0, "10 µs"), (5.0, "100 µs"), (6.0, "1 ms"), (7.0, "10 ms"), (8.0, "100 ms")];

/// A panel for each kind: our decisions as lines, what Envoy's requests cost above one rule as dashes.
pub(super) fn picture(figures: &Figures) -> String {
    let width = LEFT + 3.0 * (PANEL + GAP) + 10.0;
    let height = TOP + HEIGHT + 90.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, (LEFT, 20.0), "start", "Time of a decision by the number of rules (both axes logarithmic)");
    let mut left = LEFT;
    for kind in KINDS {
        panel(&mut svg, left, kind);
        for (target, colour) in TARGETS.into_iter().zip(COLOURS) {
            let curve = figures.curve(kind, target);
            line(&mut svg, &own(&curve), left, &format!("stroke=\"{colour}\" stroke-width=\"2\""));
            let style = format!("stroke=\"{colour}\" stroke-width=\"1.5\" stroke-dasharray=\"5 4\"");
            line(&mut svg, &envoy(&curve), left, &style);
        }
        left += PANEL + GAP;
    }
    legend(&mut svg, TOP + HEIGHT + 45.0);
    svg.push_str("</svg>\n");
    svg
}

/// Rules and nanoseconds.
fn own(curve: &[&Decision]) -> Vec<(f64, f64)> {
    curve.iter().map(|point| (point.rules.into(), point.nanoseconds)).collect()
}

fn envoy(curve: &[&Decision]) -> Vec<(f64, f64)> {
    let Some(first) = curve.first().and_then(|point| point.envoy_microseconds) else { return Vec::new() };
    let above = |point: &&Decision| {
        let more = point.envoy_microseconds? - first;
        (more >= NOISE_MICROSECONDS).then_some((f64::from(point.rules), more * 1e3))
    };
    curve.iter().filter_map(above).collect()
}

fn x(left: f64, rules: f64) -> f64 {
    left + PANEL * rules.log10() / 4.0
}

fn y(power: f64) -> f64 {
    TOP + HEIGHT * (1.0 - (power.clamp(LOWEST, HIGHEST) - LOWEST) / (HIGHEST - LOWEST))
}

fn panel(svg: &mut String, left: f64, kind: &str) {
    text(svg, (left + PANEL / 2.0, TOP - 14.0), "middle", &format!("{kind} rules"));
    for (power, name) in TICKS {
        segment(svg, (left, y(power)), (left + PANEL, y(power)));
        if left <= LEFT {
            text(svg, (left - 6.0, y(power) + 4.0), "end", name);
        }
    }
    for rules in SIZES.map(f64::from) {
        segment(svg, (x(left, rules), TOP), (x(left, rules), TOP + HEIGHT));
        text(svg, (x(left, rules), TOP + HEIGHT + 16.0), "middle", &format!("{rules}"));
    }
}

fn legend(svg: &mut String, top: f64) {
    let mut left = LEFT;
    for (target, colour) in TARGETS.into_iter().zip(COLOURS) {
        let words = if target == "none" { "no rule matches".to_owned() } else { format!("the {target} rule matches") };
        // Writing to a String never fails.
        let _written =
            writeln!(svg, "<rect x=\"{left}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>", top - 6.0);
        text(svg, (left + 20.0, top), "start", &words);
        left += 170.0;
    }
    let words = "solid: l7proxy, view and verdict, wall time; dashed: Envoy's RBAC filter, CPU of its process for a \
                 request minus that with 1 rule, where that is 2 µs or more";
    text(svg, (LEFT, top + 22.0), "start", words);
}

fn line(svg: &mut String, points: &[(f64, f64)], left: f64, style: &str) {
    let places: Vec<(f64, f64)> = points.iter().map(|(rules, time)| (x(left, *rules), y(time.log10()))).collect();
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _written = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" {style}/>", path.join(" "));
    for (x, y) in places {
        let _written = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"white\" {style}/>");
    }
}

fn segment(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _written = writeln!(
        svg,
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#ddd\" fill=\"none\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let _written = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{words}</text>", at.0, at.1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_not_drawn() {
        let point = |rules, microseconds| Decision {
            kind: "literal",
            rules,
            target: "none",
            instructions: 1,
            nanoseconds: 200.0,
            envoy_microseconds: Some(microseconds),
        };
        let points = [point(1, 30.0), point(100, 31.0), point(1_000, 130.0)];
        assert_eq!(envoy(&points.iter().collect::<Vec<_>>()), [(1_000.0, 100_000.0)]);
    }
}
