# syntax=docker/dockerfile:1
# The command line or, with --target jupyter, a notebook server; see docs/how-to/docker.md.

FROM python:3.12-slim AS base
ARG UID=1000
ARG GID=1000
ENV PYTHONUNBUFFERED=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN --mount=type=cache,target=/root/.cache/pip pip install "uv>=0.8,<1"
RUN groupadd --gid $GID fersweep && useradd --uid $UID --gid $GID --create-home fersweep

# Packages first: this layer is large and rarely changes. Torch's wheel brings CUDA, the host the driver.
WORKDIR /work
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/uv uv venv $VIRTUAL_ENV && uv pip sync --require-hashes requirements.lock

COPY pyproject.toml README.md LICENSE train.py ./
COPY conf conf
COPY src src
COPY docs docs
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --no-deps --editable .
RUN mkdir -p outputs data /home/fersweep/.cache && chown -R fersweep:fersweep outputs /home/fersweep/.cache
VOLUME ["/work/outputs", "/work/data", "/home/fersweep/.cache"]
# Run `train.py …`, `fersweep …` or `python …` as process 1, which receives the signals.
ENTRYPOINT ["sh", "-c", "case $1 in *.py) exec python \"$@\" ;; *) exec \"$@\" ;; esac", "--"]

FROM base AS jupyter
RUN --mount=type=cache,target=/root/.cache/uv \
    uv pip install --constraints requirements.lock "jupyterlab>=4.2,<5" "ipykernel>=6.29,<8"
RUN cp docs/tutorial/quickstart.ipynb . && chown fersweep:fersweep . quickstart.ipynb
USER fersweep
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]

FROM base AS fersweep
USER fersweep
CMD ["fersweep", "--help"]
