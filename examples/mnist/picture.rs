//! Two pictures of a trained model, as SVG: its learning curves and a sheet of digits.
//!
//! They look the same everywhere: letters are drawn as strokes.

use std::fmt::Write;

use crate::drawing::{
    Align, BLUE, BOLD, Canvas, Frame, GRID, NOTE, ORANGE, Pen, REGULAR, SUMMARY, Style, TITLE, counted, round_step,
    thousands,
};

const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;

const RED: &str = "#d0312d";
const PALE_RED: &str = "#fdf1f0";

const WARNING: Style = Style::new(9.5, RED, REGULAR);
const MISTAKE: Style = Style::new(8.5, RED, BOLD);

/// How well the model did at the end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochPoint {
    /// The share of the training digits it recognized, 0 to 1.
    pub train_accuracy: f32,
    /// The share of the test digits it recognized, 0 to 1.
    pub test_accuracy: f32,
}

/// Draws the loss of every training step and, if there are any epochs, the accuracies at
/// the end of each.
///
/// Losses are on a logarithmic scale, raw in a faint line and as a moving average in a
/// strong one. A loss that is not finite leaves a gap.
pub fn curves(losses: &[f32], epochs: &[EpochPoint]) -> String {
    let (width, height) = (1080.0, 470.0);
    let mut canvas = Canvas::new(width, height, "Learning curves");
    canvas.text((40.0, 52.0), TITLE, Align::Left, "Learning curves");
    let mut summary = counted(losses.len(), "training step");
    if let Some(last) = epochs.last() {
        let epochs = counted(epochs.len(), "epoch");
        let accuracy = percent(f64::from(last.test_accuracy), 1);
        summary = format!("{summary} in {epochs}, {accuracy} of the test digits right at the end");
    }
    canvas.text((40.0, 80.0), SUMMARY, Align::Left, &summary);

    let (top, bottom) = (150.0, 400.0);
    let loss_right = if epochs.is_empty() { 1040.0 } else { 575.0 };
    loss_panel(&mut canvas, Frame::new(84.0, loss_right, top, bottom), losses);
    if !epochs.is_empty() {
        accuracy_panel(&mut canvas, Frame::new(680.0, 972.0, top, bottom), epochs);
    }
    canvas.finish()
}

/// Draws up to 120 digits with the class predicted for each, in 10 rows of 12.
///
/// Mistakes come first, in a red frame, with both classes: "5 (was 3)". If they leave room,
/// digits follow that were recognized, spread evenly over all of those. `pixels` holds 784
/// grey values per digit.
///
/// # Panics
///
/// If the lengths of the slices do not match.
pub fn sheet(pixels: &[u8], labels: &[u8], predictions: &[u8]) -> String {
    const COLUMNS: usize = 12;
    const MOST: usize = 10 * COLUMNS;
    let (tile, step_x, step_y) = (64.0, 84.0, 98.0);
    let (left, top) = (40.0, 116.0);

    assert_eq!(pixels.len(), labels.len() * PIXELS, "784 pixels per label");
    assert_eq!(labels.len(), predictions.len(), "one prediction per label");

    let (right, wrong): (Vec<usize>, Vec<usize>) =
        (0..labels.len()).partition(|&index| labels[index] == predictions[index]);
    let mistakes = wrong.len();
    let mut shown = spread(&wrong, MOST);
    shown.extend(spread(&right, MOST - shown.len()));

    let rows = shown.len().div_ceil(COLUMNS).max(1);
    let width = 2.0 * left + step_x * COLUMNS as f64 - (step_x - tile);
    let height = top + step_y * rows as f64 + 16.0;
    let mut canvas = Canvas::new(width, height, "Test digits");
    canvas.text((left, 52.0), TITLE, Align::Left, "Test digits");
    let summary = match labels.len() {
        0 => "No digits".to_string(),
        count => {
            let share = percent(right.len() as f64 / count as f64, 1);
            format!("{} of {} right ({share})", thousands(right.len()), thousands(count))
        }
    };
    let end = canvas.text((left, 80.0), SUMMARY, Align::Left, &summary);
    let note = match mistakes {
        0 => String::new(),
        1 => "the mistake is framed".to_string(),
        2..=MOST => format!("all {mistakes} mistakes are framed"),
        _ => format!("{MOST} of the {} mistakes are shown", thousands(mistakes)),
    };
    canvas.text((end + 18.0, 80.0), WARNING, Align::Left, &note);

    for (slot, &index) in shown.iter().enumerate() {
        let x = left + step_x * (slot % COLUMNS) as f64;
        let y = top + step_y * (slot / COLUMNS) as f64;
        let (label, prediction) = (labels[index], predictions[index]);
        let wrong = label != prediction;
        let (frame, stroke, fill) = if wrong { (RED, 2.0, PALE_RED) } else { (GRID, 1.0, "#fff") };
        let _ = writeln!(
            canvas.svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{tile}\" height=\"{tile}\" rx=\"5\" fill=\"{fill}\" \
             stroke=\"{frame}\" stroke-width=\"{stroke}\"/>"
        );
        let margin = (tile - 2.0 * SIDE as f64) / 2.0;
        let paper = if wrong { [253, 241, 240] } else { [255, 255, 255] };
        let digit = &pixels[index * PIXELS..(index + 1) * PIXELS];
        draw(&mut canvas, x + margin, y + margin, 2.0, paper, digit);
        let below = (x + tile / 2.0, y + tile + 17.0);
        if wrong {
            let text = format!("{prediction} (was {label})");
            canvas.text(below, MISTAKE, Align::Centre, &text);
        } else {
            canvas.text(below, NOTE, Align::Centre, &prediction.to_string());
        }
    }
    canvas.finish()
}

/// Up to `most` of the values, evenly spread.
fn spread(values: &[usize], most: usize) -> Vec<usize> {
    let count = most.min(values.len());
    (0..count).map(|slot| values[slot * values.len() / count]).collect()
}

// ---------------------------------------------------------------------------------------
// The two panels of the learning curves.

fn loss_panel(canvas: &mut Canvas, frame: Frame, losses: &[f32]) {
    canvas.panel_title(frame, "Training loss", "log scale");
    let smooth = smoothed(losses, (losses.len() / 80).max(2));
    let above_zero = |value: &&f32| value.is_finite() && **value > 0.0;
    let lowest = |values: &[f32]| values.iter().filter(above_zero).copied().fold(f32::INFINITY, f32::min);
    let highest = losses.iter().filter(above_zero).copied().fold(0.0, f32::max);
    if highest == 0.0 {
        canvas.axes(frame);
        let middle = (frame.x(0.5), frame.y(0.5));
        canvas.text(middle, SUMMARY, Align::Centre, "no finite loss above 0");
        return;
    }
    // Single lucky batches may fall below the picture: they would squeeze all the rest.
    let high = f64::from(highest);
    let low = f64::from(lowest(losses).max(lowest(&smooth) / 5.0)).max(high * 1e-8);
    let ticks = log_ticks(low, high);
    let (first, last) = (ticks[0].0, ticks[ticks.len() - 1].0);
    let y = |loss: f64| frame.y((loss.max(first) / first).log10() / (last / first).log10());
    for (value, label) in &ticks {
        canvas.rule(frame, y(*value), label);
    }
    canvas.axes(frame);
    let steps = losses.len();
    let unit = round_step(steps as f64 / 6.0).max(1.0);
    let x = |step: f64| frame.x(step / steps as f64);
    let mut step = 0.0;
    while step <= steps as f64 {
        canvas.tick(frame, x(step), &thousands(step as usize));
        step += unit;
    }
    canvas.axis_title(frame, "step");

    let place = |values: &[f32]| -> Vec<Option<(f64, f64)>> {
        let place =
            |(index, &loss): (usize, &f32)| loss.is_finite().then(|| (x(index as f64 + 1.0), y(f64::from(loss))));
        values.iter().enumerate().map(place).collect()
    };
    let columns = (frame.right - frame.left) as usize;
    let (raw, mean) = (Pen(BLUE, 0.9, 0.28), Pen(BLUE, 2.2, 1.0));
    canvas.line(&thinned(&place(losses), columns), raw);
    canvas.line(&thinned(&place(&smooth), columns), mean);
    let left = canvas.legend(frame.right, frame, mean, "moving average");
    canvas.legend(left, frame, Pen(BLUE, 0.9, 0.45), "every step");
}

fn accuracy_panel(canvas: &mut Canvas, frame: Frame, epochs: &[EpochPoint]) {
    canvas.panel_title(frame, "Accuracy", "");
    let train: Vec<f64> = epochs.iter().map(|epoch| f64::from(epoch.train_accuracy)).collect();
    let test: Vec<f64> = epochs.iter().map(|epoch| f64::from(epoch.test_accuracy)).collect();
    let lowest = train.iter().chain(&test).copied().filter(|value| value.is_finite()).fold(0.99, f64::min);
    // Steps are taken in tenths of a percent, so that the last tick is 100% exactly.
    let depth = (1.0 - lowest.max(0.0)) * 1000.0;
    let unit = round_step(depth / 5.0).max(1.0);
    let ticks = (depth / unit - 1e-3).ceil().max(1.0);
    let floor = 1.0 - ticks * unit / 1000.0;
    let y = |accuracy: f64| frame.y((accuracy - floor) / (1.0 - floor));
    let decimals = usize::from(unit % 10.0 != 0.0);
    for tick in 0..=ticks as usize {
        let value = 1.0 - tick as f64 * unit / 1000.0;
        canvas.rule(frame, y(value), &percent(value, decimals));
    }
    canvas.axes(frame);

    // Epoch 1 stands a little right of the axis; a single epoch stands in the middle.
    let last = epochs.len() as f64;
    let x = |epoch: f64| match epochs.len() {
        1 => frame.x(0.5),
        _ => frame.x(0.04 + 0.92 * (epoch - 1.0) / (last - 1.0)),
    };
    let unit = round_step(last / 8.0).max(1.0);
    let mut epoch = 1.0;
    while epoch <= last {
        canvas.tick(frame, x(epoch), &thousands(epoch as usize));
        epoch = if epoch == 1.0 && unit > 1.0 { unit } else { epoch + unit };
    }
    canvas.axis_title(frame, "epoch");

    let mut ends = Vec::new();
    for (values, colour) in [(&train, BLUE), (&test, ORANGE)] {
        let place = |(index, &value): (usize, &f64)| value.is_finite().then(|| (x(index as f64 + 1.0), y(value)));
        let places: Vec<_> = values.iter().enumerate().map(place).collect();
        canvas.line(&places, Pen(colour, 2.2, 1.0));
        if places.len() <= 40 {
            for &(x, y) in places.iter().flatten() {
                canvas.dot(x, y, colour);
            }
        }
        if let (Some(Some(place)), Some(&value)) = (places.last(), values.last()) {
            ends.push((place.1, value, colour));
        }
    }
    // The final values stand beside the ends of the lines, but not on one another.
    if let [train, test] = &mut ends[..] {
        let gap = 17.0 - (train.0 - test.0).abs();
        if gap > 0.0 {
            let (upper, lower) = if train.0 <= test.0 { (train, test) } else { (test, train) };
            // Keep both below the top of the panel.
            let up = (gap / 2.0).min((upper.0 - frame.top).max(0.0));
            upper.0 -= up;
            lower.0 += gap - up;
        }
    }
    for (y, value, colour) in ends {
        let style = Style::new(9.5, colour, BOLD);
        canvas.text((frame.right + 12.0, y + 4.8), style, Align::Left, &percent(value, 1));
    }
    let left = canvas.legend(frame.right, frame, Pen(ORANGE, 2.2, 1.0), "test");
    canvas.legend(left, frame, Pen(BLUE, 2.2, 1.0), "training");
}

/// The mean of each value and up to `reach` on either side, leaving out those that are not
/// finite. A value that is not finite itself stays so.
fn smoothed(values: &[f32], reach: usize) -> Vec<f32> {
    let mean = |index: usize| {
        if !values[index].is_finite() {
            return f32::NAN;
        }
        // Near an end the reach is less, so that the mean does not lag behind a steep
        // curve, but not so little that it follows every value.
        let after = values.len() - 1 - index;
        let reach = reach.min(index.min(after).max(reach / 4));
        let around = &values[index - reach.min(index)..=index + reach.min(after)];
        let finite = || around.iter().filter(|value| value.is_finite());
        let sum: f64 = finite().map(|&value| f64::from(value)).sum();
        (sum / finite().count() as f64) as f32
    };
    (0..values.len()).map(mean).collect()
}

/// At most about four points per column: the first, the extremes and the last.
fn thinned(places: &[Option<(f64, f64)>], columns: usize) -> Vec<Option<(f64, f64)>> {
    if places.len() <= 2 * columns {
        return places.to_vec();
    }
    let mut kept = Vec::new();
    for group in places.chunks(places.len().div_ceil(columns)) {
        let height = |&index: &usize| group[index].map_or(f64::NAN, |place| place.1);
        let by_height = |a: &usize, b: &usize| height(a).total_cmp(&height(b));
        let finite = || (0..group.len()).filter(|&index| group[index].is_some());
        let (low, high) = (finite().min_by(by_height), finite().max_by(by_height));
        let gap = (0..group.len()).find(|&index| group[index].is_none());
        let mut indices: Vec<usize> = [Some(0), low, high, gap, Some(group.len() - 1)].into_iter().flatten().collect();
        indices.sort_unstable();
        indices.dedup();
        kept.extend(indices.into_iter().map(|index| group[index]));
    }
    kept
}

/// Round values from one at or below `low` to one at or above `high` with their labels:
/// powers of ten, and 2 and 5 times those unless there are many. Where it would be crowded,
/// only the powers have labels.
fn log_ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let (from, to) = (low.log10().floor() as i32 - 1, high.log10().ceil() as i32 + 1);
    let factors: &[f64] = if to - from > 8 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let all: Vec<(f64, bool)> = (from..=to)
        .flat_map(|power| factors.iter().map(move |factor| (factor * 10f64.powi(power), *factor == 1.0)))
        .collect();
    let first = all.iter().rposition(|tick| tick.0 <= low * 1.000_001).unwrap_or(0);
    let last = all.iter().position(|tick| tick.0 >= high * 0.999_999);
    let last = last.unwrap_or(all.len() - 1).max(first + 1);
    let ticks = &all[first..=last];
    let label = |value: f64| {
        let decimals = (-(value.log10() + 1e-9).floor()).max(0.0) as usize;
        match value {
            0.9e-4..1e6 => format!("{value:.decimals$}"),
            _ => format!("{value:.0e}"),
        }
    };
    let labelled = |power: bool| power || ticks.len() <= 9;
    let tick = |&(value, power): &(f64, bool)| (value, if labelled(power) { label(value) } else { String::new() });
    ticks.iter().map(tick).collect()
}

/// Cut rather than rounded, so that 100% means all.
fn percent(share: f64, decimals: usize) -> String {
    let unit = 10f64.powi(decimals as i32);
    // A share such as 0.979 may come as the single-precision number just below it.
    let cut = (share * 100.0 * unit + 0.005).floor() / unit;
    format!("{cut:.decimals$}%")
}

/// Draws a digit in five greys, each as runs of pixels.
///
/// A darker grey lies on top of the lighter ones, so runs are long and leave no seams.
fn draw(canvas: &mut Canvas, x: f64, y: f64, scale: f64, paper: [u8; 3], digit: &[u8]) {
    const GREYS: u32 = 5;
    const DARKEST: [u8; 3] = [0x1d, 0x27, 0x33];
    // Lines run through the middles of the pixels.
    let y = y + scale / 2.0;
    let _ = write!(canvas.svg, "<g transform=\"translate({x} {y})scale({scale})\" stroke-width=\"1.04\">");
    for grey in 1..=GREYS {
        let path = runs(digit, |pixel| (u32::from(pixel) * GREYS + 127) / 255 >= grey);
        if path.is_empty() {
            continue;
        }
        let mix = |channel: usize| {
            let (from, to) = (u32::from(paper[channel]), u32::from(DARKEST[channel]));
            (from * (GREYS - grey) + to * grey) / GREYS
        };
        let (red, green, blue) = (mix(0), mix(1), mix(2));
        let _ = write!(canvas.svg, "<path stroke=\"#{red:02x}{green:02x}{blue:02x}\" d=\"{path}\"/>");
    }
    canvas.svg.push_str("</g>\n");
}

/// The chosen pixels as horizontal lines, the first row at 0.
fn runs(digit: &[u8], chosen: impl Fn(u8) -> bool) -> String {
    let mut path = String::new();
    // Where the path has got to: moves from there are the shortest to write.
    let (mut pen_x, mut pen_y) = (0, 0);
    for (y, row) in digit.chunks(SIDE).enumerate() {
        let mut x = 0;
        while x < row.len() {
            let length = row[x..].iter().take_while(|&&pixel| chosen(pixel)).count();
            if length > 0 {
                let (right, down) = (x as i32 - pen_x, y as i32 - pen_y);
                let _ = write!(path, "m{right} {down}h{length}");
                (pen_x, pen_y) = ((x + length) as i32, y as i32);
            }
            x += length + 1;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawing::elements;

    fn points(count: usize) -> Vec<EpochPoint> {
        let accuracy = |epoch: usize| 1.0 - 0.3 / (epoch as f32 + 1.0);
        let point = |epoch| EpochPoint { train_accuracy: accuracy(epoch), test_accuracy: accuracy(epoch) - 0.01 };
        (0..count).map(point).collect()
    }

    #[test]
    fn curves_are_well_formed_whatever_is_given() {
        let falling: Vec<f32> = (0..756).map(|step| 2.3 * 0.99f32.powi(step)).collect();
        let nan = EpochPoint { train_accuracy: f32::NAN, test_accuracy: 0.5 };
        let cases: [(&[f32], &[EpochPoint]); 9] = [
            (&falling, &points(12)),
            (&falling, &[]),
            (&[], &[]),
            (&[], &points(1)),
            (&[0.5], &points(1)),
            (&[0.0, -1.0], &points(2)),
            (&[f32::NAN, f32::INFINITY], &[nan]),
            (&[1.0, f32::NAN, 1e30, 1e-30], &[nan, nan]),
            (&[f32::MIN_POSITIVE, f32::MAX], &points(1000)),
        ];
        for (losses, epochs) in cases {
            elements(&curves(losses, epochs));
        }
    }

    #[test]
    fn curves_are_drawn() {
        let names = elements(&curves(&[2.0, 1.0, 0.5], &points(7)));
        let circles = names.iter().filter(|name| *name == "circle").count();
        assert_eq!(circles, 14);
        // The loss of 1 lies halfway between 2 and 0.5: 275 of 150 to 400.
        let svg = curves(&[2.0, 1.0, 0.5], &[]);
        assert!(svg.contains("d=\"M402.7 150.0L721.3 275.0L1040.0 400.0\""), "{svg}");
    }

    #[test]
    fn curves_of_a_long_run_stay_small() {
        let noisy: Vec<f32> = (0..200_000).map(|step| 0.1 + (step * 7919 % 1000) as f32).collect();
        assert!(curves(&noisy, &points(50)).len() < 200_000);
    }

    fn some_digits(count: usize) -> (Vec<u8>, Vec<u8>) {
        let pixel = |index: usize| {
            if index.is_multiple_of(3) { (index * 31 % 256) as u8 } else { 0 }
        };
        let labels = (0..count).map(|index| (index % 10) as u8).collect();
        ((0..count * PIXELS).map(pixel).collect(), labels)
    }

    #[test]
    fn sheet_frames_every_mistake() {
        let (pixels, labels) = some_digits(300);
        let mut predictions = labels.clone();
        for index in [5, 150, 299] {
            predictions[index] = (labels[index] + 1) % 10;
        }
        let svg = sheet(&pixels, &labels, &predictions);
        let names = elements(&svg);
        // A group per digit; a rectangle per digit and the card.
        assert_eq!(names.iter().filter(|name| *name == "g").count(), 120);
        assert_eq!(names.iter().filter(|name| *name == "rect").count(), 121);
        let framed = format!("stroke=\"{RED}\" stroke-width=\"2\"");
        let rects: Vec<&str> = svg.lines().filter(|line| line.starts_with("<rect x=")).collect();
        assert!(rects[..3].iter().all(|rect| rect.contains(&framed)));
        assert!(!rects[3..].iter().any(|rect| rect.contains(&framed)));

        // Its mistakes are drawn in the order given, the prediction first.
        let drawn = |text: &str| {
            let mut canvas = Canvas { svg: String::new() };
            canvas.text((0.0, 0.0), MISTAKE, Align::Centre, text);
            let path = canvas.svg.split(" d=").nth(1).unwrap().to_string();
            svg.find(&path).unwrap_or_else(|| panic!("{text} is not drawn"))
        };
        assert!(drawn("6 (was 5)") < drawn("1 (was 0)"));
        assert!(drawn("1 (was 0)") < drawn("0 (was 9)"));
    }

    #[test]
    fn sheet_of_any_size() {
        for count in [0, 1, 12, 13, 119] {
            let (pixels, labels) = some_digits(count);
            let names = elements(&sheet(&pixels, &labels, &labels));
            assert_eq!(names.iter().filter(|name| *name == "g").count(), count);
        }
        let (pixels, labels) = some_digits(500);
        let wrong: Vec<u8> = labels.iter().map(|label| 9 - label).collect();
        let names = elements(&sheet(&pixels, &labels, &wrong));
        assert_eq!(names.iter().filter(|name| *name == "g").count(), 120);
    }

    #[test]
    #[should_panic(expected = "784 pixels per label")]
    fn sheet_without_enough_pixels() {
        sheet(&[0; 100], &[1], &[1]);
    }

    #[test]
    fn runs_cover_the_chosen_pixels_and_no_others() {
        let (digit, _) = some_digits(1);
        let mut digit = digit;
        digit[27] = 255;
        digit[28] = 255;
        digit[PIXELS - 1] = 255;
        for least in [1, 100, 255] {
            let mut covered = vec![false; PIXELS];
            let (mut x, mut y) = (0i32, 0i32);
            for run in runs(&digit, |pixel| pixel >= least).split('m').skip(1) {
                let (moved, length) = run.split_once('h').unwrap();
                let (right, down) = moved.split_once(' ').unwrap();
                x += right.parse::<i32>().unwrap();
                y += down.parse::<i32>().unwrap();
                for _ in 0..length.parse().unwrap() {
                    covered[y as usize * SIDE + x as usize] = true;
                    x += 1;
                }
            }
            let chosen: Vec<bool> = digit.iter().map(|&pixel| pixel >= least).collect();
            assert_eq!(covered, chosen);
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(round_step(0.9), 1.0);
        assert_eq!(round_step(1.0), 1.0);
        assert_eq!(round_step(126.0), 200.0);
        assert_eq!(round_step(1000.0), 1000.0);
        assert_eq!(round_step(51.0), 100.0);

        let labels = |low, high| -> Vec<String> { log_ticks(low, high).into_iter().map(|tick| tick.1).collect() };
        assert_eq!(labels(0.06, 2.3), ["0.05", "0.1", "0.2", "0.5", "1", "2", "5"]);
        assert_eq!(labels(0.5, 0.5), ["0.5", "1"]);
        let decades: Vec<String> = labels(0.0011, 2.3).into_iter().filter(|label| !label.is_empty()).collect();
        assert_eq!(decades, ["0.001", "0.01", "0.1", "1"]);
        assert_eq!(labels(1e-9, 1.0).len(), 10);
        for (low, high) in [(1e-30, 1e-25), (0.3, 0.31), (9.99, 10.01), (1e-3, 1e3)] {
            let ticks = log_ticks(low, high);
            assert!(ticks[0].0 <= low * 1.001 && ticks[ticks.len() - 1].0 >= high * 0.999);
            assert!(ticks.len() >= 2);
        }
    }

    #[test]
    fn smoothing_keeps_the_mean_and_the_gaps() {
        assert_eq!(smoothed(&[1.0, 3.0, 5.0, 7.0, 9.0], 1), [1.0, 3.0, 5.0, 7.0, 9.0]);
        assert_eq!(smoothed(&[0.0, 6.0, 0.0, 6.0, 0.0], 1)[1..4], [2.0, 4.0, 2.0]);
        let gap = smoothed(&[2.0, f32::NAN, 4.0], 1);
        assert!(gap[1].is_nan());
        assert_eq!((gap[0], gap[2]), (2.0, 4.0));
        assert!(smoothed(&[], 5).is_empty());
        // The end of a long noisy run does not follow its last value.
        let mut noisy = vec![1.0; 100];
        noisy[99] = 8.0;
        assert_eq!(smoothed(&noisy, 24)[99], 2.0);
    }

    #[test]
    fn thinning_keeps_extremes_and_gaps() {
        let mut places: Vec<_> = (0..10_000).map(|x| Some((f64::from(x), 5.0))).collect();
        places[1234] = Some((1234.0, 99.0));
        places[4321] = Some((4321.0, -99.0));
        places[7777] = None;
        let thin = thinned(&places, 100);
        assert!(thin.len() <= 500);
        for index in [0, 1234, 4321, 7777, 9999] {
            assert!(thin.contains(&places[index]), "{index}");
        }
        assert_eq!(thinned(&places[..150], 100), places[..150]);
    }

    #[test]
    fn all_but_one_is_not_called_all() {
        assert_eq!(percent(0.999_75, 1), "99.9%");
        assert_eq!(percent(f64::from(0.979f32), 1), "97.9%");
        assert_eq!(percent(f64::from(0.1f32), 1), "10.0%");
        assert_eq!(percent(1.0, 1), "100.0%");
        assert_eq!(percent(0.57, 0), "57%");
    }

    #[test]
    fn words() {
        assert_eq!(counted(1, "epoch"), "1 epoch");
        assert_eq!(counted(1234567, "step"), "1,234,567 steps");
        assert_eq!(counted(0, "step"), "0 steps");
        assert_eq!(spread(&[1, 2, 3, 4, 5, 6], 3), [1, 3, 5]);
        assert_eq!(spread(&[1, 2], 3), [1, 2]);
        assert!(spread(&[], 3).is_empty());
    }
}
