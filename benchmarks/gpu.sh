#!/usr/bin/env bash
# Two pieces for a GPU that is at hand for a quarter of an hour. Run them from the project's folder:
#
#   benchmarks/gpu.sh train 570    trains `small` on Flowers-102, packs its best weights, and samples
#   benchmarks/gpu.sh speed        training and sampling at `base`, ours and 🤗 diffusers' in turns
#
# OUT      folder for what is kept: 8 files a piece (default: results)
# FLOWERS  flowers-102 at 64 pixels as a tar.gz, unpacked into data/ if nothing is there
# PRESET, BASE, MORE: a smaller network and more options of `train`, to try this on a CPU
set -euo pipefail
cd "$(dirname "$0")/.."
piece=${1:-help} seconds=${2:-570} out=${OUT:-results}
read -ra more <<< "${MORE:-}"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
mkdir -p "$out" runs benchmarks/results
touch runs/begun
if [ -n "${FLOWERS:-}" ] && [ ! -d data/flowers-102 ]; then
  mkdir -p data && tar -xzf "$FLOWERS" -C data
fi

case $piece in
train)
  # What follows the training takes about 90 seconds; a cut loses at most a minute of training.
  run=runs/flowers64-small name=flowers64-small resume=()
  if [ -f $run/training_state.safetensors ]; then resume=(--resume); fi
  python3 -m ddpm_course train "${resume[@]}" --out $run --preset "${PRESET:-small}" --conditional \
    --dropout 0.1 --ema-decay 0.9995 --learning-rate 3e-4 --warmup-steps 500 --log-every 100 \
    --checkpoint-every 1000 --held-out-every 1000 --sample-every 100000 --steps 1000000 \
    --minutes "$(python3 -c "print(($seconds - 90) / 60)")" "${more[@]}" 2>&1 | tee "$out/train.log"
  python3 tools/ship_weights.py $run $name > "$out/card.md"
  tar -cf - -C ddpm_course/pretrained/checkpoints $name | split -b 15M - "$out/$name.tar."
  cp $run/metrics.csv "$out/"
  best=(python3 -m ddpm_course sample --from $name --seed 0 --overwrite)
  "${best[@]}" --number 64 --out "$out/$name.png"
  "${best[@]}" --number 16 --upscale --out "$out/$name-256.png"
  ;;
speed)
  python3 benchmarks/train_speed.py --preset "${BASE:-base}" --only "ours,(a) diffusers" --rounds 3
  python3 benchmarks/sample_speed.py --preset "${BASE:-base}" --rounds 2
  find benchmarks/results -name '*.json' -newer runs/begun -exec cp {} "$out/" \;
  ;;
*) sed -n '2,/^[^#]/s/^# \{0,1\}//p' benchmarks/gpu.sh ;;
esac
