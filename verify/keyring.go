package verify

import (
	"context"
	"time"
)

type Keyring struct{}

func (k *Keyring) Verify(ctx context.Context, connector string, r Request, keys Keys, now time.Time) (Verified, error) {
	return Verify(connector, r, keys, now)
}
