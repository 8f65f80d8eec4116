package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// OAuth says where tokens for the SASL mechanism OAUTHBEARER come from: the token endpoint
// of an OAuth 2.0 server, by the grant of client credentials (RFC 6749, section 4.4).
type OAuth struct {
	TokenURL     string // https, or http to a loopback address
	ClientID     string
	ClientSecret string
	Scopes       []string          // empty: what the server grants by default
	Audience     string            // sent as the parameter audience, which some servers require; may be empty
	Extensions   map[string]string // SASL extensions for the broker, such as logicalCluster
	CA           string            // a PEM file with the certificate authorities of TokenURL; empty: the system's
}

// OAuthBearer returns the mechanism OAUTHBEARER (RFC 7628). It fetches a token for the
// first connection, keeps it, and replaces it after [tokenRenewal] of its lifetime. If the
// token endpoint does not answer then, the kept token is used until it expires.
func OAuthBearer(o OAuth) (sasl.Mechanism, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	trusted, err := TLS(o.CA, "", "", "")
	if err != nil {
		return nil, err
	}
	config := clientcredentials.Config{ClientID: o.ClientID, ClientSecret: o.ClientSecret, TokenURL: o.TokenURL, Scopes: o.Scopes}
	if o.Audience != "" {
		config.EndpointParams = url.Values{"audience": {o.Audience}}
	}
	return &oauthBearer{
		fetch: config.Token, endpoint: o.TokenURL, extensions: o.Extensions,
		client: &http.Client{
			Timeout:       tokenTimeout,
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: trusted, TLSHandshakeTimeout: tokenTimeout, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the request has the client's secret
		},
	}, nil
}

// tokenTimeout is how long a token endpoint may take.
const tokenTimeout = 10 * time.Second

// tokenRenewal is the part of a token's lifetime after which a new one is fetched. It is
// less than the part of a session's lifetime after which a connection is replaced (see
// [Conn.Expired]), so that the new connection has a new token.
const tokenRenewal = 0.7

func (o OAuth) check() error {
	u, err := url.Parse(o.TokenURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("token_url: expected a URL such as https://sso.example.com/oauth2/token, got %q", o.TokenURL)
	}
	if u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		return fmt.Errorf("token_url: expected https, since the request has the client's secret, got %q", o.TokenURL)
	}
	if o.ClientID == "" || o.ClientSecret == "" {
		return errors.New("client_id and client_secret: expected both, got an empty one")
	}
	for name, value := range o.Extensions { // RFC 7628, section 3.1: kvpairs
		if !extensionName.MatchString(name) || name == "auth" || strings.ContainsFunc(value, notInExtension) {
			return fmt.Errorf("extensions: expected a name of letters other than auth, and a value of printable ASCII, got %q: %q", name, value)
		}
	}
	return nil
}

var extensionName = regexp.MustCompile(`^[A-Za-z]+$`)

func notInExtension(r rune) bool { return r > '~' || r < ' ' && r != '\t' && r != '\r' && r != '\n' }

// oauthBearer is the mechanism OAUTHBEARER. Any number of goroutines may use it.
type oauthBearer struct {
	fetch      func(context.Context) (*oauth2.Token, error)
	client     *http.Client // calls the token endpoint
	endpoint   string
	extensions map[string]string

	mutex sync.Mutex // held while a token is fetched
	token *oauth2.Token
	renew time.Time // when token is replaced; zero: never
}

// Name returns the name of the mechanism.
func (*oauthBearer) Name() string { return "OAUTHBEARER" }

// Start returns the client's only message: the token and the extensions.
func (b *oauthBearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	token, err := b.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	message := "n,,\x01auth=Bearer " + token + "\x01"
	for _, name := range slices.Sorted(maps.Keys(b.extensions)) {
		message += name + "=" + b.extensions[name] + "\x01"
	}
	return bearerExchange{}, []byte(message + "\x01"), nil
}

// current returns a token, and fetches one if there is none or it is time to renew it.
func (b *oauthBearer) current(ctx context.Context) (string, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	now := time.Now()
	if b.token != nil && (b.renew.IsZero() || now.Before(b.renew)) {
		return b.token.AccessToken, nil
	}
	token, err := b.fetch(context.WithValue(ctx, oauth2.HTTPClient, b.client))
	if err != nil {
		if b.token != nil && now.Before(b.token.Expiry) {
			return b.token.AccessToken, nil
		}
		return "", fmt.Errorf("fetching a token from %s: %w", b.endpoint, plainTokenError(err))
	}
	if strings.ContainsAny(token.AccessToken, "\x00\x01") {
		return "", fmt.Errorf("fetching a token from %s: the token has control characters", b.endpoint)
	}
	b.token, b.renew = token, time.Time{}
	if !token.Expiry.IsZero() {
		b.renew = now.Add(time.Duration(float64(token.Expiry.Sub(now)) * tokenRenewal))
	}
	return token.AccessToken, nil
}

// plainTokenError returns an error of one line. It leaves out the body of the response,
// which could repeat the client's secret.
func plainTokenError(err error) error {
	var r *oauth2.RetrieveError
	if !errors.As(err, &r) {
		return err
	}
	if r.ErrorCode != "" {
		return fmt.Errorf("it answers %s, %s %q", r.Response.Status, r.ErrorCode, r.ErrorDescription)
	}
	return fmt.Errorf("it answers %s", r.Response.Status)
}

// bearerExchange is the exchange after the client's message.
type bearerExchange struct{}

// Next reads the broker's answer: empty if it accepts the token, else the reason as JSON.
// After a reason, RFC 7628 has the client answer one byte; Kafka ends the session then. The
// error has the reason, so there is no need to.
func (bearerExchange) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) > 0 {
		return false, nil, fmt.Errorf("the broker refuses the token: %.300q", challenge)
	}
	return true, nil, nil
}
