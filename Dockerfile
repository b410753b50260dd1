# syntax=docker/dockerfile:1
# t2v in a container, CPU. Models stay outside: mount them at /models.
#   docker build -t t2v .
#   docker run --rm -v "$PWD/out:/out" t2v generate --prompt "a small red circle moves right on a black background" -o /out/first.mp4
#   docker run --rm -v "$PWD/out:/out" -v /where/models/are:/models:ro t2v generate -m /models/Wan2.1-T2V-1.3B-Diffusers --prompt "..." -o /out/a.mp4
# To write into a folder of yours add: --user "$(id -u):$(id -g)"

FROM debian:12 AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /t2v
COPY tools/setup tools/setup
COPY Makefile ./
RUN make setup
COPY . .
RUN make build T2V_CUDA=OFF CMAKE_ARGS="-DT2V_TESTS=OFF -DT2V_BENCH=OFF" \
 && cmake --install build --prefix /opt/t2v --strip

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
      ca-certificates libavcodec59 libavformat59 libavutil57 libcurl4 libsentencepiece0 libspdlog1.10 libssl3 libprometheus-cpp-core1.0 liburing2 libutf8proc2 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 t2v && mkdir -p /models /out && chown t2v /out
COPY --from=build /opt/t2v /opt/t2v
ENV PATH=/opt/t2v/bin:$PATH
USER t2v
WORKDIR /out
VOLUME ["/models", "/out"]
ENTRYPOINT ["t2v"]
CMD ["--help"]
