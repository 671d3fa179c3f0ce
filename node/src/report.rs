//! Numbers and errors the way people read them, and the output they go to.

use std::{
    fmt,
    io::{self, Write},
};

use commonwatt_primitives::{AccountId, Wh, time::Month};

/// Nobody reads what is printed any more, as after `| head`. No fault of anybody's.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
struct OutputClosed;

/// Standard output. Where `print!` panics once nobody reads, writing here is an error that [`is_output_closed`] knows.
#[derive(Debug)]
pub struct Output(io::Stdout);

/// Returns standard output.
pub fn output() -> Output {
    Output(io::stdout())
}

fn name_closed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::other(OutputClosed),
        _ => error,
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(name_closed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(name_closed)
    }
}

/// Prints a line.
///
/// # Errors
/// Standard output takes nothing.
pub fn print_line(text: fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(output(), "{text}")
}

/// Prints a line as `println!` does, but returns an error where that panics.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::report::print_line(format_args!($($text)*))
    };
}
pub(crate) use say;

/// Returns whether a command ended early only because nobody reads what it prints.
pub fn is_output_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .is_some_and(|inner| inner.is::<OutputClosed>())
    })
}

/// Returns an error and its causes in one line; a cause that the error before has spelled out already is left out.
pub fn describe_error(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

/// Returns a whole number in groups of three digits.
pub fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Returns energy in watt-hours.
pub fn energy(energy: Wh) -> String {
    format!("{} Wh", grouped(u128::from(energy.0)))
}

/// Returns the beginning of an account's address.
pub fn short(account: &AccountId) -> String {
    account.to_string().chars().take(8).collect()
}

/// Returns an amount of bytes in the unit that suits it.
pub fn size(bytes: u64) -> String {
    const KIBIBYTE: u128 = 1_024;
    let in_tenths = |unit: u128, name: &str| {
        let tenths = (u128::from(bytes) * 10 + unit / 2) / unit;
        format!("{}.{} {name}", grouped(tenths / 10), tenths % 10)
    };
    match bytes {
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => in_tenths(KIBIBYTE, "KiB"),
        _ => in_tenths(KIBIBYTE * KIBIBYTE, "MiB"),
    }
}

/// Returns a word as a shell takes it for one, in quotation marks if need be.
pub fn shell_word(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./:,+@%=".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Returns an instant, in milliseconds since the Unix epoch, as people write it.
pub fn utc(unix_ms: u64) -> String {
    let (days, second_of_day) = (unix_ms / 86_400_000, unix_ms / 1_000 % 86_400);
    let (year, month) = Month::from_unix_ms(unix_ms).year_and_month();
    // The day of the month is how many days ago the month was another one, or the same in no day before.
    let day = (0..31)
        .take_while(|back| {
            days.checked_sub(*back).is_some_and(|day| {
                Month::from_unix_ms(day * 86_400_000) == Month::from_unix_ms(unix_ms)
            })
        })
        .count();
    let (hour, minute) = (second_of_day / 3_600, second_of_day / 60 % 60);
    let second = second_of_day % 60;
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(1_456_790_399_999), "2016-02-29 23:59:59 UTC");
        assert_eq!(utc(1_798_761_600_000), "2027-01-01 00:00:00 UTC");
    }

    #[test]
    fn a_shell_takes_a_word_for_one() {
        assert_eq!(shell_word("/var/lib/commonwatt"), "/var/lib/commonwatt");
        assert_eq!(shell_word("/media/my disk"), "'/media/my disk'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("$HOME"), "'$HOME'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_suits_them() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1_023), "1023 bytes");
        assert_eq!(size(1_916), "1.9 KiB");
        assert_eq!(size(1_048_576), "1.0 MiB");
        assert_eq!(size(5_400_000_000), "5 149.8 MiB");
    }

    #[test]
    fn a_cause_is_told_once() {
        let refused = || anyhow::anyhow!("no room").context("cannot write a.json: no room");
        assert_eq!(describe_error(&refused()), "cannot write a.json: no room");
        let outer = refused().context("nothing was set up");
        assert_eq!(
            describe_error(&outer),
            "nothing was set up: cannot write a.json: no room"
        );
    }

    #[test]
    fn an_output_that_nobody_reads_is_told_from_other_broken_pipes() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        let closed = anyhow::Error::from(name_closed(pipe())).context("cannot print");
        assert!(is_output_closed(&closed));
        assert!(!is_output_closed(&pipe().into()));
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(2_002_752), "2 002 752");
    }
}
