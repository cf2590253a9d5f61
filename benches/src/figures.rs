//! Medians, and how far runs lie apart.

use std::fmt;

/// What several rounds gave for one figure.
#[derive(Debug, Clone, Default)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// No figures yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds what one round gave.
    pub fn push(&mut self, figure: f64) {
        let place = self.0.partition_point(|other| *other <= figure);
        self.0.insert(place, figure);
    }

    /// The middle one; `None` without rounds.
    pub fn median(&self) -> Option<f64> {
        let middle = self.0.len() / 2;
        let upper = *self.0.get(middle)?;
        if self.0.len() % 2 == 1 {
            return Some(upper);
        }
        Some(f64::midpoint(*self.0.get(middle - 1)?, upper))
    }

    /// The smallest; `None` without rounds.
    pub fn min(&self) -> Option<f64> {
        self.0.first().copied()
    }

    /// The largest; `None` without rounds.
    pub fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        let mut all = Self::default();
        figures.into_iter().for_each(|figure| all.push(figure));
        all
    }
}

/// The median, and behind it the smallest and the largest: `1.02 (0.97–1.10)`.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(median), Some(min), Some(max)) = (self.median(), self.min(), self.max()) else {
            return f.write_str("-");
        };
        if self.0.len() == 1 {
            return write!(f, "{}", short(median));
        }
        write!(f, "{} ({}–{})", short(median), short(min), short(max))
    }
}

/// A figure with three digits, as far as it has no more.
pub fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => thousands(figure),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}

fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(
            [3.0, 1.0, 2.0].into_iter().collect::<Figures>().median(),
            Some(2.0)
        );
        assert_eq!(
            [4.0, 1.0].into_iter().collect::<Figures>().median(),
            Some(2.5)
        );
        assert_eq!(Figures::default().median(), None);
    }

    #[test]
    fn figures_are_shown_with_what_can_be_believed_of_them() {
        let shown = [0.0312, 0.5, 12.34, 123.4, 1_234_567.8].map(short);
        assert_eq!(shown, ["0.031", "0.50", "12.3", "123", "1,234,568"]);
        let figures: Figures = [1.0, 1.5, 1.2].into_iter().collect();
        assert_eq!(figures.to_string(), "1.20 (1.00–1.50)");
    }
}
