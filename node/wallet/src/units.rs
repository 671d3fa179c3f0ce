//! Energy, coins and prices the way people write them, read exactly or not at all.
//!
//! ## Invariants
//! - Nothing is rounded: what the chain cannot represent is refused, with the nearest amounts that it can.
//! - What [`CoinFormat::show`] writes, [`CoinFormat::parse`] reads as the same amount.

use std::fmt;

use commonwatt_clearing::LIMIT_MAX;
use commonwatt_primitives::{Coin, Price, Wh};

/// Most decimals a coin may have: with more, a single coin would not fit its type.
pub const DECIMALS_MAX: u32 = 30;
/// Most letters of a coin's name that are shown.
pub const SYMBOL_LETTERS_MAX: usize = 12;
/// Longest amount that is read.
const TEXT_BYTES_MAX: usize = 64;
/// Decimals with which the smallest coin is a millionth.
const MICRO_DECIMALS: u32 = 6;
/// Smallest coins up to which they are counted rather than written as decimals.
const MICRO_SHOWN_MAX: Coin = 10_000;

/// Why a text is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitsError {
    /// It is not written as a number.
    #[error(
        "{0:?} is no number: write digits with a point, like 1.5, and no sign, exponent or separator"
    )]
    NoNumber(String),
    /// It has a comma.
    #[error(
        "{0:?} has a comma: write a point before the decimals, like 1.5, and nothing between thousands"
    )]
    Comma(String),
    /// The unit behind the number is not known.
    #[error("{text:?} has no unit that is known here: write {known}")]
    Unit {
        /// The text.
        text: String,
        /// What may be written.
        known: String,
    },
    /// It is nothing.
    #[error("{0:?} is nothing: give more than zero")]
    Zero(String),
    /// It is more than can be.
    #[error("{text:?} is too much: at most {most} can be given")]
    TooMuch {
        /// The text.
        text: String,
        /// The most.
        most: String,
    },
    /// It lies between two amounts that can be represented.
    #[error("{text:?} {why}: the nearest that can be are {nearest}")]
    Inexact {
        /// The text.
        text: String,
        /// Why not.
        why: String,
        /// What can.
        nearest: String,
    },
}

/// A decimal number, exactly: `digits · 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    digits: u128,
    scale: u32,
}

impl Decimal {
    /// Reads digits with at most one point, digits on both sides of it.
    fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let all_digits =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !all_digits(whole) || !all_digits(part) {
            return None;
        }
        let part = part.trim_end_matches('0');
        let scale = u32::try_from(part.len()).ok()?;
        let digits = format!("{whole}{part}").parse().ok()?;
        Some(Self { digits, scale })
    }
}

/// A fraction, and the whole numbers next to it.
enum Quotient {
    Exact(u128),
    Between(u128),
    TooMuch,
}

/// Computes `digits · multiplier / divisor` without rounding. `divisor` is not zero.
fn divide(digits: u128, multiplier: Option<u128>, divisor: Option<u128>) -> Quotient {
    let Some(multiplier) = multiplier else {
        return Quotient::TooMuch;
    };
    let Some(divisor) = divisor.filter(|divisor| *divisor > 0) else {
        return Quotient::TooMuch;
    };
    // The common part goes first, so that what fits in the end fits on the way.
    let common = greatest_common_divisor(multiplier, divisor);
    let (multiplier, divisor) = (multiplier / common, divisor / common);
    let common = greatest_common_divisor(digits, divisor);
    let (digits, divisor) = (digits / common, divisor / common);
    match digits.checked_mul(multiplier) {
        None => Quotient::TooMuch,
        Some(product) if product.is_multiple_of(divisor) => Quotient::Exact(product / divisor),
        Some(product) => Quotient::Between(product / divisor),
    }
}

fn greatest_common_divisor(one: u128, other: u128) -> u128 {
    let (mut one, mut other) = (one, other);
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one.max(1)
}

fn power_of_ten(exponent: u32) -> Option<u128> {
    10u128.checked_pow(exponent)
}

/// Splits a number from the word behind it.
fn split(text: &str) -> Result<(Decimal, &str), UnitsError> {
    let no_number = || UnitsError::NoNumber(brief(text));
    let trimmed = text.trim();
    if trimmed.len() > TEXT_BYTES_MAX {
        return Err(no_number());
    }
    let end = trimmed
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(trimmed.len());
    let (number, word) = trimmed.split_at(end);
    let number = Decimal::parse(number).ok_or_else(no_number)?;
    let word = word.trim();
    match word.chars().next() {
        Some(',') => Err(UnitsError::Comma(brief(text))),
        // More of the number, as in 1 500 or 1_500.
        Some(letter) if !letter.is_alphabetic() && letter != '/' => Err(no_number()),
        _ => Ok((number, word)),
    }
}

/// Shortens a text for an error message.
fn brief(text: &str) -> String {
    text.chars().take(TEXT_BYTES_MAX).collect()
}

/// Returns a number in groups of three digits.
pub fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

// ---------------------------------------------------------------------------------- energy

/// What may be written behind an amount of energy.
const ENERGY_UNITS: &str = "Wh, kWh or MWh behind the number, like 250Wh or 1.5kWh";

/// Returns how many watt-hours a unit of energy has.
fn energy_unit_wh(word: &str) -> Option<u128> {
    match word.to_ascii_lowercase().as_str() {
        "wh" => Some(1),
        "kwh" => Some(1_000),
        "mwh" => Some(1_000_000),
        _ => None,
    }
}

/// Reads an amount of energy, such as `250Wh` or `1.5kWh`.
pub fn parse_energy(text: &str) -> Result<Wh, UnitsError> {
    let (number, word) = split(text)?;
    let unit_wh = energy_unit_wh(word).ok_or_else(|| UnitsError::Unit {
        text: brief(text),
        known: ENERGY_UNITS.to_owned(),
    })?;
    let too_much = || UnitsError::TooMuch {
        text: brief(text),
        most: format!("{} Wh", grouped(u128::from(u64::MAX))),
    };
    let to_wh = |wh: u128| u64::try_from(wh).map(Wh).map_err(|_| too_much());
    match divide(number.digits, Some(unit_wh), power_of_ten(number.scale)) {
        Quotient::Exact(wh) => to_wh(wh),
        Quotient::Between(below) => Err(UnitsError::Inexact {
            text: brief(text),
            why: "is no whole number of watt-hours".to_owned(),
            nearest: format!("{below}Wh and {}Wh", below.saturating_add(1)),
        }),
        Quotient::TooMuch => Err(too_much()),
    }
}

/// How much an order is for, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnergyText(String);

impl std::str::FromStr for EnergyText {
    type Err = UnitsError;

    /// Checks what can be checked without knowing the chain's trading unit.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (_, word) = split(text)?;
        if !is_trading_unit(word) {
            parse_energy(text)?;
        }
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Display for EnergyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_trading_unit(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "unit" | "units")
}

impl EnergyText {
    /// Returns how many trading units it is: exactly, or not at all.
    pub fn to_units(&self, unit: Wh) -> Result<u32, UnitsError> {
        let text = brief(&self.0);
        let (number, word) = split(&self.0)?;
        let unit_wh = u128::from(unit.0.max(1));
        let units = if is_trading_unit(word) {
            match divide(number.digits, Some(1), power_of_ten(number.scale)) {
                Quotient::Exact(units) => units,
                Quotient::Between(below) => {
                    return Err(UnitsError::Inexact {
                        text,
                        why: "is no whole number of trading units".to_owned(),
                        nearest: format!("{below}units and {}units", below.saturating_add(1)),
                    });
                }
                Quotient::TooMuch => u128::MAX,
            }
        } else {
            let energy_wh = u128::from(parse_energy(&self.0)?.0);
            let below = energy_wh / unit_wh;
            if !energy_wh.is_multiple_of(unit_wh) {
                let shown = |units: u128| show_wh(units.saturating_mul(unit_wh));
                let above = shown(below.saturating_add(1));
                return Err(UnitsError::Inexact {
                    text,
                    why: format!("is no whole number of trading units of {unit} Wh"),
                    nearest: match below {
                        0 => above,
                        _ => format!("{} and {above}", shown(below)),
                    },
                });
            }
            below
        };
        if units == 0 {
            return Err(UnitsError::Zero(text));
        }
        u32::try_from(units).map_err(|_| UnitsError::TooMuch {
            text,
            most: show_wh(unit_wh.saturating_mul(u128::from(u32::MAX))),
        })
    }
}

/// Writes energy so that it can be read again: in kWh where that is shorter.
pub fn show_wh(wh: u128) -> String {
    if wh < 1_000 {
        return format!("{wh}Wh");
    }
    let (whole, part) = (wh / 1_000, wh % 1_000);
    if part == 0 {
        return format!("{whole}kWh");
    }
    let part = format!("{part:03}");
    format!("{whole}.{}kWh", part.trim_end_matches('0'))
}

/// Writes energy for a table: in Wh, in groups of three digits.
pub fn table_wh(wh: u128) -> String {
    format!("{} Wh", grouped(wh))
}

/// The same of energy that may be negative.
pub fn table_signed_wh(wh: i128) -> String {
    let sign = if wh < 0 { "-" } else { "" };
    format!("{sign}{}", table_wh(wh.unsigned_abs()))
}

// ---------------------------------------------------------------------------------- coins

/// How a chain writes its coin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoinFormat {
    symbol: String,
    decimals: u32,
}

impl Default for CoinFormat {
    /// The coin of chains that Commonwatt's tools make.
    fn default() -> Self {
        Self {
            symbol: "CWC".to_owned(),
            decimals: MICRO_DECIMALS,
        }
    }
}

impl CoinFormat {
    /// Takes what a chain says of its coin; `None` when that makes no sense.
    pub fn new(symbol: &str, decimals: u32) -> Option<Self> {
        let is_symbol = !symbol.is_empty()
            && symbol.len() <= SYMBOL_LETTERS_MAX
            && symbol.bytes().all(|letter| letter.is_ascii_alphabetic());
        (is_symbol && decimals <= DECIMALS_MAX).then(|| Self {
            symbol: symbol.to_owned(),
            decimals,
        })
    }

    /// Returns the coin's name.
    pub fn symbol(&self) -> &str {
        &self.symbol
    }

    /// Returns how many decimals a coin has.
    pub fn decimals(&self) -> u32 {
        self.decimals
    }

    /// Returns how many decimals are behind the point when an amount is written in `word`.
    fn decimals_of(&self, word: &str) -> Option<u32> {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if word.is_empty() || is(&self.symbol) {
            return Some(self.decimals);
        }
        let behind = word
            .strip_prefix('u')
            .or_else(|| word.strip_prefix('µ'))
            .or_else(|| word.strip_prefix('μ'))?;
        (behind.eq_ignore_ascii_case(&self.symbol) && self.decimals >= MICRO_DECIMALS)
            .then(|| self.decimals - MICRO_DECIMALS)
    }

    /// Returns what may be written behind an amount.
    fn known(&self) -> String {
        let symbol = &self.symbol;
        match self.decimals >= MICRO_DECIMALS {
            true => format!("nothing, {symbol} or u{symbol} (a millionth) behind the number"),
            false => format!("nothing or {symbol} behind the number"),
        }
    }

    /// Says what a number is without a word behind it, which is easily mistaken.
    pub fn explain_words(&self) -> String {
        let symbol = &self.symbol;
        match self.decimals >= MICRO_DECIMALS {
            true => format!(
                "a number without a unit is in whole {symbol}, u{symbol} is a millionth of one"
            ),
            false => format!("a number without a unit is in whole {symbol}"),
        }
    }

    fn unknown_unit(&self, text: &str) -> UnitsError {
        UnitsError::Unit {
            text: brief(text),
            known: self.known(),
        }
    }

    /// Reads an amount of coins, such as `7.25`, `7.25 CWC` or `7250000uCWC`.
    pub fn parse(&self, text: &str) -> Result<Coin, UnitsError> {
        let (number, word) = split(text)?;
        let decimals = self
            .decimals_of(word)
            .ok_or_else(|| self.unknown_unit(text))?;
        match divide(
            number.digits,
            power_of_ten(decimals),
            power_of_ten(number.scale),
        ) {
            Quotient::Exact(amount) => Ok(amount),
            Quotient::Between(below) => Err(UnitsError::Inexact {
                text: brief(text),
                why: format!("is finer than the smallest coin, {}", self.show(1)),
                nearest: format!(
                    "{} and {}",
                    self.show(below),
                    self.show(below.saturating_add(1))
                ),
            }),
            Quotient::TooMuch => Err(UnitsError::TooMuch {
                text: brief(text),
                most: self.show(Coin::MAX),
            }),
        }
    }

    /// Writes an amount so that it can be read again.
    pub fn show(&self, amount: Coin) -> String {
        let symbol = &self.symbol;
        if self.decimals == MICRO_DECIMALS && amount > 0 && amount < MICRO_SHOWN_MAX {
            return format!("{amount} u{symbol}");
        }
        format!("{} {symbol}", self.plain(amount))
    }

    /// Writes what one of `count` costs when all of them cost `total`: to a tenth of the smallest coin, rounded down;
    /// `None` when there is none.
    pub fn show_mean(&self, total: Coin, count: u64) -> Option<String> {
        let count = u128::from(count);
        let whole = total.checked_div(count)?;
        let tenth = total.checked_rem(count)?.saturating_mul(10) / count;
        if tenth == 0 {
            return Some(self.show(whole));
        }
        let symbol = &self.symbol;
        if self.decimals == MICRO_DECIMALS && whole < MICRO_SHOWN_MAX {
            return Some(format!("{whole}.{tenth} u{symbol}"));
        }
        let finer = Self {
            symbol: symbol.clone(),
            decimals: self.decimals.saturating_add(1),
        };
        let tenths = whole
            .checked_mul(10)
            .and_then(|tenths| tenths.checked_add(tenth));
        Some(tenths.map_or_else(
            || self.show(whole),
            |tenths| format!("{} {symbol}", finer.plain(tenths)),
        ))
    }

    /// Writes an amount, which may be negative, so that it can be read again but for its sign.
    pub fn show_signed(&self, is_negative: bool, amount: Coin) -> String {
        let sign = if is_negative && amount > 0 { "-" } else { "" };
        format!("{sign}{}", self.show(amount))
    }

    /// Writes an amount in whole coins and decimals, without the coin's name.
    fn plain(&self, amount: Coin) -> String {
        let one = power_of_ten(self.decimals).unwrap_or(1);
        let (whole, part) = (amount / one, amount % one);
        if part == 0 {
            return whole.to_string();
        }
        let width = usize::try_from(self.decimals).unwrap_or_default();
        let part = format!("{part:0width$}");
        format!("{whole}.{}", part.trim_end_matches('0'))
    }

    /// Writes a price of a trading unit.
    pub fn show_price(&self, price: Price, unit: Wh) -> String {
        format!("{}/{}", self.show(price), show_wh(u128::from(unit.0)))
    }
}

// ---------------------------------------------------------------------------------- prices

/// A limit as it was written: coins for a trading unit or for an amount of energy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceText {
    text: String,
    amount: String,
    per: Per,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Unit,
    Energy(Wh),
}

impl std::str::FromStr for PriceText {
    type Err = UnitsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (amount, per) = match text.split_once('/') {
            None => (text, Per::Unit),
            Some((amount, per)) => (amount.trim(), parse_per(text, per.trim())?),
        };
        split(amount)?;
        Ok(Self {
            text: brief(text),
            amount: amount.to_owned(),
            per,
        })
    }
}

fn parse_per(text: &str, per: &str) -> Result<Per, UnitsError> {
    if is_trading_unit(per) {
        return Ok(Per::Unit);
    }
    let energy = match energy_unit_wh(per) {
        Some(wh) => u64::try_from(wh).map(Wh).ok(),
        None => parse_energy(per).ok().filter(|energy| !energy.is_zero()),
    };
    energy.map(Per::Energy).ok_or_else(|| UnitsError::Unit {
        text: brief(text),
        known: "/unit, /kWh or an amount of energy like /10Wh behind the price, or nothing, which is a trading unit"
            .to_owned(),
    })
}

impl fmt::Display for PriceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PriceText {
    /// Returns the price of a trading unit in smallest coins: exactly, or not at all.
    pub fn to_price(&self, coin: &CoinFormat, unit: Wh) -> Result<Price, UnitsError> {
        let (number, word) = split(&self.amount)?;
        let decimals = coin
            .decimals_of(word)
            .ok_or_else(|| coin.unknown_unit(&self.text))?;
        let (unit_wh, per_wh) = match self.per {
            Per::Unit => (1, 1),
            Per::Energy(energy) => (u128::from(unit.0), u128::from(energy.0)),
        };
        let multiplier = power_of_ten(decimals).and_then(|one| one.checked_mul(unit_wh));
        let divisor = power_of_ten(number.scale).and_then(|one| one.checked_mul(per_wh));
        let too_much = || UnitsError::TooMuch {
            text: self.text.clone(),
            most: coin.show_price(LIMIT_MAX, unit),
        };
        match divide(number.digits, multiplier, divisor) {
            Quotient::Exact(price) if price <= LIMIT_MAX => Ok(price),
            Quotient::Exact(_) | Quotient::TooMuch => Err(too_much()),
            Quotient::Between(below) if below >= LIMIT_MAX => Err(too_much()),
            Quotient::Between(below) => Err(UnitsError::Inexact {
                text: self.text.clone(),
                why: format!(
                    "is no whole number of smallest coins ({}) for a trading unit of {unit} Wh",
                    coin.show(1)
                ),
                nearest: format!(
                    "{} and {}",
                    self.show_like(coin, below, unit),
                    self.show_like(coin, below.saturating_add(1), unit)
                ),
            }),
        }
    }

    /// Writes a price of a trading unit for the energy this one is for, if that can be said exactly.
    fn show_like(&self, coin: &CoinFormat, price: Price, unit: Wh) -> String {
        let unit_wh = u128::from(unit.0.max(1));
        if let Per::Energy(energy) = self.per
            && let Some(product) = price.checked_mul(u128::from(energy.0))
            && product.is_multiple_of(unit_wh)
        {
            return coin.show_price(product / unit_wh, energy);
        }
        coin.show_price(price, unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNIT: Wh = Wh(10);

    fn coin() -> CoinFormat {
        CoinFormat::default()
    }

    fn units(text: &str) -> Result<u32, UnitsError> {
        text.parse::<EnergyText>()?.to_units(UNIT)
    }

    fn price(text: &str) -> Result<Price, UnitsError> {
        text.parse::<PriceText>()?.to_price(&coin(), UNIT)
    }

    fn said<T: fmt::Debug>(result: Result<T, UnitsError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn energy_is_read_exactly() {
        assert_eq!(parse_energy("250Wh"), Ok(Wh(250)));
        assert_eq!(parse_energy(" 1.5 kWh "), Ok(Wh(1_500)));
        assert_eq!(parse_energy("0.02mwh"), Ok(Wh(20_000)));
        assert_eq!(parse_energy("1.50000kWh"), Ok(Wh(1_500)));
        assert_eq!(parse_energy("18446744073709551615Wh"), Ok(Wh(u64::MAX)));
    }

    #[test]
    fn energy_that_is_no_whole_watt_hour_is_refused_with_the_nearest() {
        let text = said(parse_energy("1.2345kWh"));
        assert!(text.contains("1234Wh and 1235Wh"), "{text}");
        let text = said(parse_energy("18446744073709551616Wh"));
        assert!(text.contains("at most"), "{text}");
        let text = said(parse_energy("99999999999999999999999999999999999999999Wh"));
        assert!(text.contains("no number"), "{text}");
        let text = said(parse_energy("1.5"));
        assert!(text.contains("kWh"), "{text}");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "kWh", "-1kWh", "+1kWh", ".5kWh", "1.kWh", "1.2.3kWh", "1e3Wh", "0x1Wh", "∞kWh",
        ] {
            let error = parse_energy(text);
            assert!(error.is_err(), "{text} gave {error:?}");
        }
        for text in ["1 500Wh", "1_500Wh", "1'500Wh"] {
            let said = said(parse_energy(text));
            assert!(said.contains("no number"), "{said}");
        }
    }

    #[test]
    fn a_comma_is_named() {
        for text in ["1,5kWh", "1,500 Wh"] {
            let said = said(parse_energy(text));
            assert!(said.contains("comma") && said.contains("point"), "{said}");
        }
        assert!(said(coin().parse("7,25 CWC")).contains("comma"));
        assert!(said(price("0,0007/kWh")).contains("comma"));
    }

    #[test]
    fn a_mean_is_exact_to_a_tenth_of_the_smallest_coin() {
        let mean = |total, count| coin().show_mean(total, count);
        assert_eq!(mean(330, 63).as_deref(), Some("5.2 uCWC"));
        assert_eq!(mean(18, 6).as_deref(), Some("3 uCWC"));
        assert_eq!(mean(1, 100).as_deref(), Some("0 CWC"));
        assert_eq!(mean(123_457, 10).as_deref(), Some("0.0123457 CWC"));
        assert_eq!(mean(Coin::MAX, 1), Some(coin().show(Coin::MAX)));
        assert_eq!(mean(5, 0), None);
        let euro = CoinFormat::new("EUR", 2).unwrap();
        assert_eq!(euro.show_mean(11, 2).as_deref(), Some("0.055 EUR"));
    }

    #[test]
    fn orders_are_whole_trading_units() {
        assert_eq!(units("1.5kWh"), Ok(150));
        assert_eq!(units("10Wh"), Ok(1));
        assert_eq!(units("7units"), Ok(7));
        assert_eq!(units("1 unit"), Ok(1));
        let text = said(units("255Wh"));
        assert!(
            text.contains("10 Wh") && text.contains("250Wh and 260Wh"),
            "{text}"
        );
        let text = said(units("1.005kWh"));
        assert!(text.contains("1kWh and 1.01kWh"), "{text}");
        // Nothing is no amount to offer, so it is not named.
        let text = said(units("5Wh"));
        assert!(text.contains("10Wh") && !text.contains("0Wh and"), "{text}");
        let text = said(units("1.5units"));
        assert!(text.contains("1units and 2units"), "{text}");
        let text = said(units("0kWh"));
        assert!(text.contains("nothing"), "{text}");
        let text = said(units("42949672960Wh"));
        assert!(text.contains("at most 42949672.95kWh"), "{text}");
    }

    #[test]
    fn coins_are_read_exactly() {
        assert_eq!(coin().parse("7.25"), Ok(7_250_000));
        assert_eq!(coin().parse("7.25 CWC"), Ok(7_250_000));
        assert_eq!(coin().parse("7.25cwc"), Ok(7_250_000));
        assert_eq!(coin().parse("9uCWC"), Ok(9));
        assert_eq!(coin().parse("9 µCWC"), Ok(9));
        assert_eq!(coin().parse("0"), Ok(0));
        let text = said(coin().parse("0.0000015"));
        assert!(text.contains("1 uCWC and 2 uCWC"), "{text}");
        let text = said(coin().parse("1.5uCWC"));
        assert!(text.contains("1 uCWC and 2 uCWC"), "{text}");
        let text = said(coin().parse("5 EUR"));
        assert!(text.contains("uCWC"), "{text}");
        let text = said(coin().parse("340282366920938463463374607431769"));
        assert!(text.contains("at most"), "{text}");
    }

    #[test]
    fn a_price_is_for_a_unit_unless_it_says_otherwise() {
        assert_eq!(price("7.25"), Ok(7_250_000));
        assert_eq!(price("7uCWC"), Ok(7));
        assert_eq!(price("7 uCWC/unit"), Ok(7));
        assert_eq!(price("700uCWC/kWh"), Ok(7));
        assert_eq!(price("0.0007/kWh"), Ok(7));
        assert_eq!(price("14uCWC / 20Wh"), Ok(7));
        assert_eq!(price("0/kWh"), Ok(0));
    }

    #[test]
    fn a_price_that_is_no_whole_coin_for_a_unit_is_refused_with_the_nearest() {
        let text = said(price("725uCWC/kWh"));
        assert!(text.contains("700 uCWC/1kWh and 800 uCWC/1kWh"), "{text}");
        let text = said(price("5uCWC/7Wh"));
        assert!(text.contains("7 uCWC/10Wh and 8 uCWC/10Wh"), "{text}");
        let text = said(price("0.5uCWC"));
        assert!(text.contains("0 CWC/10Wh and 1 uCWC/10Wh"), "{text}");
        let text = said(price("7/hour"));
        assert!(text.contains("/kWh"), "{text}");
        let text = said(price("7/0Wh"));
        assert!(text.contains("/kWh"), "{text}");
        let text = said(price("18446744073709.551616"));
        assert!(
            text.contains("at most 18446744073709.551615 CWC/10Wh"),
            "{text}"
        );
        assert_eq!(price("18446744073709.551615"), Ok(LIMIT_MAX));
    }

    #[test]
    fn a_coin_that_makes_no_sense_is_not_taken() {
        assert_eq!(CoinFormat::new("", 6), None);
        assert_eq!(CoinFormat::new("C\u{1b}[2J", 6), None);
        assert_eq!(CoinFormat::new("CWC", DECIMALS_MAX + 1), None);
        let coarse = CoinFormat::new("EUR", 2).unwrap();
        assert_eq!(coarse.parse("1.25"), Ok(125));
        assert_eq!(coarse.show(5), "0.05 EUR");
        assert!(coarse.parse("1uEUR").is_err());
    }

    #[test]
    fn tables_group_digits() {
        assert_eq!(table_wh(1_234_567), "1 234 567 Wh");
        assert_eq!(table_signed_wh(-1_234), "-1 234 Wh");
        assert_eq!(grouped(0), "0");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(amount in any::<u128>(), decimals in 0..=DECIMALS_MAX, wh in any::<u64>()) {
            let coin = CoinFormat::new("CWC", decimals).unwrap();
            let shown = coin.show(amount);
            prop_assert_eq!(coin.parse(&shown), Ok(amount), "{}", shown);
            let shown = show_wh(u128::from(wh));
            prop_assert_eq!(parse_energy(&shown), Ok(Wh(wh)), "{}", shown);
        }

        /// What is taken means exactly what was written, whatever the trading unit.
        #[test]
        fn no_price_is_rounded(whole in 0u64..1_000_000, part in 0u32..1_000_000, unit in 1u64..2_000) {
            let text = format!("{whole}.{part:06}/kWh");
            let written: PriceText = text.parse().unwrap();
            let micro = u128::from(whole) * 1_000_000 + u128::from(part);
            match written.to_price(&coin(), Wh(unit)) {
                Ok(price) => prop_assert_eq!(price * 1_000, micro * u128::from(unit)),
                Err(_) => prop_assert!(!(micro * u128::from(unit)).is_multiple_of(1_000)),
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}") {
            let _ = units(&text);
            let _ = price(&text);
            let _ = coin().parse(&text);
        }
    }
}
