package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollbridge/tollbridge/fetch"
	"github.com/tollbridge/tollbridge/ingest"
	"github.com/tollbridge/tollbridge/internal/sign"
	"github.com/tollbridge/tollbridge/normalize"
	"github.com/tollbridge/tollbridge/normalize/samples"
	"github.com/tollbridge/tollbridge/schemas"
	"github.com/tollbridge/tollbridge/verify"
)

// connectorInfo is what `tollbridge connectors` prints about one connector.
type connectorInfo struct {
	Name     string          `json:"name"`
	Signs    string          `json:"signs"`
	Covers   verify.Coverage `json:"covers"`
	Weakness string          `json:"weakness,omitempty"`
	Key      string          `json:"merchant_transaction_id"`
	Events   []schemas.Type  `json:"events,omitempty"` // the types that the samples give
	Answer   string          `json:"answer"`
	Deadline string          `json:"deadline"`
	Settings []settingInfo   `json:"settings,omitempty"`
	Keyless  bool            `json:"keyless"`
	Docs     []string        `json:"docs"`
	Samples  []string        `json:"samples"`
	// Subscribe are the processor's event types to subscribe to, as its dashboard or
	// API names them: all that are not redundant.
	Subscribe  []string        `json:"subscribe,omitempty"`
	EventTypes []eventTypeInfo `json:"event_types,omitempty"`
	API        *apiInfo        `json:"api,omitempty"`  // nil if tollbridge does not ask the processor's API
	Gaps       *listInfo       `json:"gaps,omitempty"` // nil if tollbridge reads no list of the processor
	// EndpointCheck says which rights the key of `tollbridge endpoints check` needs; empty if the processor cannot be asked.
	EndpointCheck string `json:"endpoint_check,omitempty"`
	// EndpointCreate says which rights the key of `tollbridge endpoints create` needs; empty if it cannot make endpoints of the processor.
	EndpointCreate string `json:"endpoint_create,omitempty"`
	// EndpointByHand says where a person makes the webhook endpoint, where no API makes it; it may be empty.
	EndpointByHand string `json:"endpoint_by_hand,omitempty"`
}

// listInfo says what `tollbridge gaps` reads, in the output of `tollbridge connectors`.
type listInfo struct {
	Lists   fetch.ListKind `json:"lists"`
	Publish bool           `json:"publish"`
	Resend  bool           `json:"resend"`
	Days    int            `json:"days,omitempty"` // 0 if the processor publishes no limit
	Keys    string         `json:"keys"`
	Note    string         `json:"note,omitempty"`
}

// listOf returns what `tollbridge gaps` reads of a connector; nil if nothing.
func listOf(connector string) *listInfo {
	l, ok := fetch.ListOf(connector)
	if !ok {
		return nil
	}
	return &listInfo{l.Kind, l.Publish, l.Resends(), int(l.Retention.Hours() / 24), l.Keys, l.Note}
}

// lines returns the names and values of the description.
func (l *listInfo) lines() [][2]string {
	if l == nil {
		return nil
	}
	text := "lists " + string(l.Lists)
	if l.Days > 0 {
		text += fmt.Sprintf(" of the last %d days", l.Days)
	}
	text += "; " + l.ways()
	return [][2]string{{"gaps", text}, {"gaps keys", l.Keys}, {"gaps note", l.Note}}
}

// ways says what can be done about gaps.
func (l *listInfo) ways() string {
	switch {
	case l.Publish && l.Resend:
		return "--publish, --resend"
	case l.Publish:
		return "--publish"
	case l.Resend:
		return "--resend"
	}
	return "only reported"
}

// column is the column gaps of the table of all connectors.
func (l *listInfo) column() string {
	if l == nil {
		return ""
	}
	return string(l.Lists)
}

// apiInfo says what tollbridge asks the processor's API for, in the output of
// `tollbridge connectors`.
type apiInfo struct {
	Needed   bool     `json:"needed"` // without it, webhooks make no events, or events without an amount
	Without  string   `json:"without"`
	Keys     string   `json:"keys"`
	ClientID string   `json:"client_id,omitempty"`
	Hosts    []string `json:"hosts,omitempty"` // empty if the endpoint's api.host says it
	Host     string   `json:"host,omitempty"`  // what to write as api.host
}

// apiOf returns what tollbridge asks the API of a connector for; nil if nothing.
func apiOf(connector string) *apiInfo {
	f, ok := fetch.Lookup(connector)
	if !ok {
		return nil
	}
	hosts := slices.Compact(slices.Sorted(maps.Values(f.Hosts)))
	return &apiInfo{Needed: f.Must, Without: f.Lost, Keys: f.Keys, ClientID: f.ClientID, Hosts: hosts, Host: f.HostHint}
}

// lines returns the names and values of the description.
func (a *apiInfo) lines() [][2]string {
	if a == nil {
		return nil
	}
	all := [][2]string{{"without api", a.Without}, {"api keys", a.Keys}, {"api client_id", a.ClientID}, {"api host", a.Host}}
	if len(a.Hosts) > 0 {
		all = append(all, [2]string{"api", "https://" + strings.Join(a.Hosts, ", https://")})
	}
	return all
}

// column is the column api of the table of all connectors.
func (a *apiInfo) column() string {
	switch {
	case a == nil || a.Without == "": // only lists
		return ""
	case a.Needed:
		return "needed"
	}
	return "helps"
}

// eventTypeInfo is one of the processor's event types in the output of `tollbridge
// connectors`.
type eventTypeInfo struct {
	Type         string         `json:"type"` // connector_event_type
	Tells        []schemas.Type `json:"tells"`
	Subscription string         `json:"subscription,omitempty"` // the name to subscribe to, if it is another one
	Instead      string         `json:"instead,omitempty"`      // the event type that reports the same fact
	Setting      string         `json:"setting,omitempty"`      // the value of the setting tells with which this type gives events
}

// redundant reports whether other event types report the same facts, whatever the
// settings.
func (e eventTypeInfo) redundant() bool {
	return e.Instead != "" && !strings.HasPrefix(e.Instead, "with tells")
}

// settingInfo is a setting of an endpoint in the output of `tollbridge connectors`.
type settingInfo struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Required    bool   `json:"required"` // serve and config check refuse an endpoint without it
}

func connectorsCommand() *cobra.Command {
	var asJSON, asMarkdown bool
	c := &cobra.Command{
		Use:   "connectors [NAME]",
		Short: "List the connectors, or describe one",
		Long: `List the connectors and what their processors sign, or describe one: the
weaknesses of its signature, where the merchant's id comes from, the settings of
its endpoints, and the processor's event types, with the events that each makes.
"subscribe to" lists the event types to subscribe to.`,
		Example: `  tollbridge connectors
  tollbridge connectors adyen
  tollbridge connectors --markdown > docs/connectors.md`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return completeNth(args, verify.Connectors()), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				i, err := infoOf(args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSON(c.OutOrStdout(), i)
				}
				return i.print(c)
			}
			return listConnectors(c, asJSON, asMarkdown)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print each connector as one line of JSON, or one connector as an object")
	c.Flags().BoolVar(&asMarkdown, "markdown", false, "print the description of every connector as Markdown")
	return c
}

func infoOf(name string) (connectorInfo, error) {
	v, ok := verify.Lookup(name)
	if !ok {
		return connectorInfo{}, unknownConnector("NAME", name)
	}
	n, _ := normalize.Lookup(name)
	m := ingest.ResponseProfileOf(name)
	i := connectorInfo{
		Name: name, Signs: v.Signs, Covers: v.Covers, Weakness: v.Weakness, Key: n.Key,
		Answer: m.Description, Deadline: m.Deadline.String(),
		API:     apiOf(name),
		Gaps:    listOf(name),
		Keyless: v.Keyless, Docs: []string{v.Docs, n.Docs}, Samples: samples.Names(name),
	}
	i.EndpointCheck, _ = fetch.EndpointKeys(name)
	if creation, ok := fetch.CreationOf(name); ok {
		i.EndpointCreate = creation.Keys
	}
	i.EndpointByHand = fetch.EndpointByHand(name)
	for _, s := range v.Settings {
		i.Settings = append(i.Settings, settingInfo{s.Name, s.Description, s.Required || s.Endpoint})
	}
	for _, s := range n.Settings {
		i.Settings = append(i.Settings, settingInfo{Name: s.Name, Description: s.Description})
	}
	for _, t := range n.Tellers {
		e := eventTypeInfo{t.Event, t.Facts, t.Subscription, t.Instead, t.Tells}
		i.EventTypes = append(i.EventTypes, e)
		if t.Subscription == normalize.NoSubscription {
			continue
		}
		for _, one := range strings.FieldsFunc(strings.ReplaceAll(cmp.Or(t.Subscription, t.Event), " or ", ", "), func(r rune) bool { return r == ',' }) {
			if one = strings.TrimSpace(one); !e.redundant() && !slices.Contains(i.Subscribe, one) {
				i.Subscribe = append(i.Subscribe, one)
			}
		}
	}
	var err error
	i.Events, err = eventsOf(name)
	return i, err
}

// eventsOf returns the event types that a connector's samples give. There is a
// sample for each type that the connector has.
func eventsOf(name string) ([]schemas.Type, error) {
	known := map[schemas.Type]bool{}
	keys, _, _ := sign.Dev(name)
	for _, sample := range samples.Names(name) {
		payload, err := samples.Payload(name, sample)
		if err != nil {
			return nil, err
		}
		r, err := normalize.Normalize(name, payload, normalize.Options{Settings: keys.Settings, ReceivedAt: time.Unix(0, 0)})
		if err != nil {
			return nil, err
		}
		for _, e := range r.Events {
			known[e.Type] = true
		}
	}
	return slices.DeleteFunc(schemas.Types(), func(t schemas.Type) bool { return !known[t] }), nil
}

func listConnectors(c *cobra.Command, asJSON, asMarkdown bool) error {
	var all []connectorInfo
	for _, name := range verify.Connectors() {
		i, err := infoOf(name)
		if err != nil {
			return err
		}
		all = append(all, i)
	}
	switch {
	case asJSON:
		return writeJSONLines(c.OutOrStdout(), all)
	case asMarkdown:
		return writeMarkdown(c.OutOrStdout(), all)
	}
	w := columns(c)
	for _, i := range all {
		fmt.Fprintf(w, "%s\t%s\n", i.Name, i.Signs)
	}
	return w.Flush()
}

// lines returns the names and values of the description, without empty values.
func (i connectorInfo) lines() [][2]string {
	all := [][2]string{
		{"signs", i.Signs}, {"covers", string(i.Covers)}, {"weakness", i.Weakness}, {"merchant_transaction_id", i.Key},
		{"events", cmp.Or(joined(i.Events), "none: its webhooks are archived, and the state must be fetched")},
		{"answer", i.Answer}, {"deadline", i.Deadline},
	}
	for _, s := range i.Settings {
		required := ""
		if s.Required {
			required = " (required)"
		}
		all = append(all, [2]string{"setting " + s.Name, s.Description + required})
	}
	all = append(all, i.API.lines()...)
	all = append(all, i.Gaps.lines()...)
	all = append(all, [2]string{"endpoint check keys", i.EndpointCheck}, [2]string{"endpoint create keys", i.EndpointCreate}, [2]string{"endpoint by hand", i.EndpointByHand})
	all = append(all, [2]string{"subscribe to", strings.Join(i.Subscribe, ", ")})
	all = append(all, [2]string{"docs", strings.Join(slices.Compact(slices.Clone(i.Docs)), " ")})
	return slices.DeleteFunc(all, func(l [2]string) bool { return l[1] == "" })
}

func (i connectorInfo) print(c *cobra.Command) error {
	w := columns(c)
	fmt.Fprintf(w, "connector\t%s\n", i.Name)
	for _, l := range i.lines() {
		fmt.Fprintf(w, "%s\t%s\n", l[0], l[1])
	}
	fmt.Fprintf(w, "samples\t%s; 'tollbridge send %s' lists them\n", few(i.Samples), i.Name)
	if err := w.Flush(); err != nil || len(i.EventTypes) == 0 {
		return err
	}
	fmt.Fprintf(folded(c.OutOrStdout()), "\nEvent types of %s. Send all of them to one endpoint. Those with \"instead of it\" need no subscription.\n\n", i.Name)
	w = columns(c)
	for _, e := range i.EventTypes {
		fmt.Fprintf(w, "%s\t%s\t%s\n", e.Type, joined(e.Tells), e.note())
	}
	return w.Flush()
}

// note says what to subscribe to, and which event type makes this one redundant.
func (e eventTypeInfo) note() string {
	var notes []string
	if e.Subscription != "" && e.Subscription != normalize.NoSubscription {
		notes = append(notes, "subscribe to "+e.Subscription)
	}
	if e.Instead != "" {
		notes = append(notes, "instead of it: "+e.Instead)
	}
	if e.Setting != "" {
		notes = append(notes, "makes events with tells: "+e.Setting)
	}
	return strings.Join(notes, "; ")
}

func joined(types []schemas.Type) string {
	var texts []string
	for _, t := range types {
		texts = append(texts, string(t))
	}
	return strings.Join(texts, ", ")
}

// subscribeColumn returns the event types to subscribe to, for the table of all
// connectors: only the first few if there are many.
func (i connectorInfo) subscribeColumn() string {
	const most = 3
	text := strings.Join(i.Subscribe[:min(most, len(i.Subscribe))], ", ")
	if n := len(i.Subscribe) - most; n > 0 {
		text += fmt.Sprintf(", [%d more](#%s)", n, i.Name)
	}
	return escapeMarkdown.Replace(text)
}

// escapeMarkdown escapes characters that have a meaning in Markdown.
var escapeMarkdown = strings.NewReplacer("<", "&lt;", "*", `\*`, "|", `\|`)

// writeMarkdown writes docs/connectors.md.
func writeMarkdown(w io.Writer, all []connectorInfo) error {
	var b strings.Builder
	fmt.Fprintf(&b, `# Connectors

Generated by `+"`tollbridge connectors --markdown`"+`; a test checks that this page is up to date. *Covers* is what the signature
protects: the whole body, some fields, or nothing but the sender's identity. *Answer* is the answer that ends redelivery. *API* says whether
tollbridge can ask [the processor's API](processor-apis.md) for what webhooks only name: *needed* means that without it they make no events, or
events without an amount. *Gaps* is what `+"`tollbridge gaps`"+` compares with the events in Kafka. *Check* and
*create* say whether `+"`tollbridge endpoints`"+` can ask the processor for its webhook endpoints, and make them there.

| connector | covers | weak | events | answer | deadline | API | gaps | check | create | subscribe to |
|---|---|---|---|---|---|---|---|---|---|---|
`)
	for _, i := range all {
		weak := ""
		if i.Weakness != "" {
			weak = "yes"
		}
		check, create := "", ""
		if i.EndpointCheck != "" {
			check = "yes"
		}
		if i.EndpointCreate != "" {
			create = "yes"
		}
		fmt.Fprintf(&b, "| [%s](#%[1]s) | %s | %s | %d | %s | %s | %s | %s | %s | %s | %s |\n", i.Name, i.Covers, weak, len(i.Events), i.Answer, i.Deadline, i.API.column(), i.Gaps.column(), check, create, i.subscribeColumn())
	}
	for _, i := range all {
		fmt.Fprintf(&b, "\n## %s\n\n", i.Name)
		for _, l := range i.lines() {
			fmt.Fprintf(&b, "- **%s:** %s\n", l[0], escapeMarkdown.Replace(l[1]))
		}
		if len(i.EventTypes) == 0 {
			continue
		}
		b.WriteString("\n| event type | tells | |\n|---|---|---|\n")
		for _, e := range i.EventTypes {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", escapeMarkdown.Replace(e.Type), joined(e.Tells), escapeMarkdown.Replace(e.note()))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
