#!/bin/sh
# Writes the lock files in requirements/ anew: every package by version and hash, for every supported Python and
# platform. Keeps the versions already locked unless UPGRADE=1.
#
# torch is in none of them: its builds for graphics cards bring gigabytes along, and which build is right is for the
# machine's owner to say. requirements/train.txt names the version that was tested; make/venv.sh installs it.
set -eu
cd "$(dirname "$0")/.."
uv=${VENV:-.venv}/bin/uv

compile() { # output file, then what goes into it
    output=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --custom-compile-command "make lock" ${UPGRADE:+--upgrade} --output-file "$output" \
        pyproject.toml requirements/build.in --extra models "$@"
    echo "$output: $(grep -c '==' "$output") packages"
}

compile requirements/lock.txt
compile requirements/dev-lock.txt --extra dev --constraints requirements/lock.txt
only_for_torch=$(mktemp)
trap 'rm -f "$only_for_torch"' EXIT
# What torch alone brings along is left to pip, together with torch.
"$uv" pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate requirements/train.txt |
    sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' | grep -E '^(torch|triton|nvidia-.*|cuda-.*)$' >"$only_for_torch"
compile requirements/train-lock.txt --extra dev --extra train --constraints requirements/dev-lock.txt \
    --constraints requirements/train.txt $(sed 's/^/--no-emit-package /' "$only_for_torch")
