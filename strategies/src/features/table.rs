//! The one table of features: name, unit, window, formula, source and how each is normalised.
//!
//! Invariants: a feature's place in every array is its place in this table; names are stable, since
//! recordings, model versions and strategy presets refer to them.

use crate::normalise::Scale;

/// What becomes of a feature when bid and offer change places and prices turn upside down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// It changes its sign: it leans to a side.
    Odd,
    /// It stays: it says how large or how often, and nothing about direction on its own, since
    /// whatever it said of one side it would say of the other.
    Even,
}

/// What a feature is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// Stable name.
    pub name: &'static str,
    /// Unit of the raw value; "1" is dimensionless.
    pub unit: &'static str,
    /// What it looks back over.
    pub window: &'static str,
    /// How it is computed.
    pub formula: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
    /// How it is normalised.
    pub scale: Scale,
    /// Whether it leans to a side.
    pub mirror: Mirror,
}

/// Learns location and scale online.
const LEARNT: Scale = Scale::Adaptive;
/// Learns scale online; 0 is balance.
const ABOUT_0: Scale = Scale::Centred;
/// For values spread over [−1, 1] and often at its ends: √3 gives unit variance to a uniform one.
/// Their centre means "balanced" and must stay where it is, and their median absolute deviation is
/// degenerate whenever most values sit on −1, 0 or 1.
const UNIT: Scale = Scale::Fixed { gain: 1.732_050_8 };
/// For ±1 values.
const SIGN: Scale = Scale::Fixed { gain: 1.0 };
/// For sines and cosines: √2 gives unit variance over a period. A scale learnt within the hour would
/// turn the slow arc of the day into noise.
const PHASE: Scale = Scale::Fixed { gain: std::f32::consts::SQRT_2 };

macro_rules! feature_table {
    ($($variant:ident, $name:literal, $unit:literal, $window:literal, $scale:ident, $mirror:ident, $formula:literal, $source:literal;)*) => {
        /// A feature; its discriminant is its index in every array of features.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Feature {
            $(
                #[doc = concat!("`", $name, "`, unit ", $unit, ", window ", $window, ": ", $formula, " (", $source, ").")]
                $variant,
            )*
        }

        /// Number of features.
        pub const N: usize = [$($name),*].len();

        /// Stable names, in order.
        pub const NAMES: [&str; N] = [$($name),*];

        /// How each feature is normalised, in order.
        pub const SCALES: [Scale; N] = [$($scale),*];

        /// Which features lean to a side, in order.
        pub const MIRRORS: [Mirror; N] = [$(Mirror::$mirror),*];

        /// The features, in order.
        ///
        /// | name | unit | window | formula | source |
        /// |---|---|---|---|---|
        $(#[doc = concat!("| `", $name, "` | ", $unit, " | ", $window, " | ", $formula, " | ", $source, " |")])*
        pub const TABLE: [Spec; N] = [
            $(Spec {
                name: $name,
                unit: $unit,
                window: $window,
                formula: $formula,
                source: $source,
                scale: $scale,
                mirror: Mirror::$mirror,
            }),*
        ];
    };
}

feature_table! {
    MicropriceDeviation, "microprice_deviation", "bps", "now", ABOUT_0, Odd, "(P_b Q_a + P_a Q_b)/(Q_a + Q_b) − mid, over mid; 0 when a side is empty", "Gatheral & Oomen 2010";
    Spread, "spread", "bps", "now", LEARNT, Even, "(P_a − P_b) / mid; 0 when a side is empty", "usual";
    QueueImbalance, "queue_imbalance", "1", "now", UNIT, Odd, "(Q_b − Q_a)/(Q_b + Q_a) at the best prices; ±1 when one side is empty, 0 when both are", "Gould & Bonart 2016";
    QueueImbalanceMean1s, "queue_imbalance_mean_1s", "1", "1 s", ABOUT_0, Odd, "mean of queue_imbalance over the cuts", "Gould & Bonart 2016";
    DepthImbalance3, "depth_imbalance_3", "1", "now", ABOUT_0, Odd, "(ΣQ_b − ΣQ_a)/(ΣQ_b + ΣQ_a), 3 levels; 0 on an empty book", "Cao, Hansch & Wang 2009";
    DepthImbalance5, "depth_imbalance_5", "1", "now", ABOUT_0, Odd, "the same, 5 levels", "Cao, Hansch & Wang 2009";
    DepthImbalance10, "depth_imbalance_10", "1", "now", ABOUT_0, Odd, "the same, 10 levels", "Cao, Hansch & Wang 2009";
    DepthImbalance20, "depth_imbalance_20", "1", "now", ABOUT_0, Odd, "the same, 20 levels", "Cao, Hansch & Wang 2009";
    DepthImbalanceMean1s, "depth_imbalance_mean_1s", "1", "1 s", ABOUT_0, Odd, "mean of depth_imbalance_10 over the cuts", "Cao, Hansch & Wang 2009";
    DepthImbalanceMean5s, "depth_imbalance_mean_5s", "1", "5 s", ABOUT_0, Odd, "mean of depth_imbalance_10 over the cuts", "Cao, Hansch & Wang 2009";
    WeightedDepthImbalance, "weighted_depth_imbalance", "1", "now", ABOUT_0, Odd, "depth imbalance of 10 levels, level k weighted 1/k", "house";
    BookPressure, "book_pressure", "1", "now", ABOUT_0, Odd, "depth imbalance of 10 levels, weighted 1/distance from the mid; 0 when a side is empty", "house";
    DepthSlope, "depth_slope", "ln ratio", "now", ABOUT_0, Odd, "ln of bid over offer slope; slope = quantity of 10 levels / distance of the last from the mid; 0 when a side is empty", "after Naes & Skjeltorp 2006";
    LogDepth, "log_depth", "ln quantity", "now", LEARNT, Even, "ln of the quantity of 10 levels of both sides; 0 on an empty book", "usual";
    OrderFlow100ms, "order_flow_100ms", "quantity", "0.1 s", ABOUT_0, Odd, "Σ e_n of best-quote changes", "Cont, Kukanov & Stoikov 2014";
    OrderFlow500ms, "order_flow_500ms", "quantity", "0.5 s", ABOUT_0, Odd, "Σ e_n of best-quote changes", "Cont, Kukanov & Stoikov 2014";
    OrderFlow1s, "order_flow_1s", "quantity", "1 s", ABOUT_0, Odd, "Σ e_n of best-quote changes", "Cont, Kukanov & Stoikov 2014";
    OrderFlow5s, "order_flow_5s", "quantity", "5 s", ABOUT_0, Odd, "Σ e_n of best-quote changes", "Cont, Kukanov & Stoikov 2014";
    LevelFlow100ms, "level_flow_100ms", "quantity", "0.1 s", ABOUT_0, Odd, "Σ e_m of consecutive books, 5 ranks", "Xu, Gould & Howison 2018";
    LevelFlow500ms, "level_flow_500ms", "quantity", "0.5 s", ABOUT_0, Odd, "Σ e_m of consecutive books, 5 ranks", "Xu, Gould & Howison 2018";
    LevelFlow1s, "level_flow_1s", "quantity", "1 s", ABOUT_0, Odd, "Σ e_m of consecutive books, 5 ranks", "Xu, Gould & Howison 2018";
    LevelFlow5s, "level_flow_5s", "quantity", "5 s", ABOUT_0, Odd, "Σ e_m of consecutive books, 5 ranks", "Xu, Gould & Howison 2018";
    TradeFlow100ms, "trade_flow_100ms", "quantity", "0.1 s", ABOUT_0, Odd, "bought − sold by aggressors", "usual";
    TradeFlow500ms, "trade_flow_500ms", "quantity", "0.5 s", ABOUT_0, Odd, "bought − sold by aggressors", "usual";
    TradeFlow1s, "trade_flow_1s", "quantity", "1 s", ABOUT_0, Odd, "bought − sold by aggressors", "usual";
    TradeFlow5s, "trade_flow_5s", "quantity", "5 s", ABOUT_0, Odd, "bought − sold by aggressors", "usual";
    TradeImbalance100ms, "trade_imbalance_100ms", "1", "0.1 s", UNIT, Odd, "(bought − sold)/(bought + sold); 0 without trades", "usual";
    TradeImbalance500ms, "trade_imbalance_500ms", "1", "0.5 s", UNIT, Odd, "(bought − sold)/(bought + sold); 0 without trades", "usual";
    TradeImbalance1s, "trade_imbalance_1s", "1", "1 s", UNIT, Odd, "(bought − sold)/(bought + sold); 0 without trades", "usual";
    TradeImbalance5s, "trade_imbalance_5s", "1", "5 s", UNIT, Odd, "(bought − sold)/(bought + sold); 0 without trades", "usual";
    TradeRate1s, "trade_rate_1s", "ln Hz", "1 s", LEARNT, Even, "ln(1 + trades a second)", "usual";
    TradeRate5s, "trade_rate_5s", "ln Hz", "5 s", LEARNT, Even, "ln(1 + trades a second)", "usual";
    Volume1s, "volume_1s", "quantity", "1 s", LEARNT, Even, "bought + sold", "usual";
    VwapDeviation1s, "vwap_deviation_1s", "bps", "1 s", ABOUT_0, Odd, "mid / VWAP − 1; 0 without trades", "usual";
    VwapDeviation5s, "vwap_deviation_5s", "bps", "5 s", ABOUT_0, Odd, "mid / VWAP − 1; 0 without trades", "usual";
    RealisedVolatility1s, "realised_volatility_1s", "bps", "1 s", LEARNT, Even, "√Σ r², r = log return of the mid over one cycle", "Andersen & Bollerslev 1998";
    RealisedVolatility5s, "realised_volatility_5s", "bps", "5 s", LEARNT, Even, "√Σ r², r = log return of the mid over one cycle", "Andersen & Bollerslev 1998";
    RealisedVolatility30s, "realised_volatility_30s", "bps", "30 s", LEARNT, Even, "√Σ r², r = log return of the mid over one cycle", "Andersen & Bollerslev 1998";
    Return100ms, "return_100ms", "bps", "0.1 s", ABOUT_0, Odd, "ln(mid / mid then)", "usual";
    Return500ms, "return_500ms", "bps", "0.5 s", ABOUT_0, Odd, "ln(mid / mid then)", "usual";
    Return1s, "return_1s", "bps", "1 s", ABOUT_0, Odd, "ln(mid / mid then)", "usual";
    Return5s, "return_5s", "bps", "5 s", ABOUT_0, Odd, "ln(mid / mid then)", "usual";
    Return30s, "return_30s", "bps", "30 s", ABOUT_0, Odd, "ln(mid / mid then)", "usual";
    SmaDeviation10, "sma_deviation_10", "bps", "10 bars of 1 s", ABOUT_0, Odd, "mid / SMA of closes − 1", "usual";
    EmaDeviation21, "ema_deviation_21", "bps", "21 bars of 1 s", ABOUT_0, Odd, "mid / EMA of closes − 1, weight 2/22, seeded by the first close", "usual";
    Rsi14, "rsi_14", "1", "14 changes of 1 s bars", UNIT, Odd, "(RSI − 50)/50; 0 when nothing moved", "Wilder 1978";
    VolumeSma10, "volume_sma_10", "quantity", "10 bars of 1 s", LEARNT, Even, "mean bar volume", "usual";
    VolumeRatio, "volume_ratio", "1", "10 bars of 1 s", LEARNT, Even, "last bar's volume / volume_sma_10 − 1; 0 without volume", "usual";
    LastMoveSign, "last_move_sign", "1", "last move", SIGN, Odd, "sign of the mid's last move; 0 before any", "usual";
    MovePersistence, "move_persistence", "1", "about 8 moves", UNIT, Even, "moving average (weight 1/8) of the product of consecutive move signs", "house";
    LogMoveAge, "log_move_age", "ln s", "at most 60 s", LEARNT, Even, "ln(1 + seconds since the mid moved); 0 before any move", "house";
    QuoteRate1s, "quote_rate_1s", "ln Hz", "1 s", LEARNT, Even, "ln(1 + quote updates a second)", "usual";
    TimeOfDaySin, "time_of_day_sin", "1", "now", PHASE, Even, "sin of the day's phase, UTC", "usual";
    TimeOfDayCos, "time_of_day_cos", "1", "now", PHASE, Even, "cos of the day's phase, UTC", "usual";
    DayOfWeekSin, "day_of_week_sin", "1", "now", PHASE, Even, "sin of the week's phase from Monday 00:00 UTC, continuous", "usual";
    DayOfWeekCos, "day_of_week_cos", "1", "now", PHASE, Even, "cos of the week's phase from Monday 00:00 UTC, continuous", "usual";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_in_the_order_of_the_discriminants() {
        assert_eq!(NAMES.iter().collect::<BTreeSet<_>>().len(), N);
        assert_eq!(NAMES[Feature::OrderFlow1s as usize], "order_flow_1s");
        assert_eq!(NAMES[Feature::DayOfWeekCos as usize], "day_of_week_cos");
        assert_eq!(Feature::DayOfWeekCos as usize, N - 1);
        for (k, spec) in TABLE.iter().enumerate() {
            assert_eq!((spec.name, spec.scale, spec.mirror), (NAMES[k], SCALES[k], MIRRORS[k]));
        }
    }

    #[test]
    fn a_feature_that_leans_to_a_side_keeps_its_zero() {
        for spec in TABLE {
            let learns_location = spec.scale == Scale::Adaptive;
            assert!(spec.mirror == Mirror::Even || !learns_location, "{}", spec.name);
        }
    }

    #[test]
    fn every_fixed_scale_belongs_to_a_bounded_dimensionless_feature() {
        for spec in TABLE {
            if let Scale::Fixed { gain } = spec.scale {
                assert_eq!(spec.unit, "1", "{}", spec.name);
                assert!((1.0..2.0).contains(&gain), "{}", spec.name);
            }
        }
    }
}
