#!/bin/bash -
# SPDX-License-Identifier: BSD-3-Clause
# Is each fault in mutants/ caught?  A test that does not find the faults we
# know would not find the others either.
#
#   test-mutants.sh [NAME...]
#
# mutants/NAME.patch says what the fault is and puts it into a copy of the
# core, of which Makefile.am makes a program (mutant.c).  To add one:
#
#   git diff -U2 common/ >tests/crash/mutants/NAME.patch
#
# with a sentence in front of it that says what the fault is.

patches=${0%/*}/mutants

command -v patch >/dev/null || { echo "needs patch"; exit 77; }

# try PROGRAM [NAME]: is it caught?  how says how.
try ()
{
    how=$("$@")
    status=$?
    how=${how%%$'\n'*}
    case $status in
        0) ;;
        1) return 1 ;;
        126 | 127) exit 1 ;;
        *) how="it ends with status $status" ;;
    esac
}

if [ $# -eq 0 ]; then
    if try ./mutant; then
        echo "the core as it is: $how"
        exit 1
    fi
    for patch in "$patches"/*.patch; do
        name=${patch##*/}
        set -- "$@" "${name%.patch}"
    done
fi

caught=0
for name in "$@"; do
    start=$EPOCHREALTIME
    if try "mutants/$name/mutant" "$name"; then
        caught=$((caught + 1))
        us=$((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}))
        printf '%-26s %d.%ds  %s\n' "$name" $((us / 1000000)) \
               $((us / 100000 % 10)) "$how"
    else
        printf '%-26s NOT CAUGHT: %s\n' "$name" \
               "$(sed '/^diff/,$d; /^---/,$d' "$patches/$name.patch")"
    fi
done
echo "mutation score: $caught of $#"
[ $caught -eq $# ]
