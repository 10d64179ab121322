"""Patterns of files that programs leave in a work tree and that belong in no commit."""

DEFAULT_EXCLUDES = (
    # caches and reports of test runners and checkers
    *("__pycache__/", "*.py[cod]", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", ".hypothesis/", ".coverage"),
    *("htmlcov/", ".tox/", ".nox/", ".cache/", ".parcel-cache/", ".gradle/", ".eslintcache", "*.tsbuildinfo"),
    # virtual environments and installed packages
    *(".venv/", "venv/", "*.egg-info/", "node_modules/", ".npm/", ".pnpm-store/"),
    # files of editors and desktops
    *("*.swp", "*.swo", "*~", ".#*", ".idea/", ".DS_Store", "Thumbs.db"),
)
"""Lines as in ``.gitignore``; each is a word without comma, because a setting lists them in one text."""
