# The gateway of a LoadBalancer Service: the agent, and iptables and iproute2 for whoever looks around in one.
# Build from the root of the repository:
#
#   docker build -f build/lb-gateway.Dockerfile -t docker.io/kubeovn/kube-ovn-lb-gateway:$(cat VERSION) \
#     --build-arg GIT_COMMIT=$(git rev-parse HEAD) .
#
# `make images` makes an image with the same programs without a container engine.
FROM golang:1.26-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY VERSION ./
COPY build build
COPY pkg pkg
COPY cmd cmd
ARG GIT_COMMIT=unknown
ARG GIT_TREE_STATE=clean
ARG BUILD_DATE=1970-01-01T00:00:00Z
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(build/ldflags.sh)" -o /out/ ./cmd/lb-gateway

FROM debian:trixie-slim
RUN apt-get update && \
    apt-get install -y --no-install-recommends conntrack iproute2 iptables && \
    rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY --from=build /out/lb-gateway /usr/bin/lb-gateway
ENTRYPOINT ["/usr/bin/lb-gateway"]
