//! Numbers the way people read them.

use commonwatt_primitives::{AccountId, Wh};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(2_002_752), "2 002 752");
    }
}
