#!/bin/sh
# Says whether this bundle is whole, and with a public key also whether it is from who has the key.
#
#   sh verify.sh                    every file is there, is what it was, and there is no other
#   sh verify.sh PUBLIC-KEY.pem     that, and SHA256SUMS was signed with the key that belongs to this one
#
# The public key has to come by another way than the bundle: one that lies beside it proves nothing.
set -eu

fail() {
    printf 'verify: %s\n' "$*" >&2
    exit 1
}

key=
if [ $# -gt 0 ]; then
    # An empty name is that of a variable which nobody set: it must not do without the signature.
    [ $# -eq 1 ] && [ -f "$1" ] && [ -r "$1" ] || fail "'$*' is no file of a public key: give one, or none"
    # Before the folder is changed: the key is named as seen from where this was called.
    key=$(realpath -- "$1")
fi
cd "$(dirname "$0")"

[ -f SHA256SUMS ] || fail "there is no SHA256SUMS in $PWD: this is no whole bundle"
if [ -n "$key" ]; then
    command -v openssl >/dev/null || fail "openssl is missing: install it, or leave the key out"
    [ -f SHA256SUMS.sig ] || fail "the bundle is not signed: there is no SHA256SUMS.sig"
    openssl pkeyutl -verify -rawin -pubin -inkey "$key" -in SHA256SUMS -sigfile SHA256SUMS.sig >/dev/null 2>&1 ||
        fail "SHA256SUMS was not signed with this key: do not install this bundle"
fi

sha256sum --check --strict --quiet SHA256SUMS || fail "files are damaged or missing: copy the bundle again"

# A file that no sum names could be installed unseen, a link could lead anywhere.
listed=$(cut -c 67- SHA256SUMS | LC_ALL=C sort)
present=$(find . ! -type d ! -path ./SHA256SUMS ! -path ./SHA256SUMS.sig | LC_ALL=C sort)
[ "$listed" = "$present" ] || fail "there are files that SHA256SUMS does not name: copy the bundle again"

if [ -n "$key" ]; then
    echo "The bundle is whole, and signed with this key."
else
    echo "The bundle is whole. Who made it was not checked: give the public key of who did."
fi
