//! `commonwatt clear`: clears order books from a file.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use commonwatt_clearing::{
    Breakeven, Clearing, Mechanism, ORDERS_MAX, Order, Quote, Side, Trade, clear, verify,
};
use commonwatt_primitives::{Hash, Ppm, Price};
use flate2::bufread::MultiGzDecoder;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeSeed, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::{Value, json};

use crate::report::output;

/// Longest book, in bytes of JSON: the most orders that one may have, each with a member's name.
const BOOK_BYTES_MAX: u64 = 64 << 20;

/// What a book looks like, for who wrote it otherwise.
const FORM: &str = "a book is {\"id\": 1, \"orders\": [[SIDE, PRICE, QUANTITY], ...]}, SIDE 0 to buy and 1 to sell, PRICE \
                    and QUANTITY whole numbers";

/// Clears order books by any mechanism, offline, with the chain's own code: what would this community's market have
/// been under another agreement?
///
/// The file is a JSON array of books, or one book after the other, plain or compressed with gzip. A book is
/// {"id": 1, "orders": [[SIDE, PRICE, QUANTITY], ...]}: side 0 buys and 1 sells, the price is that of a unit, the quantity in
/// units. Orders came in the sequence they stand in. Optional lists of the same length: "members", whose orders they are
/// (else everyone has one), and "loyaltyPpm", the members' loyalty in millionths (else 1.0).
///
/// Prints a JSON line for each book. Its prices have been verified by the proof that it prints.
#[derive(Debug, Args)]
pub struct Clear {
    /// The books; - for standard input
    file: PathBuf,
    /// average, loyal, uniform:KAPPA with KAPPA from 0 to 10000, mcafee or continuous
    #[arg(long, default_value_t)]
    mechanism: Mechanism,
    /// The watt-hours of a unit, for the volume
    #[arg(long, value_name = "WH", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    unit_wh: u32,
}

/// A book as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Book {
    id: BookId,
    orders: Rows,
    members: Option<Vec<MemberName>>,
    loyalty_ppm: Option<Vec<u32>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged, expecting = "an id is a whole number or a text")]
enum BookId {
    Number(u64),
    Text(String),
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged, expecting = "a member is a whole number or a text")]
enum MemberName {
    Number(u64),
    Text(String),
}

/// The orders of a book, no more than can be cleared.
#[derive(Debug)]
struct Rows(Vec<Row>);

#[derive(Clone, Copy, Debug)]
struct Row {
    side: Side,
    limit: Price,
    units: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    id: &'a BookId,
    mechanism: String,
    k: u64,
    volume: u64,
    volume_wh: u64,
    netted: u64,
    range: [Option<Price>; 2],
    price: Value,
    turnover: u128,
    surplus: u128,
    welfare: u128,
    fills: Vec<u64>,
    proof: Proof<'a>,
}

/// What [`verify`] looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Proof<'a> {
    bid: Option<Price>,
    ask: Option<Price>,
    next_bid: Option<Price>,
    next_ask: Option<Price>,
    demand_above_bid: u64,
    demand_at_bid: u64,
    supply_below_ask: u64,
    supply_at_ask: u64,
    /// Buy order, sell order, units, what a unit costs, what it earns.
    trades: Vec<TradeRow<'a>>,
}

#[derive(Debug)]
struct TradeRow<'a>(&'a Trade);

impl Clear {
    /// Clears, and prints a line for each book.
    pub fn run(self) -> Result<()> {
        let mut out = BufWriter::new(output());
        let cleared = self.clear_all(&mut out);
        // What was cleared before an error is right, and printed.
        let flushed = out.flush().context("cannot print the results");
        cleared.with_context(|| format!("{} cannot be cleared to its end", self.source()))?;
        flushed
    }

    fn is_standard_input(&self) -> bool {
        self.file == Path::new("-")
    }

    /// Returns where the books are read from, in words.
    fn source(&self) -> String {
        match self.is_standard_input() {
            true => "the standard input".to_owned(),
            false => self.file.display().to_string(),
        }
    }

    fn clear_all(&self, out: &mut impl Write) -> Result<()> {
        let source: Box<dyn Read> = if self.is_standard_input() {
            Box::new(io::stdin().lock())
        } else {
            Box::new(File::open(&self.file).context("it cannot be opened")?)
        };
        let mut count = 0u64;
        read_books(source, &mut |book| {
            count += 1;
            let line = self
                .clear_book(&book)
                .with_context(|| format!("book {} (number {count} of the file)", book.id))?;
            writeln!(out, "{line}").context("cannot print the results")
        })?;
        if count == 0 {
            bail!("there is no order book in it: {FORM}");
        }
        Ok(())
    }

    fn clear_book(&self, book: &Book) -> Result<String> {
        let orders = book.orders()?;
        let clearing = clear(&orders, self.mechanism)?;
        verify(&orders, &clearing)
            .context("the clearing does not prove itself: tell the developers")?;
        let line = Line::new(book, &orders, &clearing, self.unit_wh)?;
        Ok(serde_json::to_string(&line)?)
    }
}

impl Book {
    fn orders(&self) -> Result<Vec<Order<u64>>> {
        let rows = &self.orders.0;
        let check = |name: &str, length: Option<usize>| match length {
            Some(length) if length != rows.len() => {
                let orders = rows.len();
                Err(anyhow!(
                    "\"{name}\" has {length} entries for {orders} orders: give one for each order"
                ))
            }
            _ => Ok(()),
        };
        check("members", self.members.as_ref().map(Vec::len))?;
        check("loyaltyPpm", self.loyalty_ppm.as_ref().map(Vec::len))?;
        let mut accounts: BTreeMap<&MemberName, u64> = BTreeMap::new();
        let mut orders = Vec::with_capacity(rows.len());
        for (place, (row, position)) in rows.iter().zip(0u32..).enumerate() {
            let account = match self.members.as_ref().and_then(|members| members.get(place)) {
                Some(member) => *accounts.entry(member).or_insert(position.into()),
                None => position.into(),
            };
            let loyalty = self
                .loyalty_ppm
                .as_ref()
                .and_then(|loyalties| loyalties.get(place));
            orders.push(Order {
                id: Hash::from_low_u64_be(position.into()),
                account,
                side: row.side,
                limit: row.limit,
                units: row.units,
                loyalty: loyalty.map_or(Ppm::FULL, |&parts| Ppm(parts)),
                // The sequence of the file decides where nothing else does.
                arrival: position,
                tie_break: Hash::zero(),
            });
        }
        Ok(orders)
    }
}

impl<'a> Line<'a> {
    fn new(
        book: &'a Book,
        orders: &[Order<u64>],
        clearing: &'a Clearing,
        unit_wh: u32,
    ) -> Result<Self> {
        let Clearing {
            mechanism,
            breakeven,
            quote,
            totals,
            trades,
            ..
        } = clearing;
        let mut fills = vec![0; orders.len()];
        for trade in trades {
            for position in [trade.buy, trade.sell] {
                fills[usize::try_from(position)?] += u64::from(trade.units);
            }
        }
        let range = breakeven.range();
        Ok(Self {
            id: &book.id,
            mechanism: mechanism.to_string(),
            k: breakeven.k,
            volume: totals.volume,
            // At most 2^52 units and 2^32 Wh.
            volume_wh: totals
                .volume
                .checked_mul(unit_wh.into())
                .context("the volume is more than 2^64 Wh: choose a smaller --unit-wh")?,
            netted: totals.netted,
            range: [range.low, range.high],
            price: price(quote),
            turnover: totals.turnover,
            surplus: totals.surplus,
            welfare: totals.welfare,
            fills,
            proof: Proof::new(breakeven, trades),
        })
    }
}

impl<'a> Proof<'a> {
    fn new(breakeven: &Breakeven, trades: &'a [Trade]) -> Self {
        Self {
            bid: breakeven.bid,
            ask: breakeven.ask,
            next_bid: breakeven.next_bid,
            next_ask: breakeven.next_ask,
            demand_above_bid: breakeven.demand_above,
            demand_at_bid: breakeven.demand_at_least,
            supply_below_ask: breakeven.supply_below,
            supply_at_ask: breakeven.supply_at_most,
            trades: trades.iter().map(TradeRow).collect(),
        }
    }
}

/// One number where all trades have one price; else what prices are made of.
fn price(quote: &Quote) -> Value {
    match quote {
        Quote::NoTrade | Quote::Resting => Value::Null,
        Quote::Single { price } => json!(price),
        Quote::Reduced {
            buyers_pay,
            sellers_get,
        } => json!({ "buyersPay": buyers_pay, "sellersGet": sellers_get }),
        Quote::Pairwise { low, high } => json!({ "low": low, "high": high }),
    }
}

impl Serialize for TradeRow<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Trade {
            buy,
            sell,
            units,
            buyer_pays,
            seller_gets,
        } = self.0;
        (buy, sell, units, buyer_pays, seller_gets).serialize(serializer)
    }
}

impl fmt::Display for BookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// Reads books and hands them on one by one: a file may be larger than memory, a book may not.
fn read_books(source: impl Read, take: &mut dyn FnMut(Book) -> Result<()>) -> Result<()> {
    let mut packed = BufReader::new(source);
    let is_packed = packed
        .fill_buf()
        .context("it cannot be read")?
        .starts_with(&[0x1f, 0x8b]);
    let plain: Box<dyn Read> = if is_packed {
        Box::new(MultiGzDecoder::new(packed))
    } else {
        Box::new(packed)
    };
    let left = Rc::new(Cell::new(BOOK_BYTES_MAX));
    let mut text = Bounded {
        inner: BufReader::new(plain),
        left: left.clone(),
    };
    let first = text.skip_blanks().context("it cannot be read")?;
    let mut json = serde_json::Deserializer::from_reader(text);
    let mut count = 0u64;
    let mut refused = None;
    let mut handle = |book| {
        left.set(BOOK_BYTES_MAX);
        count += 1;
        take(book)
    };
    let read = if first == Some(b'[') {
        let books = Books {
            take: &mut handle,
            refused: &mut refused,
        };
        books.deserialize(&mut json).and_then(|()| json.end())
    } else {
        let mut read = Ok(());
        for book in json.into_iter::<Book>() {
            match book {
                Ok(book) => {
                    if let Err(error) = handle(book) {
                        refused = Some(error);
                        break;
                    }
                }
                Err(error) => {
                    read = Err(error);
                    break;
                }
            }
        }
        read
    };
    if let Some(error) = refused {
        return Err(error);
    }
    read.map_err(|error| anyhow!("after {count} books: {error}; {FORM}"))
}

/// An array of books, of which none is kept.
struct Books<'a> {
    take: &'a mut dyn FnMut(Book) -> Result<()>,
    refused: &'a mut Option<anyhow::Error>,
}

impl<'de> DeserializeSeed<'de> for Books<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Books<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of order books")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut books: A) -> Result<(), A::Error> {
        while let Some(book) = books.next_element()? {
            if let Err(error) = (self.take)(book) {
                *self.refused = Some(error);
                return Err(de::Error::custom("a book is refused"));
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RowsVisitor)
    }
}

struct RowsVisitor;

impl<'de> Visitor<'de> for RowsVisitor {
    type Value = Rows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of orders")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rows, A::Error> {
        let mut rows = Vec::new();
        for position in 0..ORDERS_MAX {
            let row = seq
                .next_element()
                .map_err(|error| de::Error::custom(format_args!("order {position}: {error}")))?;
            match row {
                Some(row) => rows.push(row),
                None => return Ok(Rows(rows)),
            }
        }
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(Rows(rows)),
            Some(_) => Err(de::Error::custom(format_args!(
                "a book of more than {ORDERS_MAX} orders: split it"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(ROW_NUMBERS, RowVisitor)
    }
}

/// Numbers of an order.
const ROW_NUMBERS: usize = 3;

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("side, price and quantity")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Row, A::Error> {
        let mut number = |position: usize, name: &'static str, most: u64| {
            seq.next_element_seed(Whole { name, most })?
                .ok_or_else(|| de::Error::invalid_length(position, &RowVisitor))
        };
        let side = match number(0, "side", 1)? {
            0 => Side::Buy,
            _ => Side::Sell,
        };
        let limit = number(1, "price", u64::MAX)?;
        let units = number(2, "quantity", u32::MAX.into())?;
        Ok(Row {
            side,
            limit: limit.into(),
            units: u32::try_from(units).map_err(de::Error::custom)?,
        })
    }
}

/// From here on numbers are read as floating point ones: 2^64.
const BEYOND_WHOLE_NUMBERS: f64 = 18_446_744_073_709_551_616.0;

/// A whole number of an order.
#[derive(Clone, Copy, Debug)]
struct Whole {
    name: &'static str,
    most: u64,
}

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_u64(self)
    }
}

impl Whole {
    fn refuse<E: de::Error>(self, written: impl fmt::Display) -> E {
        E::custom(format_args!("{} {written} is not {self}", self.name))
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most {
            1 => f.write_str("0 to buy or 1 to sell"),
            most => write!(f, "a whole number from 0 to {most}"),
        }
    }
}

impl Visitor<'_> for Whole {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} that is {self}", self.name)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        match number <= self.most {
            true => Ok(number),
            false => Err(self.refuse(number)),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        Err(self.refuse(number))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<u64, E> {
        match number < BEYOND_WHOLE_NUMBERS {
            true => Err(self.refuse(number)),
            // Not all of its digits are known.
            false => Err(self.refuse("beyond 2^64")),
        }
    }
}

/// A reader that stops within a book that is too long.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: BufRead> Bounded<R> {
    /// Passes over white space, and returns what comes then.
    fn skip_blanks(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.inner.fill_buf()?;
            let blanks = buffer
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            match buffer.get(blanks).copied() {
                Some(first) => {
                    self.inner.consume(blanks);
                    return Ok(Some(first));
                }
                None if buffer.is_empty() => return Ok(None),
                None => self.inner.consume(blanks),
            }
        }
    }
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self
            .left
            .get()
            .checked_sub(u64::try_from(read).unwrap_or(u64::MAX))
            .ok_or_else(|| {
                io::Error::other(format!(
                    "a book is longer than {} MiB: split it",
                    BOOK_BYTES_MAX >> 20
                ))
            })?;
        self.left.set(left);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear_text(text: &str) -> Result<Vec<Value>> {
        let command = Clear {
            file: PathBuf::from("-"),
            mechanism: Mechanism::Average,
            unit_wh: 100,
        };
        let mut lines = Vec::new();
        read_books(text.as_bytes(), &mut |book| {
            lines.push(serde_json::from_str(&command.clear_book(&book)?)?);
            Ok(())
        })?;
        Ok(lines)
    }

    #[test]
    fn an_array_and_books_one_after_the_other_are_the_same() {
        let book = r#"{"id": "a", "category": "x", "orders": [[0, 30, 10], [1, 10, 15]], "expected": {"k": 10}}"#;
        let array = clear_text(&format!(" [{book}, {book}]\n")).unwrap();
        let lines = clear_text(&format!("{book}\n{book}\n")).unwrap();
        assert_eq!(array.len(), 2);
        assert_eq!(array, lines);
        assert_eq!(array[0]["id"], "a");
        assert_eq!(array[0]["price"], 20);
        assert_eq!(array[0]["proof"]["trades"], json!([[0, 1, 10, 20, 20]]));
    }

    #[test]
    fn a_unit_is_something_and_the_standard_input_has_a_name() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            clear: Clear,
        }
        let parse = |words: &[&str]| {
            <Cli as clap::Parser>::try_parse_from([&["clear"], words].concat()).map(|cli| cli.clear)
        };
        let said = parse(&["-", "--unit-wh", "0"]).unwrap_err().to_string();
        assert!(said.contains("--unit-wh"), "{said}");
        let command = parse(&["-", "--unit-wh", "1"]).unwrap();
        assert_eq!(
            (command.unit_wh, command.source().as_str()),
            (1, "the standard input")
        );
        assert_eq!(parse(&["books.json"]).unwrap().source(), "books.json");
    }

    #[test]
    fn members_and_their_loyalty_count() {
        let line =
            &clear_text(r#"{"id": 1, "orders": [[0, 9, 5], [1, 1, 5]], "members": ["x", "x"]}"#)
                .unwrap()[0];
        assert_eq!(
            (&line["k"], &line["volume"], &line["netted"]),
            (&json!(5), &json!(0), &json!(5))
        );
        let said = clear_text(r#"{"id": 1, "orders": [[0, 9, 5]], "loyaltyPpm": []}"#)
            .unwrap_err()
            .to_string();
        assert!(said.contains("0 entries for 1 orders"), "{said}");
    }

    #[test]
    fn a_book_that_is_too_long_stops_the_reader() {
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer.fill(b' ');
                Ok(buffer.len())
            }
        }
        let source = r#"{"id": 1, "#.as_bytes().chain(Endless);
        let said = read_books(source, &mut |_| Ok(())).unwrap_err().to_string();
        assert!(said.contains("longer than 64 MiB"), "{said}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            (
                r#"[{"id": 1, "orders": [[0, 1, 1], [2, 1, 1]]}]"#,
                "order 1: side 2 is not 0 to buy or 1 to sell",
            ),
            (
                r#"[{"id": 1, "orders": [[0, 1.5, 1]]}]"#,
                "order 0: price 1.5 is not a whole number",
            ),
            (
                r#"[{"id": 1, "orders": [[0, -1, 1]]}]"#,
                "order 0: price -1 is not a whole number from 0",
            ),
            (
                r#"[{"id": 1, "orders": [[0, 18446744073709551616, 1]]}]"#,
                "order 0: price beyond 2^64 is not a whole number from 0 to 18446744073709551615",
            ),
            (
                r#"[{"id": 1, "orders": [[0, 1, 4294967296]]}]"#,
                "order 0: quantity 4294967296 is not a whole number from 0 to 4294967295",
            ),
            (
                r#"[{"id": 1, "orders": [[0, "7", 1]]}]"#,
                "order 0: invalid type: string \"7\", expected a price that is a whole number",
            ),
            (
                r#"[{"id": 1, "orders": [[0, 1]]}]"#,
                "order 0: invalid length 2, expected side, price and quantity",
            ),
            (r#"[{"id": 1}]"#, "missing field `orders`"),
            (r#"[{"orders": []}]"#, "missing field `id`"),
            ("[{\"id\": 1,\n\"orders\": [[0, 1, 1]", "line 2"),
            ("[]x", "trailing characters"),
            ("hello", "expected value"),
        ] {
            let said = clear_text(text).unwrap_err().to_string();
            assert!(
                said.contains(expected) && said.contains("a book is {"),
                "{text}: {said}"
            );
        }
    }
}
