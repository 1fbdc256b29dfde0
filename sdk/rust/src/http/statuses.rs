//! Which status codes count as success, as people write it in plans: `200`, `2xx`, `200,204,3xx`.

/// A set of status codes. [`Statuses::default`] is `2xx`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<(u16, u16)>);

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

impl Statuses {
    /// Takes codes and classes separated by commas. The error says what is wrong, for an operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(|part| range(part.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether the code is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (digits, width) = match text.strip_suffix("xx") {
        Some(class) => (format!("{class}00"), 99),
        None => (text.to_owned(), 0),
    };
    match digits.parse::<u16>() {
        Ok(first) if digits.len() == 3 && (100..600).contains(&first) => Ok((first, first + width)),
        _ => Err(format!(
            "`{text}` is no status; write codes as in `200` or classes as in `2xx`, with commas between"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_codes_and_classes() {
        let some = Statuses::parse("200, 3xx").unwrap();
        assert!(some.contains(200) && some.contains(399) && !some.contains(201) && !some.contains(400));
        assert!(Statuses::default().contains(204));
    }

    #[test]
    fn refuses_all_else() {
        for text in ["", "ok", "2x", "20", "600", "200-299", "0200", "+20"] {
            assert!(Statuses::parse(text).is_err(), "{text:?}");
        }
    }
}
