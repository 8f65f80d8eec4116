# The server in an image of its own: nothing but the program and certificates,
# run as a user that owns nothing but the state directory.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/tollbridge ./cmd/tollbridge && mkdir /out/state

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/tollbridge /tollbridge
COPY --from=build --chown=65532:65532 /out/state /state
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s CMD ["/tollbridge", "healthcheck", "--config", "/etc/tollbridge/tollbridge.yaml"]
ENTRYPOINT ["/tollbridge"]
CMD ["serve", "--config", "/etc/tollbridge/tollbridge.yaml"]
