set -e
echo "Setting up with $(python3 --version) as $(id -un)"
echo '{"name": "Relay"}' > settings.json
python3 -m unittest
