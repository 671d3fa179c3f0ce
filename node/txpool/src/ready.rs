//! The ready transactions in the order of building.

use std::{
    collections::{BTreeSet, BinaryHeap, HashMap, btree_set},
    iter::{Peekable, Rev},
};

use crate::{
    book::Book,
    transaction::{Arrival, Rank, Transaction},
};

/// Iterates over the ready transactions: lane, then priority, then arrival, and never a transaction
/// before those that provide what it requires.
///
/// Each step takes the best transaction whose providers have all been taken, in O(log n); stopping
/// early costs nothing.
#[derive(Debug)]
pub struct Ready<'a> {
    book: &'a Book,
    roots: Peekable<Rev<btree_set::Iter<'a, Rank>>>,
    /// Those whose providers have all been returned.
    unlocked: BinaryHeap<Rank>,
    /// How many tags the others still need, for those that need several.
    open_tags: HashMap<Arrival, usize>,
    last: Option<&'a Transaction>,
}

impl<'a> Ready<'a> {
    pub(crate) fn new(book: &'a Book) -> Self {
        Self {
            book,
            roots: book.places.roots.iter().rev().peekable(),
            unlocked: BinaryHeap::new(),
            open_tags: HashMap::new(),
            last: None,
        }
    }

    /// Leaves out whatever depends on the transaction returned last: it could not be applied.
    pub fn skip_dependents(&mut self) {
        self.last = None;
    }

    /// Unlocks those for whom the transaction returned last was the one still missing.
    fn unlock_dependents(&mut self) {
        let Some(last) = self.last.take() else {
            return;
        };
        let none = BTreeSet::new();
        for tag in &last.provides {
            for arrival in self.book.dependents.get(tag).unwrap_or(&none) {
                let Some(tx) = self
                    .book
                    .transactions
                    .get(arrival)
                    .filter(|tx| tx.is_ready())
                else {
                    continue;
                };
                let open = self.open_tags.entry(*arrival).or_insert(tx.requires.len());
                *open = open.saturating_sub(1);
                if *open == 0 {
                    self.open_tags.remove(arrival);
                    self.unlocked.push(tx.rank());
                }
            }
        }
    }
}

impl<'a> Iterator for Ready<'a> {
    type Item = &'a Transaction;

    fn next(&mut self) -> Option<Self::Item> {
        self.unlock_dependents();
        let root = self.roots.peek().copied();
        let best = if root > self.unlocked.peek() {
            self.roots.next().copied()
        } else {
            self.unlocked.pop()
        };
        self.last = self.book.transactions.get(&best?.arrival.0);
        self.last
    }
}
