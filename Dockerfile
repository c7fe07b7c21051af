# docker build -t charrnn .
# docker run --rm -it -v "$PWD:/work" --user "$(id -u):$(id -g)" charrnn train corpus.txt --max-minutes 2
FROM python:3.13-slim
COPY pyproject.toml README.md LICENSE /source/
COPY charrnn /source/charrnn
RUN pip install --no-cache-dir '/source[sweep,plot,onnx]' && rm -r /source && useradd --create-home charrnn
USER charrnn
WORKDIR /work
ENV MPLCONFIGDIR=/tmp
ENTRYPOINT ["charrnn"]
