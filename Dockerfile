# The server with the default guest and the default model, ready to run:
#
#     docker build -t fastsentiment .
#     docker run --rm -p 8000:8000 fastsentiment

FROM rust:1.95-slim-bookworm AS build
# make: the build's names; gcc comes with the image; Python fetches ONNX Runtime.
RUN apt-get update \
 && apt-get install -y --no-install-recommends make python3 python3-pip \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make build CARGO_FLAGS=--locked

# Laid out as in the final image, since the guest is compiled here for its place
# there: `check` loads all that `serve` would load, predicts once, and keeps the
# compiled guest. It is compiled for the CPU that builds the image; on a CPU that
# lacks something of it, the server notices, and compiles the guest at each start.
RUN mkdir -p /app/model \
 && cp target/release/fastsentiment target/release/fastsentiment_guest.wasm \
       target/release/libonnxruntime.so \
       target/release/onnxruntime-ThirdPartyNotices.txt LICENSE /app/ \
 && cp -R model/default /app/model/default \
 && /app/fastsentiment check --artifacts /app/artifacts \
 && chmod -R go+rX-w /app


# The same Debian, for its C library; it has libstdc++, which ONNX Runtime needs.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="FastSentiment" \
      org.opencontainers.image.description="Sentiment prediction server whose prediction logic is a sandboxed WebAssembly component" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0"
# Owned by root: the process can not change what it runs, and needs no writable file.
COPY --from=build /app /app
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENV FASTSENTIMENT_LISTEN=0.0.0.0:8000 \
    FASTSENTIMENT_ARTIFACTS=/app/artifacts
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["/app/fastsentiment"]
CMD ["serve"]
