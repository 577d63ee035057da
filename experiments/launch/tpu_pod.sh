#!/usr/bin/env bash
# Trains on a TPU pod slice of Google Cloud: asks for it, waits, installs, trains, gives it back.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tpu_pod.sh [--dry-run] [--keep] [--spot] NAME TYPE ZONE REPOSITORY -- FLAGS

  NAME        of the slice and of its queued resource; to go on with one, the same name
  TYPE        v5litepod-16, v6e-64, v5p-64, ...
  ZONE        that has them, such as europe-west4-b
  REPOSITORY  for git clone, on every worker
  FLAGS       of wonn_jax.main, the same on all workers: --config=... --workdir=...

  --spot      cheaper chips, which may be taken away
  --keep      do not delete the slice when the training has ended
  --dry-run   print the commands

Assumes: gcloud, logged in and with a project (gcloud config set project), and a quota for TYPE;
a --workdir that every worker sees: a Filestore share or a mounted bucket. TPU_VERSION is the
runtime (default: v2-alpha-tpuv5-lite for v5litepod, v2-alpha-tpuv5 for v5p, v2-alpha-tpuv6e for
v6e). JAX learns from the slice who is who. A slice that is taken away gives the run notice: it
saves once. Then, or after a crash, the same command asks for another slice and goes on from the
last checkpoint.
TEXT
}

fail() {
  echo "error: $1" >&2
  exit 2
}

dry='' keep='' spot=() names=()
while (($#)); do
  case $1 in
    --help) usage; exit 0 ;;
    --dry-run) dry=yes ;;
    --keep) keep=yes ;;
    --spot) spot=(--spot) ;;
    --) shift; break ;;
    -*) fail "$1 is no flag of this script; flags of the training come after --, see --help." ;;
    *) names+=("$1") ;;
  esac
  shift
done
((${#names[@]} == 4)) || fail "NAME TYPE ZONE REPOSITORY are needed, not '${names[*]-}'; see --help."
name=${names[0]} type=${names[1]} zone=${names[2]} repository=${names[3]}
[[ $name =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] \
  || fail "the name $name must be of small letters, digits and hyphens."
[[ " $* " == *" --config="* ]] || fail "no --config=FILE after --; see --help."
[[ " $* " == *" --workdir="* ]] || fail "no --workdir=FOLDER after --: one that all workers see."
case $type in
  v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
  v5p-*) runtime=v2-alpha-tpuv5 ;;
  v6e-*) runtime=v2-alpha-tpuv6e ;;
  *) runtime=${TPU_VERSION:-} ;;
esac
runtime=${TPU_VERSION:-$runtime}
[[ -n $runtime ]] || fail "the runtime of $type is not known here; set TPU_VERSION=RUNTIME."

run() {
  if [[ -n $dry ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

tpu() {
  run gcloud compute tpus "$@" "--zone=$zone"
}

on_all_workers() {
  tpu tpu-vm ssh "$name" --worker=all "--command=$1"
}

state() {
  gcloud compute tpus queued-resources describe "$name" "--zone=$zone" \
    '--format=value(state.state)' 2>/dev/null || echo NONE
}

[[ -n $dry ]] || command -v gcloud >/dev/null || fail "gcloud is not installed, or not on the path."

found=NONE
[[ -n $dry ]] || found=$(state)
if [[ $found == SUSPENDED || $found == FAILED ]]; then # taken away before
  tpu queued-resources delete "$name" --force --quiet
  found=NONE
fi
if [[ $found == NONE ]]; then
  tpu queued-resources create "$name" "--node-id=$name" "--accelerator-type=$type" \
    "--runtime-version=$runtime" "${spot[@]}"
fi
if [[ -z $dry ]]; then
  while found=$(state) && [[ $found != ACTIVE ]]; do
    [[ $found != FAILED && $found != NONE ]] || fail "the slice $name is $found; see gcloud."
    echo "$(date +%T) the slice $name is $found"
    sleep 30
  done
fi

install="test -d wonn-jax || git clone $(printf %q "$repository") wonn-jax; cd wonn-jax && git pull"
install+=" && python3 -m venv .venv && .venv/bin/pip install -q -e '.[tpu]'"
on_all_workers "$install"

printf -v flags ' %q' "$@"
status=0
on_all_workers "cd wonn-jax && .venv/bin/python -m wonn_jax.main --distributed=auto$flags" \
  || status=$?
if [[ -n $keep || $status != 0 ]]; then
  echo "the slice $name still costs; delete it with" >&2
  echo "  gcloud compute tpus queued-resources delete $name --force --zone=$zone" >&2
else
  tpu queued-resources delete "$name" --force --quiet
fi
exit "$status"
