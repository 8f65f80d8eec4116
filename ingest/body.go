package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"
)

// firstBytes is the first size of a buffer: most bodies are smaller.
const firstBytes = 4 << 10

// read returns the exact body of a request. The caller must call release, which
// returns its bytes to the server's limit. Reading ends at ctx's deadline. Only
// bytes that were received count against the limit, not Content-Length.
func (s *Server) read(ctx context.Context, w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	h := &holding{s: s, of: addressBlock(s.Client(r))}
	if r.ContentLength > s.MaxBody {
		return nil, h.release, fmt.Errorf("%w: Content-Length is %d, want at most %d bytes", errTooLarge, r.ContentLength, s.MaxBody)
	}
	// Signatures cover the bytes as sent. No processor compresses, and a body that
	// is not decompressed cannot grow.
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, h.release, fmt.Errorf("%w: want no Content-Encoding", errEncoding)
	}
	most := r.ContentLength
	if most < 0 {
		most = s.MaxBody + 1 // chunked: one byte more shows that the body is too large
	}
	connection := http.NewResponseController(w)
	if deadline, ok := ctx.Deadline(); ok {
		_ = connection.SetReadDeadline(deadline) // without a connection, as in tests, there is nothing to set
	}
	body, err = h.readAll(http.MaxBytesReader(w, r.Body, s.MaxBody), most)
	if err == nil && int64(len(body)) >= r.ContentLength {
		_ = connection.SetReadDeadline(time.Time{}) // a later time-out would look like a disconnected client
		return body, h.release, nil
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		err = fmt.Errorf("%w: want at most %d bytes", errTooLarge, s.MaxBody)
	case err == nil:
		err = fmt.Errorf("%w: Content-Length is %d, received %d bytes", errRead, r.ContentLength, len(body))
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: received %d bytes until then", errSlow, len(body))
	case !errors.Is(err, errBusy) && !errors.Is(err, errShare):
		err = fmt.Errorf("%w: %w", errRead, err)
	}
	return nil, h.release, err
}

// holding counts the bytes in flight of one body.
type holding struct {
	s     *Server
	of    netip.Prefix
	bytes int64
}

// readAll reads to the end, or up to most bytes, into a buffer that grows as bytes are
// received.
func (h *holding) readAll(r io.Reader, most int64) ([]byte, error) {
	var body []byte
	for int64(len(body)) < most {
		if len(body) == cap(body) {
			body = append(make([]byte, 0, min(max(firstBytes, 2*int64(cap(body))), most)), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err := h.grow(int64(n)); err != nil {
			return nil, err
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return body, err
		}
	}
	return body, nil
}

// grow adds n bytes. It returns [errBusy] or [errShare] at the limit.
func (h *holding) grow(n int64) error {
	if n == 0 {
		return nil
	}
	if err := h.s.inFlight.take(h.of, n); err != nil {
		return fmt.Errorf("%w: at most %d bytes in all", err, h.s.MaxInFlight)
	}
	h.bytes += n
	h.s.metrics.inFlight.Add(float64(n))
	return nil
}

func (h *holding) release() {
	h.s.inFlight.give(h.of, h.bytes)
	h.s.metrics.inFlight.Sub(float64(h.bytes))
	h.bytes = 0
}
