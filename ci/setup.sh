# Sourced by ci/demo and ci/test, from the root of the repository: leaves a virtual environment in $venv that has
# everything, made when it is missing or when what it was made from has changed.
#
# KUBEEDGE_PURE=1              build no extensions (an environment that has them serves as well, they are not used)
# KUBEEDGE_REQUIRE_COMPILED=1  fail where they cannot be built
# KUBEEDGE_VENV                folder of the environment (.venv)

venv=${KUBEEDGE_VENV:-.venv}
pure=${KUBEEDGE_PURE:-0}

say() { printf '%s\n' "== $*" >&2; }

fail() {
    printf '%s\n' "error: $*" >&2
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for python in ${PYTHON:-} python3.14 python3.13 python3.12 python3.11 python3; do
        if command -v "$python" >/dev/null 2>&1 && is_new_enough "$python"; then
            return 0
        fi
    done
    return 1
}

# Packages of the system are only installed by root, and only those that are missing.
install_packages() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    say "installing packages: $*"
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 update >/dev/null &&
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 --no-install-recommends install "$@" >/dev/null
}

has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }

has_compiler() {
    command -v "${CC:-cc}" >/dev/null 2>&1 || return 1
    header=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h
    [ -e "$header" ]
}

# What the environment is made from; the last word says how.
fingerprint() {
    {
        "$python" -VV
        pwd
        cat pyproject.toml setup.py kubeedge/_speedups/*.py kubeedge/_speedups/*.pxd
    } | cksum | tr ' ' '-'
}

make_environment() {
    say "making the environment $venv, once"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || fail "cannot make a virtual environment"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[cloud,demo,modbus,opcua,test]' ||
        fail "pip cannot install what the project needs"
}

# Broker of the tests. What only runs the product does without: where it is a service, installing it starts it.
set_up_broker() {
    command -v mosquitto >/dev/null 2>&1 || [ -x /usr/sbin/mosquitto ] || install_packages mosquitto ||
        say "mosquitto is missing, tests with a broker fail: apt-get install mosquitto"
}

set_up() {
    find_python || { install_packages python3 && find_python; } ||
        fail "Python 3.11 or newer is needed; on Debian and Ubuntu: apt-get install python3"
    if [ ! -x "$venv/bin/python" ] && ! has_venv; then
        install_packages python3-venv && has_venv || fail "the module venv is missing: apt-get install python3-venv"
    fi
    how=pure
    if [ "$pure" = 0 ] || [ "$pure" = "" ]; then
        has_compiler || install_packages gcc libc6-dev python3-dev || true
        if has_compiler; then
            how=compiled
        elif [ "${KUBEEDGE_REQUIRE_COMPILED:-0}" != 0 ]; then
            fail "no C compiler, or no Python headers: apt-get install gcc libc6-dev python3-dev"
        else
            say "no C compiler: the hot paths run as plain Python"
        fi
    fi
    made=$(cat "$venv/made-from" 2>/dev/null || true)
    print=$(fingerprint)
    if [ "$made" != "$print $how" ] && { [ "$how" = compiled ] || [ "$made" != "$print compiled" ]; }; then
        make_environment
        printf '%s\n' "$print $how" >"$venv/made-from"
    fi
    # Where Python may not write byte code, each start of a daemon would compile it again, for time and 1 MB of memory.
    "$venv/bin/python" -m compileall -q kubeedge || say "byte code cannot be written: daemons start more slowly"
}
