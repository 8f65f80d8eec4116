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

// Keyring verifies requests and fetches the public keys that [KeyNeeded] errors ask
// for. It caches keys, and failures for a short time, so that requests with made-up
// key URLs cost next to nothing. The zero Keyring is ready for use. It is safe for
// concurrent use.
type Keyring struct {
	// Client fetches the keys. Nil means a client with default settings. The Keyring
	// follows no redirects.
	Client *http.Client
	// Failed, if it is not nil, is called for each failed fetch with the cause. The
	// errors of [Keyring.Verify] do not have the cause, because the sender of the
	// request may see them.
	Failed func(url string, err error)

	mu      sync.Mutex
	keys    map[string]*cachedKey       // by URL
	pending int                         // fetches that are running or queued
	hosts   map[string]*host            // those with pending fetches
	senders map[netip.Prefix]*senderUse // those with pending or failed fetches
}

// host has the pending fetches from one host.
type host struct {
	pending int
	slots   chan struct{} // a running fetch holds a slot; queued fetches wait for one in order
}

// senderUse counts the fetches that the requests of one sender caused.
type senderUse struct {
	pending int
	failed  int
	until   time.Time // when failed is reset
}

// The limits of a Keyring.
const (
	keyringTimeout       = 2 * time.Second  // for the download of one key
	keyringBytes         = 64 << 10         // the size of one key
	keyringKeys          = 64               // keys and failures in the cache
	keyringQueueTimeout  = 3 * time.Second  // for a queued fetch to start
	keyringHostRunning   = 4                // running fetches from one host
	keyringHostPending   = 16               // running and queued fetches from one host
	keyringPending       = 32               // running and queued fetches from all hosts
	keyringSenderPending = 1                // running and queued fetches for one sender
	keyringSenderFailed  = 5                // failed fetches for one sender, until keyringRetry has passed
	keyringSenders       = 1024             // senders whose fetches are counted
	keyringFresh         = 24 * time.Hour   // the age at which a key is fetched again
	keyringRetry         = 30 * time.Second // the time until a failed fetch is tried again
	keyringKeysPerVerify = 3                // keys that the verification of one request may need
)

// cachedKey is the key at one URL, or the error of its fetch. The Keyring's mutex
// guards its fields except done. After done is closed, body and err never change.
type cachedKey struct {
	done  chan struct{} // closed when the fetch has ended
	body  []byte
	err   error
	until time.Time // when it must be fetched again; zero during the fetch
	used  time.Time // when it was last asked for
}

type senderContextKey struct{}

// WithRequester returns a context for [Keyring.Verify] that has the address from which
// the request came. A [Keyring] limits the fetches for each address, so that one sender
// with made-up key URLs cannot use up the fetches of others.
func WithRequester(ctx context.Context, from netip.Prefix) context.Context {
	return context.WithValue(ctx, senderContextKey{}, from)
}

// Verify calls [Verify] and fetches the public keys that it needs. The error wraps
// [ErrKeyNotThere] if a key could not be fetched now, and [ErrKeyUnknown] if the
// processor responds that there is no such key.
func (k *Keyring) Verify(ctx context.Context, connector string, r Request, keys Keys, now time.Time) (Verified, error) {
	given := keys.Fetched
	for step := range keyringKeysPerVerify {
		v, err := Verify(connector, r, keys, now)
		if err == nil {
			return v, nil
		}
		var need *KeyNeeded
		if !errors.As(err, &need) {
			return v, err
		}
		body, err := k.get(ctx, need)
		if err != nil {
			return Verified{}, fmt.Errorf("%s: the key at %s: %w", connector, need.URL, err)
		}
		if step == 0 { // copy the caller's map only now: most connectors need no key
			keys.Fetched = map[string][]byte{}
			maps.Copy(keys.Fetched, given)
		}
		keys.Fetched[need.URL] = body
	}
	return Verify(connector, r, keys, now)
}

// Held returns the fetched keys by URL, for [Keys.Fetched] of a later call of
// [Verify].
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

// get returns the key at a URL, from the cache or fetched. Concurrent calls for the
// same URL wait for the same fetch.
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

// entry returns the cached key of a URL. If there is none, or it is too old, entry starts
// a fetch and returns the key that the fetch will fill in.
func (k *Keyring) entry(ctx context.Context, need *KeyNeeded) (*cachedKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	old := k.keys[need.URL]
	if old != nil && (old.until.IsZero() || now.Before(old.until)) {
		old.used = now
		return old, nil
	}
	f, err := k.startFetch(ctx, need, now)
	if err != nil {
		if old.good() {
			return old, nil
		}
		return nil, err
	}
	if k.keys == nil {
		k.keys = map[string]*cachedKey{}
	}
	if old == nil && len(k.keys) == keyringKeys {
		k.evict()
	}
	e := &cachedKey{done: make(chan struct{}), used: now}
	k.keys[need.URL] = e
	// Other requests may wait for the same fetch: it goes on if this one is cancelled.
	go k.fetch(context.WithoutCancel(ctx), f, need, e, old)
	return e, nil
}

// fetch is one pending fetch.
type fetch struct {
	hostName string
	host     *host
	sender   *senderUse // nil if the context has no sender
}

// startFetch counts a fetch, or returns an error at a limit.
func (k *Keyring) startFetch(ctx context.Context, need *KeyNeeded, now time.Time) (f fetch, err error) {
	if u, err := url.Parse(need.URL); err == nil {
		f.hostName = u.Host
	}
	if f.host = k.hosts[f.hostName]; k.pending == keyringPending || f.host != nil && f.host.pending == keyringHostPending {
		return f, fmt.Errorf("%w: too many other keys are being fetched", ErrKeyNotThere)
	}
	if from, ok := ctx.Value(senderContextKey{}).(netip.Prefix); ok {
		f.sender = k.senderUse(from, now)
		if f.sender == nil || f.sender.pending == keyringSenderPending || f.sender.pending+f.sender.failed >= keyringSenderFailed {
			return f, fmt.Errorf("%w: another key is being fetched for the sender's address, or too many fetches for it failed", ErrKeyNotThere)
		}
		f.sender.pending++
	}
	if f.host == nil {
		if k.hosts == nil {
			k.hosts = map[string]*host{}
		}
		f.host = &host{slots: make(chan struct{}, keyringHostRunning)}
		k.hosts[f.hostName] = f.host
	}
	f.host.pending++
	k.pending++
	return f, nil
}

// endFetch takes a fetch off the counts of startFetch.
func (k *Keyring) endFetch(f fetch, failed bool) {
	k.pending--
	if f.host.pending--; f.host.pending == 0 {
		delete(k.hosts, f.hostName)
	}
	if f.sender == nil {
		return
	}
	f.sender.pending--
	if failed {
		f.sender.failed, f.sender.until = f.sender.failed+1, time.Now().Add(keyringRetry)
	}
}

// senderUse returns the counts of a sender, or nil if too many other senders are counted.
func (k *Keyring) senderUse(from netip.Prefix, now time.Time) *senderUse {
	if s := k.senders[from]; s != nil {
		if now.After(s.until) {
			s.failed = 0
		}
		return s
	}
	if len(k.senders) == keyringSenders {
		maps.DeleteFunc(k.senders, func(_ netip.Prefix, s *senderUse) bool { return s.pending == 0 && now.After(s.until) })
		if len(k.senders) == keyringSenders {
			return nil
		}
	}
	if k.senders == nil {
		k.senders = map[netip.Prefix]*senderUse{}
	}
	s := &senderUse{}
	k.senders[from] = s
	return s
}

// evict removes one entry from the cache: first a failed fetch, then the key that was
// not used for the longest time. So made-up URLs never evict a key.
func (k *Keyring) evict() {
	var which string
	var worst *cachedKey
	for at, e := range k.keys {
		switch {
		case e.until.IsZero(): // it is being fetched: requests wait for it
		case worst == nil, e.err != nil && worst.err == nil,
			(e.err == nil) == (worst.err == nil) && e.used.Before(worst.used):
			which, worst = at, e
		}
	}
	delete(k.keys, which)
}

// fetch fetches a key and fills in e. If the key cannot be fetched now, fetch keeps the
// old one.
func (k *Keyring) fetch(ctx context.Context, f fetch, need *KeyNeeded, e, old *cachedKey) {
	body, life, err := k.downloadQueued(ctx, f, need)
	failed := err != nil && life > 0
	if old.good() && errors.Is(err, ErrKeyNotThere) {
		body, err = old.body, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.endFetch(f, failed)
	e.body, e.err, e.until = body, err, time.Now().Add(life)
	close(e.done)
}

// downloadQueued waits for a slot of the host and downloads a key. It also returns for
// how long the key or the error stays in the cache.
func (k *Keyring) downloadQueued(ctx context.Context, f fetch, need *KeyNeeded) (body []byte, life time.Duration, err error) {
	wait, cancel := context.WithTimeout(ctx, keyringQueueTimeout)
	defer cancel()
	select {
	case f.host.slots <- struct{}{}:
		defer func() { <-f.host.slots }()
	case <-wait.Done():
		return nil, 0, fmt.Errorf("%w: other keys of the host are being fetched", ErrKeyNotThere)
	}
	ctx, cancel = context.WithTimeout(ctx, keyringTimeout)
	defer cancel()
	if body, err = k.download(ctx, need); err == nil {
		return body, keyringFresh, nil
	}
	if k.Failed != nil {
		cause := err
		if u := (*fetchError)(nil); errors.As(err, &u) {
			cause = u.cause
		}
		k.Failed(need.URL, cause)
	}
	return nil, keyringRetry, err
}

// good reports whether the key was fetched.
func (k *cachedKey) good() bool { return k != nil && k.err == nil && !k.until.IsZero() }

// fetchError is the error of a key that could not be fetched. Its text leaves out the
// cause, which may have addresses and ports of the internal network.
type fetchError struct{ cause error }

func (e *fetchError) Error() string {
	return string(ErrKeyNotThere) + ": the download failed"
}

// Unwrap returns [ErrKeyNotThere] and the cause.
func (e *fetchError) Unwrap() []error { return []error{ErrKeyNotThere, e.cause} }

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
		return nil, &fetchError{err}
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
		return nil, &fetchError{err}
	case len(body) > keyringBytes:
		return nil, fmt.Errorf("%w: the response has more than %d bytes", ErrKeyNotThere, keyringBytes)
	}
	return body, nil
}
