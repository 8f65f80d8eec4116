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

// firstBytes is what a buffer begins with: most bodies are smaller.
const firstBytes = 4 << 10

// read returns the exact body of a request, and gives back to the server the
// bytes that it holds when release is called. It reads until ctx's deadline, and
// counts what has come: what a sender announces costs nothing.
func (s *Server) read(ctx context.Context, w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	h := &holding{s: s, of: addressBlock(s.client(r))}
	if r.ContentLength > s.MaxBody {
		return nil, h.release, fmt.Errorf("%w: %d bytes announced, %d is the most", errTooLarge, r.ContentLength, s.MaxBody)
	}
	// Signatures are over the bytes as sent. No processor compresses, and what
	// is not unpacked cannot grow.
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, h.release, fmt.Errorf("%w: want none", errEncoding)
	}
	most := r.ContentLength
	if most < 0 {
		most = s.MaxBody + 1 // chunked: the last byte is the one too many
	}
	connection := http.NewResponseController(w)
	if deadline, ok := ctx.Deadline(); ok {
		_ = connection.SetReadDeadline(deadline) // in tests there is no connection
	}
	body, err = h.readAll(http.MaxBytesReader(w, r.Body, s.MaxBody), most)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil && int64(len(body)) >= r.ContentLength:
		_ = connection.SetReadDeadline(time.Time{}) // or the server would take it for the sender's end
		return body, h.release, nil
	case errors.As(err, &tooLarge):
		err = fmt.Errorf("%w: %d bytes is the most", errTooLarge, s.MaxBody)
	case err == nil:
		err = fmt.Errorf("%w: %d bytes announced, %d came", errRead, r.ContentLength, len(body))
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: %d bytes of the body came until then", errSlow, len(body))
	case !errors.Is(err, errBusy) && !errors.Is(err, errShare):
		err = fmt.Errorf("%w: %w", errRead, err)
	}
	return nil, h.release, err
}

// holding is the part of the bytes in flight that one body has.
type holding struct {
	s     *Server
	of    netip.Prefix
	bytes int64
}

// readAll reads to the end, or until it has most bytes, in a buffer that grows
// as they come.
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

// grow adds n bytes to the holding, or says that there is no room for them.
func (h *holding) grow(n int64) error {
	if n == 0 {
		return nil
	}
	if err := h.s.inFlight.take(h.of, n); err != nil {
		return fmt.Errorf("%w: %d bytes are the most of all together", err, h.s.MaxInFlight)
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
