# The image of operator, proxy, agents and command line. No PostgreSQL: that runs in the user's image, where an init container
# (bin/install-program) puts the agent.
#
#   dependencies  node_modules of package-lock.json
#   program       /opt/pgspan: the bundle, the start scripts, and the libraries that Node needs in an image without them
#   system        the base without npm and package manager
#   (last)        system and program, one layer each

ARG NODE_IMAGE=node:26-slim

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /build
COPY package.json package-lock.json ./
COPY scripts/image/fetch-npm.mjs scripts/image/
# A base without npm gets it from the registry, by Node alone. Behind a proxy with a CA of its own:
# --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt
RUN --mount=type=secret,id=ca,target=/run/secrets/ca \
    if [ -s /run/secrets/ca ]; then export NODE_EXTRA_CA_CERTS=/run/secrets/ca; fi; \
    if ! command -v npm >/dev/null; then node scripts/image/fetch-npm.mjs /usr/local; fi && \
    npm ci --omit=dev --no-audit --no-fund

FROM dependencies AS program
COPY . .
RUN node scripts/image/make-program.ts /opt/pgspan

FROM ${NODE_IMAGE} AS system
RUN rm -rf /usr/local/lib/node_modules /usr/local/include /usr/local/share/* /usr/local/bin/npm /usr/local/bin/npx \
    /usr/local/bin/corepack /usr/local/bin/yarn* /opt/yarn* /usr/share/doc /usr/share/man /usr/share/locale \
    /var/lib/apt /var/cache/* /var/log/* /var/lib/dpkg/info /usr/bin/apt* /usr/lib/apt /usr/bin/perl* /usr/share/perl* \
    /usr/lib/*-linux-gnu/perl*

FROM scratch
COPY --from=system / /
COPY --from=program /opt/pgspan /opt/pgspan
ENV PATH=/opt/pgspan/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# `node` of the base image; any other uid does as well, nothing is written.
USER 1000:1000
WORKDIR /
ENTRYPOINT ["/opt/pgspan/bin/pgspan"]
CMD ["--help"]
