#!/bin/sh
# Writes requirements/lock.txt and requirements/dev-lock.txt anew: every package by version and hash, for every
# supported Python and platform. Keeps the versions already locked unless UPGRADE=1.
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
