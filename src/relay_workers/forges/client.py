"""The HTTP client of `rest`, in a module of its own, which is loaded at the first request."""

import httpx

__all__ = ["httpx"]
