package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// read returns the exact body of a request, and gives back to the server the
// bytes it was allowed to hold when release is called.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	release = func() {}
	if r.ContentLength > s.MaxBody {
		return nil, release, fmt.Errorf("%w: %d bytes announced, %d is the most", errTooLarge, r.ContentLength, s.MaxBody)
	}
	// Signatures are over the bytes as sent. No processor compresses, and what
	// is not unpacked cannot grow.
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, release, fmt.Errorf("%w: %q, want none", errEncoding, enc)
	}
	size := r.ContentLength
	if size < 0 {
		size = s.MaxBody // chunked: it may become this
	}
	if !s.inFlight.TryAcquire(size) {
		return nil, release, fmt.Errorf("%w: %d is the most", errBusy, s.MaxInFlight)
	}
	s.metrics.inFlight.Add(float64(size))
	release = func() {
		s.inFlight.Release(size)
		s.metrics.inFlight.Sub(float64(size))
	}
	r.Body = http.MaxBytesReader(w, r.Body, s.MaxBody)
	if r.ContentLength >= 0 {
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(r.Body, body)
	} else {
		body, err = io.ReadAll(r.Body)
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, release, fmt.Errorf("%w: %d bytes is the most", errTooLarge, s.MaxBody)
	case err != nil:
		return nil, release, fmt.Errorf("%w: %w", errRead, err)
	}
	return body, release, nil
}
