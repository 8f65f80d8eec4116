package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/webhook"
)

// createFlags are the flags of `tollbridge endpoints create`.
type createFlags struct {
	connector, endpoint         string
	keyEnv, keyFile, secretFile string
	apiVersion                  string
	types                       []string
	yes, json                   bool
}

func endpointsCreateCommand() *cobra.Command {
	var q createFlags
	c := &cobra.Command{
		Use:   "create",
		Short: "Make the webhook endpoint at the processor",
		Long: `Make the webhook endpoint of one configured endpoint at its processor, with our
address and the event types that make events. Without --yes, the command only
shows what it would do. If the processor already has an endpoint with our
address, nothing is changed.

It needs an API key that may write, which the server never has: --write-key-env
or --write-key-file. Do not put it into the configuration. Of api in the
configuration, only client_id, environment and host are used.

The signing secret is written to a new file of mode 0600, --secret-file, and
never to the terminal. The command makes the file before it asks the processor,
so that the secret cannot be lost. At the end it prints what to add to the
configuration.

` + strings.Join(wrap("It can make endpoints of "+strings.Join(fetch.CreatesEndpoints(), ", ")+". For the others it says how a person makes one.", helpWidth), "\n") + `

Exit codes: 0 made, shown, or already there; 1 failed; 2 the command line or the
configuration is wrong.`,
		Example: `  tollbridge endpoints create --config tollbridge.yaml --connector stripe
  tollbridge endpoints create --config tollbridge.yaml --connector stripe \
    --write-key-env STRIPE_WRITE_KEY --secret-file stripe-secret --yes`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return q.run(c) },
	}
	f := c.Flags()
	sessionFlags(c)
	f.StringVar(&q.connector, "connector", "", "the endpoint's connector")
	f.StringVar(&q.endpoint, "endpoint", "", "the endpoint's name, if the connector has several")
	f.StringVar(&q.keyEnv, "write-key-env", "", "environment variable with the API key that may write")
	f.StringVar(&q.keyFile, "write-key-file", "", "file with the API key that may write; - reads standard input")
	f.StringVar(&q.secretFile, "secret-file", "", "new file for the signing secret")
	f.StringSliceVar(&q.types, "types", nil, "the processor's event types, instead of all that make events")
	f.StringVar(&q.apiVersion, "api-version", "", "API version of the webhooks, where the processor takes one")
	f.BoolVar(&q.yes, "yes", false, "make the endpoint")
	f.BoolVar(&q.json, "json", false, "print as JSON")
	return c
}

// creationReport is what `tollbridge endpoints create` prints. It has no secret.
type creationReport struct {
	Connector  string            `json:"connector"`
	Endpoint   string            `json:"endpoint"`       // its name
	Host       string            `json:"host,omitempty"` // of the processor's API
	URL        string            `json:"url"`
	Docs       string            `json:"docs,omitempty"`     // of the processor's API that makes endpoints
	Types      []string          `json:"types,omitempty"`    // to subscribe to; none is all
	LeftOut    []string          `json:"left_out,omitempty"` // that the processor's API does not offer
	APIVersion string            `json:"api_version,omitempty"`
	ByHand     string            `json:"by_hand,omitempty"`   // how a person makes it, where tollbridge cannot
	Keys       string            `json:"write_key,omitempty"` // which rights the writing key needs
	Asked      bool              `json:"asked"`               // the processor was asked what it has
	Existing   *fetch.Hook       `json:"existing,omitempty"`  // with our address
	Nothing    bool              `json:"nothing"`             // nothing is to be made: Existing is there
	Made       *fetch.Hook       `json:"made,omitempty"`
	MaybeMade  bool              `json:"maybe_made,omitempty"` // an answer was lost, or the secret
	SecretFile string            `json:"secret_file,omitempty"`
	SignedWith string            `json:"signed_with,omitempty"` // in words
	Settings   map[string]string `json:"settings,omitempty"`    // to add to our endpoint

	secretName string // for the configuration
}

func (q *createFlags) run(c *cobra.Command) error {
	cfg, err := loadKafkaConfig(c)
	if err != nil {
		return err
	}
	var from endpointConfig
	e, err := cfg.selectEndpoint(q.connector, q.endpoint, func(_ *webhook.Endpoint, one endpointConfig) error {
		from = one
		return nil
	})
	if err != nil {
		return err
	}
	i, err := infoOf(e.Connector)
	if err != nil {
		return err
	}
	r := creationReport{Connector: e.Connector, Endpoint: e.NameOrDefault(), URL: addressOf(e), Types: i.Subscribe, APIVersion: q.apiVersion, secretName: freeSecretName(from)}
	if len(q.types) > 0 {
		r.Types = q.types
	}
	if u, err := url.Parse(r.URL); err != nil || u.Scheme != "https" {
		return usage("the address of %s is %q: want one that begins with https:// (set url or public_url)", e.ID(), r.URL)
	}
	creation, ok := fetch.CreationOf(e.Connector)
	if !ok {
		r.ByHand = byHand(i)
		if q.yes {
			return errors.Join(q.print(c, r), errRefused)
		}
		return q.print(c, r)
	}
	r.Docs, r.Keys, r.SignedWith = creation.Docs, creation.Keys, creation.Without
	switch {
	case creation.Without != "":
	case creation.Chosen:
		r.SignedWith = "a secret that tollbridge makes and writes to --secret-file"
	default:
		r.SignedWith = "a secret that the processor makes; it goes to --secret-file"
	}
	if err := q.check(creation, e.Connector); err != nil {
		return err
	}
	key, err := q.key(c.InOrStdin())
	if err != nil {
		return err
	}
	if key == nil {
		if r.Types, r.LeftOut, err = fetch.OfferedTypes(e.Connector, r.Types); err != nil {
			return usage("--types: %w", err)
		}
		return q.print(c, r)
	}
	api := from.API.withoutKeys(e.Connector, e.Live)
	api.Keys = []fetch.Key{*key}
	if err := fetch.Check(e.Connector, api); err != nil {
		return usageError{err}
	}
	r.Host = fetch.HostOf(e.Connector, api)
	err = q.create(c.Context(), e, api, &r)
	return errors.Join(q.print(c, r), err)
}

// freeSecretName returns a name for the new secret that no secret of the endpoint has.
func freeSecretName(e endpointConfig) string {
	name := "main"
	for n := 2; ; n++ {
		if _, taken := e.Secrets[name]; !taken {
			return name
		}
		name = fmt.Sprint("main", n)
	}
}

// check returns an error for flags that do not fit together.
func (q *createFlags) check(creation fetch.Creation, connector string) error {
	hasKey := q.keyEnv != "" || q.keyFile != ""
	switch {
	case q.keyEnv != "" && q.keyFile != "":
		return usage("--write-key-env and --write-key-file: want one of them")
	case q.yes && !hasKey:
		return usage("--yes needs the key that may write: --write-key-env or --write-key-file, with %s", creation.Keys)
	case q.apiVersion != "" && !creation.Versions:
		return usage("--api-version: the endpoints of %s have none", connector)
	case q.secretFile != "" && creation.Without != "":
		return usage("--secret-file: the endpoints of %s have no secret of their own: %s", connector, creation.Without)
	case q.yes && q.secretFile == "" && creation.Without == "":
		return usage("--yes needs --secret-file, a new file for the signing secret")
	}
	return nil
}

// key returns the key that may write; nil if no flag names one.
func (q *createFlags) key(in io.Reader) (*fetch.Key, error) {
	switch {
	case q.keyFile != "":
		value, err := readKey(in, q.keyFile)
		return &fetch.Key{Name: "--write-key-file", Value: value}, err
	case q.keyEnv != "":
		value := os.Getenv(q.keyEnv)
		if value == "" {
			return nil, usage("--write-key-env: the environment variable %s is not set or empty", q.keyEnv)
		}
		return &fetch.Key{Name: "--write-key-env", Value: value}, nil
	}
	return nil, nil
}

// create asks the processor what it has and, with --yes, makes the endpoint. It completes
// the report.
func (q *createFlags) create(ctx context.Context, e webhook.Endpoint, api fetch.API, r *creationReport) (err error) {
	connector := e.Connector
	var file *secretFile
	if q.yes && q.secretFile != "" {
		if file, err = newSecretFile(q.secretFile); err != nil {
			return usage("--secret-file: %w", err)
		}
		defer func() {
			if file != nil {
				err = errors.Join(err, file.remove())
			}
		}()
	}
	var caller fetch.Caller
	plan, err := caller.PlanHook(ctx, connector, api, fetch.NewHook{URL: r.URL, Types: r.Types, APIVersion: r.APIVersion, Settings: e.Keys.Settings})
	if err != nil {
		return withRights(err, r.Keys)
	}
	r.Asked, r.Types, r.LeftOut, r.Existing = true, plan.New.Types, plan.LeftOut, plan.Existing
	r.Nothing = plan.Nothing
	if !q.yes || plan.Nothing {
		return nil
	}
	if plan.New.Secret = fetch.NewSecret(connector); plan.New.Secret != "" {
		if err := file.write(plan.New.Secret); err != nil {
			return fmt.Errorf("--secret-file: %w; nothing was asked of the processor", err)
		}
	}
	made, err := caller.CreateHook(ctx, connector, api, plan)
	lost := errors.Is(err, fetch.ErrUnavailable) && !errors.Is(err, fetch.ErrLimited) // it may appear later
	r.MaybeMade = lost || errors.Is(err, fetch.ErrMaybeMade)
	switch {
	case r.MaybeMade && plan.New.Secret != "":
		kept := file.path
		file = nil // the endpoint may have this secret
		return fmt.Errorf("%w; if it was made, its secret is in %s: keep the file, and name another one when you run the command again", err, kept)
	case err != nil:
		return withRights(err, r.Keys)
	}
	r.Made, r.Settings = &made.Hook, made.Settings
	if file != nil && plan.New.Secret == "" {
		if err := file.write(made.Secret); err != nil {
			return fmt.Errorf("--secret-file: %w: the endpoint %s was made, but its secret is not saved: delete the endpoint at the processor, and run the command again", err, made.ID)
		}
	}
	if file != nil {
		r.SecretFile, file = file.path, nil
	}
	return nil
}

// withRights adds to the error of a refused key which rights it needs.
func withRights(err error, keys string) error {
	if errors.Is(err, fetch.ErrCredentials) {
		return fmt.Errorf("%w. It needs to be %s", err, keys)
	}
	return err
}

// byHand says how a person makes the endpoint of a connector.
func byHand(i connectorInfo) string {
	where := cmp.Or(i.EndpointByHand, "its dashboard or its support")
	return fmt.Sprintf("tollbridge cannot make endpoints of %s. Make it by hand, with this address and these event types: %s. See %s", i.Name, where, i.Docs[0])
}

func (q *createFlags) print(c *cobra.Command, r creationReport) error {
	if q.json {
		return writeJSON(c.OutOrStdout(), r)
	}
	t := columns(c)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "\t%s\t%s\n", name, oneLine(value))
		}
	}
	fmt.Fprintf(t, "%s\t%s\n", r.Connector+"/"+r.Endpoint, oneLine(r.state(q.yes)))
	line("address", r.URL)
	if !r.Nothing {
		types := strings.Join(r.Types, ", ")
		line("event types", cmp.Or(types, "all"))
		line("left out", strings.Join(r.LeftOut, ", "))
	}
	if r.Made == nil && !r.Nothing {
		line("API version", cmp.Or(r.APIVersion, "the processor's default"))
		line("signed with", r.SignedWith)
		line("writing key", r.Keys)
		line("documentation", r.Docs)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.Made == nil {
		return nil
	}
	return r.printConfig(c.OutOrStdout())
}

// state says in one line what was done.
func (r creationReport) state(yes bool) string {
	at := ""
	if r.Host != "" {
		at = " at " + r.Host
	}
	switch {
	case r.ByHand != "":
		return r.ByHand
	case r.Made != nil:
		return fmt.Sprintf("made%s: %s", at, r.Made.ID)
	case r.Nothing:
		what := r.Existing.ID
		if !r.Existing.Enabled {
			what += ", disabled"
		}
		return fmt.Sprintf("an endpoint with this address is already there%s (%s): nothing is changed; 'tollbridge endpoints check' compares it", at, what)
	case r.MaybeMade:
		return "an endpoint may have been made" + at + ": see the error"
	case yes:
		return "nothing was made" + at
	case !r.Asked && r.Host != "":
		return "there is no plan" + at
	case !r.Asked:
		return "this is a plan, and the processor was not asked; it needs --write-key-env or --write-key-file, and --yes makes the endpoint"
	}
	return "this is a plan" + at + ": --yes makes the endpoint"
}

// printConfig prints what to add to the configuration.
func (r creationReport) printConfig(w io.Writer) error {
	add := map[string]any{}
	if r.SecretFile != "" {
		add["secrets"] = map[string]any{r.secretName: map[string]string{"file": r.SecretFile}}
	}
	if len(r.Settings) > 0 {
		add["settings"] = r.Settings
	}
	if len(add) == 0 {
		_, err := fmt.Fprintf(w, "\n%s\n", r.SignedWith)
		return err
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(add); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nAdd to the endpoint %s of the configuration:\n\n%s", r.Connector+"/"+r.Endpoint, indented(b.String(), "    "))
	return err
}

// indented returns a text with an indent before each line.
func indented(text, indent string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(indent + line)
	}
	return b.String()
}

// secretFile is a new file for a signing secret.
type secretFile struct {
	file *os.File
	path string // absolute
}

// secretRoom is how many bytes a new file gets before the secret is known, so that a full
// disk is found before the processor is asked.
const secretRoom = 4 << 10

// newSecretFile makes a file of mode 0600 and checks that it can be written. It refuses a
// name that exists.
func newSecretFile(name string) (*secretFile, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("want a file that does not exist, in a folder that can be written: %w", err)
	}
	s := &secretFile{file, path}
	// A reader of the configuration takes line breaks alone for an empty file.
	if _, err = file.Write(bytes.Repeat([]byte("\n"), secretRoom)); err == nil {
		err = file.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// write replaces the content by the secret and makes it durable.
func (s *secretFile) write(secret string) error {
	content := []byte(secret + "\n")
	if _, err := s.file.WriteAt(content, 0); err != nil {
		return err
	}
	if err := s.file.Truncate(int64(len(content))); err != nil {
		return err
	}
	return s.file.Sync()
}

// remove removes the file.
func (s *secretFile) remove() error {
	return errors.Join(s.file.Close(), os.Remove(s.path))
}
