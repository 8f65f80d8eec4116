package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
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
	// Failed, if it is not nil, is told of each fetch that failed, and why. The
	// errors of [Keyring.Verify] do not say more than that it did: whoever sent
	// the request may read them.
	Failed func(url string, err error)

	mu      sync.Mutex
	keys    map[string]*key
	pending int                      // fetches under way, or waiting for their turn
	hosts   map[string]*host         // that they are from
	of      map[netip.Prefix]*caller // requesters that they are for, or that caused some that failed
}

// host is one that keys are fetched from.
type host struct {
	pending int
	turns   chan struct{} // has a place for each fetch that may be under way; whoever waits is served in order
}

// caller is what one requester cost.
type caller struct {
	pending int
	failed  int
	until   time.Time // when failed is forgotten
}

// The limits of a Keyring.
const (
	keyringTimeout = 2 * time.Second  // for one key
	keyringBytes   = 64 << 10         // that a key may have
	keyringKeys    = 64               // that are remembered
	keyringTurn    = 3 * time.Second  // that a fetch waits until it begins
	keyringOfHost  = 4                // fetches from one host that may be under way
	keyringPending = 16               // of one host that may be, or wait
	keyringAll     = 32               // of all hosts
	keyringOfOne   = 1                // for one requester
	keyringFailed  = 5                // for one requester that failed, after which it gets no more until keyringRetry has passed
	keyringAsked   = 1024             // requesters that are remembered
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

type requester struct{}

// WithRequester returns a context for [Keyring.Verify] that says from which
// address the request comes. A [Keyring] fetches only so much for one address, so
// that made-up addresses of keys do not keep the fetches from others.
func WithRequester(ctx context.Context, from netip.Prefix) context.Context {
	return context.WithValue(ctx, requester{}, from)
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
	f, err := k.begin(ctx, need, now)
	if err != nil {
		if old.good() {
			return old, nil
		}
		return nil, err
	}
	if k.keys == nil {
		k.keys = map[string]*key{}
	}
	if old == nil && len(k.keys) == keyringKeys {
		k.forget()
	}
	e := &key{done: make(chan struct{}), used: now}
	k.keys[need.URL] = e
	// Others may come to wait for it: it outlives the request that began it.
	go k.fetch(context.WithoutCancel(ctx), f, need, e, old)
	return e, nil
}

// fetching is one fetch.
type fetching struct {
	at   string
	from *host
	of   *caller // nil: nobody knows whom it is for
}

// begin counts a fetch, or refuses it where there are too many.
func (k *Keyring) begin(ctx context.Context, need *KeyNeeded, now time.Time) (f fetching, err error) {
	if u, err := url.Parse(need.URL); err == nil {
		f.at = u.Host
	}
	if f.from = k.hosts[f.at]; k.pending == keyringAll || f.from != nil && f.from.pending == keyringPending {
		return f, fmt.Errorf("%w: too many others are being fetched", ErrKeyNotThere)
	}
	if from, ok := ctx.Value(requester{}).(netip.Prefix); ok {
		f.of = k.caller(from, now)
		if f.of == nil || f.of.pending == keyringOfOne || f.of.pending+f.of.failed >= keyringFailed {
			return f, fmt.Errorf("%w: others that the same address asked for are being fetched, or could not be", ErrKeyNotThere)
		}
		f.of.pending++
	}
	if f.from == nil {
		if k.hosts == nil {
			k.hosts = map[string]*host{}
		}
		f.from = &host{turns: make(chan struct{}, keyringOfHost)}
		k.hosts[f.at] = f.from
	}
	f.from.pending++
	k.pending++
	return f, nil
}

// end takes back what begin counted.
func (k *Keyring) end(f fetching, failed bool) {
	k.pending--
	if f.from.pending--; f.from.pending == 0 {
		delete(k.hosts, f.at)
	}
	if f.of == nil {
		return
	}
	f.of.pending--
	if failed {
		f.of.failed, f.of.until = f.of.failed+1, time.Now().Add(keyringRetry)
	}
}

// caller returns what a requester cost, or nil where too many others are
// remembered.
func (k *Keyring) caller(from netip.Prefix, now time.Time) *caller {
	if a := k.of[from]; a != nil {
		if now.After(a.until) {
			a.failed = 0
		}
		return a
	}
	if len(k.of) == keyringAsked {
		maps.DeleteFunc(k.of, func(_ netip.Prefix, a *caller) bool { return a.pending == 0 && now.After(a.until) })
		if len(k.of) == keyringAsked {
			return nil
		}
	}
	if k.of == nil {
		k.of = map[netip.Prefix]*caller{}
	}
	a := &caller{}
	k.of[from] = a
	return a
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

// fetch fills in e when its turn comes. While a key cannot be had, the one that
// was there is still the processor's.
func (k *Keyring) fetch(ctx context.Context, f fetching, need *KeyNeeded, e, old *key) {
	body, life, err := k.turn(ctx, f, need)
	failed := err != nil && life > 0
	if old.good() && errors.Is(err, ErrKeyNotThere) {
		body, err = old.body, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.end(f, failed)
	e.body, e.err, e.until = body, err, time.Now().Add(life)
	close(e.done)
}

// turn downloads a key when its turn comes, and says for how long what comes of
// it is remembered.
func (k *Keyring) turn(ctx context.Context, f fetching, need *KeyNeeded) (body []byte, life time.Duration, err error) {
	wait, cancel := context.WithTimeout(ctx, keyringTurn)
	defer cancel()
	select {
	case f.from.turns <- struct{}{}:
		defer func() { <-f.from.turns }()
	case <-wait.Done():
		return nil, 0, fmt.Errorf("%w: others are being fetched", ErrKeyNotThere)
	}
	ctx, cancel = context.WithTimeout(ctx, keyringTimeout)
	defer cancel()
	if body, err = k.download(ctx, need); err == nil {
		return body, keyringFresh, nil
	}
	if k.Failed != nil {
		cause := err
		if u := (*unfetched)(nil); errors.As(err, &u) {
			cause = u.cause
		}
		k.Failed(need.URL, cause)
	}
	return nil, keyringRetry, err
}

// good reports whether k was fetched and is a key.
func (k *key) good() bool { return k != nil && k.err == nil && !k.until.IsZero() }

// unfetched is the error of a key that could not be fetched. Its text leaves out
// the cause, which may name addresses and ports of the network that we are in.
type unfetched struct{ cause error }

func (u *unfetched) Error() string { return string(ErrKeyNotThere) + ": it could not be fetched" }

// Unwrap makes it an [ErrKeyNotThere], and its cause.
func (u *unfetched) Unwrap() []error { return []error{ErrKeyNotThere, u.cause} }

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
		return nil, &unfetched{err}
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
		return nil, &unfetched{err}
	case len(body) > keyringBytes:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrKeyNotThere, keyringBytes)
	}
	return body, nil
}
