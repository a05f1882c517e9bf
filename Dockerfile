# The server with the default guest and a model, ready to run:
#
#     DOCKER_BUILDKIT=1 docker build -t fastsentiment .
#     docker run --rm --read-only -p 8000:8000 fastsentiment
#
# Another model is a directory in this folder: --build-arg MODEL=model/mine. What is
# done is in deployment/build, whose scripts are also tested without Docker. There is no
# `# syntax=` line: BuildKit's own frontend has been enough since Docker 20.10, and the
# line would fetch one.

ARG RUST_VERSION=1.95.0
ARG DEBIAN=bookworm

# ---- What compiles ----

FROM rust:${RUST_VERSION}-slim-${DEBIAN} AS toolchain
# The C compiler and the certificates come with the image; Python fetches ONNX Runtime.
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt,sharing=locked \
    apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-pip
WORKDIR /src
# The base has the compiler, but not the guest's target, which the file names too.
COPY rust-toolchain.toml ./
RUN rustup target list --installed | grep -qx wasm32-wasip2 || rustup toolchain install
ENV DIST_TARGET_DIR=/target

# The workspace without its sources; the layers that are made of it stay as they are
# until a dependency changes.
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

# ---- What runs ----

# The libraries are those of this image, so it is the same Debian. The guest is
# compiled here, for CPUs of all kinds that are in use; on one that lacks something of
# that, the server notices, and compiles the guest when it starts.
FROM compile AS root
ARG MODEL=model/default
COPY ${MODEL} /model
RUN sh deployment/build/root.sh /built /model /root-of-image

# Nothing but the server and the libraries that it is linked to: no shell, no package
# manager. In the order in which they change, the seldom ones first.
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
                 /root-of-image/app/fastsentiment_guest.wasm \
                 /root-of-image/app/fastsentiment /app/

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="FastSentiment" \
      org.opencontainers.image.description="Sentiment prediction server whose prediction logic is a sandboxed WebAssembly component" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0"

# By number, so that Kubernetes can tell that it is not root. It owns no file, so it
# can not change what it runs.
USER 65532:65532
ENV FASTSENTIMENT_LISTEN=0.0.0.0:8000 \
    FASTSENTIMENT_ARTIFACTS=/app/artifacts
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["/app/fastsentiment", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/app/fastsentiment"]
CMD ["serve"]
