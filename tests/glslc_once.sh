#!/bin/bash
# glslc that compiles a module once for all builds of tests/run.sh, which gives the folder where the modules of these
# shaders and this compiler are kept. Arguments as the build passes them: `-MF DEPFILE` and `-o OUTPUT` among them.
set -eu
arguments=("$@") depfile='' output=''
while [ $# -gt 1 ]; do
    case $1 in
    -MF) depfile=$2 ;;
    -o) output=$2 ;;
    esac
    shift
done
if [ -z "${VKS_MODULES:-}" ] || [ -z "$depfile" ] || [ -z "$output" ]; then
    exec glslc "${arguments[@]}"
fi
name=$(printf '%s\n' "${arguments[@]}" | sha256sum | cut -c 1-32)
kept=$VKS_MODULES/$name
if [ ! -e "$kept" ]; then
    glslc "${arguments[@]}"
    mkdir -p "$VKS_MODULES"
    cp "$depfile" "$kept.d.$$" && mv "$kept.d.$$" "$kept.d"
    cp "$output" "$kept.$$" && mv "$kept.$$" "$kept"  # last: then the other is there
else
    cp "$kept.d" "$depfile"
    cp "$kept" "$output"
fi
