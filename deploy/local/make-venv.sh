#!/bin/sh
# Make the virtual environment named by the first argument and install the project with pinned versions.
set -eu

venv=$1

usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ ! -x "$venv/bin/python" ] || ! usable "$venv/bin/python"; then
    python=
    for candidate in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11 python3.14; do
        if usable "$candidate"; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "Attain needs Python 3.11 or newer and found none: install one, or set PYTHON to its path." >&2
        exit 1
    fi
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        echo "$python cannot make virtual environments: install its venv module (Debian and Ubuntu: apt install python3-venv)." >&2
        exit 1
    fi
    "$python" -m venv --clear "$venv"
fi

echo "Installing pinned dependencies into $venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev]'
