#!/bin/sh
# Makes the virtual environment, or leaves it alone when it is already what the lock asks for.
#
#   make/venv.sh run    what appia needs to run and to build its models
#   make/venv.sh dev    that, and what testing and linting need
#   make/venv.sh train  that, and what training and exporting models need (torch)
#
# VENV names the folder (.venv). PYTHON names an interpreter to use instead of searching the PATH for one.
set -eu
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
started=$(date +%s)

say() {
    printf '[%3ds] %s\n' "$(($(date +%s) - started))" "$*"
}

fail() {
    printf 'make: %s\n' "$*" >&2
    exit 1
}

is_new_enough() { # an old Python, or a launcher without a Python behind it, says no
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

is_whole() { # a half-made environment (interrupted, or from an older Python) says no
    is_new_enough "$venv/bin/python" && "$venv/bin/python" -c 'import pip' >/dev/null 2>&1
}

find_python() {
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if is_new_enough "$name"; then
            echo "$name"
            return
        fi
    done
    fail "no Python 3.11 or newer was found (looked for ${PYTHON:-python3, python3.13, python3.12, python3.11})." \
        "Install one, for instance with: sudo apt-get install python3.11 python3.11-venv"
}

make_venv() {
    python=$(find_python)
    if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        package="$(basename "$python")-venv"
        fail "$python cannot make virtual environments: its package $package is missing." \
            "Install it with: sudo apt-get install $package"
    fi
    say "Making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
}

install_packages() { # a lock file
    say "Installing the $(grep -c '==' "$1") packages of $1 (first time: some minutes)"
    "$venv/bin/python" -m pip install --disable-pip-version-check --require-hashes -r "$1" ||
        fail "the packages of $1 could not be installed: see pip's message above." \
            "They come from the package index that pip is set up to use; once installed, nothing is fetched again."
    say "Installing appia itself, editable"
    "$venv/bin/python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
}

install_torch() { # whichever build is there is kept: a machine's owner may have chosen one
    say "Installing torch, unless it is there"
    "$venv/bin/python" -m pip install --disable-pip-version-check --requirement requirements/train.txt ||
        fail "torch could not be installed: see pip's message above. Everything but training and exporting models" \
            "works without it."
}

case ${1:-} in
run) lock=requirements/lock.txt ;;
dev) lock=requirements/dev-lock.txt ;;
train) lock=requirements/train-lock.txt ;;
*) fail "make/venv.sh takes one word: run, dev or train (got '${1:-}')" ;;
esac

# Each set of packages includes the one before, so an environment made for a larger one also serves the smaller.
wanted=$(cat requirements/lock.txt requirements/dev-lock.txt requirements/train-lock.txt requirements/train.txt \
    pyproject.toml | sha256sum | cut -d ' ' -f 1)
case $1 in
run) serving="run dev train" ;;
dev) serving="dev train" ;;
train) serving="train" ;;
esac
for name in $serving; do
    stamp=$venv/appia-$name
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && is_whole; then
        exit 0
    fi
done

is_whole || make_venv
install_packages "$lock"
[ "$1" != train ] || install_torch
echo "$wanted" >"$venv/appia-$1"
say "$venv is ready"
