//! Names of members, and of what the scorecard shows beside them.

use super::network::Network;
use crate::config::Member;

/// Plain forecasters that every scorecard shows, as members or beside them.
const BASELINES: [Member; 2] = [Member::Persistence, Member::QueueImbalance];

/// Column of what decided, before recalibration.
pub const COMBINED: &str = "combined";
/// Column of what decided: the probability that confidence is taken from.
pub const RECALIBRATED: &str = "recalibrated";
/// Column of the combination in shadow, recalibrated.
pub const CHALLENGER: &str = "challenger";
/// Column of the best possible forecast, where somebody knows it.
pub const ORACLE: &str = "oracle";

/// Name of a member.
#[must_use]
pub fn member_name(member: Member) -> &'static str {
    match member {
        Member::Cerebellum => "cerebellum",
        Member::Logistic => "logistic",
        Member::QueueImbalance => "queue-imbalance",
        Member::Persistence => "persistence",
    }
}

/// Names of the configured members and of the networks behind them, in order.
pub fn member_names<'a>(
    members: &'a [Member],
    networks: &'a [Network],
) -> impl Iterator<Item = &'a str> {
    members.iter().map(|member| member_name(*member)).chain(networks.iter().map(Network::name))
}

/// Baselines that are no members.
pub fn missing_baselines(members: &[Member]) -> impl Iterator<Item = Member> + '_ {
    BASELINES.into_iter().filter(|baseline| !members.contains(baseline))
}
