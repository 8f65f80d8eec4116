package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/lookup"
)

// locateAt returns a function that asks the server with this admin address for the
// receipts of the events of ids: see /v1/where. Its errors wrap [lookup.ErrNoServer].
func locateAt(admin string) func(context.Context, []string) (history.Place, error) {
	client := http.Client{Timeout: 5 * time.Second}
	return func(ctx context.Context, ids []string) (p history.Place, err error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/v1/where?"+url.Values{"id": ids}.Encode(), nil)
		if err != nil {
			return p, err
		}
		a, err := client.Do(r)
		if err != nil {
			return p, fmt.Errorf("%w: %w", lookup.ErrNoServer, err)
		}
		defer a.Body.Close()
		if a.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(io.LimitReader(a.Body, 200))
			return p, fmt.Errorf("%w: %s answers %s: %s", lookup.ErrNoServer, admin, a.Status, bytes.TrimSpace(text))
		}
		if err := json.NewDecoder(a.Body).Decode(&p); err != nil {
			return p, fmt.Errorf("%w: %s: %w", lookup.ErrNoServer, admin, err)
		}
		return p, nil
	}
}
