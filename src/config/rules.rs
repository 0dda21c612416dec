//! Values that are each valid but not together.
//!
//! Invariant: a rule is pure and sees exactly the keys that it names, in that order; it is skipped
//! when one of them is already refused, so that one mistake is one message.

use super::table::MAX_HORIZON_CYCLES;
use super::types::simulated_symbol;
use toml::Value;

/// A combination that must hold.
pub(crate) struct Rule {
    /// The key that the message blames.
    pub(crate) key: &'static str,
    /// The keys it must agree with.
    pub(crate) others: &'static [&'static str],
    /// What must hold, as it ends a sentence that begins with "expected".
    pub(crate) expected: &'static str,
    /// Whether it holds for the values of `key` and `others`, in that order.
    pub(crate) holds: fn(&[&Value]) -> bool,
}

/// Snapshot sizes that the futures' REST interface offers.
const FUTURES_SNAPSHOT_LIMITS: [i64; 7] = [5, 10, 20, 50, 100, 500, 1000];

/// Every combination that is refused.
pub(crate) static RULES: &[Rule] = &[
    Rule {
        key: "strategy.thresholds.sell_value",
        others: &["strategy.thresholds.buy_value"],
        expected: "sell_value below buy_value",
        holds: |v| float(v[0]) < float(v[1]),
    },
    Rule {
        key: "strategy.horizon_ms",
        others: &["cycle.period_ms"],
        expected: "a horizon that is a multiple of the cycle's period, at most 600 of them",
        holds: |v| {
            let (horizon, period) = (int(v[0]), int(v[1]).max(1));
            horizon % period == 0 && horizon / period <= MAX_HORIZON_CYCLES
        },
    },
    Rule {
        key: "strategy.horizon_ms",
        others: &["feed.ws_url", "simulator.memory_ms", "simulator.move_rate_hz"],
        expected: "a horizon of at most ten memories and a hundred moves of the simulated market",
        holds: |v| {
            let horizon_ms = int(v[0]) as f64;
            let moves = horizon_ms / 1000.0 * float(v[3]);
            !text(v[1]).is_empty() || (horizon_ms <= 10.0 * int(v[2]) as f64 && moves <= 100.0)
        },
    },
    Rule {
        key: "strategy.normaliser_memory_cycles",
        others: &["strategy.normaliser_warm_up_cycles"],
        expected: "a memory of at least the warm-up",
        holds: |v| int(v[0]) >= int(v[1]),
    },
    Rule {
        key: "strategy.cerebellum.rules.stdp",
        others: &["strategy.cerebellum.shared_weights"],
        expected: "false where strategy.cerebellum.shared_weights is true: spikes of one instrument must not pair with those of another",
        holds: |v| v.iter().any(|on| on.as_bool() != Some(true)),
    },
    Rule {
        key: "strategy.ttl_ms",
        others: &["cycle.period_ms"],
        expected: "signals that live at least one cycle",
        holds: |v| int(v[0]) >= int(v[1]),
    },
    Rule {
        key: "strategy.features",
        others: &[],
        expected: "\"all\" alone or a list of names",
        holds: |v| !texts(v[0]).any(|name| name == "all") || texts(v[0]).count() == 1,
    },
    Rule {
        key: "strategy.challenger.networks",
        others: &["strategy.challenger.rule"],
        expected: "none where strategy.challenger.rule is \"off\"",
        holds: |v| rows(v[0]) == 0 || text(v[1]) != "off",
    },
    Rule {
        key: "strategy.challenger.rule",
        others: &["strategy.combiner.rule", "strategy.challenger.networks"],
        expected: "a rule other than that of strategy.combiner, or networks of the challenger's own",
        holds: |v| text(v[0]) != text(v[1]) || rows(v[2]) > 0,
    },
    Rule {
        key: "pipeline.stale_after_ms",
        others: &["cycle.period_ms"],
        expected: "an age of at least one cycle",
        holds: |v| int(v[0]) >= int(v[1]),
    },
    Rule {
        key: "pipeline.engine_core",
        others: &[
            "pipeline.engine_wait",
            "pipeline.feed_core",
            "pipeline.model_core",
            "pipeline.sink_core",
        ],
        expected: "a spinning engine on a core of its own",
        holds: |v| {
            let core = int(v[0]);
            text(v[1]) != "spin" || core < 0 || v[2..].iter().all(|other| int(other) != core)
        },
    },
    Rule {
        key: "kafka.topic_prefix",
        others: &[],
        expected: "1 to 200 letters, digits, dots and hyphens",
        holds: |v| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
            (1..=200).contains(&text(v[0]).len()) && text(v[0]).bytes().all(allowed)
        },
    },
    Rule {
        key: "kafka.transactional_id",
        others: &["kafka.mode"],
        expected: "a name in the mode \"fenced\", and none in the mode \"epoch\"",
        holds: |v| text(v[0]).is_empty() == (text(v[1]) == "epoch"),
    },
    Rule {
        key: "kafka.sasl.username",
        others: &["kafka.sasl.password_file", "kafka.security"],
        expected: "a name and a password_file where kafka.security says sasl, and neither elsewhere",
        holds: |v| {
            let logs_in = text(v[2]).starts_with("sasl");
            v[..2].iter().all(|given| text(given).is_empty() != logs_in)
        },
    },
    Rule {
        key: "kafka.tls.certificate_file",
        others: &["kafka.tls.key_file"],
        expected: "both a certificate_file and a key_file, or neither",
        holds: |v| text(v[0]).is_empty() == text(v[1]).is_empty(),
    },
    Rule {
        key: "http.address",
        others: &[],
        expected: "an IP address and a port, such as 127.0.0.1:9109 or [::1]:9109",
        holds: |v| text(v[0]).parse::<std::net::SocketAddr>().is_ok(),
    },
    Rule {
        key: "simulator.symbols",
        others: &["simulator.instruments"],
        expected: "as many symbols as simulator.instruments, or none",
        holds: |v| {
            let count = texts(v[0]).count() as i64;
            count == 0 || count == int(v[1])
        },
    },
    Rule {
        key: "feed.rest_url",
        others: &["feed.ws_url"],
        expected: "both addresses, or neither for the simulated exchange inside this process",
        holds: |v| text(v[0]).is_empty() == text(v[1]).is_empty(),
    },
    Rule {
        key: "feed.venue",
        others: &["feed.ws_url"],
        expected: "\"binance-usdm\", whose format the simulated exchange speaks, or an address",
        holds: |v| !text(v[1]).is_empty() || text(v[0]) == "binance-usdm",
    },
    Rule {
        key: "feed.instruments",
        others: &["feed.ws_url"],
        expected: "at least one instrument",
        holds: |v| text(v[1]).is_empty() || rows(v[0]) > 0,
    },
    Rule {
        key: "feed.instruments",
        others: &["feed.ws_url", "simulator.symbols", "simulator.instruments"],
        expected: "symbols that the simulated exchange trades",
        holds: |v| {
            let traded = |symbol: &str| {
                if texts(v[2]).next().is_none() {
                    (0..int(v[3]).max(0) as usize).any(|i| simulated_symbol(i) == symbol)
                } else {
                    texts(v[2]).any(|name| name == symbol)
                }
            };
            !text(v[1]).is_empty() || symbols(v[0]).all(traded)
        },
    },
    Rule {
        key: "feed.channels.depth",
        others: &["feed.venue"],
        expected: "100ms or 1000ms for Binance spot, 0ms, 100ms, 250ms or 500ms for its futures",
        holds: |v| match text(v[1]) {
            "binance-spot" => matches!(text(v[0]), "100ms" | "1000ms"),
            "binance-usdm" | "binance-coinm" => text(v[0]) != "1000ms",
            _ => true,
        },
    },
    Rule {
        key: "feed.channels.oracle",
        others: &["feed.ws_url"],
        expected: "false: only the simulated exchange, at an empty or a ws:// address, has it",
        holds: |v| v[0].as_bool() != Some(true) || !text(v[1]).starts_with("wss://"),
    },
    Rule {
        key: "feed.snapshot_limit",
        others: &["feed.venue"],
        expected: "5, 10, 20, 50, 100, 500 or 1000 for Binance futures",
        holds: |v| match text(v[1]) {
            "binance-usdm" | "binance-coinm" => FUTURES_SNAPSHOT_LIMITS.contains(&int(v[0])),
            _ => true,
        },
    },
    Rule {
        key: "feed.connections",
        others: &["feed.instruments"],
        expected: "at most one connection per instrument",
        holds: |v| rows(v[1]) == 0 || int(v[0]) <= rows(v[1]),
    },
    Rule {
        key: "feed.connections",
        others: &["feed.ws_url", "feed.instruments", "simulator.instruments"],
        expected: "at most one connection per instrument of the simulated exchange",
        holds: |v| !text(v[1]).is_empty() || rows(v[2]) > 0 || int(v[0]) <= int(v[3]),
    },
    Rule {
        key: "feed.max_streams_per_connection",
        others: &[
            "feed.connections",
            "feed.instruments",
            "simulator.instruments",
            "feed.channels.book_ticker",
            "feed.channels.trade",
            "feed.channels.oracle",
        ],
        expected: "room for every channel of every instrument on its connection",
        holds: |v| {
            let instruments = if rows(v[2]) == 0 { int(v[3]) } else { rows(v[2]) };
            let channels = 1 + v[4..].iter().filter(|on| on.as_bool() == Some(true)).count() as i64;
            let connections = int(v[1]).max(1);
            // The fullest connection takes the rounded-up share.
            let fullest = (instruments + connections - 1) / connections;
            fullest * channels <= int(v[0])
        },
    },
];

fn int(value: &Value) -> i64 {
    value.as_integer().unwrap_or(0)
}

fn float(value: &Value) -> f64 {
    value.as_float().unwrap_or(0.0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn rows(value: &Value) -> i64 {
    value.as_array().map_or(0, |rows| rows.len() as i64)
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn symbols(value: &Value) -> impl Iterator<Item = &str> {
    let rows = value.as_array().into_iter().flatten();
    rows.filter_map(|row| row.get("symbol").and_then(Value::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_horizon_bound_in_the_message_is_the_bound_that_is_checked() {
        let rule = RULES.iter().find(|r| r.key == "strategy.horizon_ms").unwrap();
        assert!(rule.expected.contains(&format!("at most {MAX_HORIZON_CYCLES} ")));
    }
}
