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
# The root file system: Node, the libraries that it is linked with (each under the name that the loader asks for), the program.
# glibc resolves names by itself; it only has to be told to look into the hosts file first.
RUN set -eu; node=/out/usr/local/bin/node; \
    mkdir -p /out/usr/local/bin /out/usr/local/lib/countersign /out/usr/share/doc/countersign /out/run/countersign /out/etc; \
    cp -L node_modules/.bin/node "$node"; \
    for lib in $(ldd "$node" | grep -o '/[^ ]*'); do mkdir -p "/out${lib%/*}"; cp -L "$lib" "/out$lib"; done; \
    cp dist/countersign.mjs dist/countersign.mjs.map dist/policy-compiler.mjs dist/policy-compiler.mjs.map /out/usr/local/lib/countersign/; \
    echo 'hosts: files dns' > /out/etc/nsswitch.conf; \
    "$node" dist/countersign.mjs --version
COPY LICENSE /out/usr/share/doc/countersign/

FROM scratch
COPY --from=build --chown=0:0 /out/ /
COPY --from=build --chown=65532:65532 /out/run/countersign /run/countersign
# By number, so that Kubernetes' runAsNonRoot can tell without a passwd file. The app runs as another user: whoever
# shares our uid can get our identity.
USER 65532:65532
STOPSIGNAL SIGTERM
# Asks the admin socket; set COUNTERSIGN_ADMIN where it is not unix:///run/countersign/admin.sock.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["/usr/local/bin/node", "/usr/local/lib/countersign/countersign.mjs", "status"]
ENTRYPOINT ["/usr/local/bin/node", "/usr/local/lib/countersign/countersign.mjs"]
CMD ["run", "-c", "/etc/countersign/countersign.yaml"]
