package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/history"
	"github.com/tollbridge/tollbridge/internal/kafka"
	"github.com/tollbridge/tollbridge/publish"
	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// config is the configuration file. Flags win over environment variables, and
// those over the file.
type config struct {
	Listen string `yaml:"listen"` // of the webhooks
	Admin  string `yaml:"admin"`  // of /metrics, /healthz and /readyz; not for the outside
	// AdminHosts are names that admin may be called by, beside localhost and its
	// own address.
	AdminHosts  []string `yaml:"admin_hosts"`
	HandleEvent string   `yaml:"handle_event"` // where /v1/handle_event is answered: admin, public, both or off
	State       string   `yaml:"state"`        // a folder, rebuilt from Kafka when empty

	StateMinFree int64 `yaml:"state_min_free"` // bytes of its disk; with fewer free the log and /readyz warn

	Kafka     kafkaConfig      `yaml:"kafka"`
	Endpoints []endpointConfig `yaml:"endpoints"`

	PublicURL      string   `yaml:"public_url"`       // what processors call: an endpoint's URL is this and its path
	MerchantIDKeys []string `yaml:"merchant_id_keys"` // names to look for in free metadata, in this order

	Deadline       time.Duration `yaml:"deadline"`        // from the end of a webhook's headers to its answer
	MaxBody        int64         `yaml:"max_body"`        // bytes of one webhook
	MaxInFlight    int64         `yaml:"max_in_flight"`   // bytes of all webhooks under way
	MaxConnections int64         `yaml:"max_connections"` // connections of webhooks
	TrustedProxies []string      `yaml:"trusted_proxies"` // addresses and networks whose X-Forwarded-For or Forwarded is believed
	LogLevel       string        `yaml:"log_level"`       // debug, info, warn or error

	file string // that it was read from
}

type kafkaConfig struct {
	Brokers     []string      `yaml:"brokers"`
	Prefix      string        `yaml:"prefix"` // of every topic's name
	Partitions  int           `yaml:"partitions"`
	Replication int           `yaml:"replication"`
	Retention   time.Duration `yaml:"retention"`  // 0: the brokers'
	MinInSync   int           `yaml:"min_insync"` // 0: one fewer than replication
	ClientID    string        `yaml:"client_id"`

	Compression string      `yaml:"compression"` // none, gzip, snappy, lz4 or zstd
	TLS         *tlsConfig  `yaml:"tls"`         // absent: none; {}: with the system's authorities
	SASL        *saslConfig `yaml:"sasl"`        // absent: none
}

// tlsConfig names files in PEM.
type tlsConfig struct {
	CA         string `yaml:"ca"`          // the authorities to trust; empty: the system's
	Cert       string `yaml:"cert"`        // what tollbridge shows, with key
	Key        string `yaml:"key"`         //
	ServerName string `yaml:"server_name"` // in the brokers' certificates; empty: their addresses' hosts
}

type saslConfig struct {
	Mechanism string       `yaml:"mechanism"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	Username  string       `yaml:"username"`
	Password  secretConfig `yaml:"password"`
}

type endpointConfig struct {
	Connector      string                  `yaml:"connector"`
	Name           string                  `yaml:"name"` // the end of the URL's path; "default" may be left out there
	Live           *bool                   `yaml:"live"` // true if it is not said
	URL            string                  `yaml:"url"`  // what the processor calls; wins over public_url
	Secrets        map[string]secretConfig `yaml:"secrets"`
	Settings       map[string]any          `yaml:"settings"`
	MerchantIDKeys []string                `yaml:"merchant_id_keys"`
}

// secretConfig is where a secret is: exactly one of the three is set.
type secretConfig struct {
	Value string `yaml:"value"`
	Env   string `yaml:"env"`
	File  string `yaml:"file"`
}

// standard is what a configuration that says nothing means.
func standard() config {
	return config{
		Listen:      "127.0.0.1:8080",
		Admin:       "127.0.0.1:9090",
		State:       "./state",
		Kafka:       kafkaConfig{Brokers: []string{"127.0.0.1:9092"}, Partitions: 12, Replication: 3, Retention: 35 * 24 * time.Hour, ClientID: "tollbridge"},
		Deadline:    ingest.DefaultDeadline,
		HandleEvent: string(ingest.OnAdmin),
		LogLevel:    "info",
	}
}

// usageError is what the person at the keyboard can mend: exit code 2.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// configFlags are the flags that say what the file would.
func configFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringP("config", "c", "", "configuration file (YAML)")
	f.String("listen", "", "address that webhooks come to")
	f.String("admin", "", "address of /metrics, /healthz, /readyz and /v1/handle_event")
	kafkaFlags(f)
	f.String("public-url", "", "what processors call, such as https://pay.example.com")
	f.String("log-level", "", "debug, info, warn or error")
}

func kafkaFlags(f *pflag.FlagSet) {
	f.StringSlice("brokers", nil, "Kafka brokers, host:port")
	f.String("prefix", "", "prefix of the topics' names")
	f.Int("partitions", 0, "partitions of every topic")
	f.Int("replication", 0, "replicas of every partition")
}

// loadConfig reads the file that --config names, and puts the flags over it:
// those that were given, and those that environment variables stand for.
func loadConfig(c *cobra.Command) (config, error) {
	cfg := standard()
	file, _ := c.Flags().GetString("config")
	if file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return config{}, usage("--config: %w", err)
		}
		if err := parseConfig(b, &cfg); err != nil {
			return config{}, usage("%s: %w", file, err)
		}
	}
	cfg.file = file
	overlay(c.Flags(), &cfg)
	if err := cfg.check(); err != nil {
		return config{}, usageError{err}
	}
	return cfg, nil
}

// parseConfig reads YAML strictly: an unknown key is an error that names its line.
func parseConfig(b []byte, cfg *config) error {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	err := d.Decode(cfg)
	if errors.Is(err, io.EOF) {
		return nil // an empty file says nothing
	}
	var t *yaml.TypeError
	if errors.As(err, &t) {
		return errors.New(ourWords(strings.Join(t.Errors, "\n")))
	}
	if err == nil && !errors.Is(d.Decode(new(any)), io.EOF) {
		return errors.New("there is a second document after '---'; nothing would be done by it")
	}
	return err
}

var (
	unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)
	wrongType  = regexp.MustCompile("(?s)cannot unmarshal \\S+ (?:`.*?` )?into (\\S+)")
)

// wants is what a value should have been, by its type in [config].
var wants = map[string]string{
	"int": "a whole number", "int64": "a whole number", "bool": "true or false", "string": "text", "[]string": "a list of texts",
	"time.Duration":     "a time with its unit, such as 4s",
	"main.secretConfig": "one of {value: …}, {env: …} and {file: …}",
}

// ourWords puts what the YAML library says into words of configuration. What
// it quotes is left out: it may be a secret.
func ourWords(s string) string {
	s = unknownKey.ReplaceAllString(s, "unknown key $1")
	return wrongType.ReplaceAllStringFunc(s, func(match string) string {
		return "want " + cmp.Or(wants[wrongType.FindStringSubmatch(match)[1]], "names and values")
	})
}

// flagsFromEnv sets every flag that is not given from its environment variable,
// such as --brokers from TOLLBRIDGE_BROKERS.
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

// overlay puts the flags that were given over the file's values.
func overlay(f *pflag.FlagSet, cfg *config) {
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

// check returns everything that is wrong and needs no network to see.
func (c config) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	hostPort := func(name, address string, fixed bool) {
		_, port, err := net.SplitHostPort(address)
		if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || fixed && n == 0 {
			wrong("%s: %q is not host:port, such as 127.0.0.1:9092", name, address)
		}
	}
	hostPort("listen", c.Listen, false) // port 0 takes any
	hostPort("admin", c.Admin, false)
	if len(c.Kafka.Brokers) == 0 {
		wrong("kafka.brokers: there is none; want host:port of at least one")
	}
	for _, b := range c.Kafka.Brokers {
		hostPort("kafka.brokers", b, true)
	}
	if strings.Trim(c.Kafka.Prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
		wrong("kafka.prefix: %q has characters that a topic's name cannot have", c.Kafka.Prefix)
	}
	if c.Kafka.Partitions < 1 || c.Kafka.Replication < 1 || c.Kafka.MinInSync < 0 || c.Kafka.MinInSync > c.Kafka.Replication {
		wrong("kafka: partitions is %d, replication %d, min_insync %d; want at least 1, 1, and 0 to replication", c.Kafka.Partitions, c.Kafka.Replication, c.Kafka.MinInSync)
	}
	if _, err := c.producer(); err != nil {
		errs = append(errs, err)
	}
	if c.Deadline < shortestDeadline || c.Deadline > longestDeadline {
		wrong("deadline: %s is not between %s and %s; write it with its unit, such as 4s", c.Deadline, shortestDeadline, longestDeadline)
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
	if err == nil { // what only shows in all of it together
		_, err = ingest.New(server)
	}
	if err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// server is what the configuration says of the HTTP server.
func (c config) server() (ingest.Config, error) {
	endpoints, err := c.endpoints()
	errs := []error{err}
	var proxies []netip.Prefix
	for _, text := range c.TrustedProxies {
		p, err := network(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("trusted_proxies: %w", err))
		}
		proxies = append(proxies, p)
	}
	hosts := c.AdminHosts
	if host, _, err := net.SplitHostPort(c.Admin); err == nil && host != "" {
		hosts = append(hosts[:len(hosts):len(hosts)], host) // a name that it listens on; an address is known by the connection
	}
	return ingest.Config{
		Endpoints: endpoints, MaxBody: c.MaxBody, MaxInFlight: c.MaxInFlight, MaxConnections: c.MaxConnections, Deadline: c.Deadline,
		TrustedProxies: proxies, HandleEvent: ingest.Exposure(c.HandleEvent), AdminHosts: hosts,
	}, errors.Join(errs...)
}

// network reads an address, or a network such as 10.0.0.0/8.
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

// The deadlines that make sense: below, Kafka cannot be asked; above, no
// processor waits, and a stop would not.
const (
	shortestDeadline = 100 * time.Millisecond
	longestDeadline  = 30 * time.Second
)

// endpoints returns the endpoints with their secrets read.
func (c config) endpoints() ([]webhook.Endpoint, error) {
	var all []webhook.Endpoint
	var errs []error
	for i, e := range c.Endpoints {
		at := fmt.Sprintf("endpoints[%d] (%s)", i, e.Connector)
		settings, err := settingTexts(e.Settings)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", at, err))
			continue
		}
		secrets, err := readSecrets(e.Secrets)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", at, err))
			continue
		}
		one := webhook.Endpoint{
			Connector:      e.Connector,
			Name:           e.Name,
			Live:           e.Live == nil || *e.Live,
			URL:            e.URL,
			PublicURL:      c.PublicURL,
			MerchantIDKeys: slices.Concat(e.MerchantIDKeys, c.MerchantIDKeys),
			Keys:           verify.Keys{Secrets: secrets, Settings: settings},
		}
		if err := one.Check(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", at, err))
		}
		all = append(all, one)
	}
	return all, errors.Join(errs...)
}

// readSecrets returns the secrets by name, sorted.
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

// settingTexts returns settings as text: what is structured becomes JSON.
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

// layout is how the topics should be.
func (c config) layout() kafka.Layout {
	return kafka.Layout{
		Names:       kafka.Names{Prefix: c.Kafka.Prefix},
		Partitions:  c.Kafka.Partitions,
		Replication: c.Kafka.Replication,
		Retention:   c.Kafka.Retention,
		MinInSync:   c.Kafka.MinInSync,
	}
}

// producer returns how to reach Kafka and how to write to it. It reads the
// certificate and password files.
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
	if a := k.SASL; a != nil {
		password, err := a.Password.read()
		if err != nil {
			errs = append(errs, fmt.Errorf("kafka.sasl.password: %w", err))
		}
		if a.Username == "" {
			errs = append(errs, errors.New("kafka.sasl.username: it is empty"))
		}
		if to.Kafka.SASL, err = kafka.SASL(a.Mechanism, a.Username, password); err != nil {
			errs = append(errs, fmt.Errorf("kafka.sasl: %w", err))
		}
	}
	return to, errors.Join(errs...)
}
