//! The persistence member: the next move goes on in the direction of the last one, or bounces.
//!
//! P(up) follows from the sign of the last move of the mid price and a running estimate of how
//! often moves continue. At one second real crypto mids bounce more than they continue (64 to 69
//! %), so the frequency is learned and not assumed to exceed one half.
//!
//! Invariants: nothing is forecast before the first move; a label is judged against the sign that
//! stood when the forecast was made. One state per instrument, none allocated after construction.

use super::BaseRate;

/// Direction of the last change of a mid price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The mid rose.
    Up,
    /// The mid fell.
    Down,
}

/// Persistence forecaster over a fixed number of instruments.
#[derive(Clone, Debug)]
pub struct Persistence {
    instruments: Box<[State]>,
}

#[derive(Clone, Debug)]
struct State {
    mid_x2: Option<i64>,
    last_move: Option<Direction>,
    continues: BaseRate,
}

impl Persistence {
    /// One state per instrument; the continuation frequency fades by `e` after `memory_labels`.
    #[must_use]
    pub fn new(instruments: usize, memory_labels: f64) -> Self {
        let continues = BaseRate::forgetting(memory_labels);
        let state = State { mid_x2: None, last_move: None, continues };
        Self { instruments: vec![state; instruments].into_boxed_slice() }
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    /// The last prices and moves are not among them.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        for state in &mut self.instruments {
            state.continues.visit_learned(visit);
        }
    }

    /// Takes the mid price of a synchronised book, as the sum of the bid and the ask mantissa.
    /// An instrument out of range is ignored.
    pub fn observe(&mut self, instrument: usize, mid_x2: i64) {
        let Some(state) = self.instruments.get_mut(instrument) else {
            return;
        };
        if let Some(before) = state.mid_x2 {
            match mid_x2.cmp(&before) {
                std::cmp::Ordering::Greater => state.last_move = Some(Direction::Up),
                std::cmp::Ordering::Less => state.last_move = Some(Direction::Down),
                std::cmp::Ordering::Equal => {}
            }
        }
        state.mid_x2 = Some(mid_x2);
    }

    /// Forgets the last mid and move, after a gap; what was learned about continuation stays.
    pub fn reset(&mut self, instrument: usize) {
        if let Some(state) = self.instruments.get_mut(instrument) {
            state.mid_x2 = None;
            state.last_move = None;
        }
    }

    /// The sign to keep beside the forecast and to hand back to [`Persistence::learn`].
    #[must_use]
    pub fn last_move(&self, instrument: usize) -> Option<Direction> {
        self.instruments.get(instrument)?.last_move
    }

    /// P(up), or NaN (absent) before the first move.
    #[must_use]
    pub fn p_up(&self, instrument: usize) -> f64 {
        let Some(state) = self.instruments.get(instrument) else {
            return f64::NAN;
        };
        match state.last_move {
            Some(Direction::Up) => state.continues.p_up(),
            Some(Direction::Down) => 1.0 - state.continues.p_up(),
            None => f64::NAN,
        }
    }

    /// Learns whether the move after a forecast continued `last_move` of that time.
    pub fn learn(&mut self, instrument: usize, last_move: Option<Direction>, up: bool) {
        if let (Some(state), Some(last)) = (self.instruments.get_mut(instrument), last_move) {
            state.continues.learn((last == Direction::Up) == up);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_absent_before_the_first_move_and_after_a_gap() {
        let mut member = Persistence::new(1, 1_000.0);
        assert!(member.p_up(0).is_nan());
        member.observe(0, 100);
        member.observe(0, 100);
        assert!(member.p_up(0).is_nan() && member.last_move(0).is_none());
        member.observe(0, 101);
        assert_eq!(member.last_move(0), Some(Direction::Up));
        assert_eq!(member.p_up(0), 0.5);
        member.reset(0);
        member.observe(0, 99);
        assert!(member.p_up(0).is_nan());
    }

    #[test]
    fn it_learns_that_moves_bounce() {
        let mut member = Persistence::new(2, 10_000.0);
        member.observe(0, 100);
        for i in 0..2_000 {
            member.observe(0, 100 + i % 2);
            // Every move is followed by the opposite one, and the flat first step has no sign.
            let last = member.last_move(0);
            member.learn(0, last, last == Some(Direction::Down));
        }
        member.observe(0, 200);
        assert!(member.p_up(0) < 0.02, "{}", member.p_up(0));
        member.observe(0, 100);
        assert!(member.p_up(0) > 0.98);
        assert!(member.p_up(1).is_nan());
    }

    #[test]
    fn an_unknown_instrument_is_ignored() {
        let mut member = Persistence::new(1, 1_000.0);
        member.observe(7, 1);
        member.reset(7);
        member.learn(7, Some(Direction::Up), true);
        assert!(member.p_up(7).is_nan() && member.last_move(7).is_none());
    }
}
