# Sourced by scripts/up and scripts/test: makes .venv with exactly what requirements.lock says, for tests requirements-dev.lock.
# Needs bash, a Python of at least 3.11 with `venv`, and git.

# With it each start of a program would compile all of Relay's sources again: half a second of processor.
unset PYTHONDONTWRITEBYTECODE

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

note() { printf 'relay: %s\n' "$*" >&2; }
die() { note "$*"; exit 1; }

find_python() {
  local name
  for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  die "Python 3.11 or newer is needed, and none was found. Install one, or name it: PYTHON=/path/to/python3 $0"
}

# May we change this machine? Without root: no. On a terminal: asks. Else, and with --yes: yes.
allowed() {
  [ "$(id -u)" -eq 0 ] || return 1
  if [ -t 0 ] && [ -t 2 ] && [ "${assume_yes:-}" != yes ]; then
    local answer
    read -r -p "relay: $1? [Y/n] " answer
    case "$answer" in ''|[yY]*) return 0 ;; *) return 1 ;; esac
  fi
  note "$1"
}

# Debian and Ubuntu keep a part of venv in a package of its own.
ensure_venv_module() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  local package
  package="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
  local command="apt-get update && apt-get install -y --no-install-recommends $package"
  if command -v apt-get >/dev/null && allowed "Installing $package, which makes Python environments ($command)"; then
    local log
    log="$(mktemp)"
    if (export DEBIAN_FRONTEND=noninteractive; eval "$command") >"$log" 2>&1 </dev/null; then
      rm -f "$log"
      return
    fi
    tail -n 15 "$log" >&2
    die "Installing $package failed (all of it in $log)"
  fi
  die "$1 cannot make virtual environments (its module ensurepip is missing). On Debian and Ubuntu, as root: $command"
}

# ensure_environment [dev]: what Relay runs with, or what it is also developed and tested with.
ensure_environment() {
  [ "$(uname -s)" = Linux ] || die "Relay runs on Linux only; this is $(uname -s)"
  command -v git >/dev/null || die "git is needed, and not found. On Debian and Ubuntu, as root: apt-get install git"
  local python stamp lock present wanted
  stamp="$root/.venv/relay-stamp"
  lock="$root/requirements${1:+-$1}.lock"
  present="$(cat "$stamp" 2>/dev/null || true)" # none in a fresh clone, which is no error
  wanted="$(cat "$lock" "$root/pyproject.toml" | sha256sum | cut -d' ' -f1)"
  if [ -x "$root/.venv/bin/python" ] && "$root/.venv/bin/python" -c ''; then
    case "$present" in *"$wanted"*" $root") build_pid1 || exit 1; return ;; esac
  fi
  python="$(find_python)" || exit 1
  if ! has_pip && ! { "$root/.venv/bin/python" -m ensurepip >/dev/null 2>&1 && has_pip; }; then
    ensure_venv_module "$python"
    note "Making the Python environment $root/.venv"
    "$python" -m venv --clear "$root/.venv" || die "Cannot make $root/.venv"
  fi
  # Beside the packages: without a C compiler a cold build takes a minute. The install of Relay itself waits for it, and
  # builds once more, with an error message, what failed here.
  build_pid1 >/dev/null 2>&1 </dev/null &
  note "Installing the locked packages into $root/.venv (a minute or two the first time)"
  # Tests write the bytecode of what they use themselves; compiling all of it takes as long as the download.
  install_packages ${1:+--no-compile} --require-hashes -r "$lock"
  install_packages --no-deps --no-build-isolation -e "$root" # with the locked setuptools
  # What development needs is more than what running needs, so its environment is good for both.
  [ -z "${1:-}" ] || wanted="$wanted $(cat "$root/requirements.lock" "$root/pyproject.toml" | sha256sum | cut -d' ' -f1)"
  printf '%s %s' "$wanted" "$root" >"$stamp"
}

# The program relay-pid1, of which git has the source only; does nothing if it is built (fifty milliseconds).
build_pid1() { PYTHONPATH="$root/build_backend" "$root/.venv/bin/python" -m relay_build >/dev/null; }

has_pip() { "$root/.venv/bin/python" -m pip --version >/dev/null 2>&1; }

install_packages() {
  "$root/.venv/bin/python" -m pip install --disable-pip-version-check --root-user-action=ignore -qq "$@" </dev/null \
    || die "Installing packages failed; the message above says why (a network or a full disk, most often)"
}
