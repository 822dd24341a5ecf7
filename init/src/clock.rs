//! The clock: read once, reported, trusted for nothing.
//!
//! The host sets it. It only decides the dates on a leaf certificate, which the client compares
//! with its own clock; freshness comes from the client's nonce.

use nix::time::{ClockId, clock_gettime};

/// The time as the kernel took it from the host's RTC, as `YYYY-MM-DDTHH:MM:SSZ`.
#[must_use]
pub fn report() -> String {
    let seconds = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |time| time.tv_sec());
    date(u64::try_from(seconds).unwrap_or(0))
}

/// Seconds since 1970 as a date (days to civil date after H. Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms").
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // Days since 0000-03-01, in eras of 400 years.
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_agrees_with_date_1() {
        // GNU coreutils 9.1: date -u -d @N +%FT%TZ
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_763_768_339), "2025-11-21T23:38:59Z");
        assert_eq!(date(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
