#!/bin/sh
# Runs fuzz targets that `cargo fuzz build` has built, one after the other; a line for each.
#
#   run.sh fuzz SECONDS TARGET...     fuzzes each target for so long; fails on a finding
#   run.sh keep TARGET...             makes fuzz/corpus of what fuzzing has kept, as few as cover nearly the same
#
# What fuzzing keeps is in target/fuzz/corpus, what it finds in target/fuzz/found, all output in
# target/fuzz/TARGET.log. Inputs to begin with are in target/fuzz/seeds; FUZZ_STREAMS is a folder of Arrow
# streams for `decode`, if there is one.
set -eu
cd "$(dirname "$0")/.."
work=target/fuzz
built="$work/$(rustc -vV | sed -n 's/^host: //p')/release"
# As cargo-fuzz has it: the two copies of a crate's statics are no error.
export ASAN_OPTIONS="detect_odr_violation=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
# An input that takes a minute or a gigabyte is a finding.
limits="-timeout=60 -malloc_limit_mb=1024 -rss_limit_mb=3072"

# Whatever becomes of the process, its rings go with it.
pid=
tidy() {
    [ -z "$pid" ] || rm -f /dev/shm/qads_test-*-"$pid"-*
    pid=
}
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; tidy' EXIT
trap 'exit 130' INT TERM

# Runs target $1 with the other arguments; its result.
start() {
    name=$1
    shift
    # shellcheck disable=SC2086 # a list of options
    "$built/$name" $limits "$@" >"$work/$name.log" 2>&1 &
    pid=$!
    result=0
    wait "$pid" || result=$?
    tidy
    return "$result"
}

fuzz() {
    seconds=$1
    shift
    failed=
    for target in "$@"; do
        kept="$work/corpus/$target" found="$work/found/$target"
        mkdir -p "$kept" "$found"
        # New inputs go to the first folder; the others are only read.
        set -- "$kept"
        for folder in "fuzz/corpus/$target" "fuzz/regressions/$target" "$work/seeds/$target"; do
            [ ! -d "$folder" ] || set -- "$@" "$folder"
        done
        if [ "$target" = decode ] && [ -d "${FUZZ_STREAMS:-}" ]; then
            set -- "$@" "$FUZZ_STREAMS"
        elif [ "$target" = decode ]; then
            echo "decode: without ${FUZZ_STREAMS:-FUZZ_STREAMS}, which is not there"
        fi
        if start "$target" -max_total_time="$seconds" -print_final_stats=1 \
            -artifact_prefix="$found/" "$@"; then
            sed -n 's/^#\([0-9]*\)[[:space:]]*DONE *cov: \([0-9]*\) ft: \([0-9]*\) corp: \([0-9]*\).*exec\/s: \([0-9]*\).*/\1 runs (\5 a second), \2 edges and \3 features covered, \4 inputs kept/p' \
                "$work/$target.log" | sed "s/^/$target: /"
        else
            failed="$failed $target"
            echo "$target: FOUND SOMETHING"
            grep -a -m 6 -E 'panicked at|^ERROR|==ERROR|ALARM|DEADLYSIGNAL' -A 2 "$work/$target.log" || true
            grep -a 'Test unit written to' "$work/$target.log" || tail -n 20 "$work/$target.log"
            echo "  To keep it (all output is in $work/$target.log):"
            echo "    mkdir -p fuzz/regressions/$target && cp FILE fuzz/regressions/$target/WHAT-IT-WAS"
            echo "  then 'cargo test --test corpus' fails until it is fixed. To make it smaller first:"
            echo "    $built/$target -minimize_crash=1 -max_total_time=60 FILE"
        fi
    done
    if [ -n "$failed" ]; then
        echo "findings in:$failed"
        return 1
    fi
}

keep() {
    for target in "$@"; do
        kept="$work/kept" from="$work/corpus/$target"
        rm -rf "$kept" "$work/merge"
        cp -r "$work/seeds/$target" "$kept"
        mkdir -p "$from" "fuzz/corpus/$target"
        cp "fuzz/corpus/$target"/* "$from"
        # What the seeds cover need not be kept. Whether a line was reached counts, not how often: that is what
        # makes it small.
        start "$target" -merge=1 -use_counters=0 -max_len=2048 -merge_control_file="$work/merge" "$kept" "$from"
        rm -rf "fuzz/corpus/$target"
        mkdir "fuzz/corpus/$target"
        # The file lists the inputs, then what each covers that none before it did. One that adds next to
        # nothing is left out.
        awk -v least=5 'NR == 1 { files = $1 } NR > 2 && NR <= files + 2 { file[NR - 3] = $0 }
            $1 == "COV" && NF - 2 >= least && file[$2] !~ /\/seed-/ { print file[$2] }' "$work/merge" |
            xargs -r cp -t "fuzz/corpus/$target"
        echo "$target: $(find "fuzz/corpus/$target" -type f | wc -l) inputs kept," \
            "$(cat "fuzz/corpus/$target"/* | wc -c) bytes"
    done
}

"$@"
