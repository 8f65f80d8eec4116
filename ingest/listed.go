package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/webhook"
)

// PublishListed publishes a webhook that the processor lists and that never came to the
// endpoint, connector/name, in the same way as a webhook: it is archived with the
// documents, vouched for by [webhook.VouchedByGaps], and events that were published
// before are not published again. It returns the number of events that it published, and
// the verdict. A webhook that gives no event is not archived.
//
// If this process is behind other replicas, PublishListed waits for up to a minute.
func (s *Server) PublishListed(ctx context.Context, endpoint string, payload []byte, documents []schemas.Fetched) (published int, v webhook.Verdict, err error) {
	d := &delivery{s: s, start: s.Now(), route: s.currentRoutes()[endpoint], bytes: len(payload)}
	if d.route == nil {
		return 0, v, fmt.Errorf("%s: %w", endpoint, errEndpoint)
	}
	d.endpoint = d.route.endpoint
	defer func() {
		if panicked := s.recovered(recover(), d.trace); panicked != nil {
			err = panicked
		}
	}()
	d.verdict = d.endpoint.JudgeListed(ctx, payload, documents, true, d.start)
	if d.verdict.Err != nil {
		return 0, d.verdict, d.verdict.Err
	}
	if len(d.verdict.Events) == 0 && !d.verdict.Has(normalize.OutcomeMalformed) {
		return 0, d.verdict, nil
	}
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: d.endpoint.Path()}, Header: http.Header{"Content-Type": {"application/json"}}}
	for retry, waited := true, time.Duration(0); retry; {
		retry, err = d.publish(ctx, r, payload)
		if errors.Is(err, kafka.ErrUnavailable) && waited < time.Minute {
			const pause = 500 * time.Millisecond
			select {
			case <-time.After(pause):
				retry, waited = true, waited+pause
			case <-ctx.Done():
				return 0, d.verdict, ctx.Err()
			}
			continue
		}
		if err != nil && !retry {
			return 0, d.verdict, err
		}
	}
	s.metrics.countPublished(d)
	return len(d.verdict.Events) - d.duplicates, d.verdict, nil
}
