#!/usr/bin/env bash
# Trains on a TPU pod slice of Google Cloud: one process per host, with all its chips.
set -euo pipefail

usage() {
  cat <<'END'
Usage: tpu_pod.sh COMMAND --project=P --zone=Z --name=NAME [OPTIONS] [-- --config=CONFIG
                  --workdir=FOLDER [FLAGS]]

  create    requests the slice (a queued resource)
  wait      waits until it is active
  install   copies the files that git tracks here, with uncommitted changes, to all hosts, and
            installs them
  run       starts the training on all hosts, unless it is running, and shows its output
  stop      makes all hosts save and stop
  delete    deletes the slice
  all       create, wait, install, run, delete; a slice that was preempted is deleted and requested
            again, and the training resumes from its checkpoint

  --type=TYPE        of the slice (default: v5litepod-16)
  --runtime=VERSION  its image (default: v2-alpha-tpuv5-lite; v6e: v2-alpha-tpuv6e,
                     v5p: v2-alpha-tpuv5)
  --spot             cheaper, and may be preempted at any time
  --mount=COMMANDS   to run on each host by 'install', to mount the folder of the workdir, such as
                     'sudo mkdir -p /runs && sudo mount -t nfs 10.0.0.2:/share /runs'
  --poll=SECONDS     between two checks while waiting (default: 30)
  --attempts=N       maximal number of slices that 'all' requests (default: 100)
  --dry-run          print the commands instead

Ctrl-C during 'run' does not stop the training; 'run' again shows it, 'stop' ends it. A slice costs
money as long as it exists.

Assumes: gcloud, logged in, and git on this machine; quota for the slice in the zone; hosts with
access to the internet; a --workdir (and --config.data.path) that all hosts see and that outlives
the slice, such as Filestore over NFS.
END
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

quote() { # for any shell at the other end
  local word
  for word in "$@"; do printf "'%s' " "${word//\'/\'\\\'\'}"; done
}

case ${1:-} in
  --help | -h) usage && exit 0 ;;
  create | wait | install | run | stop | delete | all) what=$1 && shift ;;
  *) fail "'${1:-}' is no command; use create, wait, install, run, stop, delete or all, see --help." ;;
esac
project='' zone='' name='' type=v5litepod-16 runtime=v2-alpha-tpuv5-lite spot=() mount=':'
poll=30 attempts=100 dry_run=no
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --project=*) project=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --name=*) name=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --runtime=*) runtime=${1#*=} ;;
    --spot) spot=(--spot) ;;
    --mount=*) mount=${1#*=} ;;
    --poll=*) poll=${1#*=} ;;
    --attempts=*) attempts=${1#*=} ;;
    --dry-run) dry_run=yes ;;
    --) shift && break ;;
    *) fail "'$1' is no option of tpu_pod.sh; flags of the training come after '--', see --help." ;;
  esac
  shift
done
[[ $project ]] || fail "no --project=PROJECT of Google Cloud."
[[ $zone =~ ^[a-z]+-[a-z]+[0-9]+-[a-z]$ ]] || fail "--zone='$zone' is no zone, such as us-west4-a."
[[ $name =~ ^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
  fail "--name='$name' is no name: small letters, digits and '-', a letter first, at most 63."
[[ $poll =~ ^[0-9]+$ ]] || fail "--poll='$poll' is no number of seconds."
[[ $attempts =~ ^[1-9][0-9]*$ ]] || fail "--attempts='$attempts' is no number of slices."
if [[ $what == run || $what == all ]]; then
  config='' workdir=''
  for flag in "$@"; do
    case $flag in
      --config=?*) config=$flag ;;
      --workdir=/?*) workdir=$flag ;;
      --distributed* | --coordinator* | --process_id* | --num_processes*)
        fail "$flag is set by this script (--distributed=auto); leave it out." ;;
    esac
  done
  [[ $config ]] || fail "no --config=CONFIG after '--'; see --help."
  [[ $workdir ]] || fail "no --workdir=/FOLDER after '--'; give one that all hosts see, from '/' on."
elif (($#)); then
  fail "'$what' takes no flags of the training (found $*)."
fi

do_it() { # or print it
  if [[ $dry_run == yes ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

place=("--project=$project" "--zone=$zone")
queue=(gcloud compute tpus queued-resources)
vm=(gcloud compute tpus tpu-vm)
packed='' # folder of what is copied
trap '[[ ! $packed ]] || rm -rf "$packed"' EXIT

# --- Functions that run on a host, where their text is sent ---------------------------------------

# shellcheck disable=SC2329
on_host_install() {
  set -e
  mkdir -p ~/wonn-jax
  tar -xzf ~/wonn-jax.tar.gz -C ~/wonn-jax
  cd ~/wonn-jax
  # The Python of the image is too old for this project.
  python3 -m pip install --quiet --user uv
  [ -x .venv/bin/python ] || python3 -m uv venv --quiet --python 3.12 .venv
  python3 -m uv pip install --quiet --python .venv/bin/python -e '.[train,tpu]'
  eval "$1"
}

# Detached, so that it outlives this connection; a host that is shut down sends it SIGTERM.
# shellcheck disable=SC2329
on_host_run() {
  cd ~/wonn-jax || return 2
  if ! { [ -e run.pid ] && kill -0 "$(cat run.pid)" 2>/dev/null; }; then
    rm -f run.pid run.status
    # The trap keeps this shell alive to write the status; the training has its own.
    # shellcheck disable=SC2016
    nohup setsid bash -c 'trap : TERM; s=0
      PYTHONUNBUFFERED=1 .venv/bin/python -m wonn_jax.main "$@" --distributed=auto &
      echo $! >run.pid; wait $! || s=$?
      while kill -0 $! 2>/dev/null; do s=0; wait $! || s=$?; done; echo $s >run.status' \
      run "$@" >run.log 2>&1 </dev/null &
    while ! [ -s run.pid ]; do sleep 0.1; done
  fi
  tail -n +1 -f --pid="$(cat run.pid)" run.log
  while ! [ -s run.status ]; do sleep 0.1; done
  return "$(cat run.status)"
}

# shellcheck disable=SC2329
on_host_stop() {
  cd ~/wonn-jax || return 2
  [ -e run.status ] || kill -TERM "$(cat run.pid)"
}

on_all() { # FUNCTION ARGUMENTS
  do_it "${vm[@]}" ssh "$name" "${place[@]}" --worker=all \
    --command="bash -c $(quote "$(declare -f "$1"); $1 \"\$@\"" "$@")"
}

# --- Commands -------------------------------------------------------------------------------------

state() { # '' if there is no slice; asks again if there is no answer
  local answer
  until answer=$("${queue[@]}" describe "$name" "${place[@]}" --format='value(state.state)' 2>&1); do
    answer=${answer##*$'\n'}
    [[ $answer != *NOT_FOUND* ]] || return 0
    echo "no answer about $name, asking again: $answer" >&2
    sleep "$poll"
  done
  echo "${answer##*$'\n'}"
}

create() {
  do_it "${queue[@]}" create "$name" --node-id="$name" "${place[@]}" --accelerator-type="$type" \
    --runtime-version="$runtime" "${spot[@]}"
}

wait_for_it() {
  local found before='-'
  if [[ $dry_run == yes ]]; then
    do_it "${queue[@]}" describe "$name" "${place[@]}" --format='value(state.state)'
    return
  fi
  while :; do
    found=$(state)
    [[ $found == "$before" ]] || echo "$name: ${found:-not there}" >&2
    before=$found
    case $found in
      ACTIVE) return 0 ;;
      '' | FAILED | SUSPENDING | SUSPENDED | DELETING) return 1 ;;
    esac
    sleep "$poll"
  done
}

install() {
  local root
  # shellcheck disable=SC2016
  root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel) &&
    packed=${packed:-$(mktemp -d)} && # again for each slice
    do_it bash -c 'cd "$1" && git ls-files -z | tar --null -T - -czf "$2"' pack "$root" \
      "$packed/wonn-jax.tar.gz" &&
    do_it "${vm[@]}" scp "$packed/wonn-jax.tar.gz" "$name:wonn-jax.tar.gz" "${place[@]}" \
      --worker=all &&
    on_all on_host_install "$mount"
}

run() { # of several hosts, gcloud does not return the exit status
  local status
  while :; do
    on_all on_host_run "$@" || true
    [[ $dry_run == no ]] || return 0
    status=$("${vm[@]}" ssh "$name" "${place[@]}" --worker=0 \
      --command='cat wonn-jax/run.status 2>/dev/null || echo running') || return 255 # no answer
    [[ $status == running ]] || return "$status"
    echo "the connection broke, the training goes on" >&2
    sleep "$poll"
  done
}

stop() {
  on_all on_host_stop
}

delete() {
  do_it "${queue[@]}" delete "$name" "${place[@]}" --force --quiet
}

kept() {
  fail "$*; $name is still there and costs money: look, then" \
    "tpu_pod.sh delete --project=$project --zone=$zone --name=$name"
}

all() {
  local attempt status found
  for ((attempt = 1; attempt <= attempts; attempt++)); do
    found=''
    [[ $dry_run == yes ]] || found=$(state)
    [[ $found ]] || create
    # What cannot be had (FAILED: no quota, a wrong type) is not asked for again.
    if wait_for_it; then
      status=0
      install || status=255
      ((status)) || run "$@" || status=$?
      if ((status == 0)); then
        delete
        return 0
      fi
      [[ $dry_run == no ]] || return 0
      found=$(state)
      if [[ $found == ACTIVE ]]; then # perhaps it is not known yet
        sleep "$poll"
        found=$(state)
      fi
      [[ $found != ACTIVE ]] || kept "the training ended with status $status"
      echo "preempted ($found); the next slice goes on from the checkpoint" >&2
    elif [[ $(state) == FAILED ]]; then
      kept "the slice cannot be had"
    fi
    [[ ! $(state) ]] || delete
  done
  fail "$attempts slices were taken away before the training ended."
}

case $what in
  wait) wait_for_it || fail "$name is not to be had ($(state)); delete it and create it again." ;;
  *) "$what" "$@" ;;
esac
