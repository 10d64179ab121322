find . -name __pycache__ -prune -exec rm -r {} +
echo "Removed what the tests left"
