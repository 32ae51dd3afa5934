# The image holds the Node 26 of its npm package, the bundled program, and nothing else: no shell, no package manager.
# It runs with a read-only root file system; what it writes goes to mounts:
#   docker run --read-only --tmpfs /run/countersign:uid=65532,gid=65532,mode=0700 -v ./config:/etc/countersign:ro countersign

FROM node:20-bookworm-slim AS build
# Node 26 needs libatomic, which the slim images leave out.
RUN apt-get update && apt-get install -y --no-install-recommends libatomic1 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
COPY tools ./tools
RUN node tools/install.mjs
COPY tsconfig.json ./
COPY src ./src
RUN npm run build
# -L: npm's link names the package of this platform, and so does Debian's for the library.
RUN mkdir -p /out/bin /out/lib /out/run \
 && cp -L node_modules/.bin/node /out/bin/node \
 && cp -L /usr/lib/*-linux-gnu/libatomic.so.1 /out/lib/ \
 && /out/bin/node dist/countersign.mjs --version

FROM gcr.io/distroless/cc-debian12
COPY --from=build /out/lib/ /usr/lib/
COPY --from=build /out/bin/node /usr/local/bin/node
COPY --from=build /src/dist/countersign.mjs /src/dist/countersign.mjs.map /usr/local/lib/countersign/
COPY --chown=65532:65532 --from=build /out/run /run/countersign
COPY LICENSE /usr/share/doc/countersign/
# By number, so that Kubernetes' runAsNonRoot can tell without a passwd file. The app runs as another user: whoever
# shares our uid can get our identity.
USER 65532:65532
STOPSIGNAL SIGTERM
# Asks the admin socket; set COUNTERSIGN_ADMIN where it is not unix:///run/countersign/admin.sock.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["/usr/local/bin/node", "/usr/local/lib/countersign/countersign.mjs", "status"]
ENTRYPOINT ["/usr/local/bin/node", "/usr/local/lib/countersign/countersign.mjs"]
CMD ["run", "-c", "/etc/countersign/countersign.yaml"]
