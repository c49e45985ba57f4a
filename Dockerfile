# syntax=docker/dockerfile:1
# The image of all of vodray's own processes: the service, Ray's head and Ray's workers have to be of
# the same versions. It is at the top level, as its context is: `docker build -t vodray .`

FROM python:3.11.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/vodray
ENV PATH=/opt/vodray/bin:$PATH
WORKDIR /src
# First what changes seldom, so that a change of the code alone installs nothing anew. The pins are
# those of constraints.txt that the service needs; the build backend is one of them.
COPY deploy/requirements.txt deploy/requirements.txt
RUN pip install --require-hashes --only-binary :all: -r deploy/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY actors actors
COPY serve_app serve_app
# bench has no place in the image.
RUN mkdir bench && touch bench/__init__.py \
    && pip install --no-deps --no-build-isolation --no-index . \
    && pip uninstall --yes pip setuptools \
    && python -m compileall -q /opt/vodray/lib

FROM python:3.11.11-slim-bookworm
LABEL org.opencontainers.image.title="vodray" \
      org.opencontainers.image.description="Live HLS in, VOD out" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 vodray \
    && useradd --uid 10001 --gid vodray --home-dir /home/vodray --create-home vodray \
    # What a volume is mounted over hands it its owner.
    && install -d -o vodray -g vodray /var/lib/vodray /var/lib/vodray/spool /var/lib/vodray/ingest
COPY --from=build /opt/vodray /opt/vodray
ENV PATH=/opt/vodray/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOG_FORMAT=json \
    SPOOL_DIR=/var/lib/vodray/spool \
    INGEST_DIR=/var/lib/vodray/ingest \
    # Nothing of ours reports home, nodes that are started by `ray start` included.
    RAY_USAGE_STATS_ENABLED=0 \
    # What `vodray up` sets for a Ray of its own (docs/operations.md).
    RAY_worker_niceness=0 \
    RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S=60 \
    FORWARDED_ALLOW_IPS= \
    RAY_AUTH_MODE=token
USER 10001:10001
WORKDIR /var/lib/vodray
EXPOSE 8083
STOPSIGNAL SIGTERM
# For the service; a node of Ray has another check (docker-compose.yml, deploy/kuberay.yaml).
HEALTHCHECK --interval=15s --timeout=6s --start-period=120s --retries=4 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8083') + '/health', timeout=5)"]
CMD ["vodray", "up", "--data-dir", "/var/lib/vodray"]
