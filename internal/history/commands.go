package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// AdmitWhenFresh is [History.Admit] for commands. No processor waits for them, so
// AdmitWhenFresh waits and tries again if Admit refuses an event because this process
// is behind and another may have published it. It stops when ctx is done or maxWait has
// passed.
func (h *History) AdmitWhenFresh(ctx context.Context, events []schemas.Event, references ...schemas.Reference) (*Admission, error) {
	for since := time.Now(); ; {
		a, err := h.Admit(ctx, events, references...)
		if !errors.Is(err, errBehind) {
			return a, err
		}
		if time.Since(since) > maxWait {
			return nil, fmt.Errorf("waited %s: %w", maxWait, err)
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

const (
	maxWait       = time.Minute
	retryInterval = 20 * time.Millisecond
)
