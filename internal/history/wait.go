package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollbridge/tollbridge/schemas"
)

// AdmitWhenCurrent is [History.Admit] for a command, which nobody waits for as a
// processor does: while the topics are not read up to their ends, so that another
// process may have published an event, it waits, until ctx is done or nothing was
// current for [behindMost].
func (s *History) AdmitWhenCurrent(ctx context.Context, events []schemas.Event) (*Admission, error) {
	for since := time.Now(); ; {
		a, err := s.Admit(ctx, events)
		if !errors.Is(err, errBehind) {
			return a, err
		}
		if time.Since(since) > behindMost {
			return nil, fmt.Errorf("waited %s: %w", behindMost, err)
		}
		select {
		case <-time.After(behindPace):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

const (
	behindMost = time.Minute
	behindPace = 20 * time.Millisecond
)
