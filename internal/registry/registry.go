// Package registry registers the JSON Schemas of events in a Schema Registry, and finds
// their ids there. It speaks the REST API of Confluent's Schema Registry, which Karapace,
// Redpanda and Apicurio (at /apis/ccompat/v7) have, too:
// https://docs.confluent.io/platform/current/schema-registry/develop/api.html
//
// The subject of a topic's schema is the topic's name and "-value" (TopicNameStrategy).
// The schemas are those of [schemas.RegistrySchema]. Nothing else is registered: keys are
// plain text, and archived webhooks are what the processor sent.
//
// The server asks the registry only when it starts: the ids of registered schemas never
// change.
package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/schemas"
)

// ErrUnavailable is wrapped if the registry does not answer, or answers that it cannot do
// its work now.
var ErrUnavailable = errors.New("the schema registry is unavailable")

// Config says where the registry is. Username and Password, or Token, are sent with every
// request; all may be empty.
type Config struct {
	URL                string // https, or http if no credentials are sent to another host; may have a path
	Username, Password string
	Token              string      // a bearer token
	TLS                *tls.Config // nil trusts the system's certificate authorities
}

// Client asks a registry.
type Client struct {
	url    string
	client *sr.Client
}

// requestTimeout is how long the registry may take to answer a request.
const requestTimeout = 10 * time.Second

// New returns a client. It does not connect. An error says what is wrong with the
// configuration.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("url: expected a URL such as https://registry.example.com, without a query")
	}
	if u.User != nil {
		return nil, errors.New("url: expected no user in it; write auth: {username: …, password: …}")
	}
	options := []sr.ClientOpt{sr.URLs(c.URL), sr.UserAgent("tollbridge"), sr.LogLevel(sr.LogLevelNone)}
	switch basic := c.Username != "" || c.Password != ""; {
	case basic && c.Token != "":
		return nil, errors.New("auth: expected username and password, or token, got both")
	case basic && (c.Username == "" || c.Password == ""):
		return nil, errors.New("auth: expected username and password, got only one of them")
	case basic:
		options = append(options, sr.BasicAuth(c.Username, c.Password))
	case c.Token != "":
		options = append(options, sr.BearerToken(c.Token))
	}
	if (c.Username != "" || c.Token != "") && u.Scheme == "http" && !kafka.IsLoopback(u.Hostname()) {
		return nil, fmt.Errorf("url: expected https, since requests have credentials, got %q", c.URL)
	}
	client, err := sr.NewClient(append(options, sr.HTTPClient(&http.Client{
		Timeout:       requestTimeout,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.TLS, TLSHandshakeTimeout: requestTimeout, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // requests have credentials
	}))...)
	if err != nil {
		return nil, err
	}
	return &Client{url: c.URL, client: client}, nil
}

// Subject is the state of an event type's schema in the registry.
type Subject struct {
	Name string `json:"subject"`
	// ID is the id of the schema that this version of tollbridge writes; 0 if it is not
	// registered.
	ID uint32 `json:"id,omitempty"`
	// Registered is set by [Client.Register] if it registered the schema.
	Registered bool `json:"registered,omitempty"`

	exists bool // the subject has a schema, but perhaps another one
}

// subject returns the subject of a topic, by TopicNameStrategy.
func subject(topic string) string { return topic + "-value" }

// Plan returns the state of the schema of each event type that has a topic.
func (c *Client) Plan(ctx context.Context, n kafka.Names) (map[schemas.Type]Subject, error) {
	all := map[schemas.Type]Subject{}
	for _, t := range n.EventTypes() {
		s, err := c.find(ctx, subject(n.Event(t)), t)
		if err != nil {
			return nil, err
		}
		all[t] = s
	}
	return all, nil
}

// IDs returns the id of the schema of each event type that has a topic. It returns an
// error if one is not registered.
func (c *Client) IDs(ctx context.Context, n kafka.Names) (map[schemas.Type]uint32, error) {
	all, err := c.Plan(ctx, n)
	if err != nil {
		return nil, err
	}
	ids := map[schemas.Type]uint32{}
	var missing []string
	for _, t := range n.EventTypes() {
		if ids[t] = all[t].ID; ids[t] == 0 {
			missing = append(missing, all[t].Name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the schema registry at %s lacks the schemas of this version for the subjects %s; register them with 'tollbridge topics apply' and the same configuration",
			c.url, strings.Join(missing, ", "))
	}
	return ids, nil
}

// Register registers the schema of each event type that has a topic, unless it is
// registered already, and sets the compatibility of the subjects to BACKWARD: the registry
// then refuses a schema by which older events could not be read.
func (c *Client) Register(ctx context.Context, n kafka.Names) (map[schemas.Type]Subject, error) {
	all, err := c.Plan(ctx, n)
	if err != nil {
		return nil, err
	}
	for _, t := range n.EventTypes() {
		s := all[t]
		if s.exists { // before the next schema is compared
			if err := c.setBackward(ctx, s.Name); err != nil {
				return nil, err
			}
		}
		if s.ID == 0 {
			id, err := c.client.RegisterSchema(ctx, s.Name, schemaOf(t), -1, -1)
			if err != nil {
				return nil, c.failed("registering the schema of "+s.Name, err)
			}
			if s.ID, err = checkID(id); err != nil {
				return nil, c.failed("registering the schema of "+s.Name, err)
			}
			s.Registered = true
		}
		if !s.exists { // some registries know a subject only once it has a schema
			if err := c.setBackward(ctx, s.Name); err != nil {
				return nil, err
			}
		}
		all[t] = s
	}
	return all, nil
}

// setBackward sets the compatibility of a subject.
func (c *Client) setBackward(ctx context.Context, subject string) error {
	if now := c.client.Compatibility(ctx, subject)[0]; now.Err == nil && now.Level == sr.CompatBackward {
		return nil
	}
	return c.failed("setting the compatibility of "+subject, c.client.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatBackward}, subject)[0].Err)
}

func schemaOf(t schemas.Type) sr.Schema {
	return sr.Schema{Schema: string(schemas.RegistrySchema(t)), Type: sr.TypeJSON}
}

// The error codes of the REST API for a subject without any schema, and for a schema that
// is not among those of the subject.
const (
	codeNoSubject = 40401
	codeNoSchema  = 40403
)

// find returns the state of a subject.
func (c *Client) find(ctx context.Context, subject string, t schemas.Type) (Subject, error) {
	found, err := c.client.LookupSchema(ctx, subject, schemaOf(t))
	var r *sr.ResponseError
	if errors.As(err, &r) && (r.ErrorCode == codeNoSubject || r.ErrorCode == codeNoSchema) {
		return Subject{Name: subject, exists: r.ErrorCode == codeNoSchema}, nil
	}
	id := uint32(0)
	if err == nil {
		id, err = checkID(found.ID)
	}
	if err != nil {
		return Subject{}, c.failed("looking up the schema of "+subject, err)
	}
	return Subject{Name: subject, ID: id, exists: true}, nil
}

// errOtherService says that an answer is not that of a schema registry.
var errOtherService = errors.New("not the answer of a schema registry")

// checkID returns an id that the registry answered, if it can be one.
func checkID(id int) (uint32, error) {
	if id < 1 || id > math.MaxInt32 {
		return 0, fmt.Errorf("%w: the answer has the id %d, expected a number from 1 to 2147483647", errOtherService, id)
	}
	return uint32(id), nil
}

// failed returns the error of a request in plain words; nil if err is nil.
func (c *Client) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	var r *sr.ResponseError
	if !errors.As(err, &r) {
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, errOtherService) {
			return fmt.Errorf("%s: %s does not answer as a schema registry: check url: %w", doing, c.url, err)
		}
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
	}
	answer := fmt.Sprintf("%s: the registry at %s answers %d, %.500q", doing, c.url, r.StatusCode, cmp.Or(r.Message, string(r.Raw)))
	switch {
	case r.StatusCode >= 500 || r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusRequestTimeout:
		return fmt.Errorf("%w: %s", ErrUnavailable, answer)
	case r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: check auth, and the rights of that user", answer)
	case r.StatusCode == http.StatusConflict:
		return fmt.Errorf("%s: an earlier schema of the subject is not compatible with that of this version; if another program registered it, delete the subject", answer)
	case r.StatusCode == http.StatusNotFound || r.StatusCode < 400:
		return fmt.Errorf("%s: check url: it is the base of the registry's API, for Apicurio with /apis/ccompat/v7", answer)
	}
	return errors.New(answer)
}
