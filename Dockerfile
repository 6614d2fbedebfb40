# Images of appia: `runtime` has every service and the command, `etcd` the registry. docs/containers.md tells how they are used.
#
#   docker build --target runtime --tag appia .                                                     from the package index
#   docker build --target runtime --tag appia --build-arg BUNDLE=dist/appia-bundle-0.1.0-amd64 .     from a bundle, offline
ARG BASE=debian:bookworm-slim

# What every stage stands on. A base that has Python already needs no Debian mirror here.
FROM ${BASE} AS python
# hadolint ignore=DL3008
RUN set -eu; \
    if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends python3; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    groupadd --gid 10001 appia; \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin appia

# Makes /opt/appia; nothing else of this stage is kept.
FROM python AS build
# hadolint ignore=DL3008
RUN set -eu; \
    if ! python3 -c 'import ensurepip, venv'; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends python3-venv; \
        rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /src
# A folder that `make bundle` wrote. The default has none: packages come from the package index that pip is set up to use.
ARG BUNDLE=requirements
COPY requirements requirements
COPY ${BUNDLE} /bundle
COPY pyproject.toml README.md LICENSE ./
COPY make/image.sh make/image.sh
COPY models models
COPY services services
# How pip finds its index here, where that is needed: --secret id=pip,src=/etc/pip.conf. It is in no layer.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf make/image.sh /bundle /opt/appia
COPY --chmod=0755 deploy/compose/ready.py /opt/appia/bin/appia-ready

# The registry, from Debian. It has the command too, which sets its users up.
FROM python AS etcd
# hadolint ignore=DL3008
RUN set -eu; \
    apt-get update; \
    apt-get install --yes --no-install-recommends etcd-server etcd-client; \
    rm -rf /var/lib/apt/lists/* /var/lib/etcd; \
    install --directory --mode 0700 --owner appia --group appia /var/lib/etcd /etc/appia/keys
USER 10001:10001
VOLUME /var/lib/etcd
CMD ["etcd"]

FROM python AS runtime
COPY --from=build /opt/appia /opt/appia
# Volumes that are new get the owner and the mode of what is here.
RUN set -eu; \
    install --directory --mode 0750 --owner appia --group appia /var/lib/appia; \
    install --directory --mode 0755 /etc/appia /handout; \
    install --directory --mode 0700 --owner appia --group appia /site /etc/appia/keys \
        /handout/etcd /handout/ingester /handout/origin /handout/rag /handout/health /handout/operator
ENV PATH=/opt/appia/bin:$PATH APPIA_MODELS=/opt/appia/models PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/appia
CMD ["appia", "--help"]
