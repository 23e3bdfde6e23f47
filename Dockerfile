# The web page and the HTTP API in a container: docs/deploying.md. `make docker-test` builds and tries it.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /moue
COPY constraints.txt pyproject.toml hatch_build.py README.md LICENSE ./
COPY src src
# More extras, as serve,fast,heif: --build-arg EXTRAS=…
ARG EXTRAS=serve
# The models are part of the package: nothing is downloaded when the server starts. pip is not needed any more then.
RUN python -m venv /opt/moue \
    && /opt/moue/bin/python -m pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt ".[${EXTRAS}]" \
    && /opt/moue/bin/python -m pip uninstall --yes --quiet pip

FROM ${PYTHON}
COPY --from=build /opt/moue /opt/moue
ENV PATH=/opt/moue/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
# A number, so that orchestrators see that it is not root. It owns nothing, and the file system may be read-only.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
# Options that follow the image's name come after these: docker run moue --queue 32
ENTRYPOINT ["moue", "serve", "--host", "0.0.0.0"]
