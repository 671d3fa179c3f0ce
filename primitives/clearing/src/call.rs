//! A call: all orders of a step at once.

use alloc::vec::Vec;

use codec::Encode;
use commonwatt_primitives::Coin;

use crate::{
    Clearing, History, Mechanism, Order, OrderError, Quote, Totals, Trade, book, netting,
    ranking::{Key, Ranking, fill},
};

/// Clears orders: finds `k` and the prices, and pairs the first `k` buy units with the first `k` sell units.
///
/// The orders of `continuous` are taken to have arrived in the sequence they stand in, and nobody to lack energy; the
/// other mechanisms give the same trades for every sequence.
///
/// # Errors
/// There are too many orders, one of them is not what [`Order`] says, or `κ` is above one.
pub fn clear<AccountId: Clone + Ord + Encode>(
    orders: &[Order<AccountId>],
    mechanism: Mechanism,
) -> Result<Clearing, OrderError> {
    if mechanism == Mechanism::Continuous {
        return book::clear_in_sequence(orders);
    }
    let mut ranking = Ranking::new(orders, mechanism, |_| true)?;
    let breakeven = ranking.compute_breakeven();
    let quote = mechanism.compute_quote(&breakeven);
    let traded = quote.traded_units(breakeven.k);
    ranking.break_ties(orders, mechanism, traded)?;
    let mut bought = fill(&ranking.buys, traded);
    let mut sold = fill(&ranking.sells, traded);
    let netted = netting::take_out_own(orders, &ranking, &mut bought, &mut sold);
    let welfare = sum_limits(&ranking.buys, &bought, |key| ranking.bid(key))
        - sum_limits(&ranking.sells, &sold, |key| ranking.ask(key));
    let (trades, turnover, surplus) = pair(quote, &ranking, &mut bought, &mut sold);
    let totals = Totals {
        volume: traded - netted,
        netted,
        turnover,
        surplus,
        welfare,
    };
    Ok(Clearing {
        mechanism,
        breakeven,
        quote,
        totals,
        trades,
        history: History::default(),
    })
}

/// Pairs units in the order of priority; returns the trades, what buyers owe, and what of it no seller receives.
fn pair(
    quote: Quote,
    ranking: &Ranking,
    bought: &mut [u32],
    sold: &mut [u32],
) -> (Vec<Trade>, Coin, Coin) {
    let (mut turnover, mut surplus) = (0, 0);
    let single = quote.prices_of_all();
    let mut trades = Vec::with_capacity(bought.len() + sold.len());
    let (mut buy, mut sell) = (0, 0);
    while buy < bought.len() && sell < sold.len() {
        let units = bought[buy].min(sold[sell]);
        if units > 0 {
            let (buyer, seller) = (ranking.buys[buy], ranking.sells[sell]);
            // A look at loyalties is worth it only where they count.
            let prices = single
                .or_else(|| quote.prices_of_pair(ranking.loyalty(buyer), ranking.loyalty(seller)));
            let Some((buyer_pays, seller_gets)) = prices else {
                break;
            };
            // Prices are less than 2^64 and all units of a clearing less than 2^52, so the sums fit.
            turnover += buyer_pays * Coin::from(units);
            surplus += (buyer_pays - seller_gets) * Coin::from(units);
            trades.push(Trade {
                buy: buyer.position(),
                sell: seller.position(),
                units,
                buyer_pays,
                seller_gets,
            });
            bought[buy] -= units;
            sold[sell] -= units;
        }
        if bought[buy] == 0 {
            buy += 1;
        }
        if sell < sold.len() && sold[sell] == 0 {
            sell += 1;
        }
    }
    (trades, turnover, surplus)
}

fn sum_limits(keys: &[Key], fills: &[u32], limit: impl Fn(&Key) -> Coin) -> Coin {
    keys.iter()
        .zip(fills)
        .map(|(key, &units)| limit(key) * Coin::from(units))
        .sum()
}
