"""The code that API, workers and command line share: domain, settings, storage, queue and live logs."""

__version__ = "0.1.0"
