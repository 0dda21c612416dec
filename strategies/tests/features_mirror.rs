//! A market and its mirror image: bid and offer change places and prices are reflected. Features
//! marked odd must change their sign, even ones must stay, whatever happens in between.

mod random;

use purkinje_feeds::Side;
use purkinje_strategies::features::{FeatureConfig, FeatureState, MIRRORS, Mirror, N, NAMES};
use random::Random;

/// Prices are reflected at this one. They stay within a few ticks of it, so that what is measured in
/// parts of the mid differs between the two by less than [`TOLERANCE`].
const CENTRE: f64 = 1e6;
const TOLERANCE: f32 = 1e-3;
const CYCLE_NS: i64 = 100_000_000;

fn below(draw: &mut Random, bound: u64) -> f64 {
    draw.below(bound) as f64
}

fn reflected(levels: &[(f64, f64)]) -> Vec<(f64, f64)> {
    levels.iter().map(|&(price, qty)| (2.0 * CENTRE - price, qty)).collect()
}

#[test]
fn the_mirror_image_of_a_market_negates_the_odd_features_and_keeps_the_even_ones() {
    let mut plain = FeatureState::new(&FeatureConfig::default()).unwrap();
    let mut mirror = plain.clone();
    let mut draw = Random(7);
    let mut largest = [0.0_f32; N];
    let mut mid = CENTRE;
    for cycle in 0..1_500_i64 {
        let ts_ns = cycle * CYCLE_NS;
        for _ in 0..3 {
            mid += below(&mut draw, 3) - 1.0;
            let (bid, ask) = (mid - 1.0 - below(&mut draw, 2), mid + 1.0 + below(&mut draw, 2));
            let (bid_qty, ask_qty) = (1.0 + below(&mut draw, 9), 1.0 + below(&mut draw, 9));
            plain.on_top(ts_ns, bid, bid_qty, ask, ask_qty);
            mirror.on_top(ts_ns, 2.0 * CENTRE - ask, ask_qty, 2.0 * CENTRE - bid, bid_qty);
            let (qty, buy) = (1.0 + below(&mut draw, 4), below(&mut draw, 2) > 0.0);
            let (side, other) = if buy { (Side::Bid, Side::Ask) } else { (Side::Ask, Side::Bid) };
            plain.on_trade(ts_ns, side, mid, qty, 1);
            mirror.on_trade(ts_ns, other, 2.0 * CENTRE - mid, qty, 1);
        }
        let mut side = |sign: f64| -> Vec<(f64, f64)> {
            (1..=25)
                .map(|k| {
                    (
                        mid + sign * (3.0 * f64::from(k) + below(&mut draw, 2)),
                        1.0 + below(&mut draw, 9),
                    )
                })
                .collect()
        };
        let (bids, asks) = (side(-1.0), side(1.0));
        plain.on_book(ts_ns, &bids, &asks);
        mirror.on_book(ts_ns, &reflected(&asks), &reflected(&bids));
        let (mut a, mut b) = ([0.0; N], [0.0; N]);
        plain.cut(ts_ns, &mut a);
        mirror.cut(ts_ns, &mut b);
        for k in 0..N {
            let wanted = if MIRRORS[k] == Mirror::Odd { -a[k] } else { a[k] };
            let off = (b[k] - wanted).abs();
            assert!(off <= TOLERANCE * (1.0 + wanted.abs()), "{}: {} and {}", NAMES[k], a[k], b[k]);
            largest[k] = largest[k].max(a[k].abs());
        }
    }
    for (name, size) in NAMES.iter().zip(largest) {
        assert!(size > 5.0 * TOLERANCE, "{name} never moved: the test saw nothing of it");
    }
}
