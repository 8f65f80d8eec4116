package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// firstBytes is what is held for a body before any of it came: most are
// smaller. What a sender announces costs nothing, what it sends does, or a few
// idle connections that announce much would keep all others out.
const firstBytes = 8 << 10

// read returns the exact body of a request, and gives back to the server the
// bytes it was allowed to hold when release is called.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	h := &holding{s: s}
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
	body, err = h.readAll(http.MaxBytesReader(w, r.Body, s.MaxBody), most)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, h.release, fmt.Errorf("%w: %d bytes is the most", errTooLarge, s.MaxBody)
	case err == nil && int64(len(body)) < r.ContentLength:
		return nil, h.release, fmt.Errorf("%w: %d bytes announced, %d came", errRead, r.ContentLength, len(body))
	case err != nil && !errors.Is(err, errBusy):
		return nil, h.release, fmt.Errorf("%w: %w", errRead, err)
	}
	return body, h.release, err
}

// holding is the part of the bytes in flight that one body has.
type holding struct {
	s     *Server
	bytes int64
}

// readAll reads to the end, or until it has most bytes, in a buffer that grows
// as they come.
func (h *holding) readAll(r io.Reader, most int64) ([]byte, error) {
	var body []byte
	for int64(len(body)) < most {
		if len(body) == cap(body) {
			size := min(max(firstBytes, 4*int64(cap(body))), most)
			if err := h.grow(size); err != nil {
				return nil, err
			}
			body = append(make([]byte, 0, size), body...)
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return body, nil
}

// grow makes the holding size bytes, or says that there is no room.
func (h *holding) grow(size int64) error {
	more := size - h.bytes
	if !h.s.inFlight.TryAcquire(more) {
		return fmt.Errorf("%w: %d is the most", errBusy, h.s.MaxInFlight)
	}
	h.bytes = size
	h.s.metrics.inFlight.Add(float64(more))
	return nil
}

func (h *holding) release() {
	h.s.inFlight.Release(h.bytes)
	h.s.metrics.inFlight.Sub(float64(h.bytes))
	h.bytes = 0
}
