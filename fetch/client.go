package fetch

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/time/rate"

	"github.com/tollbridge/tollbridge/schemas"
)

// The limits of a [Client].
const (
	fetchTimeout    = 2 * time.Second        // for all requests of one webhook
	connectTimeout  = time.Second            // for one TCP connection, and again for TLS
	maxAnswer       = 1 << 20                // bytes of one answer
	maxWait         = 500 * time.Millisecond // for the limiter; a longer wait is a [LimitedError]
	defaultRetry    = 30 * time.Second       // after a 429 without Retry-After
	longestRetry    = time.Hour              // the longest Retry-After that is believed
	keyRetry        = 30 * time.Second       // until a key that was refused is tried again
	outageFailures  = 5                      // failures in a row, after which the API is left alone
	outageRetry     = 10 * time.Second       // for this long
	unknownMemory   = time.Minute            // until an id of an unsigned webhook that the API does not know is asked again
	unknownPatience = 10 * time.Minute       // how long a signed webhook waits for its object to be known
	maxRemembered   = 10_000                 // ids that are remembered as unknown
	unsignedShare   = 10                     // the part of the rate that unsigned webhooks may use: a tenth
)

// Client asks the APIs of processors. It keeps connections alive, sends no more than one
// request for an object at a time, and no more requests with a key than the processor
// allows. A key that the API refuses, and an API that gives no answer, are left alone for
// a while: the errors then say so without a request.
//
// The zero Client is ready for use. It is safe for concurrent use.
type Client struct {
	// Transport sends the requests. Nil is one that trusts the system's certificate
	// authorities and uses HTTPS_PROXY as all Go programs do.
	Transport http.RoundTripper
	Now       func() time.Time // nil is time.Now
	// Observe, if it is not nil, is called after each request, and for each that the
	// client did not send.
	Observe func(Call)
	// Wrap, if it is not nil, returns the transport that the client uses instead of
	// Transport, to trace the requests. The context of a request has the values of that of
	// the webhook for which it is sent.
	Wrap func(http.RoundTripper) http.RoundTripper

	once     sync.Once
	http     *http.Client
	flights  flights
	unsigned memory // names that the API did not know, asked for by unsigned webhooks
	signed   memory // the same of signed webhooks

	mu   sync.Mutex
	keys map[[sha256.Size]byte]*keyState // by connector, host and key
}

// Call describes one request, or one that was not sent.
type Call struct {
	Connector string
	Key       string // the name of the key; empty if none was used
	Result    Result
	Sent      bool          // a request was sent
	Took      time.Duration // 0 if none was sent
}

// Result is the result of a [Call] in one word.
type Result string

// The results.
const (
	ResultOK          Result = "ok"
	ResultUnknown     Result = "unknown"     // the API does not know the object
	ResultCredentials Result = "credentials" // the API refuses the key
	ResultLimited     Result = "limited"     // the processor's limit or ours
	ResultUnavailable Result = "unavailable" // no usable answer
)

// resultOf returns the result of an error.
func resultOf(err error) Result {
	switch {
	case err == nil:
		return ResultOK
	case errors.Is(err, ErrUnknownObject):
		return ResultUnknown
	case errors.Is(err, ErrCredentials):
		return ResultCredentials
	case errors.Is(err, ErrLimited):
		return ResultLimited
	}
	return ResultUnavailable
}

// keyState is what the client knows of one key.
type keyState struct {
	limiter  *rate.Limiter
	unsigned *rate.Limiter // the part of the limit for unsigned webhooks

	mu       sync.Mutex
	until    time.Time // no request is sent before
	why      error     // the error until then
	failures int       // requests without a usable answer, in a row
	token    oauth2.TokenSource
}

// Fetch returns the documents that the events of the webhook need: none if the webhook
// has everything. All of them belong to the webhook. A document with the status
// [schemas.StatusUnknown] is one that the API has not known for ten minutes.
//
// Errors wrap [ErrUnknownObject], [ErrAccount], [ErrCredentials], [ErrLimited],
// [ErrUnavailable] or, for an unsigned webhook, [ErrNothingToAsk]. An [ErrAccount] comes with the documents.
func (c *Client) Fetch(ctx context.Context, connector string, a API, w Webhook) ([]schemas.Fetched, error) {
	spec, ok := connectors[connector]
	requests, err := spec.requests(w, a)
	switch {
	case w.Unsigned && (!ok || err != nil || len(requests) == 0):
		return nil, cmp.Or(err, ErrNothingToAsk)
	case err != nil || len(requests) == 0:
		return nil, nil
	}
	limit := fetchTimeout
	if deadline, ok := ctx.Deadline(); ok { // leave the rest to Kafka
		limit = min(limit, time.Until(deadline)*2/3)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	documents, err := c.askAll(ctx, connector, a, w, requests, nil)
	if err == nil && spec.then != nil {
		more, wrong := spec.then(w, a, documents)
		if wrong != nil {
			return nil, wrong
		}
		documents, err = c.askAll(ctx, connector, a, w, more, documents)
	}
	if err != nil {
		return nil, err
	}
	return documents, Belongs(connector, w, a, documents)
}

// askAll sends requests for documents that are not in documents yet, and appends them.
func (c *Client) askAll(ctx context.Context, connector string, a API, w Webhook, requests []Request, documents []schemas.Fetched) ([]schemas.Fetched, error) {
	for _, r := range requests {
		if slices.ContainsFunc(documents, func(d schemas.Fetched) bool { return d.Name == r.Name }) {
			continue
		}
		if len(documents) == maxRequests {
			return nil, fmt.Errorf("%w: the webhook needs more than %d requests", ErrUnavailable, maxRequests)
		}
		d, err := c.document(ctx, connector, a, w.Unsigned, r)
		if err != nil {
			return nil, err
		}
		documents = append(documents, d)
	}
	return documents, nil
}

// document returns the document of one request. One that the API does not know is an
// error that wraps [ErrUnknownObject], unless a signed webhook has waited for it long
// enough.
func (c *Client) document(ctx context.Context, connector string, a API, unsigned bool, r Request) (schemas.Fetched, error) {
	host := connectors[connector].host(a)
	name := connector + " " + host + " " + r.Name
	notKnown := fmt.Errorf("%s: %s: %w: it is made up or not visible yet, or the key is of another account or mode", host, r.Name, ErrUnknownObject)
	if _, ok := c.unsigned.since(name, c.now(), unknownMemory); unsigned && ok {
		c.observe(Call{Connector: connector, Result: ResultUnknown})
		return schemas.Fetched{}, notKnown
	}
	d, err := c.flights.do(ctx, fmt.Sprintf("%s %v %s?%s", name, unsigned, r.Path, r.Query.Encode()), func() (schemas.Fetched, error) {
		running, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		return c.withKeys(running, connector, a, unsigned, r)
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return d, fmt.Errorf("%s: %w in time", host, ErrUnavailable)
	case err != nil:
		return d, err
	case d.Status != schemas.StatusUnknown:
		c.signed.forget(name)
		return d, nil
	case unsigned:
		c.unsigned.add(name, c.now(), unknownMemory)
		return d, notKnown
	}
	if first := c.signed.add(name, c.now(), 24*time.Hour); c.now().Sub(first) < unknownPatience {
		return d, notKnown
	}
	return d, nil
}

// withKeys sends the request with the first key that the API accepts.
func (c *Client) withKeys(ctx context.Context, connector string, a API, unsigned bool, r Request) (d schemas.Fetched, err error) {
	err = fmt.Errorf("%w: there is none", ErrCredentials)
	for _, key := range a.Keys {
		started := c.now()
		var sent bool
		d, sent, err = c.withKey(ctx, connector, a, key, unsigned, r)
		call := Call{Connector: connector, Key: key.Name, Result: resultOf(err), Sent: sent}
		if sent {
			call.Took = c.now().Sub(started)
		}
		if err == nil && d.Status == schemas.StatusUnknown {
			call.Result = ResultUnknown
		}
		c.observe(call)
		if !errors.Is(err, ErrCredentials) {
			break
		}
	}
	return d, err
}

// withKey sends the request with one key, and remembers what the answer says of the key.
func (c *Client) withKey(ctx context.Context, connector string, a API, key Key, unsigned bool, r Request) (d schemas.Fetched, sent bool, err error) {
	spec := connectors[connector]
	host := spec.host(a)
	s := c.keyState(connector, a, key)
	if err := s.wait(ctx, c.now(), host, unsigned); err != nil {
		return d, false, err
	}
	request, err := c.newRequest(ctx, spec, a, key, s, r)
	if err != nil {
		s.failed(c.now(), err)
		return d, errors.Is(err, ErrCredentials), err
	}
	status, header, body, err := c.send(request)
	if err != nil {
		s.failed(c.now(), err)
		return d, true, err
	}
	d = schemas.Fetched{Name: r.Name, Host: host, Path: r.Path, Status: status, At: c.now().UTC().Truncate(time.Millisecond), Body: body}
	switch {
	case status == http.StatusNotFound, status == http.StatusGone, spec.unknown != nil && spec.unknown(status, body):
		d.Status, d.Body = schemas.StatusUnknown, nil
	case status == http.StatusOK && !jsontext.Value(bytes.TrimPrefix(body, byteOrderMark)).IsValid():
		err = fmt.Errorf("%s: %w: status 200 with a body that is not JSON", host, ErrUnavailable)
	case status == http.StatusOK:
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		err = refused(host, key, status)
	case status == http.StatusTooManyRequests:
		err = &LimitedError{Host: host, RetryAfter: retryAfter(header, c.now()), By: "the processor"}
	default:
		err = fmt.Errorf("%s: %w: status %d", host, ErrUnavailable, status)
	}
	if err != nil {
		s.failed(c.now(), err)
		return schemas.Fetched{}, true, err
	}
	s.worked()
	return d, true, nil
}

// refused returns the error for a key that the API refuses.
func refused(host string, key Key, status int) error {
	return fmt.Errorf("%s: %w, %s, with status %d: check that it is not revoked, is of this environment, and has the rights that `tollbridge connectors` lists", host, ErrCredentials, key.place(), status)
}

// byteOrderMark begins the JSON of some APIs.
var byteOrderMark = []byte("\ufeff")

// newRequest returns the HTTP request, with the credential.
func (c *Client) newRequest(ctx context.Context, spec Connector, a API, key Key, s *keyState, r Request) (*http.Request, error) {
	host := spec.host(a)
	request, err := http.NewRequestWithContext(ctx, cmp.Or(r.Method, http.MethodGet), "https://"+host+r.Path, bytes.NewReader(r.Body))
	if err != nil || request.URL.Host != host {
		return nil, fmt.Errorf("%s: %w: the request has no usable path", host, ErrUnavailable)
	}
	request.URL.RawQuery = r.Query.Encode()
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "tollbridge")
	for name, values := range r.Header {
		request.Header[name] = values
	}
	if spec.token != nil {
		if key.Value, err = c.accessToken(spec, a, key, s); err != nil {
			return nil, err
		}
	}
	if spec.authorize != nil {
		if err := spec.authorize(request, a, key, c.now()); err != nil {
			return nil, fmt.Errorf("%s: %w: %s is not of the form that the processor uses", host, ErrCredentials, key.place())
		}
		return request, nil
	}
	request.Header.Set("Authorization", "Bearer "+key.Value)
	return request, nil
}

// accessToken returns the OAuth access token of a key, from the cache if it is valid.
func (c *Client) accessToken(spec Connector, a API, key Key, s *keyState) (string, error) {
	t := spec.token(a, key)
	host := cmp.Or(t.Host, spec.host(a))
	s.mu.Lock()
	if s.token == nil {
		style := oauth2.AuthStyleInParams
		if t.Basic {
			style = oauth2.AuthStyleInHeader
		}
		config := clientcredentials.Config{
			ClientID: t.ClientID, ClientSecret: t.ClientSecret, Scopes: t.Scopes, TokenURL: "https://" + host + t.Path, AuthStyle: style,
		}
		if t.Read == nil {
			s.token = config.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, c.client()))
		} else {
			s.token = oauth2.ReuseTokenSource(nil, login{c, config.TokenURL, t})
		}
	}
	source := s.token
	s.mu.Unlock()
	token, err := source.Token()
	if err == nil {
		return token.AccessToken, nil
	}
	// The library's error has the body of the answer.
	if e := (*oauth2.RetrieveError)(nil); errors.As(err, &e) && e.Response != nil {
		switch status := e.Response.StatusCode; status {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
			return "", refused(host, key, status)
		case http.StatusTooManyRequests:
			return "", &LimitedError{Host: host, RetryAfter: retryAfter(e.Response.Header, c.now()), By: "the processor"}
		default:
			return "", fmt.Errorf("%s: %w: status %d for an access token", host, ErrUnavailable, status)
		}
	}
	return "", fmt.Errorf("%s: %w: no access token", host, ErrUnavailable)
}

// login gets access tokens from a token endpoint that is not one of OAuth 2.0: see
// [Token.Read].
type login struct {
	c   *Client
	url string
	t   Token
}

// Token implements [oauth2.TokenSource]. The error for an answer with another status than
// 200 is that of the library.
func (l login) Token() (*oauth2.Token, error) {
	request, err := http.NewRequest(http.MethodPost, l.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	request.SetBasicAuth(l.t.ClientID, l.t.ClientSecret)
	status, header, body, err := l.c.send(request)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, &oauth2.RetrieveError{Response: &http.Response{StatusCode: status, Header: header}}
	}
	var answer object
	if err := decode(body, &answer); err != nil {
		return nil, err
	}
	token, lifetime := l.t.Read(answer)
	if token == "" {
		return nil, fmt.Errorf("%w: no access token in the answer", ErrUnavailable)
	}
	return &oauth2.Token{AccessToken: token, TokenType: "Bearer", Expiry: time.Now().Add(lifetime)}, nil
}

// send sends a request and reads the answer.
func (c *Client) send(r *http.Request) (status int, header http.Header, body []byte, err error) {
	host := r.URL.Host
	response, err := c.client().Do(r)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%s: %w: %s", host, ErrUnavailable, networkError(err))
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, nil, nil, fmt.Errorf("%s: %w: the answer is incomplete", host, ErrUnavailable)
	case len(body) > maxAnswer:
		return 0, nil, nil, fmt.Errorf("%s: %w: the answer has more than %d bytes", host, ErrUnavailable, maxAnswer)
	}
	return response.StatusCode, response.Header, body, nil
}

// networkError says why a request failed. The text of [url.Error] has the query.
func networkError(err error) string {
	var certificate *tls.CertificateVerificationError
	var e *url.Error
	switch {
	case errors.As(err, &certificate):
		return "its TLS certificate is not valid for this host"
	case errors.As(err, &e) && e.Timeout():
		return "it did not answer in time"
	}
	if e := (*net.OpError)(nil); errors.As(err, &e) {
		return "no connection: check DNS, firewall and HTTPS_PROXY"
	}
	return "the connection failed"
}

// client returns the HTTP client.
func (c *Client) client() *http.Client {
	c.once.Do(func() {
		transport := c.Transport
		if transport == nil {
			transport = &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
				TLSHandshakeTimeout: connectTimeout,
				TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
				ForceAttemptHTTP2:   true,
				MaxIdleConnsPerHost: 16,
				IdleConnTimeout:     90 * time.Second,

				MaxResponseHeaderBytes: 64 << 10,
			}
		}
		if c.Wrap != nil {
			transport = c.Wrap(transport)
		}
		c.http = &http.Client{
			Transport: transport,
			Timeout:   fetchTimeout,
			// A redirect would carry the credential to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	})
	return c.http
}

func (c *Client) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

func (c *Client) observe(call Call) {
	if c.Observe != nil {
		c.Observe(call)
	}
}

// Blocked returns why no request is sent to the API with any of its keys; nil if
// requests are sent.
func (c *Client) Blocked(connector string, a API) error {
	var err error
	for _, key := range a.Keys {
		if err = c.keyState(connector, a, key).blocked(c.now()); err == nil {
			return nil
		}
	}
	return err
}

// keyState returns the state of a key.
func (c *Client) keyState(connector string, a API, key Key) *keyState {
	spec := connectors[connector]
	id := sha256.Sum256([]byte(connector + "\x00" + spec.host(a) + "\x00" + a.ClientID + "\x00" + key.Value))
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.keys[id]
	if s == nil {
		perSecond := cmp.Or(spec.Rate, DefaultRate)
		s = &keyState{
			limiter:  rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond))),
			unsigned: rate.NewLimiter(rate.Limit(perSecond/unsignedShare), max(5, int(perSecond/unsignedShare))),
		}
		if c.keys == nil {
			c.keys = map[[sha256.Size]byte]*keyState{}
		}
		c.keys[id] = s
	}
	return s
}

// blocked returns why the key must not be used now, or nil.
func (s *keyState) blocked(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !now.Before(s.until) {
		return nil
	}
	if limited := (*LimitedError)(nil); errors.As(s.why, &limited) {
		return &LimitedError{Host: limited.Host, RetryAfter: s.until.Sub(now), By: limited.By}
	}
	return s.why
}

// wait waits until the limits allow a request with the key, or returns an error.
func (s *keyState) wait(ctx context.Context, now time.Time, host string, unsigned bool) error {
	if err := s.blocked(now); err != nil {
		return err
	}
	if unsigned && !s.unsigned.AllowN(now, 1) {
		return &LimitedError{Host: host, RetryAfter: defaultRetry, By: "our limit for webhooks that are not signed"}
	}
	reservation := s.limiter.ReserveN(now, 1)
	delay := reservation.DelayFrom(now)
	if delay > maxWait {
		reservation.CancelAt(now)
		return &LimitedError{Host: host, RetryAfter: max(delay, time.Second), By: "our limit for the key"}
	}
	if delay == 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed remembers an error, and for how long it keeps the key from being used.
func (s *keyState) failed(now time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures++
	limited := (*LimitedError)(nil)
	switch {
	case errors.As(err, &limited):
		s.failures = 0
		s.until, s.why = now.Add(limited.RetryAfter), err
	case errors.Is(err, ErrCredentials):
		s.token = nil
		s.until, s.why = now.Add(keyRetry), err
	case s.failures >= outageFailures:
		s.until, s.why = now.Add(outageRetry), err
	}
}

// worked forgets earlier failures.
func (s *keyState) worked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = 0
}

// retryAfter returns the time in the header Retry-After, in seconds or as a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	wait := defaultRetry
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, time.Second), longestRetry)
}
