//! What a topic of limited depth shows of a book, and what an update changes in it.
//!
//! Invariant: applying every list of changes to the levels shown at first gives the levels shown
//! now, where a client of a venue with silent leavers truncates after each.

use super::book::ModelBook;
use super::dialect::LeavingLevel;
use super::model::LevelChange;
use crate::Side;
use crate::book::Level;

/// The levels a subscriber holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct DepthView {
    depth: u16,
    sides: [Vec<Level>; 2],
    changes: Vec<LevelChange>,
}

impl DepthView {
    /// A view of the best `depth` levels of a book.
    pub(crate) fn new(depth: u16, book: &ModelBook) -> Self {
        let sides = [Side::Bid, Side::Ask].map(|side| book.top_levels(side, depth).to_vec());
        Self { depth, sides, changes: Vec::new() }
    }

    /// Moves the view to the book as it is now and returns what changed.
    pub(crate) fn advance(&mut self, book: &ModelBook, leaving: LeavingLevel) -> &[LevelChange] {
        self.changes.clear();
        for side in [Side::Bid, Side::Ask] {
            let old = &mut self.sides[side as usize];
            let new = book.top_levels(side, self.depth);
            let qty_of = |levels: &[Level], price: i64| {
                let place = levels.binary_search_by(|level| match side {
                    Side::Bid => price.cmp(&level.price),
                    Side::Ask => level.price.cmp(&price),
                });
                place.map_or(0, |at| levels[at].qty)
            };
            for level in old.iter().filter(|level| qty_of(new, level.price) == 0) {
                let is_deleted = book.qty_at(side, level.price) == 0;
                if is_deleted || leaving == LeavingLevel::IsDeleted {
                    let (price, qty_before) = (level.price, level.qty);
                    self.changes.push(LevelChange { side, price, qty: 0, qty_before });
                }
            }
            for level in new {
                let qty_before = qty_of(old, level.price);
                if qty_before != level.qty {
                    let (price, qty) = (level.price, level.qty);
                    self.changes.push(LevelChange { side, price, qty, qty_before });
                }
            }
            old.clear();
            old.extend_from_slice(new);
        }
        &self.changes
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Model, ModelConfig};
    use super::*;

    #[test]
    fn a_client_that_applies_the_changes_holds_the_best_levels() {
        for leaving in [LeavingLevel::IsDeleted, LeavingLevel::IsSilent] {
            let mut model = Model::new(ModelConfig { levels: 40, ..Default::default() }).unwrap();
            let mut view = DepthView::new(10, model.book(0));
            let mut client = ModelBook::default();
            for side in [Side::Bid, Side::Ask] {
                for level in model.book(0).top_levels(side, 10) {
                    client.set(side, level.price, level.qty);
                }
            }
            for _ in 0..2_000 {
                model.step();
                for change in view.advance(model.book(0), leaving) {
                    client.set(change.side, change.price, change.qty);
                }
                for side in [Side::Bid, Side::Ask] {
                    if leaving == LeavingLevel::IsSilent {
                        let beyond = client.levels(side)[10..].to_vec();
                        for level in beyond {
                            client.set(side, level.price, 0);
                        }
                    }
                    assert_eq!(client.levels(side), model.book(0).top_levels(side, 10));
                }
            }
        }
    }
}
