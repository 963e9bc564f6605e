# The service of mien, without PyTorch. In a clone:
#   docker build -t mien .
#   export MIEN_TOKEN=$(openssl rand -hex 32)
#   docker run --rm --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --memory 4g \
#     -e MIEN_TOKEN -p 127.0.0.1:8000:8000 mien
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
RUN python -m venv /opt/mien && /opt/mien/bin/pip install --no-cache-dir -c constraints.txt '.[serve]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home mien
COPY --from=build /opt/mien /opt/mien
# Bytecode was compiled by pip; nothing is written at run time but the page in /tmp.
ENV PATH=/opt/mien/bin:$PATH PYTHONDONTWRITEBYTECODE=1 MIEN_CACHE=/tmp/mien
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# The port is that of the command line of the first process, since `docker run mien --port 9000` may name another.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import re, urllib.request; words = open('/proc/1/cmdline').read(); port = (re.findall(r'--port[=\\0](\\d+)', words) or [8000])[-1]; urllib.request.urlopen(f'http://127.0.0.1:{port}/health', timeout=2)"]
# Outside of the container it is reached where the port is published; without MIEN_TOKEN it does not start.
ENTRYPOINT ["mien", "serve", "--host", "0.0.0.0"]
