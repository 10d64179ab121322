# Relay itself: one image for API, worker and Flower (docker-compose.yml, docs/deployment.md).
# BASE is any Debian 12 or later, or an image with Python 3.11+ on it.
ARG BASE=python:3.11-slim-bookworm

# PID 1 of the workspaces' containers, by the distribution's compiler, which the image itself does not need.
FROM ${BASE} AS pid1
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && { command -v python3 || apt-get install -y --no-install-recommends python3; }
WORKDIR /opt/relay
COPY build_backend ./build_backend
COPY src/relay_workers/containers/pid1/src ./src/relay_workers/containers/pid1/src
RUN PYTHONPATH=build_backend python3 -m relay_build

FROM ${BASE}
ENV DEBIAN_FRONTEND=noninteractive PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git openssh-client \
    && { command -v python3 || apt-get install -y --no-install-recommends python3 python3-venv; } \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/relay
# ca-bundle.crt is optional: where a proxy with an authority of its own stands before the package index.
COPY requirements.lock ca-bundle.crt* ./
RUN if [ -f ca-bundle.crt ]; then export PIP_CERT=/opt/relay/ca-bundle.crt; fi \
    && python3 -m venv /opt/venv \
    && pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY build_backend ./build_backend
COPY src ./src
COPY --from=pid1 /opt/relay/src/relay_workers/containers/pid1/bin ./src/relay_workers/containers/pid1/bin
# Built with the locked setuptools; nothing is fetched any more.
RUN pip install --no-cache-dir --no-deps --no-build-isolation --no-index --config-settings=pid1=machine .
# Of API and Flower; a worker is root (docker-compose.yml).
RUN useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin relay
