# One image for all services: polaris serve NAME, or polaris up for the whole desk in one process.
# Build it with ./scripts/build.sh, which knows the version and the tags.
ARG BASE=python:3.11-slim-bookworm

# --- Everything that is only needed to build ----------------------------------------------------------------------
FROM ${BASE} AS build
# The fast order book is compiled here; without a compiler the image would have the slower one. The compiler's version
# is the base image's, and nothing of it stays.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir "uv>=0.9,<1"
ENV UV_PROJECT_ENVIRONMENT=/opt/polaris UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
WORKDIR /build
# The packages come first: they change seldom, and the layer is kept until they do.
COPY pyproject.toml uv.lock hatch_build.py README.md LICENSE CHANGELOG.md ./
COPY src/polaris_synapse/__init__.py src/polaris_synapse/__init__.py
RUN /opt/uv/bin/uv sync --frozen --no-dev --extra llm --extra mcp --extra cluster --no-install-project --no-cache
COPY src src
RUN /opt/uv/bin/uv sync --frozen --no-dev --extra llm --extra mcp --extra cluster --no-editable --no-cache
COPY configs configs
RUN cp -r configs "$(/opt/polaris/bin/python -c 'import polaris_synapse; print(polaris_synapse.__path__[0])')/configs" \
    && /opt/polaris/bin/python -c "import polaris_synapse.matching.core.native.book"

# --- What runs ------------------------------------------------------------------------------------------------------
FROM ${BASE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="polaris-synapse" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="Apache-2.0"
# A user of its own, with the two folders that it may write; everything else may be mounted read-only.
RUN groupadd --gid 10001 polaris \
    && useradd --uid 10001 --gid polaris --no-create-home --home-dir /var/lib/polaris-synapse polaris \
    && install -d -o polaris -g polaris -m 0750 /var/lib/polaris-synapse /var/log/polaris-synapse
COPY --from=build /opt/polaris /opt/polaris
COPY deployments/docker/health.py /opt/polaris/bin/polaris-health
ENV PATH=/opt/polaris/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    POLARIS_CONFIG=production
USER 10001:10001
WORKDIR /var/lib/polaris-synapse
VOLUME ["/var/lib/polaris-synapse", "/var/log/polaris-synapse"]
EXPOSE 8000 8080 8081 8082 8083 8084 8085
STOPSIGNAL SIGTERM
# The whole desk answers at the gateway's port; compose names each service's own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "/opt/polaris/bin/polaris-health", "8082"]
ENTRYPOINT ["polaris"]
CMD ["up", "--quiet"]
