package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/internal/registry"
	"github.com/tollbridge/tollbridge/internal/suggest"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// config is the configuration file. Flags override environment variables, which
// override the file.
type config struct {
	Listen string `yaml:"listen"` // the address that receives webhooks
	Admin  string `yaml:"admin"`  // the address of /metrics, /healthz and /readyz; not public
	// AdminHosts are host names that requests to admin may have, besides localhost
	// and the address itself.
	AdminHosts  []string `yaml:"admin_hosts"`
	HandleEvent string   `yaml:"handle_event"` // where /v1/handle_event is answered: admin, public, both or off
	State       string   `yaml:"state"`        // a folder; it is rebuilt from Kafka if it is empty

	StateMinFree int64 `yaml:"state_min_free"` // free bytes of the folder's disk, below which the log and /readyz warn

	Console consoleConfig `yaml:"console"`

	Kafka     kafkaConfig      `yaml:"kafka"`
	Endpoints []endpointConfig `yaml:"endpoints"`

	PublicURL      string   `yaml:"public_url"`       // the base of the URLs that processors call; the endpoint's path follows
	MerchantIDKeys []string `yaml:"merchant_id_keys"` // metadata names that have the merchant's id, first match wins

	ShutdownDelay  time.Duration `yaml:"shutdown_delay"`  // from SIGTERM, when /readyz says 503, to the close of listen
	Deadline       time.Duration `yaml:"deadline"`        // from the end of a request's headers to its answer
	MaxBody        int64         `yaml:"max_body"`        // bytes of one webhook
	MaxInFlight    int64         `yaml:"max_in_flight"`   // bytes of all webhooks in progress
	MaxConnections int64         `yaml:"max_connections"` // connections to listen
	TrustedProxies []string      `yaml:"trusted_proxies"` // addresses and networks whose X-Forwarded-For or Forwarded is trusted
	LogLevel       string        `yaml:"log_level"`       // debug, info, warn or error

	file string // the path of the file; empty if there is none
}

type kafkaConfig struct {
	Brokers     []string `yaml:"brokers"`
	Prefix      string   `yaml:"prefix"` // of every topic's name
	Partitions  int      `yaml:"partitions"`
	Replication int      `yaml:"replication"`
	Retention   duration `yaml:"retention"`  // 0: the brokers' default
	MinInSync   int      `yaml:"min_insync"` // 0: replication - 1
	ClientID    string   `yaml:"client_id"`

	Compression string      `yaml:"compression"` // none, gzip, snappy, lz4 or zstd
	TLS         *tlsConfig  `yaml:"tls"`         // nil: no TLS; {}: TLS with the system's certificate authorities
	SASL        *saslConfig `yaml:"sasl"`        // nil: no authentication

	SchemaRegistry *registryConfig `yaml:"schema_registry"` // nil: values are JSON without the id of a schema
}

// registryConfig is [registry.Config].
type registryConfig struct {
	URL  string        `yaml:"url"`
	Auth *registryAuth `yaml:"auth"` // nil: no authentication, or only that of tls
	TLS  *tlsConfig    `yaml:"tls"`  // nil: the system's certificate authorities
}

// registryAuth is a username with a password, or a bearer token.
type registryAuth struct {
	Username string       `yaml:"username"`
	Password secretConfig `yaml:"password"`
	Token    secretConfig `yaml:"token"`
}

// tlsConfig has the paths of PEM files.
type tlsConfig struct {
	CA         string `yaml:"ca"`          // certificate authorities to trust; empty: the system's
	Cert       string `yaml:"cert"`        // the client certificate
	Key        string `yaml:"key"`         // the key of cert
	ServerName string `yaml:"server_name"` // the name in the brokers' certificates; empty: the host of their address
}

type saslConfig struct {
	Mechanism string       `yaml:"mechanism"` // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM
	Username  string       `yaml:"username"`  // of PLAIN and SCRAM only
	Password  secretConfig `yaml:"password"`  // of PLAIN and SCRAM only
	OAuth     *oauthConfig `yaml:"oauth"`     // of OAUTHBEARER only
	AWS       *awsConfig   `yaml:"aws"`       // of AWS_MSK_IAM only; nil: what AWS's SDK finds by itself
}

// awsConfig is [kafka.AWS].
type awsConfig struct {
	Region  string `yaml:"region"`
	Profile string `yaml:"profile"`
}

// oauthConfig is [kafka.OAuth].
type oauthConfig struct {
	TokenURL     string            `yaml:"token_url"`
	ClientID     string            `yaml:"client_id"`
	ClientSecret secretConfig      `yaml:"client_secret"`
	Scopes       []string          `yaml:"scopes"`
	Audience     string            `yaml:"audience"`
	Extensions   map[string]string `yaml:"extensions"`
	CA           string            `yaml:"ca"`
}

type endpointConfig struct {
	Connector      string                  `yaml:"connector"`
	Name           string                  `yaml:"name"` // the last part of the URL's path; "default" may be omitted
	Live           *bool                   `yaml:"live"` // nil is true
	URL            string                  `yaml:"url"`  // the URL that the processor calls; overrides public_url
	Secrets        map[string]secretConfig `yaml:"secrets"`
	Settings       map[string]any          `yaml:"settings"`
	MerchantIDKeys []string                `yaml:"merchant_id_keys"`
	API            *apiConfig              `yaml:"api"`  // nil asks no API
	Gaps           *gapsConfig             `yaml:"gaps"` // nil never looks for webhooks that did not come
}

// apiConfig is the processor's API, which is asked for what webhooks only name.
type apiConfig struct {
	Keys        map[string]secretConfig `yaml:"keys"`        // by name, like secrets
	ClientID    string                  `yaml:"client_id"`   // the public half of a pair, where the processor has one
	Environment string                  `yaml:"environment"` // live or sandbox; empty is live, or sandbox for an endpoint with live: false
	Host        string                  `yaml:"host"`        // only where each merchant has a host
}

// secretConfig is the source of a secret. Exactly one field is set.
type secretConfig struct {
	Value string `yaml:"value"`
	Env   string `yaml:"env"`
	File  string `yaml:"file"`
}

// defaultConfig returns the configuration of an empty file.
func defaultConfig() config {
	return config{
		Listen:      "127.0.0.1:8080",
		Admin:       "127.0.0.1:9090",
		State:       "./state",
		Kafka:       kafkaConfig{Brokers: []string{"127.0.0.1:9092"}, Replication: 3, Retention: duration(35 * 24 * time.Hour), ClientID: "tollbridge"},
		Deadline:    ingest.DefaultDeadline,
		HandleEvent: string(ingest.OnAdmin),
		LogLevel:    "info",
	}
}

// usageError reports a mistake in the command line or the configuration: exit code 2.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// configFlags adds the flags that override the configuration file.
func configFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringP("config", "c", "", "configuration file (YAML)")
	f.String("listen", "", "address that receives webhooks")
	f.String("admin", "", "address of the admin listener: /metrics, /healthz, /readyz, /v1/event_types, /v1/handle_event")
	kafkaFlags(f)
	f.String("public-url", "", "base of the URLs that processors call, such as https://pay.example.com")
	f.String("log-level", "", "debug, info, warn or error")
}

func kafkaFlags(f *pflag.FlagSet) {
	f.StringSlice("brokers", nil, "Kafka brokers, host:port")
	f.String("prefix", "", "prefix of the topics' names")
	f.Int("partitions", 0, "partitions of every topic; 0 is as many as the existing topics have, or 6")
	f.Int("replication", 0, "replicas of every partition")
}

// loadConfig reads the configuration and checks what commands need that run no console: it
// reads no secret of the console.
func loadConfig(c *cobra.Command) (config, error) { return loadChecked(c, config.check) }

// loadServeConfig reads the configuration and checks all of it.
func loadServeConfig(c *cobra.Command) (config, error) {
	return loadChecked(c, func(cfg config) error { return errors.Join(cfg.check(), cfg.checkConsole()) })
}

// loadKafkaConfig reads the configuration and checks what a command needs that only
// connects to Kafka. It reads no secret of an endpoint.
func loadKafkaConfig(c *cobra.Command) (config, error) { return loadChecked(c, config.checkKafka) }

// loadChecked reads the configuration and checks it. With an error it returns as much of the
// configuration as could be read.
func loadChecked(c *cobra.Command, check func(config) error) (config, error) {
	cfg, err := readConfig(c)
	if err != nil {
		return cfg, err
	}
	if err := check(cfg); err != nil {
		return cfg, usageError{err}
	}
	return cfg, nil
}

// readConfig reads the file that --config names and applies the flags, including
// those that were set by environment variables. It checks no value. With an error it
// returns only the name of the file.
func readConfig(c *cobra.Command) (config, error) {
	cfg := defaultConfig()
	file, _ := c.Flags().GetString("config")
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return config{file: file}, usage("--config: %w", err)
		}
		if err := parseConfig(b, &cfg); err != nil {
			return config{file: file}, usage("%s: %w", file, err)
		}
	}
	cfg.file = file
	applyFlags(c.Flags(), &cfg)
	return cfg, nil
}

// parseConfig parses YAML. An unknown key is an error that names its line.
func parseConfig(b []byte, cfg *config) error {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	err := d.Decode(cfg)
	if errors.Is(err, io.EOF) {
		return nil // the file is empty
	}
	var t *yaml.TypeError
	if errors.As(err, &t) {
		return errors.New(plainYAMLError(strings.Join(t.Errors, "\n")))
	}
	if err == nil && !errors.Is(d.Decode(new(any)), io.EOF) {
		return errors.New("there is a second document after '---'; it would be ignored")
	}
	return err
}

var (
	unknownKey = regexp.MustCompile(`field (\S+) not found in type (\S+)`)
	wrongType  = regexp.MustCompile("(?s)cannot unmarshal \\S+ (?:`.*?` )?into (\\S+)")
)

// expected describes the values of each type of [config].
var expected = map[string]string{
	"int": "a whole number", "int64": "a whole number", "bool": "true or false", "string": "text", "[]string": "a list of texts",
	"time.Duration":     "a time with its unit, such as 4s",
	"main.duration":     "a time with its unit, such as 90m or 7d",
	"main.secretConfig": "one of {value: …}, {env: …} and {file: …}",
}

// plainYAMLError rewrites an error of the YAML library in terms of the
// configuration. It removes quoted values, which may be secrets.
func plainYAMLError(s string) string {
	s = unknownKey.ReplaceAllStringFunc(s, func(match string) string {
		m := unknownKey.FindStringSubmatch(match)
		text := "unknown key " + m[1]
		if like := suggest.Closest(m[1], configKeys(reflect.TypeFor[config]())[m[2]]); like != "" {
			text += fmt.Sprintf("; is it %q?", like)
		}
		return text
	})
	return wrongType.ReplaceAllStringFunc(s, func(match string) string {
		return "want " + cmp.Or(expected[wrongType.FindStringSubmatch(match)[1]], "names and values")
	})
}

// configKeys returns the keys of a type of the configuration and of the types in it, by the
// types' names.
func configKeys(t reflect.Type) map[string][]string {
	all := map[string][]string{}
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return all
	}
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if key == "" || key == "-" {
			continue
		}
		all[t.String()] = append(all[t.String()], key)
		maps.Copy(all, configKeys(t.Field(i).Type))
	}
	return all
}

// flagsFromEnv sets each flag that is not on the command line from its environment
// variable, such as --brokers from TOLLBRIDGE_BROKERS.
func flagsFromEnv(f *pflag.FlagSet) (err error) {
	f.VisitAll(func(flag *pflag.Flag) {
		name := envName(flag.Name)
		if value, ok := os.LookupEnv(name); ok && !flag.Changed && flag.Name != "help" {
			if e := f.Set(flag.Name, value); e != nil {
				err = usage("environment variable %s: %w", name, e)
			}
		}
	})
	return err
}

func envName(flag string) string {
	return "TOLLBRIDGE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// applyFlags replaces the file's values by those of the flags that were set.
func applyFlags(f *pflag.FlagSet, cfg *config) {
	text := func(name string, to *string) {
		if f.Changed(name) {
			*to, _ = f.GetString(name)
		}
	}
	number := func(name string, to *int) {
		if f.Changed(name) {
			*to, _ = f.GetInt(name)
		}
	}
	text("listen", &cfg.Listen)
	text("admin", &cfg.Admin)
	text("public-url", &cfg.PublicURL)
	text("log-level", &cfg.LogLevel)
	text("prefix", &cfg.Kafka.Prefix)
	number("partitions", &cfg.Kafka.Partitions)
	number("replication", &cfg.Kafka.Replication)
	if f.Changed("brokers") {
		cfg.Kafka.Brokers, _ = f.GetStringSlice("brokers")
	}
}

// check returns all errors of the configuration that can be found without a
// network, except those of [config.checkConsole].
func (c config) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	errs = append(errs, checkHostPort("listen", c.Listen, 0), checkHostPort("admin", c.Admin, 0)) // port 0 chooses a free one
	errs = append(errs, c.checkKafka())
	if c.Deadline < shortestDeadline || c.Deadline > longestDeadline {
		wrong("deadline: %s is not between %s and %s; write it with its unit, such as 4s", c.Deadline, shortestDeadline, longestDeadline)
	}
	if c.ShutdownDelay < 0 || c.ShutdownDelay > longestShutdownDelay {
		wrong("shutdown_delay: %s is not between 0s and %s", c.ShutdownDelay, longestShutdownDelay)
	}
	if c.StateMinFree < 0 {
		wrong("state_min_free is %d; want a number of bytes, or 0 for %d", c.StateMinFree, history.DefaultMinFree)
	}
	if c.MaxBody < 0 || c.MaxInFlight < 0 || c.MaxConnections < 0 {
		wrong("max_body is %d, max_in_flight %d, max_connections %d; want numbers above 0", c.MaxBody, c.MaxInFlight, c.MaxConnections)
	}
	if _, err := level(c.LogLevel); err != nil {
		errs = append(errs, err)
	}
	server, err := c.server()
	if err == nil { // errors that involve several values
		_, err = ingest.New(server)
	}
	return errors.Join(append(errs, err)...)
}

// checkHostPort returns an error if address is not host:port, or its port is less than
// least.
func checkHostPort(name, address string, least uint64) error {
	_, port, err := net.SplitHostPort(address)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n < least {
		return fmt.Errorf("%s: %q is not host:port, such as 127.0.0.1:9092", name, address)
	}
	return nil
}

// checkPrefix returns an error if no topic's name can begin with the prefix.
func (k kafkaConfig) checkPrefix() error {
	if !kafka.IsPrefix(k.Prefix) {
		return fmt.Errorf("kafka.prefix: %q has characters that a topic's name cannot have", k.Prefix)
	}
	return nil
}

// checkKafka returns all errors of the Kafka part of the configuration that can be
// found without a network.
func (c config) checkKafka() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Kafka.Brokers) == 0 {
		wrong("kafka.brokers: there is none; want host:port of at least one")
	}
	for _, b := range c.Kafka.Brokers {
		errs = append(errs, checkHostPort("kafka.brokers", b, 1))
	}
	errs = append(errs, c.Kafka.checkPrefix())
	if c.Kafka.Partitions < 0 || c.Kafka.Replication < 1 || c.Kafka.MinInSync < 0 || c.Kafka.MinInSync > c.Kafka.Replication {
		wrong("kafka: partitions is %d, replication %d, min_insync %d; want at least 0, 1, and 0 to replication", c.Kafka.Partitions, c.Kafka.Replication, c.Kafka.MinInSync)
	}
	_, err := c.producer()
	_, noRegistry := c.Kafka.SchemaRegistry.client()
	return errors.Join(append(errs, err, noRegistry)...)
}

// client returns a client of the Schema Registry; nil if none is configured. It reads the
// files with certificates, and the password or token.
func (r *registryConfig) client() (*registry.Client, error) {
	if r == nil {
		return nil, nil
	}
	c := registry.Config{URL: r.URL}
	var errs []error
	if a := r.Auth; a != nil {
		c.Username = a.Username
		for _, s := range []struct {
			name string
			from secretConfig
			to   *string
		}{{"password", a.Password, &c.Password}, {"token", a.Token, &c.Token}} {
			if s.from == (secretConfig{}) {
				continue
			}
			value, err := s.from.read()
			if err != nil {
				errs = append(errs, fmt.Errorf("kafka.schema_registry.auth.%s: %w", s.name, err))
			}
			*s.to = value
		}
		if *a == (registryAuth{}) {
			errs = append(errs, errors.New("kafka.schema_registry.auth: expected username and password, or token"))
		}
	}
	if t := r.TLS; t != nil {
		var err error
		if c.TLS, err = kafka.TLS(t.CA, t.Cert, t.Key, t.ServerName); err != nil {
			errs = append(errs, fmt.Errorf("kafka.schema_registry.tls: %w", err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	client, err := registry.New(c)
	if err != nil {
		return nil, fmt.Errorf("kafka.schema_registry.%w", err)
	}
	return client, nil
}

// withSchemaIDs returns the names with the ids of the events' schemas, if there is a
// Schema Registry: what writes events needs them.
func (c config) withSchemaIDs(ctx context.Context, n kafka.Names) (kafka.Names, error) {
	client, err := c.Kafka.SchemaRegistry.client()
	if client == nil || err != nil {
		return n, err
	}
	n.SchemaIDs, err = client.IDs(ctx, n)
	return n, err
}

// server returns the configuration of the HTTP server.
func (c config) server() (ingest.Config, error) {
	endpoints, err := c.endpoints()
	proxies, errProxies := c.trustedProxies()
	hosts := c.AdminHosts
	if host, _, err := net.SplitHostPort(c.Admin); err == nil && host != "" {
		hosts = append(hosts[:len(hosts):len(hosts)], host) // the name in admin; an IP address is always allowed, by the connection
	}
	return ingest.Config{
		Endpoints: endpoints, MaxBody: c.MaxBody, MaxInFlight: c.MaxInFlight, MaxConnections: c.MaxConnections, Deadline: c.Deadline,
		TrustedProxies: proxies, HandleEvent: ingest.Exposure(c.HandleEvent), AdminHosts: hosts,
	}, errors.Join(err, errProxies)
}

// trustedProxies parses trusted_proxies.
func (c config) trustedProxies() (all []netip.Prefix, _ error) {
	var errs []error
	for _, text := range c.TrustedProxies {
		p, err := network(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("trusted_proxies: %w", err))
		}
		all = append(all, p)
	}
	return all, errors.Join(errs...)
}

// network parses an address, or a network such as 10.0.0.0/8.
func network(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Unmap().Prefix(a.Unmap().BitLen())
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is not an address, or a network such as 10.0.0.0/8", text)
	}
	if p.Masked() != p {
		return p, fmt.Errorf("%q has bits beyond its length; want %s", text, p.Masked())
	}
	return p, nil
}

// The limits of deadline: Kafka cannot answer in less time, and neither a processor nor
// the stop of the server waits longer.
const (
	shortestDeadline = 100 * time.Millisecond
	longestDeadline  = 30 * time.Second
)

// longestShutdownDelay is the limit of shutdown_delay.
const longestShutdownDelay = 5 * time.Minute

// endpoints returns the endpoints, and reads their secrets.
func (c config) endpoints() ([]webhook.Endpoint, error) {
	return c.eachEndpoint(readEndpoint)
}

// readEndpoint reads the secrets of an endpoint, and checks it.
func readEndpoint(e *webhook.Endpoint, from endpointConfig) (err error) {
	if e.Keys.Secrets, err = readSecrets(from.Secrets); err != nil {
		return err
	}
	if e.API, err = from.API.read(e.Connector, e.Live); err != nil {
		return err
	}
	if from.Gaps != nil {
		if err := from.Gaps.job(*e).Check(); err != nil {
			return err
		}
	}
	return e.Check()
}

// endpointsWithoutSecrets returns the endpoints for commands that verify nothing.
func (c config) endpointsWithoutSecrets() ([]webhook.Endpoint, error) {
	return c.eachEndpoint(func(*webhook.Endpoint, endpointConfig) error { return nil })
}

// selectEndpoints returns the endpoints that --connector and --endpoint select, after it called
// complete with each. An empty text selects all. It returns an error if none is selected.
func (c config) selectEndpoints(connector, name string, complete func(*webhook.Endpoint, endpointConfig) error) (found []webhook.Endpoint, err error) {
	all, err := c.eachEndpoint(func(e *webhook.Endpoint, from endpointConfig) error {
		if connector != "" && e.Connector != connector || name != "" && e.NameOrDefault() != name {
			return nil
		}
		err := complete(e, from)
		found = append(found, *e)
		return err
	})
	switch {
	case err != nil:
		return nil, usageError{err}
	case len(found) == 0:
		return nil, usage("--connector, --endpoint: want an endpoint of the configuration, which has %s", idsOf(all))
	}
	return found, nil
}

// selectEndpoint returns the one endpoint that --connector and --endpoint select, as
// [config.selectEndpoints] does. It returns an error if they select several.
func (c config) selectEndpoint(connector, name string, complete func(*webhook.Endpoint, endpointConfig) error) (webhook.Endpoint, error) {
	found, err := c.selectEndpoints(connector, name, complete)
	switch {
	case err != nil:
		return webhook.Endpoint{}, err
	case len(found) > 1:
		return webhook.Endpoint{}, usage("--connector, --endpoint: want one endpoint, and not %s", idsOf(found))
	}
	return found[0], nil
}

// idsOf returns the ids of endpoints for an error.
func idsOf(endpoints []webhook.Endpoint) string {
	var ids []string
	for _, e := range endpoints {
		ids = append(ids, e.ID())
	}
	return cmp.Or(strings.Join(ids, ", "), "none")
}

// eachEndpoint returns the endpoints without secrets, after it called complete with each.
func (c config) eachEndpoint(complete func(*webhook.Endpoint, endpointConfig) error) ([]webhook.Endpoint, error) {
	var all []webhook.Endpoint
	var errs []error
	for i, e := range c.Endpoints {
		settings, err := settingTexts(e.Settings)
		one := webhook.Endpoint{
			Connector:      e.Connector,
			Name:           e.Name,
			Live:           e.Live == nil || *e.Live,
			URL:            e.URL,
			PublicURL:      c.PublicURL,
			MerchantIDKeys: slices.Concat(e.MerchantIDKeys, c.MerchantIDKeys),
			Keys:           verify.Keys{Settings: settings},
		}
		if err == nil {
			err = complete(&one, e)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("endpoints[%d] (%s): %w", i, e.Connector, err))
		}
		all = append(all, one)
	}
	return all, errors.Join(errs...)
}

// read returns the API with its keys; nil if there is none.
func (a *apiConfig) read(connector string, live bool) (*fetch.API, error) {
	if a == nil {
		return nil, nil
	}
	keys, err := readSecrets(a.Keys)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	api := a.withoutKeys(connector, live)
	for _, k := range keys {
		api.Keys = append(api.Keys, fetch.Key{Name: k.Name, Value: k.Value})
	}
	return &api, nil
}

// withoutKeys returns the API without its keys. The configuration may be nil.
func (a *apiConfig) withoutKeys(connector string, live bool) fetch.API {
	if a == nil {
		a = &apiConfig{}
	}
	api := fetch.API{ClientID: a.ClientID, Environment: fetch.Environment(a.Environment), Host: a.Host}
	if c, ok := fetch.Lookup(connector); a.Environment == "" && !live && ok && (c.Hosts == nil || c.Hosts[fetch.Sandbox] != "") {
		api.Environment = fetch.Sandbox
	}
	return api
}

// readSecrets reads the secrets and returns them sorted by name.
func readSecrets(from map[string]secretConfig) ([]verify.Secret, error) {
	var all []verify.Secret
	for _, name := range slices.Sorted(maps.Keys(from)) {
		value, err := from[name].read()
		if err != nil {
			return nil, fmt.Errorf("secrets.%s: %w", name, err)
		}
		all = append(all, verify.Secret{Name: name, Value: value})
	}
	return all, nil
}

func (s secretConfig) read() (value string, err error) {
	switch {
	case s.Value != "" && s.Env == "" && s.File == "":
		return s.Value, nil
	case s.Env != "" && s.Value == "" && s.File == "":
		if value = os.Getenv(s.Env); value == "" {
			return "", fmt.Errorf("the environment variable %s is not set or empty", s.Env)
		}
		return value, nil
	case s.File != "" && s.Value == "" && s.Env == "":
		b, err := os.ReadFile(s.File)
		if err != nil {
			return "", err
		}
		if value = strings.TrimRight(string(b), "\r\n"); value == "" {
			return "", fmt.Errorf("the file %s is empty", s.File)
		}
		return value, nil
	}
	return "", errors.New("want exactly one of value, env and file, and it must not be empty")
}

// settingTexts returns settings as text: lists and maps become JSON.
func settingTexts(from map[string]any) (map[string]string, error) {
	all := map[string]string{}
	for name, value := range from {
		switch v := value.(type) {
		case string:
			all[name] = v
		case nil:
			return nil, fmt.Errorf("settings.%s has no value", name)
		case bool:
			all[name] = strconv.FormatBool(v)
		case uint64, int64, int, float64:
			all[name] = fmt.Sprint(v)
		default:
			b, err := json.Marshal(v)
			if err != nil {
				return nil, fmt.Errorf("settings.%s: %w", name, err)
			}
			all[name] = string(b)
		}
	}
	return all, nil
}

// layout returns the configured layout of the topics, with the topics of the event types
// that the endpoints can report; of all event types if there are no endpoints.
func (c config) layout() kafka.Layout {
	var types []schemas.Type
	if len(c.Endpoints) > 0 {
		reported := map[schemas.Type]bool{}
		for _, e := range c.Endpoints {
			n, _ := normalize.Lookup(e.Connector)
			for _, t := range n.Types() {
				reported[t] = true
			}
		}
		types = slices.DeleteFunc(schemas.Types(), func(t schemas.Type) bool { return !reported[t] })
	}
	return kafka.Layout{
		Names:       kafka.Names{Prefix: c.Kafka.Prefix, Types: types},
		Partitions:  c.Kafka.Partitions,
		Replication: c.Kafka.Replication,
		Retention:   time.Duration(c.Kafka.Retention),
		MinInSync:   c.Kafka.MinInSync,
	}
}

// producer returns how to connect to Kafka and how to write to it. It reads the
// files with certificates and the password.
func (c config) producer() (publish.Config, error) {
	k := c.Kafka
	to := publish.Config{Kafka: kafka.Config{Brokers: k.Brokers, ClientID: k.ClientID}}
	var errs []error
	if k.Compression != "" {
		if err := to.Compression.UnmarshalText([]byte(k.Compression)); err != nil {
			errs = append(errs, fmt.Errorf("kafka.compression: expected none, gzip, snappy, lz4 or zstd, got %q", k.Compression))
		}
	}
	if t := k.TLS; t != nil {
		var err error
		if to.Kafka.TLS, err = kafka.TLS(t.CA, t.Cert, t.Key, t.ServerName); err != nil {
			errs = append(errs, fmt.Errorf("kafka.tls: %w", err))
		}
	}
	if k.SASL != nil {
		var err error
		if k.SASL.Mechanism == mechanismMSK && k.TLS == nil {
			errs = append(errs, errors.New("kafka.sasl: AWS_MSK_IAM wants kafka.tls: {}: Amazon MSK offers it only with TLS, at port 9098 or 9198"))
		}
		if to.Kafka.SASL, err = k.SASL.authentication(); err != nil {
			errs = append(errs, fmt.Errorf("kafka.sasl: %w", err))
		}
	}
	return to, errors.Join(errs...)
}

// mechanismMSK is the mechanism of Amazon MSK with IAM.
const mechanismMSK = "AWS_MSK_IAM"

// authentication returns the SASL mechanism. It reads the password or the client's secret.
func (a saslConfig) authentication() (sasl.Mechanism, error) {
	noUser := a.Username == "" && a.Password == secretConfig{}
	switch {
	case a.Mechanism != mechanismMSK && a.AWS != nil:
		return nil, fmt.Errorf("aws belongs to the mechanism AWS_MSK_IAM, got %q", a.Mechanism)
	case a.Mechanism == mechanismMSK && (a.OAuth != nil || !noUser):
		return nil, errors.New("AWS_MSK_IAM wants no username, password and oauth: AWS's SDK finds the credentials; aws: {region: …, profile: …} may help it")
	case a.Mechanism == mechanismMSK:
		var from kafka.AWS
		if a.AWS != nil {
			from = kafka.AWS(*a.AWS)
		}
		m, err := kafka.AWSMSKIAM(context.Background(), from)
		if err != nil {
			return nil, fmt.Errorf("aws: %w", err)
		}
		return m, nil
	case a.Mechanism == "OAUTHBEARER" && (a.OAuth == nil || !noUser):
		return nil, errors.New("OAUTHBEARER wants oauth: {token_url: …, client_id: …, client_secret: …}, and no username and password")
	case a.Mechanism != "OAUTHBEARER" && a.OAuth != nil:
		return nil, fmt.Errorf("oauth belongs to the mechanism OAUTHBEARER, got %q", a.Mechanism)
	case a.Mechanism == "OAUTHBEARER":
		secret, err := a.OAuth.ClientSecret.read()
		if err != nil {
			return nil, fmt.Errorf("oauth.client_secret: %w", err)
		}
		m, err := kafka.OAuthBearer(kafka.OAuth{
			TokenURL: a.OAuth.TokenURL, ClientID: a.OAuth.ClientID, ClientSecret: secret, Scopes: a.OAuth.Scopes,
			Audience: a.OAuth.Audience, Extensions: a.OAuth.Extensions, CA: a.OAuth.CA,
		})
		if err != nil {
			return nil, fmt.Errorf("oauth: %w", err)
		}
		return m, nil
	}
	var errs []error
	if a.Username == "" {
		errs = append(errs, errors.New("username: it is empty"))
	}
	password, err := a.Password.read()
	if err != nil {
		errs = append(errs, fmt.Errorf("password: %w", err))
	}
	m, err := kafka.SASL(a.Mechanism, a.Username, password)
	return m, errors.Join(append(errs, err)...)
}
