"""Plain HTTP. Each `httpx.get` reads the machine's certificates, which takes 25 ms of processor time."""

import httpx

PLAIN = httpx.Client(trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0))
