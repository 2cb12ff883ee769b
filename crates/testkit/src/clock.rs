//! The fixed clock: tests live at midnight of 1 January 2026, UTC, and step from there.

use jiff::{SignedDuration, Timestamp};

/// 2026-01-01T00:00:00Z.
pub fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).expect("a moment in 2026 is a timestamp")
}

/// [`now`] and this many hours; less than none goes back.
pub fn hours(hours: i64) -> Timestamp {
    after(now(), hours)
}

/// [`now`] and this many days; less than none goes back.
pub fn days(days: i64) -> Timestamp {
    after(now(), days * 24)
}

/// `moment` and this many hours.
pub fn after(moment: Timestamp, hours: i64) -> Timestamp {
    moment.checked_add(SignedDuration::from_hours(hours)).expect("tests stay between the years 0 and 9999")
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_new_year() {
        assert_eq!(super::now().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(super::days(-1).to_string(), "2025-12-31T00:00:00Z");
    }
}
