#!/usr/bin/env bash
# Has spin check each model in all its executions, and each of its broken variants (every BROKEN_ name in its
# source) until it finds the fault. Fails if a model does, or if a variant does not.
#
#   model/run.sh [MODEL...]      in target/model; needs spin and a C compiler
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$here/../target/model
models=("${@:-copy gate lease sleep}")
read -ra models <<<"${models[*]}"

# Runs model $1 with the flags that follow; its report goes to report.txt.
check() {
    local name=$1
    shift
    rm -rf "$work/run"
    mkdir -p "$work/run"
    cd "$work/run"
    spin -a "$@" "$here/$name.pml" >spin.txt 2>&1 || { cat spin.txt; exit 2; }
    "${CC:-cc}" -O1 -w -DSAFETY -DCOLLAPSE -DMEMLIM=4096 -DVECTORSZ=2048 -o pan pan.c
    ./pan -m2000000 >report.txt 2>&1 || true
    if ! grep -q '^State-vector' report.txt || grep -q 'Search not completed\|max search depth too small' report.txt \
        && ! grep -q 'errors: [1-9]' report.txt; then
        echo "$name $*: the search did not come to an end:"
        cat report.txt
        exit 2
    fi
}

failed=0

# Checks a model that must be right.
accept() {
    check "$@"
    if grep -q 'errors: 0' report.txt; then
        echo "$*: right in all executions ($(awk '/states, stored/ { printf "%d", $1 }' report.txt) states)"
    else
        echo "$*: WRONG"
        grep '^pan:' report.txt
        failed=1
    fi
}

for name in "${models[@]}"; do
    accept "$name"
    # Other sizes, as the head of the source names them, one set to a line.
    while read -ra sizes; do
        accept "$name" "${sizes[@]}"
    done < <(sed -n 's/^ \* Also checked with: //p' "$here/$name.pml")
    variants=$(grep -o 'BROKEN_[A-Z0-9]*' "$here/$name.pml" | sort -u)
    [ -n "$variants" ] || { echo "$name: nothing in it can be broken"; failed=1; }
    for variant in $variants; do
        check "$name" "-D$variant"
        if grep -q 'errors: [1-9]' report.txt; then
            echo "$name without ${variant#BROKEN_}: $(sed -n 's/^pan:[0-9]*: //p' report.txt | head -1)"
        else
            echo "$name without ${variant#BROKEN_}: NOT NOTICED"
            failed=1
        fi
    done
done
exit $failed
