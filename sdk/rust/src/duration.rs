//! Durations as people write them in plans.

/// The longest duration that [`duration_ms`] takes: a plan that should wait longer than a day has a typing error.
const LONGEST_MS: u64 = 24 * 60 * 60 * 1_000;

/// Milliseconds of `500ms`, `5s`, `2m` or `1h`, up to 24 hours. The error says what is wrong, for an operator.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => {
            return Err(format!(
                "`{text}` is no duration; write a whole number and ms, s, m or h, as in `30s`"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|ms| *ms <= LONGEST_MS)
        .ok_or_else(|| format!("`{text}` is not between 0 and 24 hours"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_whole_numbers_with_a_unit() {
        assert_eq!(duration_ms("500ms"), Ok(500));
        assert_eq!(duration_ms("2m"), Ok(120_000));
        assert_eq!(duration_ms("24h"), Ok(LONGEST_MS));
    }

    #[test]
    fn refuses_all_else() {
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "25h", "99999999999999999999h"] {
            assert!(duration_ms(text).is_err(), "{text:?}");
        }
    }
}
