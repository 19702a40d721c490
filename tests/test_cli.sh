#!/bin/bash
# The program from end to end, on the built-in model and small ones: same bits, resume after Ctrl-C and SIGKILL, exit
# codes, and one clear line for every kind of bad input, with nothing half-written.
#
#     tests/test_cli.sh BUILD [PART]...
#
# In the full run (`full=yes` in the environment, as tests/run.sh sets it) a few parts do more.
# A part is a file of tests/cli (train, apply, ...; without one: all of them). Each works in a folder of its own and
# needs no other: what several use comes from `need` in tests/cli/prelude.sh.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
vksteer=$(cd "${1:?BUILD}" && pwd)/cli/vksteer
shift
. "$here/tests/cli/prelude.sh"

all=(train apply parts schedulers checkpoints bake import memory info eval language write read tune refuse guard models
    demo)
[ $# -gt 0 ] || set -- "${all[@]}"
for part in "$@"; do
    echo "== $part"
    rm -f "$work/counts"
    (
        begin_part "$part"
        . "$here/tests/cli/$part.sh"
        echo "$passed $failed $skipped" >"$work/counts"
    )
    if [ -e "$work/counts" ]; then
        read -r passed failed skipped <"$work/counts"
    else
        fail "$part" "it ended early"
    fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
