//! Text to whole numbers, exactly.

/// Why a text is no number of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// Not in the form of such a number, too fine, or too large.
    Malformed,
    /// Below zero.
    Negative,
}

/// Parses a decimal such as `6.8` into units of `10^-decimals`, exactly: `6.8` with 3 is 6 800.
///
/// Digits finer than the unit must be zero; nothing is ever rounded. Signs, exponents and thousands
/// separators are refused.
pub(crate) fn parse_decimal(text: &str, decimals: usize) -> Result<u64, NumberError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Some(rest) = text.strip_prefix('-') {
        // "-0.0" is no energy, but whoever writes it computes with signs; refuse it all the same.
        return Err(match rest.starts_with(|c: char| c.is_ascii_digit()) {
            true => NumberError::Negative,
            false => NumberError::Malformed,
        });
    }
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let ends_in_point = text.ends_with('.');
    if whole.is_empty() || ends_in_point || !is_digits(whole) || !is_digits(fraction) {
        return Err(NumberError::Malformed);
    }
    let (kept, finer) = fraction.split_at(fraction.len().min(decimals));
    if finer.bytes().any(|digit| digit != b'0') {
        return Err(NumberError::Malformed);
    }
    let zeros = core::iter::repeat_n(b'0', decimals - kept.len());
    whole
        .bytes()
        .chain(kept.bytes())
        .chain(zeros)
        .try_fold(0u64, |value, digit| {
            value
                .checked_mul(10)
                .and_then(|value| value.checked_add(u64::from(digit - b'0')))
                .ok_or(NumberError::Malformed)
        })
}

/// Parses a whole number that is not negative.
pub(crate) fn parse_whole(text: &str) -> Result<u64, NumberError> {
    match text.contains('.') {
        true => Err(NumberError::Malformed),
        false => parse_decimal(text, 0),
    }
}

/// Parses an instant of the form `2016-07-04T06:00Z` or `2016-07-04T06:00:00Z` into milliseconds since
/// the Unix epoch; `None` for any other form, a date that does not exist, or one before 1970.
pub(crate) fn parse_utc(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = fields(date, '-', &[4, 2, 2])?;
    let [hour, minute, second] = match time.len() {
        5 => {
            let [hour, minute] = fields(time, ':', &[2, 2])?;
            [hour, minute, 0]
        }
        _ => fields(time, ':', &[2, 2, 2])?,
    };
    if year < 1970 || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days-from-civil by Howard Hinnant, https://howardhinnant.github.io/date_algorithms.html, with years
    // that begin in March.
    let year_from_march = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year_from_march / 4 - year_from_march / 100 + year_from_march / 400;
    let days = 365 * year_from_march + leap_days + day_of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000)
}

/// Splits `text` into exactly `N` numbers of the given widths.
fn fields<const N: usize>(text: &str, separator: char, widths: &[usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, &width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        *number = parse_whole(part).ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn days_in(year: u64, month: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilowatts_become_watts_exactly() {
        assert_eq!(parse_decimal("6.8", 3), Ok(6_800));
        assert_eq!(parse_decimal("0.0", 3), Ok(0));
        assert_eq!(parse_decimal("10", 3), Ok(10_000));
        assert_eq!(parse_decimal("1.2340", 3), Ok(1_234));
        // 8.7 · 1000 is 8699.999… in binary floating point.
        assert_eq!(parse_decimal("8.7", 3), Ok(8_700));
    }

    #[test]
    fn what_cannot_be_exact_is_refused() {
        for text in [
            "1.2345", "", ".5", "5.", "1e3", "+1", " 1", "1,5", "1.2.3", "NaN", "٣", "-", "-x",
        ] {
            assert_eq!(
                parse_decimal(text, 3),
                Err(NumberError::Malformed),
                "{text:?}"
            );
        }
        assert_eq!(
            parse_decimal("18446744073709551616", 0),
            Err(NumberError::Malformed)
        );
        assert_eq!(parse_whole("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_whole("1.0"), Err(NumberError::Malformed));
    }

    #[test]
    fn negative_numbers_are_told_apart() {
        assert_eq!(parse_decimal("-6.8", 3), Err(NumberError::Negative));
        assert_eq!(parse_whole("-1"), Err(NumberError::Negative));
    }

    #[test]
    fn instants_are_milliseconds_since_the_epoch() {
        assert_eq!(parse_utc("1970-01-01T00:00Z"), Some(0));
        assert_eq!(parse_utc("2015-12-31T23:00Z"), Some(1_451_602_800_000));
        assert_eq!(parse_utc("2016-02-29T12:34:56Z"), Some(1_456_749_296_000));
        assert_eq!(parse_utc("2000-03-01T00:00Z"), Some(951_868_800_000));
    }

    #[test]
    fn instants_that_do_not_exist_are_refused() {
        for text in [
            "2015-02-29T00:00Z",
            "2016-13-01T00:00Z",
            "2016-00-01T00:00Z",
            "2016-04-31T00:00Z",
            "2016-01-00T00:00Z",
            "2016-01-01T24:00Z",
            "2016-01-01T00:60Z",
            "1969-12-31T23:45Z",
            "2016-01-01 00:00Z",
            "2016-01-01T00:00",
            "2016-1-1T00:00Z",
            "2016-01-01T00:00+01:00",
            "",
            "Z",
            "2016-01-01T0:000Z",
            "2016-01-01T00:00:00:00Z",
        ] {
            assert_eq!(parse_utc(text), None, "{text:?}");
        }
    }
}
