# Gives uid 1000 an account with the workspace's home. The uid may be taken (Ubuntu 24.04: `ubuntu`), and so may the name.
set -eu
home=/workspace/home
if owner=$(getent passwd 1000); then
    usermod --home "$home" --shell /bin/bash "${owner%%:*}"
    exit
fi
for name in agent relay-agent; do
    if ! getent passwd "$name" >/dev/null && ! getent group "$name" >/dev/null; then
        group=--user-group
        if getent group 1000 >/dev/null; then group=--gid=1000; fi
        exec useradd --uid 1000 "$group" --no-create-home --home-dir "$home" --shell /bin/bash "$name"
    fi
done
