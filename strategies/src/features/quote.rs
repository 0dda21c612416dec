//! The best bid and offer, what one change of it says about order flow, and the moves of the mid.
//!
//! Invariants: an absent side has quantity 0 and the price that every real order improves on (bid 0,
//! offer +∞), so the flow rules need no special case; a [`Quote`] is never crossed and holds no NaN.

/// Largest price or quantity accepted: above any fixed-point mantissa worth the name, and small
/// enough that products and sums of thousands of them stay finite.
const MAX_INPUT: f64 = 1e18;
/// Two mids closer than this fraction are the same mid computed with different rounding.
const SAME_MID: f64 = 1e-12;
/// Weight of the newest pair of moves in the persistence average: a memory of about eight moves.
const PERSISTENCE_WEIGHT: f64 = 1.0 / 8.0;
/// The age of the last move stops counting here, so that a dead market does not drift for ever.
const MAX_MOVE_AGE_S: f64 = 60.0;
/// Basis points in one.
pub(super) const BPS: f64 = 1e4;

/// Whether a price or quantity is a finite, non-negative number of a sane size.
pub(super) fn is_usable(value: f64) -> bool {
    (0.0..=MAX_INPUT).contains(&value)
}

/// `numerator / denominator`, 0 where the denominator is not positive.
pub(super) fn ratio_or_zero(numerator: f64, denominator: f64) -> f64 {
    if denominator > 0.0 { numerator / denominator } else { 0.0 }
}

/// Flow at one bid level between two looks: quantity that joined minus quantity that left
/// (the bid half of e_n, Cont, Kukanov & Stoikov 2014, eq. 3).
pub(super) fn bid_flow(before: (f64, f64), after: (f64, f64)) -> f64 {
    let joined = if after.0 >= before.0 { after.1 } else { 0.0 };
    let left = if after.0 <= before.0 { before.1 } else { 0.0 };
    joined - left
}

/// Flow at one offer level between two looks, positive when supply appears (enters e_n with a minus).
pub(super) fn ask_flow(before: (f64, f64), after: (f64, f64)) -> f64 {
    let joined = if after.0 <= before.0 { after.1 } else { 0.0 };
    let left = if after.0 >= before.0 { before.1 } else { 0.0 };
    joined - left
}

/// `(price, quantity)` of an absent bid.
pub(super) const NO_BID: (f64, f64) = (0.0, 0.0);
/// `(price, quantity)` of an absent offer.
pub(super) const NO_ASK: (f64, f64) = (f64::INFINITY, 0.0);

/// Best bid and offer as `(price, quantity)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quote {
    bid: (f64, f64),
    ask: (f64, f64),
}

impl Quote {
    pub(super) const EMPTY: Self = Self { bid: NO_BID, ask: NO_ASK };

    /// `None` when a value is unusable or the quote is crossed. A price or quantity of zero means
    /// that the side is empty.
    pub(super) fn new(bid: (f64, f64), ask: (f64, f64)) -> Option<Self> {
        if ![bid.0, bid.1, ask.0, ask.1].into_iter().all(is_usable) {
            return None;
        }
        let bid = if bid.0 > 0.0 && bid.1 > 0.0 { bid } else { NO_BID };
        let ask = if ask.0 > 0.0 && ask.1 > 0.0 { ask } else { NO_ASK };
        (bid.0 <= ask.0).then_some(Self { bid, ask })
    }

    /// Half-way between the sides; `None` when one is empty.
    pub(super) fn mid(&self) -> Option<f64> {
        (self.bid.1 > 0.0 && self.ask.1 > 0.0).then_some(0.5 * (self.bid.0 + self.ask.0))
    }

    pub(super) fn spread_bps(&self) -> f64 {
        self.mid().map_or(0.0, |mid| BPS * (self.ask.0 - self.bid.0) / mid)
    }

    /// Microprice (each side's price weighted by the other side's quantity) minus mid.
    pub(super) fn microprice_deviation_bps(&self) -> f64 {
        let Some(mid) = self.mid() else { return 0.0 };
        // (P_b Q_a + P_a Q_b) / (Q_a + Q_b) - (P_a + P_b) / 2, rearranged to lose no digits.
        BPS * 0.5 * (self.ask.0 - self.bid.0) * self.imbalance() / mid
    }

    /// (Q_b − Q_a) / (Q_b + Q_a): ±1 when a side is empty, 0 when both are.
    pub(super) fn imbalance(&self) -> f64 {
        ratio_or_zero(self.bid.1 - self.ask.1, self.bid.1 + self.ask.1)
    }

    /// Order-flow imbalance e_n of the step from `self` to `next`.
    pub(super) fn flow_to(&self, next: &Self) -> f64 {
        bid_flow(self.bid, next.bid) - ask_flow(self.ask, next.ask)
    }
}

/// Direction, persistence and age of the mid's moves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MidMoves {
    /// Last mid seen, 0 before the first.
    last_mid: f64,
    /// Sign of the last move, 0 before the first.
    sign: f64,
    /// Moving average of the product of consecutive signs.
    persistence: f64,
    moved_at_ns: i64,
}

impl MidMoves {
    pub(super) fn on_mid(&mut self, ts_ns: i64, mid: f64) {
        let change = mid - self.last_mid;
        let moved = self.last_mid > 0.0 && change.abs() > SAME_MID * mid;
        if moved {
            let sign = change.signum();
            if self.sign != 0.0 {
                self.persistence += PERSISTENCE_WEIGHT * (sign * self.sign - self.persistence);
            }
            self.sign = sign;
            self.moved_at_ns = ts_ns;
        }
        if moved || self.last_mid == 0.0 {
            self.last_mid = mid;
        }
    }

    pub(super) fn sign(&self) -> f64 {
        self.sign
    }

    pub(super) fn persistence(&self) -> f64 {
        self.persistence
    }

    /// ln(1 + seconds since the last move). A move dated after the cut (the clock stepped back) has
    /// age 0, and the next move mends it.
    pub(super) fn log_age(&self, now_ns: i64) -> f64 {
        if self.sign == 0.0 {
            return 0.0;
        }
        let age_s = now_ns.saturating_sub(self.moved_at_ns) as f64 * 1e-9;
        age_s.clamp(0.0, MAX_MOVE_AGE_S).ln_1p()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(bid_price: f64, bid_qty: f64, ask_price: f64, ask_qty: f64) -> Quote {
        Quote::new((bid_price, bid_qty), (ask_price, ask_qty)).unwrap()
    }

    #[test]
    fn order_flow_follows_the_three_cases_of_each_side() {
        let before = quote(100.0, 5.0, 101.0, 7.0);
        let table = [
            ("bid grows", quote(100.0, 8.0, 101.0, 7.0), 3.0),
            ("bid improves", quote(100.5, 2.0, 101.0, 7.0), 2.0),
            ("bid falls back", quote(99.0, 9.0, 101.0, 7.0), -5.0),
            ("bid vanishes", quote(0.0, 0.0, 101.0, 7.0), -5.0),
            ("offer grows", quote(100.0, 5.0, 101.0, 9.0), -2.0),
            ("offer improves", quote(100.0, 5.0, 100.5, 1.0), -1.0),
            ("offer falls back", quote(100.0, 5.0, 102.0, 4.0), 7.0),
            ("offer vanishes", quote(100.0, 5.0, 0.0, 0.0), 7.0),
        ];
        for (case, after, expected) in table {
            assert_eq!(before.flow_to(&after), expected, "{case}");
        }
    }

    #[test]
    fn the_microprice_leans_to_the_thin_side() {
        // (100·3 + 101·1)/4 = 100.25 against a mid of 100.5: −0.25 / 100.5.
        let deviation = quote(100.0, 1.0, 101.0, 3.0).microprice_deviation_bps();
        assert!((deviation + BPS * 0.25 / 100.5).abs() < 1e-9, "{deviation}");
    }

    #[test]
    fn a_one_sided_or_empty_quote_has_neutral_values() {
        for one_sided in [quote(100.0, 1.0, 0.0, 0.0), quote(0.0, 0.0, 101.0, 2.0), Quote::EMPTY] {
            assert_eq!(one_sided.mid(), None);
            assert_eq!(one_sided.spread_bps(), 0.0);
            assert_eq!(one_sided.microprice_deviation_bps(), 0.0);
        }
        assert_eq!(quote(100.0, 1.0, 0.0, 0.0).imbalance(), 1.0);
        assert_eq!(Quote::EMPTY.imbalance(), 0.0);
    }

    #[test]
    fn crossed_and_senseless_quotes_are_refused() {
        for bad in [f64::NAN, f64::INFINITY, -1.0, 1e19] {
            assert_eq!(Quote::new((bad, 1.0), (101.0, 1.0)), None, "{bad}");
            assert_eq!(Quote::new((100.0, 1.0), (101.0, bad)), None, "{bad}");
        }
        assert_eq!(Quote::new((102.0, 1.0), (101.0, 1.0)), None);
        assert!(Quote::new((101.0, 1.0), (101.0, 1.0)).is_some(), "a locked quote is a quote");
    }

    #[test]
    fn persistence_rises_with_runs_and_falls_with_bounces() {
        let mut run = MidMoves::default();
        let mut bounce = MidMoves::default();
        for step in 0..100 {
            run.on_mid(step, 100.0 + step as f64);
            bounce.on_mid(step, 100.0 + (step % 2) as f64);
        }
        assert!(run.persistence() > 0.99 && run.sign() == 1.0);
        assert!(bounce.persistence() < -0.99);
    }

    #[test]
    fn an_unchanged_mid_is_not_a_move_and_ages_are_bounded() {
        let mut moves = MidMoves::default();
        moves.on_mid(0, 100.0);
        moves.on_mid(5, 100.0 * (1.0 + 1e-15));
        assert_eq!((moves.sign(), moves.log_age(1_000_000_000)), (0.0, 0.0));
        moves.on_mid(1_000_000_000, 101.0);
        assert!((moves.log_age(2_000_000_000) - 2.0_f64.ln()).abs() < 1e-12);
        assert_eq!(moves.log_age(0), 0.0, "a clock that stepped back");
        assert_eq!(moves.log_age(i64::MAX), 61.0_f64.ln());
    }
}
