#!/bin/sh
# Makes the folder of appia that an image holds: `make/image.sh BUNDLE TARGET`, run in a checkout.
#
# BUNDLE is a folder that `make bundle` wrote: then nothing is fetched. With any other folder packages come from the
# package index, by the hashes of requirements/lock.txt, and models are built from the checkout.
set -eu
bundle=$1 target=$2
wheels=/tmp/wheels tools=/tmp/tools

from_bundle() {
    (cd "$bundle" && sha256sum --check --quiet SHA256SUMS)
    "$target/bin/python" -m pip install --no-cache-dir --no-index --find-links "$bundle/wheels" --require-hashes \
        --requirement "$bundle/wheels/requirements.txt"
    cp -R "$bundle/models" "$target/models"
}

from_index() {
    python3 -m venv "$tools"
    "$tools/bin/python" -m pip download --no-cache-dir --only-binary :all: --require-hashes \
        --requirement requirements/lock.txt --dest "$wheels"
    "$tools/bin/python" -m pip install --no-cache-dir --no-index --find-links "$wheels" --require-hashes \
        --requirement requirements/lock.txt
    "$tools/bin/python" -m pip wheel --no-deps --no-index --no-build-isolation --wheel-dir "$wheels" .
    # The lock also names what builds wheels and models. Of what was checked by its hash, this takes what running needs.
    "$target/bin/python" -m pip install --no-cache-dir --no-index --find-links "$wheels" appia
    "$tools/bin/python" -m services.cli.main models build --models "$target/models"
}

python3 -m venv "$target"
if [ -d "$bundle/wheels" ]; then
    from_bundle
else
    from_index
fi
"$target/bin/python" -m pip uninstall --quiet --yes setuptools pip
chmod -R go+rX-w "$target"
