//! The table of cars.

use wengert::prelude::*;

/// Columns of the inputs: six numbers as they are, and one column for each of three origins.
pub const FEATURES: usize = 9;

/// A heading, then a car on each line; see `data/auto_mpg/README.md`.
static CARS: &str = include_str!("../../../data/auto_mpg/auto-mpg.csv");

/// Some of the cars.
pub struct Table {
    /// The inputs `[N, 9]`.
    pub x: Tensor,
    /// Miles per gallon `[N, 1]`.
    pub y: Tensor,
}

/// Cars to train on, to decide by when to stop, and to test on: 7, 1.5 and 1.5 tenths of all, shuffled by the seed.
///
/// # Errors
/// Says which line of the table cannot be read.
pub fn load(seed: u64) -> Result<[Table; 3], String> {
    let cars = CARS.lines().enumerate().skip(1).map(|(i, line)| car(line).ok_or(format!("line {}: {line:?}", i + 1)));
    let cars: Vec<[f64; FEATURES + 1]> = cars.collect::<Result<_, _>>()?;
    let n = cars.len();
    let all = Tensor::from_vec(cars.concat(), [n, FEATURES + 1]).to_dtype(DType::F32);
    let order = Rng::new(seed).randperm(n);
    let (train, stop) = (n * 7 / 10, n * 85 / 100);
    Ok([0..train, train..stop, stop..n].map(|part| {
        let rows = all.index_select(0, &order.narrow(0, part.start, part.len()));
        Table { x: rows.i((.., 1..)), y: rows.i((.., ..1)) }
    }))
}

/// Miles per gallon and the inputs of one line of the table.
fn car(line: &str) -> Option<[f64; FEATURES + 1]> {
    let mut fields = line.split(',');
    let mut car = [0.0; FEATURES + 1];
    for number in &mut car[..7] {
        *number = fields.next()?.parse().ok()?;
    }
    let origin: usize = fields.next()?.parse().ok()?;
    *car[7..].get_mut(origin.checked_sub(1)?)? = 1.0;
    Some(car)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_car_is_in_one_part() {
        let parts = load(1).unwrap();
        assert_eq!(parts.each_ref().map(|p| p.x.size(0)), [274, 59, 59]);
        let mean = parts.iter().map(|p| p.y.sum().item()).sum::<f64>() / 392.0;
        assert!((mean - 23.445_918).abs() < 1e-4, "{mean}");
        for part in &parts {
            let origins = part.x.i((.., 6..)).sum_axis(1);
            assert!(origins.to_vec::<f32>().iter().all(|&sum| sum == 1.0), "every car has one origin");
        }
        assert_ne!(load(2).unwrap()[0].y.to_vec::<f32>(), parts[0].y.to_vec::<f32>());
    }

    #[test]
    fn a_line_becomes_numbers() {
        let volkswagen = car("26,4,97,46,1835,20.5,70,2,volkswagen 1131 deluxe sedan").unwrap();
        assert_eq!(volkswagen, [26.0, 4.0, 97.0, 46.0, 1835.0, 20.5, 70.0, 0.0, 1.0, 0.0]);
        for damaged in
            ["26,4", "26,4,97,46,1835,20.5,70,4,x", "26,4,97,46,1835,20.5,70,0,x", "x,4,97,46,1835,20,70,1,x"]
        {
            assert!(car(damaged).is_none(), "{damaged}");
        }
    }
}
