# The cloud-controller-manager. Build from the root of the repository:
#
#   docker build -f build/kube-ovn-ccm.Dockerfile -t docker.io/kubeovn/kube-ovn-ccm:$(cat VERSION) \
#     --build-arg GIT_COMMIT=$(git rev-parse HEAD) .
#
# `make images` makes an image with the same program without a container engine.
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
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(build/ldflags.sh)" -o /out/ ./cmd/kube-ovn-ccm

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/kube-ovn-ccm /usr/bin/kube-ovn-ccm
USER 65532:65532
ENTRYPOINT ["/usr/bin/kube-ovn-ccm"]
