# The server with the default guest and a model, ready to run:
#
#     DOCKER_BUILDKIT=1 docker build -t fastsentiment .
#     docker run --rm --read-only -p 8000:8000 fastsentiment
#
# For another model, name a directory in this repository: --build-arg MODEL=model/mine.
# The work is done by the scripts in deployment/build, which are also tested without
# Docker. There is no `# syntax=` line: it would download a frontend, and the one built
# into BuildKit has been sufficient since Docker 20.10.

ARG RUST_VERSION=1.95.0
ARG DEBIAN=bookworm

# ---- Build stages ----

FROM rust:${RUST_VERSION}-slim-${DEBIAN} AS toolchain
# The C compiler and the certificates come with the image; Python fetches ONNX Runtime.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-pip
WORKDIR /src
# The base image has the compiler but not the guest's target; rust-toolchain.toml names
# both.
COPY rust-toolchain.toml ./
RUN rustup target list --installed | grep -qx wasm32-wasip2 || rustup toolchain install
ENV DIST_TARGET_DIR=/target

# The workspace without its sources. Layers that are built from it stay cached until a
# dependency changes.
FROM toolchain AS skeleton
COPY . .
RUN python3 deployment/build/skeleton.py . /skeleton

FROM toolchain AS compile
COPY --from=skeleton /skeleton ./
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    sh deployment/build/compile.sh dependencies
COPY LICENSE ./
COPY wit ./wit
COPY guest ./guest
COPY host ./host
COPY deployment/build ./deployment/build
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    sh deployment/build/compile.sh all /built

# ---- The image ----

# The image gets its libraries from this stage, which is the same Debian that the server
# was built on. The guest is compiled here, for all common server CPUs. On a CPU that
# lacks a required feature, the server compiles the guest when it starts.
FROM compile AS root
ARG MODEL=model/default
COPY ${MODEL} /model
RUN sh deployment/build/root.sh /built /model /root-of-image

# Only the server and the libraries that it is linked to: no shell, no package manager.
# Layers that rarely change come first.
FROM scratch
COPY --from=root /root-of-image/etc /etc
COPY --from=root /root-of-image/lib /lib
COPY --from=root /root-of-image/lib64 /lib64
COPY --from=root /root-of-image/usr /usr
COPY --from=root /root-of-image/var /var
COPY --from=root /root-of-image/app/libonnxruntime.so /app/
COPY --from=root /root-of-image/app/model /app/model
COPY --from=root /root-of-image/app/licences /app/licences
COPY --from=root /root-of-image/app/artifacts /app/artifacts
COPY --from=root /root-of-image/app/LICENSE \
                 /root-of-image/app/fastsentiment.cdx.json \
                 /root-of-image/app/fastsentiment_guest.wasm \
                 /root-of-image/app/fastsentiment /app/

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="FastSentiment" \
      org.opencontainers.image.description="Sentiment prediction server whose prediction logic is a sandboxed WebAssembly component" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0"

# A number, so that Kubernetes can verify that it is not root. This user owns no file, so
# the server cannot modify itself.
USER 65532:65532
ENV FASTSENTIMENT_LISTEN=0.0.0.0:8000 \
    FASTSENTIMENT_ARTIFACTS=/app/artifacts
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["/app/fastsentiment", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/app/fastsentiment"]
CMD ["serve"]
