#!/usr/bin/env bash
# What needs a GPU, in pieces that each end within the time given and go on where the last one
# stopped. Run from the project's folder:
#
#   benchmarks/gpu.sh check              the tests that need a GPU
#   benchmarks/gpu.sh choose   SECONDS   four short runs; which schedule and prediction is best
#   benchmarks/gpu.sh train    SECONDS   flowers64-small, a stretch; then packs its best weights
#   benchmarks/gpu.sh tables   SECONDS   the benchmark tables
#   benchmarks/gpu.sh headline SECONDS   280 epochs of all 8,189 pictures through `large`, a stretch
#   benchmarks/gpu.sh upscaler SECONDS   flowers-upscaler: two short runs, then the better one; and
#                                        the baseline and the table, once it is finished
#
# A piece that fails in part keeps what there is, and ends with the exit status of the failure.
#
# OUT        folder for what is kept: weights in parts of 15 MiB, curves, pictures, tables, the last
#            lines of all logs; at most 8 files a piece (default: results)
# FLOWERS    flowers-102 at 64 pixels as a tar.gz, unpacked into data/ if nothing is there
# LARGE_FLOWERS  photographs of at least 224 pixels as a tar, unpacked into data/flowers-hires
# CHOSEN     "PREDICTION SCHEDULE" for train (default: what choose left in runs/chosen.txt)
# PRESET, LARGE, BASE, MORE, HEADLINE_STEPS, RUN_STEPS: smaller settings, to try this on a CPU
set -euo pipefail
cd "$(dirname "$0")/.."
piece=${1:-help} seconds=${2:-0} started=$SECONDS failed=0
out=${OUT:-results} preset=${PRESET:-small} large=${LARGE:-large} base=${BASE:-base}
read -ra more <<< "${MORE:-}"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' benchmarks/gpu.sh; }
left() { echo $((seconds - (SECONDS - started))); }
say() { echo "gpu.sh: $*" >&2; }
too_short() { say "$seconds seconds are too few for $piece: give it more."; exit 2; }

# until_time SECONDS FOLDER COMMAND: a training in that folder, until the time is up or it is finished.
# The interrupt makes it save its state. FOLDER.clock.csv gets begin,end, compiling included.
until_time() {
  local limit=$1 folder=$2 begun code=0; shift 2
  [ "$limit" -gt 0 ] || too_short
  begun=$(date +%s.%N)
  timeout --signal=INT --kill-after=60 "$limit" "$@" 2>> "$folder.log" || code=$?
  echo "$begun,$(date +%s.%N)" >> "$folder.clock.csv"
  case $code in
    0) touch "$folder/finished" ;;
    124 | 130 | 137) say "$folder is not finished: run this piece again." ;;
    *) failed=$code; say "FAILED: $folder"; tail -n 5 "$folder.log" >&2 ;;
  esac
}

# stretch SECONDS FOLDER ARGUMENTS: train, or go on where the last stretch stopped.
stretch() {
  local limit=$1 folder=$2 resume=(); shift 2
  if [ -f "$folder/finished" ]; then
    say "$folder is finished."
    return
  fi
  if [ -f "$folder/training_state.safetensors" ]; then
    resume=(--resume) && set --
  fi
  until_time "$limit" "$folder" \
    python3 -m ddpm_course train "${resume[@]}" --out "$folder" "$@"
}

# logged NAME COMMAND: run it, seen and kept in runs/NAME.log; the piece goes on if it fails
logged() {
  local name=$1 code=0; shift
  "$@" 2>&1 | tee "runs/$name.log" || code=$?
  [ $code -eq 0 ] || { failed=$code; say "FAILED: $name"; }
}

# table SCRIPT ARGUMENTS: run it in the time that is left
table() {
  local limit; limit=$(left)
  logged "$1" timeout --kill-after=10 $((limit > 0 ? limit : 1)) \
    python3 "benchmarks/$1.py" "${@:2}"
}

keep_results() {  # those written since this piece began
  find benchmarks/results -name '*.json' -newer runs/begun -exec cp {} "$out/" \;
}

keep_logs() {
  local log
  for log in runs/*.log; do
    [ -f "$log" ] || continue
    echo "== $log"
    tr '\r' '\n' < "$log" | tail -n 20
  done > "$out/logs.txt"
}

case $piece in
help) usage; exit ;;
check | choose | train | tables | headline | upscaler) ;;
*) usage >&2; exit 2 ;;
esac

mkdir -p "$out" runs benchmarks/results
touch runs/begun
trap keep_logs EXIT

if [ -n "${FLOWERS:-}" ] && [ ! -d data/flowers-102 ]; then
  mkdir -p data && tar -xzf "$FLOWERS" -C data
fi

shared=(--preset "$preset" --conditional --dropout 0.1 --ema-decay 0.9995
  --learning-rate 3e-4 --warmup-steps 500 --log-every 100 --sample-every 100000
  --steps "${RUN_STEPS:-200000}" "${more[@]}")

case $piece in
check)
  logged check python3 -m pytest -q -o addopts= tests/training/test_speed.py -k gpu
  ;;
choose)
  each=$((seconds / 4 - 30)) first=60  # the first run also fills the compiler's cache
  [ $each -gt 0 ] || too_short
  for choice in "eps linear" "eps cosine" "v cosine" "v sigmoid"; do
    read -r prediction schedule <<< "$choice"
    stretch $((each + first)) "runs/choose-$prediction-$schedule" "${shared[@]}" \
      --prediction "$prediction" --schedule "$schedule" --held-out-every 500
    first=0
  done
  if python3 benchmarks/choose.py runs/choose-* | tee "$out/choose.txt"; then
    cp runs/chosen.txt "$out/"
  else
    failed=$?
  fi
  keep_results
  ;;
train)
  if [ -z "${CHOSEN:-}" ] && [ ! -f runs/chosen.txt ]; then
    say 'Nothing is chosen yet: run choose first, or set CHOSEN="v cosine", say.'
    exit 2
  fi
  read -r prediction schedule <<< "${CHOSEN:-$(cat runs/chosen.txt)}"
  stretch $(($(left) - 60)) runs/flowers64-small "${shared[@]}" --checkpoint-every 2000 \
    --prediction "$prediction" --schedule "$schedule" --held-out-every 1000
  rm -f "$out"/flowers64-small.tar.*
  weights=(ddpm_course/pretrained/checkpoints flowers64-small)
  if ! python3 tools/ship_weights.py runs/flowers64-small flowers64-small > "$out/card.txt"; then
    failed=1 weights=(runs/flowers64-small best)
    say "FAILED: ship_weights.py; the run's best weights are packed as they are."
  fi
  tar -cf - -C "${weights[@]}" | split -b 15M - "$out/flowers64-small.tar." || failed=$?
  draw=(python3 -m ddpm_course sample --from "$(IFS=/; echo "${weights[*]}")"
    --sampler ddpm --steps 250 --overwrite)
  "${draw[@]}" --number 64 --out "$out/flowers64-small.png" || failed=$?
  "${draw[@]}" --number 16 --upscale --out "$out/flowers64-small-256.png" || failed=$?
  ;;
tables)
  table train_speed --preset "$base"
  table sample_speed --preset "$base"
  table scaling
  keep_results
  ;;
headline)
  # 280 epochs of 8,189 pictures in batches of 128 are 17,914 steps
  stretch $(($(left) - 30)) runs/headline --preset "$large" --data flowers102-all \
    --prediction eps --schedule linear --timesteps 350 --learning-rate 2e-4 --log-every 100 \
    --checkpoint-every 2000 --sample-every 100000 --steps "${HEADLINE_STEPS:-17914}" "${more[@]}"
  python3 benchmarks/headline.py runs/headline runs/headline.clock.csv || failed=$?
  keep_results
  cp runs/headline/metrics.csv "$out/headline-metrics.csv" || failed=$?
  for picture in runs/headline/samples/*.png; do  # drawn when the run is finished
    if [ -f "$picture" ]; then cp "$picture" "$out/headline.png"; fi
  done
  ;;
upscaler)
  if [ -n "${LARGE_FLOWERS:-}" ] && [ ! -d data/flowers-hires ]; then
    mkdir -p data && tar -xf "$LARGE_FLOWERS" -C data
  fi
  arms=runs/upscaler-arms whole=runs/upscaler
  mkdir -p "$arms"
  photographs=(--preset upscaler --data folder --data-root data/flowers-hires --log-every 100
    --sample-every 100000 --batch-size 64 --steps "${RUN_STEPS:-60000}" "${more[@]}")
  if [ ! -f "$arms/chosen.txt" ]; then
    for prediction in eps v; do
      stretch $((seconds / 6)) "$arms/$prediction" "${photographs[@]}" \
        --prediction "$prediction" --held-out-every 500
    done
    if ! python3 benchmarks/choose.py "$arms"/* | tee "$out/choose-upscaler.txt"; then
      say "FAILED: nothing could be chosen."
      exit 1
    fi
  fi
  read -r prediction _ < "$arms/chosen.txt"
  stretch $(($(left) - 90)) "$whole" "${photographs[@]}" --checkpoint-every 2000 \
    --prediction "$prediction" --held-out-every 2000
  weights=ddpm_course/pretrained/checkpoints/flowers-upscaler
  if python3 tools/ship_weights.py "$whole" flowers-upscaler > "$out/upscaler-card.txt"; then
    tar -cf "$out/flowers-upscaler.tar" -C "$weights" . || failed=$?
  else
    failed=1; say "FAILED: ship_weights.py"
  fi
  baseline=runs/upscaler-regression resume=()
  if [ -f "$baseline/training_state.safetensors" ]; then resume=(--resume); fi
  if [ -f "$whole/finished" ] && [ ! -f "$baseline/finished" ] && [ "$(left)" -gt 0 ]; then
    until_time "$(left)" "$baseline" python3 benchmarks/upscaling.py regression \
      --steps "${RUN_STEPS:-60000}" --batch-size 64 "${resume[@]}"
  fi
  if [ -f "$baseline/finished" ]; then table upscaling quality; fi
  keep_results
  ;;
esac
say "$piece took $((SECONDS - started)) s."
exit "$failed"
