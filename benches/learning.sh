#!/usr/bin/env bash
# What networks learn, walk-forward, beside base rate, persistence and logistic regression, with 95 % intervals:
#   - on a simulated market with regimes, in which the book says something only together with the flow of
#     the last seconds (an effect that is neither linear nor of one step);
#   - on the same rows with labels dealt out anew, where nothing may beat chance;
#   - on recordings of an equity and of crypto, where they are there.
# usage: benches/learning.sh PURKINJE [RECORDINGS [KINDS]]; PURKINJE is built with --features train.
# Prints Markdown. Equal bytes come of equal material on one kind of processor.
set -euo pipefail

purkinje=${1:?usage: learning.sh PURKINJE [RECORDINGS [KINDS]]}
recordings=${2:-../shared/data}
kinds=${3:-feed-forward,lstm,cnn,transformer}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# compare TITLE ROWS ARGS...: one table.
compare() {
  local title=$1 rows=$2
  shift 2
  printf '\n## %s\n\n```text\n' "$title"
  "$purkinje" train network "$rows" --output "$work/compare" --kind "$kinds" "$@" 2>/dev/null \
    | sed -e 1d -e '$d'
  printf '```\n'
}

# Not the simulator's first seed, on which defaults were chosen.
"$purkinje" dataset --simulate 1800 --set simulator.instruments=4 --set simulator.regime_ms=10000 \
  --set simulator.seed=2 --output "$work/simulated.parquet" >/dev/null
compare "Simulated market with regimes, 1,800 s, 4 instruments, seed 2" "$work/simulated.parquet" \
  --walk-forward 2 --epochs 16
compare "The same, labels dealt out anew" "$work/simulated.parquet" \
  --walk-forward 2 --epochs 2 --shuffle-labels 1

lobster=$recordings/equity/lobster/AMZN_2012-06-21_34200000_57600000
if [ -e "${lobster}_message_5.csv.gz" ]; then
  "$purkinje" import "${lobster}"_{message,orderbook}_5.csv.gz --out "$work/amzn" >/dev/null
  "$purkinje" dataset "$work/amzn" --set cycle.period_ms=1000 --set strategy.horizon_ms=10000 \
    --output "$work/amzn.parquet" >/dev/null 2>&1
  compare "AMZN, 2012-06-21, one row a second, 10 s ahead" "$work/amzn.parquet" --walk-forward 3 --epochs 8
else
  printf '\nAMZN left out: no %s\n' "$recordings/equity"
fi

spot=$recordings/ws_captures/hftbacktest/spot
if [ -d "$spot" ]; then
  "$purkinje" dataset "$spot"/*.gz --output "$work/spot.parquet" >/dev/null 2>&1
  compare "BTCUSDT and ETHUSDT spot, ten minutes of 2024-08-08 and 09, 1 s ahead" "$work/spot.parquet" \
    --walk-forward 2 --epochs 8 --validation 0.3
else
  printf '\nCrypto left out: no %s\n' "$spot"
fi
