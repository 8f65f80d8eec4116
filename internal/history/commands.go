package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// AdmitWhenFresh is [History.Admit] for commands. No processor waits for them, so
// AdmitWhenFresh waits and tries again if Admit refuses an event because this process is
// behind and another may have published it, or because another process has claimed it.
// It stops when ctx is done or maxWait has passed.
func (h *History) AdmitWhenFresh(ctx context.Context, events []schemas.Event, references ...schemas.Reference) (*Admission, error) {
	return retryWhenFresh(ctx, func() (*Admission, error) { return h.Admit(ctx, events, references...) })
}

// LookUpWhenFresh is AdmitWhenFresh for commands that only show what is new: it claims
// nothing, and the events must not be published.
func (h *History) LookUpWhenFresh(ctx context.Context, events []schemas.Event, references ...schemas.Reference) (*Admission, error) {
	return retryWhenFresh(ctx, func() (*Admission, error) {
		a, _, err := h.lookUp(ctx, events, references, nil)
		return a, err
	})
}

func retryWhenFresh(ctx context.Context, admit func() (*Admission, error)) (*Admission, error) {
	for since := time.Now(); ; {
		a, err := admit()
		if !errors.Is(err, errBehind) && !errors.Is(err, errClaimed) {
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
