//! A picture of the sunspots and their forecasts, as SVG.

use crate::drawing::{Align, BLUE, Canvas, Frame, MUTED, ORANGE, Pen, SUMMARY, TITLE, counted, round_step};

/// How many years before the forecasts are shown.
const BEFORE: usize = 60;

/// Draws the sunspots of the last years and, over the last of them, the naive forecast, each of the others in a faint
/// line and their mean in a strong one. All forecasts are equally long and end with the sunspots.
pub fn draw(first_year: usize, sunspots: &[f64], forecasts: &[Vec<f64>]) -> String {
    let years = forecasts.first().map_or(0, Vec::len);
    let shown = (years + BEFORE).min(sunspots.len());
    let from = sunspots.len() - shown;
    let mut canvas = Canvas::new(1080.0, 440.0, "Sunspots");
    canvas.text((40.0, 52.0), TITLE, Align::Left, "Sunspots");
    let summary = format!("{} forecast, each from the years before it", counted(years, "year"));
    canvas.text((40.0, 80.0), SUMMARY, Align::Left, &summary);

    let frame = Frame::new(84.0, 1040.0, 140.0, 370.0);
    canvas.panel_title(frame, "Sunspots in a year", "");
    let all = sunspots[from..].iter().chain(forecasts.iter().flatten());
    let highest = all.copied().filter(|x| x.is_finite()).fold(1.0, f64::max);
    let unit = round_step(highest / 5.0);
    let top = (highest / unit).ceil() * unit;
    let y = |number: f64| frame.y(number / top);
    for tick in 0..=(top / unit).round() as usize {
        let value = tick as f64 * unit;
        canvas.rule(frame, y(value), &value.to_string());
    }
    canvas.axes(frame);
    let x = |t: usize| frame.x((t - from) as f64 / shown.max(2) as f64);
    for t in from..sunspots.len() {
        if (first_year + t).is_multiple_of(20) {
            canvas.tick(frame, x(t), &(first_year + t).to_string());
        }
    }
    canvas.axis_title(frame, "year");

    let places = |start: usize, values: &[f64]| -> Vec<Option<(f64, f64)>> {
        values.iter().enumerate().map(|(i, &v)| v.is_finite().then(|| (x(start + i), y(v)))).collect()
    };
    let (truth, naive) = (Pen(BLUE, 1.8, 1.0), Pen(MUTED, 1.0, 0.6));
    let (one, mean) = (Pen(ORANGE, 0.9, 0.4), Pen(ORANGE, 2.2, 1.0));
    canvas.line(&places(from, &sunspots[from..]), truth);
    for &(x, y) in places(sunspots.len() - years, &sunspots[sunspots.len() - years..]).iter().flatten() {
        canvas.dot(x, y, BLUE);
    }
    let start = sunspots.len() - years;
    if years > 0 && start > 0 {
        // A year is like the one before.
        canvas.line(&places(start, &sunspots[start - 1..sunspots.len() - 1]), naive);
    }
    for forecast in forecasts {
        canvas.line(&places(start, forecast), one);
    }
    let average = |i: usize| forecasts.iter().map(|f| f[i]).sum::<f64>() / forecasts.len() as f64;
    canvas.line(&places(start, &(0..years).map(average).collect::<Vec<f64>>()), mean);
    let left = canvas.legend(frame.right, frame, mean, "mean of the forecasts");
    let left = canvas.legend(left, frame, one, "one network");
    let left = canvas.legend(left, frame, naive, "naive forecast");
    canvas.legend(left, frame, truth, "counted");
    canvas.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawing::elements;

    #[test]
    fn the_picture_is_well_formed_whatever_is_given() {
        let sunspots: Vec<f64> = (0..100).map(|t| 50.0 + 50.0 * (t as f64 * 0.6).sin()).collect();
        for forecasts in [vec![], vec![vec![10.0; 40]], vec![vec![f64::NAN; 20], vec![1e3; 20]]] {
            let circles = elements(&draw(1700, &sunspots, &forecasts)).iter().filter(|e| *e == "circle").count();
            assert_eq!(circles, forecasts.first().map_or(0, Vec::len));
        }
        elements(&draw(1700, &[], &[]));
    }
}
