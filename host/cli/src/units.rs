//! Times, spans and sizes as people read them.

use jiff::Timestamp;

/// What stands where nothing is known.
pub(crate) const NONE: &str = "-";

/// A span in its two largest units: nobody compares milliseconds of an hour.
pub(crate) fn span(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => format!("{ms}ms"),
        (0, 0, 0, _) => format!("{seconds}.{}s", ms % 1_000 / 100),
        (0, 0, _, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, _, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A moment, always in UTC: two sites rarely share a time zone.
pub(crate) fn time(ms: u64) -> String {
    let moment = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(
        || NONE.to_owned(),
        |moment| moment.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

/// A size in binary units.
pub(crate) fn bytes(bytes: u64) -> String {
    // Tenths, in integers: a size on a screen needs no floating point.
    let mut tenths = u128::from(bytes) * 10;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if tenths < 10_240 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            };
        }
        tenths /= 1_024;
    }
    format!("{}.{} PiB", tenths / 10, tenths % 10)
}

/// `1 step`, `2 steps`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The value, or the mark for nothing.
pub(crate) fn or_none(value: Option<&str>) -> String {
    value.unwrap_or(NONE).to_owned()
}

/// The span, or the mark for nothing.
pub(crate) fn span_or_none(ms: Option<u64>) -> String {
    ms.map_or_else(|| NONE.to_owned(), span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_two_units() {
        let shown: Vec<String> = [0, 850, 12_340, 245_000, 7_380_000, 90_000_000].map(span).into();
        assert_eq!(shown, ["0ms", "850ms", "12.3s", "4m05s", "2h03m", "1d01h"]);
    }

    #[test]
    fn times_are_utc_and_sizes_binary() {
        assert_eq!(time(1_763_784_000_000), "2025-11-22 04:00:00Z");
        assert_eq!(
            [bytes(12), bytes(1_536), bytes(5 << 30)],
            ["12 B", "1.5 KiB", "5.0 GiB"]
        );
        assert_eq!([count(1, "step"), count(0, "step")], ["1 step", "0 steps"]);
    }
}
