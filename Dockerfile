# lightning_vision in a container.
#   docker build -t lightning_vision .
#   docker build -t lightning_vision:cuda --build-arg BASE=nvidia/cuda:13.0.2-runtime-ubuntu24.04 .
#   docker run --rm -v "$PWD:/work" -u "$(id -u):$(id -g)" lightning_vision fit --config configs/quickstart.yaml
# With the second image and an NVIDIA GPU: docker run --gpus all --shm-size 8g ...
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# The base of CUDA has no Python. Versions follow the base's own release.
# hadolint ignore=DL3008
RUN if ! command -v python3 >/dev/null; then \
      apt-get update \
      && apt-get install -y --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; \
    fi

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY configs configs
COPY datamodules datamodules
COPY lightning_vision lightning_vision
COPY strategies strategies
# Not editable: the sources are not needed afterwards. The constraints are the versions that the tests ran with.
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir -c constraints.txt . \
    && rm -rf /src/*

# Runs and caches are written below /work, by whoever `docker run -u` names.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/work \
    WANDB_MODE=offline
RUN useradd --uid 1000 --non-unique --create-home --home-dir /work researcher
USER 1000
WORKDIR /work
ENTRYPOINT ["lightning-vision"]
CMD ["--help"]
