//! Addresses as people write them.

use sp_core::crypto::Ss58Codec;

use crate::AccountId;

/// Most letters of an account's SS58 address: 36 bytes, of which up to two say the network and two are a check.
pub const ADDRESS_LETTERS_MAX: usize = 50;

/// Returns the account of an SS58 address, of whatever network; `None` when it is none.
///
/// Base58 takes time with the square of the length, seconds for 100 kB: nothing longer than an address is decoded.
pub fn account_from_address(text: &str) -> Option<AccountId> {
    if text.len() > ADDRESS_LETTERS_MAX {
        return None;
    }
    // `from_ss58check` would refuse networks that its registry does not know.
    AccountId::from_ss58check_with_version(text)
        .ok()
        .map(|(account, _)| account)
}

#[cfg(test)]
mod tests {
    use sp_core::crypto::Ss58AddressFormat;

    use super::*;

    #[test]
    fn the_longest_address_is_read() {
        for prefix in [0, 42, 63, 64, 16_383] {
            for byte in [0, 1, 255] {
                let account = AccountId::new([byte; 32]);
                let address = account.to_ss58check_with_version(Ss58AddressFormat::custom(prefix));
                assert!(address.len() <= ADDRESS_LETTERS_MAX, "{address}");
                assert_eq!(account_from_address(&address), Some(account));
            }
        }
    }

    #[test]
    fn what_is_longer_is_not_decoded() {
        // Megabytes would take hours.
        assert_eq!(account_from_address(&"x".repeat(8 << 20)), None);
        assert_eq!(account_from_address(""), None);
    }
}
