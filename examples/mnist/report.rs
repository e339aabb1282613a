//! The confusion matrix as text.

use std::fmt::Write;

const CLASSES: usize = 10;

/// A confusion matrix: a row per true class, a column per predicted class, and at the end
/// of each row the recall, which is the share of that class that was recognized.
///
/// Zeros are shown as dots. The last lines hold the precision of each column and the
/// accuracy over all digits.
///
/// # Panics
///
/// If the slices differ in length or hold a class above 9.
pub fn confusion(labels: &[u8], predictions: &[u8]) -> String {
    assert_eq!(labels.len(), predictions.len(), "one prediction per label");
    let mut counts = [[0usize; CLASSES]; CLASSES];
    for (&label, &prediction) in labels.iter().zip(predictions) {
        assert!(
            usize::from(label.max(prediction)) < CLASSES,
            "label {label} and prediction {prediction} must be below {CLASSES}"
        );
        counts[usize::from(label)][usize::from(prediction)] += 1;
    }
    let largest = counts.iter().flatten().copied().max().unwrap_or(0);
    // Room for a precision, such as "100%", with a space before it.
    let width = (largest.to_string().len() + 2).max(5);

    let mut text = String::new();
    let mut line = |cells: String| {
        text.push_str(cells.trim_end());
        text.push('\n');
    };
    let indent = " ".repeat(11);
    line(format!("{indent}predicted"));
    let header: String = (0..CLASSES).map(|class| format!("{class:>width$}")).collect();
    line(format!("{indent}{header}   recall"));
    for (class, row) in counts.iter().enumerate() {
        let mut cells = format!("{:<9}{class:>2}", if class == 0 { "true" } else { "" });
        for &count in row {
            let shown = if count == 0 { ".".to_string() } else { count.to_string() };
            let _ = write!(cells, "{shown:>width$}");
        }
        let recall = percent(row[class], row.iter().sum(), 1);
        line(format!("{cells}{recall:>9}"));
    }
    let precision: String = (0..CLASSES)
        .map(|class| {
            let predicted = counts.iter().map(|row| row[class]).sum();
            format!("{:>width$}", percent(counts[class][class], predicted, 0))
        })
        .collect();
    line(format!("{:<11}{precision}", "precision"));
    let right = (0..CLASSES).map(|class| counts[class][class]).sum();
    line(format!("accuracy {} ({right} of {})", percent(right, labels.len(), 2), labels.len()));
    text
}

/// `part` of `whole` in percent, or "n/a" of nothing.
///
/// Cut rather than rounded, so that "100%" means all.
fn percent(part: usize, whole: usize, decimals: usize) -> String {
    if whole == 0 {
        return "n/a".to_string();
    }
    let unit = 10usize.pow(decimals as u32);
    let cut = part * 100 * unit / whole;
    format!("{:.decimals$}%", cut as f64 / unit as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_recall() {
        let labels = [0, 0, 0, 0, 1, 1, 9];
        let predictions = [0, 0, 0, 9, 1, 1, 9];
        let text = confusion(&labels, &predictions);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[2], ["true", "0", "3", ".", ".", ".", ".", ".", ".", ".", ".", "1", "75.0%"]);
        assert_eq!(rows[3], ["1", ".", "2", ".", ".", ".", ".", ".", ".", ".", ".", "100.0%"]);
        assert_eq!(rows[4].last(), Some(&"n/a"));
        assert_eq!(rows[12][..3], ["precision", "100%", "100%"]);
        assert_eq!(rows[12][10], "50%");
        assert!(text.ends_with("accuracy 85.71% (6 of 7)\n"));
    }

    #[test]
    fn columns_line_up() {
        let labels = vec![5; 12345];
        let predictions: Vec<u8> = (0..12345).map(|i| if i % 3 == 0 { 7 } else { 5 }).collect();
        let text = confusion(&labels, &predictions);
        let lines: Vec<&str> = text.lines().collect();
        // Every cell of a column ends below the digit in the header.
        let end = lines[1].find('7').unwrap();
        for line in &lines[2..13] {
            let bytes = line.as_bytes();
            assert_ne!(bytes[end], b' ', "{text}");
            assert_eq!(bytes[end + 1], b' ', "{text}");
        }
        let recall: Vec<usize> = lines[2..12].iter().map(|line| line.len()).collect();
        assert!(recall.iter().all(|&len| len == lines[1].len()), "{text}");
    }

    #[test]
    fn all_but_one_is_not_called_all() {
        assert_eq!(percent(9_999, 10_000, 1), "99.9%");
        assert_eq!(percent(10_000, 10_000, 1), "100.0%");
        assert_eq!(percent(57, 100, 0), "57%");
    }

    #[test]
    fn empty_is_not_a_division_by_zero() {
        assert!(confusion(&[], &[]).ends_with("accuracy n/a (0 of 0)\n"));
    }

    #[test]
    #[should_panic(expected = "must be below 10")]
    fn class_out_of_range() {
        confusion(&[3], &[10]);
    }
}
