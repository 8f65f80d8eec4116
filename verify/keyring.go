package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Keyring verifies, and fetches the public keys that verification asks for by
// [KeyNeeded]. It remembers them, and for a short time what could not be had,
// so that requests with made-up addresses cost next to nothing. The zero
// Keyring is ready for use, and may be used by several goroutines.
type Keyring struct {
	// Client fetches; nil is a client of its own. No redirect is followed.
	Client *http.Client

	mu       sync.Mutex
	keys     map[string]*key
	fetching int
}

// The limits of a Keyring.
const (
	keyringTimeout = 2 * time.Second  // for one key
	keyringBytes   = 64 << 10         // that a key may have
	keyringKeys    = 64               // that are remembered
	keyringFetches = 4                // that may be under way
	keyringFresh   = 24 * time.Hour   // after which a key is fetched anew
	keyringRetry   = 30 * time.Second // after which a key that could not be had is
	keyringSteps   = 3                // keys that one request may need
)

// key is what is known of one address. Everything but done is guarded by the
// Keyring's mutex until done is closed; body and err never change after it.
type key struct {
	done  chan struct{} // closed when it is here, or is not to be had
	body  []byte
	err   error
	until time.Time // when it has to be fetched anew; zero while it is fetched
	used  time.Time
}

// Verify is [Verify] with the keys that it needs. The error wraps
// [ErrKeyNotThere] if one could not be had for now, and [ErrKeyUnknown] if
// the processor says that there is none.
func (k *Keyring) Verify(ctx context.Context, connector string, r Request, keys Keys, now time.Time) (Verified, error) {
	caller := keys.Fetched
	for step := range keyringSteps {
		v, err := Verify(connector, r, keys, now)
		var need *KeyNeeded
		if !errors.As(err, &need) {
			return v, err
		}
		body, err := k.get(ctx, need)
		if err != nil {
			return Verified{}, fmt.Errorf("%s: the key at %s: %w", connector, need.URL, err)
		}
		if step == 0 { // most connectors need none, and cost no map
			keys.Fetched = map[string][]byte{}
			maps.Copy(keys.Fetched, caller)
		}
		keys.Fetched[need.URL] = body
	}
	return Verify(connector, r, keys, now)
}

// Held returns the keys that were fetched, by URL: [Keys.Fetched] for whoever
// goes on with [Verify].
func (k *Keyring) Held() map[string][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	held := map[string][]byte{}
	for at, e := range k.keys {
		if e.good() {
			held[at] = e.body
		}
	}
	return held
}

// get returns what an address holds. Whoever asks while it is being fetched
// waits for the same fetch.
func (k *Keyring) get(ctx context.Context, need *KeyNeeded) ([]byte, error) {
	e, err := k.entry(ctx, need)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.done:
		return e.body, e.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrKeyNotThere, ctx.Err())
	}
}

// entry returns what is known of an address, and has it fetched if need be.
func (k *Keyring) entry(ctx context.Context, need *KeyNeeded) (*key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	old := k.keys[need.URL]
	if old != nil && (old.until.IsZero() || now.Before(old.until)) {
		old.used = now
		return old, nil
	}
	if k.fetching == keyringFetches {
		if old.good() {
			return old, nil
		}
		return nil, fmt.Errorf("%w: %d others are being fetched", ErrKeyNotThere, keyringFetches)
	}
	if k.keys == nil {
		k.keys = map[string]*key{}
	}
	if old == nil && len(k.keys) == keyringKeys {
		k.forget()
	}
	e := &key{done: make(chan struct{}), used: now}
	k.keys[need.URL] = e
	k.fetching++
	// Others may come to wait for it: it outlives the request that began it.
	go k.fetch(context.WithoutCancel(ctx), need, e, old)
	return e, nil
}

// forget makes room for a key: what could not be had goes first, then what
// was not used for longest, so that made-up addresses never push out a key.
func (k *Keyring) forget() {
	var which string
	var worst *key
	for at, e := range k.keys {
		switch {
		case e.until.IsZero(): // somebody waits for it
		case worst == nil, e.err != nil && worst.err == nil,
			(e.err == nil) == (worst.err == nil) && e.used.Before(worst.used):
			which, worst = at, e
		}
	}
	delete(k.keys, which)
}

// fetch fills in e. While a key cannot be had, the one that was there is still
// the processor's.
func (k *Keyring) fetch(ctx context.Context, need *KeyNeeded, e, old *key) {
	ctx, cancel := context.WithTimeout(ctx, keyringTimeout)
	defer cancel()
	body, err := k.download(ctx, need)
	life := keyringFresh
	if err != nil {
		life = keyringRetry
		if old.good() && errors.Is(err, ErrKeyNotThere) {
			body, err = old.body, nil
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fetching--
	e.body, e.err, e.until = body, err, time.Now().Add(life)
	close(e.done)
}

// good reports whether k was fetched and is a key.
func (k *key) good() bool { return k != nil && k.err == nil && !k.until.IsZero() }

func (k *Keyring) download(ctx context.Context, need *KeyNeeded) ([]byte, error) {
	u, err := url.Parse(need.URL)
	if err != nil || u.Scheme != "https" && !(need.Issuer && u.Scheme == "http") {
		return nil, fmt.Errorf("%w: want an https URL", ErrKeyUnknown)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, need.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKeyUnknown, err)
	}
	var client http.Client
	if k.Client != nil {
		client = *k.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyNotThere, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, fmt.Errorf("%w: %s", ErrKeyUnknown, response.Status)
	default:
		return nil, fmt.Errorf("%w: %s", ErrKeyNotThere, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, keyringBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrKeyNotThere, err)
	case len(body) > keyringBytes:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrKeyNotThere, keyringBytes)
	}
	return body, nil
}
