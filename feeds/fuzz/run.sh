#!/bin/sh
# Runs every fuzz target (or those named) for SECONDS_EACH, one after the other, and prints what each did.
# What a run found worth keeping goes to corpus/, what breaks a target to artifacts/; neither is committed.
set -u
cd "$(dirname "$0")" || exit 1
: "${CARGO:=cargo}" "${SECONDS_EACH:=60}" "${TARGET_DIR:=target}"

missing=
command -v cargo-fuzz >/dev/null || missing="cargo-fuzz (cargo install cargo-fuzz --locked)"
$CARGO +nightly --version >/dev/null 2>&1 ||
  missing="${missing:+$missing and }a nightly toolchain (rustup toolchain install nightly)"
if [ -n "$missing" ]; then
  echo "fuzzing needs $missing"
  exit 1
fi

# The crate has no unsafe code: the sanitizers would find nothing in it and cost half of the executions.
options="--fuzz-dir . --sanitizer none --target-dir $TARGET_DIR"
$CARGO +nightly fuzz build $options || exit 1

failed=0
printf '%-24s %12s %9s %8s %s\n' target executions per_s rss_mb result
for target in ${*:-$($CARGO +nightly fuzz list --fuzz-dir .)}; do
  case $target in
    history_*|capture_lines|record*) dictionary=rows ;;
    *) dictionary=frames ;;
  esac
  mkdir -p "corpus/$target" "artifacts/$target"
  log=artifacts/$target/log
  nice $CARGO +nightly fuzz run $options "$target" "corpus/$target" "seeds/$target" -- \
    -max_total_time="$SECONDS_EACH" -rss_limit_mb=512 -max_len=65536 -timeout=10 \
    -dict="dictionaries/$dictionary.dict" -print_final_stats=1 >"$log" 2>&1
  if [ $? = 0 ]; then result=ok; else result="FAILED, see $log"; failed=1; fi
  stat() { sed -n "s/^stat::$1: *//p" "$log"; }
  printf '%-24s %12s %9s %8s %s\n' "$target" "$(stat number_of_executed_units)" \
    "$(stat average_exec_per_sec)" "$(stat peak_rss_mb)" "$result"
done
exit $failed
