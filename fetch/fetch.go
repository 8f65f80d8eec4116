// Package fetch asks a processor's API for what a webhook only names: Mollie's classic
// webhook is the id of a payment and nothing else. It stands between verification and
// normalisation.
//
// There is one file for each connector. It says what to ask for a verified webhook, how
// to sign the request, and whether the answer belongs to the webhook. All of that is
// pure. [Client] sends the requests, under limits. This file holds the table of
// connectors and what they share.
//
// The host of a request comes from the table, or from the merchant's configuration
// where each merchant has a host, never from a webhook. An id in a path has the
// processor's form and is escaped. Nothing here logs, and no error has a key, a query or
// a body; only [Caller.CreateHook] adds the message of a refusal.
//
// The package knows nothing of Kafka and of HTTP servers, and imports only schemas of
// ours.
package fetch

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/tollbridge/tollbridge/schemas"
)

// connectors are the connectors whose processor has an API to ask, by name. Each has
// one line here and a file of its own.
var connectors = map[string]Connector{
	"adyen":             adyen,
	"authorizenet":      authorizenet,
	"billplz":           billplz,
	"braintree":         braintree,
	"btcpay":            btcpay,
	"checkout":          checkout,
	"coinbase-commerce": coinbaseCommerce,
	"flutterwave":       flutterwave,
	"gocardless":        gocardless,
	"lithic":            lithic,
	"mercadopago":       mercadopago,
	"midtrans":          midtrans,
	"modern-treasury":   modernTreasury,
	"mollie":            mollie,
	"monnify":           monnify,
	"paddle":            paddle,
	"paystack":          paystack,
	"paypal":            paypal,
	"portone":           portone,
	"razorpay":          razorpay,
	"recurly":           recurly,
	"shopify":           shopify,
	"square":            square,
	"stripe":            stripe,
	"svix":              svix,
	"truelayer":         truelayer,
	"wallee":            wallee,
	"worldline-connect": worldlineConnect,
	"xendit":            xendit,
}

// Connector describes how the API of a processor is asked.
type Connector struct {
	Docs string // URL of the processor's documentation of the API
	Lost string // what events lack without the API, in one line
	Must bool   // without the API, webhooks give no events, or events without an amount
	Keys string // which credential, with which rights and from where, in one line
	// Hosts has the API's host for each environment. It is nil if each merchant has a
	// host, which [API.Host] configures.
	Hosts    map[Environment]string
	HostHint string // what to write as [API.Host], if Hosts is nil
	// HostForm is the form of [API.Host] if Hosts is nil; nil is any DNS name with an
	// optional port. The key is sent to that host.
	HostForm *regexp.Regexp
	// OtherHosts are the hosts of other regions, which [API.Host] may name instead of
	// those in Hosts.
	OtherHosts []string
	// ClientID says what [API.ClientID] is, in one line. It is empty if there is none.
	ClientID string
	// ClientIDForm is the form of [API.ClientID]; nil is any.
	ClientIDForm *regexp.Regexp
	// Rate is how many requests a second [Client] sends with one key: at most the
	// processor's limit. 0 is [DefaultRate], for processors that publish no limit.
	Rate float64

	// plan returns the requests that the webhook needs; none if the webhook has
	// everything. It is pure. An error means that the webhook names nothing that can be
	// asked for: it is then normalised as it is if it is signed, and refused if not.
	plan func(w Webhook, a API) ([]Request, error)
	// then returns further requests, which the answers of plan's requests make
	// necessary. Nil means none.
	then func(w Webhook, a API, answers []schemas.Fetched) ([]Request, error)
	// authorize adds the credential to a request. Nil sends it as a bearer token.
	authorize func(r *http.Request, a API, key Key, now time.Time) error
	// token describes how an access token is got with the key, by OAuth 2.0 client
	// credentials. Nil means that the key itself is the credential. The client caches
	// the token and calls authorize with it in place of the key.
	token func(a API, key Key) Token
	// check returns an error that wraps [ErrAccount] if the answer, whose status is 200,
	// is for another object or account than the webhook's, or in another mode. The API may
	// be without keys: a replay has none.
	check func(w Webhook, a API, f schemas.Fetched) error
	// unknown reports whether an answer other than 404 means that the API does not know
	// the object. Nil means that only 404 does.
	unknown func(status int, body []byte) bool
}

// DefaultRate is the default of [Connector.Rate], in requests a second.
const DefaultRate = 10

// Environment selects the live or the test system of a processor.
type Environment string

// The environments. Live is the default.
const (
	Live    Environment = "live"
	Sandbox Environment = "sandbox"
)

// API is the configuration of a processor's API for one endpoint.
type API struct {
	Keys        []Key  // several while one replaces another: the first that works is used
	ClientID    string // the public half of a pair, where the processor has one
	Environment Environment
	Host        string // only where each merchant has a host
}

// Key is one of the credentials for an API.
type Key struct {
	Name  string // in the configuration, or the flag of the command line that has the key
	Value string
}

// place says, for an error, where the key is.
func (k Key) place() string {
	if strings.HasPrefix(k.Name, "--") {
		return k.Name
	}
	return "api.keys." + k.Name
}

// Token describes a request for an OAuth 2.0 access token by client credentials.
type Token struct {
	Host         string // of the token endpoint; empty is the API's host
	Path         string
	ClientID     string
	ClientSecret string
	Scopes       []string
	Basic        bool // the credentials are sent as Basic authentication, not in the form
	// Read reads the answer of a token endpoint that is not one of OAuth 2.0: it gets the
	// credentials as Basic authentication and no form. Nil is for one of OAuth 2.0.
	Read func(answer object) (token string, lifetime time.Duration)
}

// Webhook is a verified webhook, or one that its processor does not sign.
type Webhook struct {
	Payload []byte
	Query   url.Values // of the request
	// Unsigned says that nothing in the webhook is verified: the API's answer has to
	// show that it is genuine.
	Unsigned bool
	Live     bool              // the endpoint takes real money
	Settings map[string]string // of the endpoint
}

// Request is one request to the API. Its host is that of the connector.
type Request struct {
	Name   string // see [schemas.Fetched.Name]
	Method string // empty is GET; POST only where it reads
	Path   string // with escaped segments: see [segment]
	Query  url.Values
	Header http.Header
	Body   []byte
}

// maxRequests is how many requests one webhook may cause.
const maxRequests = 5

// Errors that say why there is no answer. The text of an error names the host and says
// what to do. It has no key, no query and no body; only [Caller.CreateHook] adds the message
// of a refusal.
var (
	// ErrUnknownObject means that the API does not know the object.
	ErrUnknownObject = errors.New("the processor's API does not know the object")
	// ErrAccount means that the object is another one than the webhook's, or of another
	// account or mode.
	ErrAccount = errors.New("the object is not the webhook's, or of another account or mode")
	// ErrCredentials means that the API refuses every key.
	ErrCredentials = errors.New("the processor's API refuses our key")
	// ErrUnavailable means that the API gives no usable answer now.
	ErrUnavailable = errors.New("the processor's API gives no answer")
	// ErrLimited means that no more requests are allowed now: see [LimitedError].
	ErrLimited = errors.New("too many requests to the processor's API")
	// ErrNothingToAsk means that an unsigned webhook names nothing to ask for.
	ErrNothingToAsk = errors.New("the webhook is not signed and names no object")
)

// LimitedError is the error of a request that the processor's limit, or ours, does not
// allow now.
type LimitedError struct {
	Host       string
	RetryAfter time.Duration
	By         string // who limits, in words
}

func (e *LimitedError) Error() string {
	return fmt.Sprintf("%s: %s allows no more requests for %s", e.Host, e.By, e.RetryAfter.Round(time.Second))
}

// Unwrap returns [ErrLimited] and [ErrUnavailable].
func (e *LimitedError) Unwrap() []error { return []error{ErrLimited, ErrUnavailable} }

// Connectors returns the names of the connectors with an API, sorted.
func Connectors() []string { return slices.Sorted(maps.Keys(connectors)) }

// Lookup returns the connector of that name, and whether there is one.
func Lookup(connector string) (Connector, bool) {
	c, ok := connectors[connector]
	return c, ok
}

// Check returns an error for a configuration with which the API cannot be asked.
func Check(connector string, a API) error {
	c, ok := connectors[connector]
	switch {
	case !ok:
		return fmt.Errorf("api: tollbridge does not ask the API of %s; remove api", connector)
	case len(a.Keys) == 0:
		return fmt.Errorf("api.keys: there is none; want %s", c.Keys)
	case c.ClientID != "" && a.ClientID == "":
		return fmt.Errorf("api.client_id is not set: want %s", c.ClientID)
	case c.ClientIDForm != nil && !c.ClientIDForm.MatchString(a.ClientID):
		return fmt.Errorf("api.client_id is %q: want %s", a.ClientID, c.ClientID)
	case c.ClientID == "" && a.ClientID != "":
		return fmt.Errorf("api.client_id: %s has none; remove it", connector)
	case c.Hosts == nil && a.Host == "":
		return fmt.Errorf("api.host is not set: want %s", c.HostHint)
	case c.Hosts != nil && a.Host != "" && len(c.OtherHosts) > 0 && !slices.Contains(c.OtherHosts, a.Host):
		return fmt.Errorf("api.host is %q: want %s, or none for %s", a.Host, strings.Join(c.OtherHosts, ", "), c.host(API{}))
	case c.Hosts != nil && a.Host != "" && len(c.OtherHosts) == 0:
		return fmt.Errorf("api.host: %s has one host, %s; remove it", connector, c.host(a))
	case a.Environment != "" && a.Environment != Live && a.Environment != Sandbox:
		return fmt.Errorf("api.environment is %q, want live or sandbox", a.Environment)
	case c.Hosts != nil && c.host(a) == "":
		return fmt.Errorf("api.environment is %q: %s has only %s", a.Environment, connector, joinedEnvironments(c.Hosts))
	case c.Hosts == nil && !cmp.Or(c.HostForm, hostPattern).MatchString(a.Host):
		return fmt.Errorf("api.host is %q, want a host without https:// and path, such as %s", a.Host, c.HostHint)
	}
	for _, k := range a.Keys {
		if strings.TrimSpace(k.Value) != k.Value || len(k.Value) < minKeyBytes {
			return fmt.Errorf("%s: it has white space around it, or less than %d bytes; use the one that the processor shows", k.place(), minKeyBytes)
		}
		for _, r := range k.Value {
			if r < ' ' || r == 0x7f {
				return fmt.Errorf("%s: it has a control character; use the one that the processor shows", k.place())
			}
		}
	}
	return nil
}

// minKeyBytes is the least length of a key: the same as of a webhook's secret.
const minKeyBytes = 8

// hostPattern is a DNS name, with an optional port.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+(:[0-9]{1,5})?$`)

func joinedEnvironments(hosts map[Environment]string) string {
	var all []string
	for _, e := range slices.Sorted(maps.Keys(hosts)) {
		all = append(all, string(e))
	}
	return strings.Join(all, ", ")
}

// HostOf returns the host of the API that a connector's requests go to.
func HostOf(connector string, a API) string { return connectors[connector].host(a) }

// host returns the host to ask.
func (c Connector) host(a API) string {
	if c.Hosts == nil || slices.Contains(c.OtherHosts, a.Host) {
		return a.Host
	}
	return c.Hosts[cmp.Or(a.Environment, Live)]
}

// Needs reports whether the events of the webhook need an answer of the API. An
// unsigned webhook always does.
func Needs(connector string, w Webhook, a API) bool {
	requests, _ := connectors[connector].requests(w, a)
	return w.Unsigned || len(requests) > 0
}

// requests returns plan's requests. It turns a panic into an error.
func (c Connector) requests(w Webhook, a API) (all []Request, err error) {
	defer func() {
		if p := recover(); p != nil {
			all, err = nil, fmt.Errorf("%w: the connector panicked: %v", ErrNothingToAsk, p)
		}
	}()
	if c.plan == nil {
		return nil, nil
	}
	if all, err = c.plan(w, a); err != nil {
		return nil, err
	}
	return all, nil
}

// Belongs returns nil if each document that the API knows belongs to the webhook, and
// else an error that wraps [ErrAccount]. It asks nobody: a replay calls it with the
// archived documents.
func Belongs(connector string, w Webhook, a API, documents []schemas.Fetched) error {
	c := connectors[connector]
	if c.check == nil {
		return nil
	}
	for _, d := range documents {
		if d.Status != http.StatusOK {
			continue
		}
		if err := c.check(w, a, d); err != nil {
			return fmt.Errorf("%s: %s: %w", d.Host, d.Name, err)
		}
	}
	return nil
}

// segment returns an id as one segment of a path.
func segment(id string) string {
	if id == "." || id == ".." { // PathEscape leaves dots as they are
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return url.PathEscape(id)
}

// decode reads JSON. An error wraps [ErrUnavailable]: the API would answer JSON.
func decode(body []byte, v any) error {
	if err := json.Unmarshal(bytes.TrimPrefix(body, byteOrderMark), v); err != nil {
		return fmt.Errorf("%w: it is not the JSON that the API documents", ErrUnavailable)
	}
	return nil
}
