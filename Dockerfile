# The daemon. docs/images.md tells how to build it, what it may write, and how a release pins its base image by digest.
ARG BASE_IMAGE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    UV_SYSTEM_CERTS=1 UV_NO_CACHE=1 UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never
COPY deploy/images/build.lock /src/
RUN python3 -m venv /opt/build && /opt/build/bin/pip install --quiet --require-hashes --requirement /src/build.lock
COPY deploy/images/daemon.lock /src/
RUN python3 -m venv --without-pip /opt/dagy \
    && VIRTUAL_ENV=/opt/dagy /opt/build/bin/uv pip install --quiet --require-hashes --compile-bytecode --requirement /src/daemon.lock
COPY pyproject.toml README.md LICENSE /src/
COPY dagy_control /src/dagy_control
RUN VIRTUAL_ENV=/opt/build /opt/build/bin/uv build --quiet --wheel --no-build-isolation --out-dir /src/dist /src \
    && VIRTUAL_ENV=/opt/dagy /opt/build/bin/uv pip install --quiet --no-deps --compile-bytecode /src/dist/*.whl

FROM ${BASE_IMAGE}
# tini is process 1: it passes SIGTERM on from the first moment and reaps what nobody waits for. The standard library gets its
# bytecode here, because with a read-only root nobody can write it later, and each start would compile it again.
# hadolint ignore=DL3008
RUN apt-get update -q && apt-get install -q -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
    && python3 -m compileall -q -j 0 -x '/(test|idlelib|lib2to3|site-packages)/' "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && groupadd --gid 10001 dagy && useradd --uid 10001 --gid dagy --no-create-home --home-dir /tmp --shell /usr/sbin/nologin dagy
COPY --from=build /opt/dagy /opt/dagy
ENV PATH=/opt/dagy/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ARG SOURCE=unknown
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dagy-control" \
      org.opencontainers.image.description="The control plane of Dagy runs on ECS Fargate" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["python3", "-m", "dagy_control.entrypoints.healthcheck"]
ENTRYPOINT ["tini", "--", "dagy-control"]
CMD ["serve"]
