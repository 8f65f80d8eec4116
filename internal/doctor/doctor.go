// Package doctor says why a request was refused, and how to fix it.
//
// It tries likely mistakes. For each one it changes the request, the keys or the
// time to what they would be without the mistake, and verifies the changed request
// with [verify.Verify]. It names a mistake only if the signature then matches. A
// connector needs no code here: the changes are made from the headers, the settings
// and the Signs line that package verify has for it.
//
// A sender could use such answers to find a request that is accepted. So only the
// commands and the console may import this package, which `internal/layers` enforces:
// no sender can reach them. A diagnosis never contains a secret or a correct signature.
package doctor

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// Case is a request to an endpoint, and the time at which it is verified.
type Case struct {
	Endpoint webhook.Endpoint
	Request  verify.Request
	Now      time.Time
	Others   []webhook.Endpoint // the other endpoints of the configuration, whose keys and addresses are tried
}

// Diagnosis says why a request was refused. Later versions may add JSON names; they
// do not rename or remove any.
type Diagnosis struct {
	Signed string            `json:"signed"` // what the processor signs, how, and where the signature is
	Read   map[string]string `json:"read"`   // the signed parts that this request has
	Finding
	Also    []Finding `json:"also,omitempty"`    // further mistakes
	Tried   int       `json:"tried"`             // number of changes that were tried
	Stopped bool      `json:"stopped,omitempty"` // further changes were not tried, because the body is large
}

// Finding is one mistake, and how to fix it.
type Finding struct {
	Cause   Cause  `json:"cause"`
	Mistake string `json:"mistake"`
	Fix     string `json:"fix"`
}

// Cause is the kind of a mistake. If no change could be tried, it is the
// [verify.Reason] of the refusal.
type Cause string

// The causes.
const (
	ClockOff       Cause = "clock_off"
	TimeUnit       Cause = "time_unit"
	OtherSecret    Cause = "other_secret"
	SecretForm     Cause = "secret_form"
	SettingForm    Cause = "setting_form"
	OtherSetting   Cause = "other_setting"
	SettingUnset   Cause = "setting_unset"
	HeaderMoved    Cause = "header_moved"
	HeaderTwice    Cause = "header_twice"
	OtherConnector Cause = "other_connector"
	SignatureForm  Cause = "signature_form"
	BodyChanged    Cause = "body_changed"
	BodyMoved      Cause = "body_moved"
	OtherAddress   Cause = "other_address"
	TestEvent      Cause = "test_event"
	Unexplained    Cause = "unexplained"
)

// change is a likely mistake, and a function that changes a case to what it would be
// without it.
type change struct {
	Finding
	apply func(*Case)
}

// Diagnose returns why the case is refused, or that a live endpoint ignores it because
// it is a test. It returns nil for a request that is verified and not ignored.
func (c Case) Diagnose() *Diagnosis {
	v, err := c.verify()
	d := &Diagnosis{Signed: c.connector().Signs, Read: c.read()}
	switch {
	case err == nil:
		found := append(c.ignored(v), c.unset()...)
		if found == nil {
			return nil
		}
		d.Finding, d.Also = found[0], found[1:]
	case c.signed():
		d.Finding = c.refusal(err)
	default:
		found, fixed := c.search(d)
		if len(found) == 0 {
			d.Finding = c.unexplained(err, d)
			break
		}
		d.Finding, d.Also = found[0], append(found[1:], fixed.remaining()...)
	}
	return d
}

func (c Case) connector() verify.Connector {
	known, _ := verify.Lookup(c.Endpoint.Connector)
	return known
}

func (c Case) verify() (verify.Verified, error) {
	keys := c.Endpoint.Keys
	keys.API = c.Endpoint.API != nil // it vouches for webhooks that are not signed
	return verify.Verify(c.Endpoint.Connector, c.Request, keys, c.Now)
}

// signed reports whether the signature is right, at whatever time it was made. A
// handshake has no signature and does not count.
func (c Case) signed() bool {
	settings := maps.Clone(c.Endpoint.Keys.Settings)
	if settings == nil {
		settings = map[string]string{}
	}
	settings["tolerance_seconds"] = "off"
	c.Endpoint.Keys.Settings = settings
	v, err := c.verify()
	return err == nil && !v.Handshake || signedButRefused(err)
}

// signedButRefused reports whether a request was refused although its signature is
// right: because of the values that are signed.
func signedButRefused(err error) bool {
	return slices.Contains([]verify.Reason{verify.ErrField, verify.ErrAccount, verify.ErrAmbiguous}, verify.ReasonOf(err))
}

// remaining returns the mistakes of a case whose signature is right.
func (c Case) remaining() []Finding {
	v, err := c.verify()
	if err != nil {
		return []Finding{c.refusal(err)}
	}
	return c.ignored(v)
}

// Verifying a body takes time in proportion to its size. A body of more than
// largeBody bytes is therefore changed in one way at a time, and of each group of
// changes only so many are tried that their bodies have maxBytesTried bytes together:
// four of a body of 1 MiB.
const (
	largeBody     = 16 << 10
	maxBytesTried = 4 << 20
)

func (c Case) isLarge() bool { return len(c.Request.Body) > largeBody }

// search returns the change that makes the signature match or, if there is none, two
// changes that do so together. It also returns the case with the changes made.
func (c Case) search(d *Diagnosis) ([]Finding, Case) {
	try := func(all ...change) (Case, bool) {
		d.Tried++
		changed := c
		for _, one := range all {
			one.apply(&changed)
		}
		return changed, changed.signed()
	}
	var groups [][]change
	for _, changes := range c.changes() {
		var group []change
		left := maxBytesTried
		for one := range changes() {
			if c.isLarge() && left <= 0 {
				d.Stopped = true
				break
			}
			changed, ok := try(one)
			if ok {
				return []Finding{one.Finding}, changed
			}
			left -= len(changed.Request.Body)
			group = append(group, one)
		}
		groups = append(groups, group)
	}
	if c.connector().Keyless || c.isLarge() {
		return nil, c // verifying with public keys is slow, too
	}
	for i, group := range groups {
		for _, other := range groups[i+1:] {
			for _, a := range group {
				for _, b := range other {
					if changed, ok := try(a, b); ok {
						return []Finding{a.Finding, b.Finding}, changed
					}
				}
			}
		}
	}
	return nil, c
}

// changes returns groups of changes to try, the likeliest first. Two changes of one
// group change the same part of a case; two of different groups can be made together.
func (c Case) changes() []func() iter.Seq[change] {
	groups := []func() iter.Seq[change]{
		func() iter.Seq[change] { return slices.Values(c.connectors()) },
		func() iter.Seq[change] { return slices.Values(slices.Concat(c.secrets(), c.settings())) },
		func() iter.Seq[change] { return slices.Values(slices.Concat(c.headers(), c.units(), c.signatures())) },
		c.bodies,
	}
	if c.signsAddress() {
		groups = append(groups, func() iter.Seq[change] { return slices.Values(c.addresses()) })
	}
	return groups
}

// refusal returns the mistake of a request that is refused although its signature is
// right.
func (c Case) refusal(err error) Finding {
	var u *verify.Untimely
	if !errors.As(err, &u) {
		return Finding{Cause(verify.ReasonOf(err)), "the signature is right; " + err.Error(), c.fieldsFix(verify.ReasonOf(err))}
	}
	near := func(sent, now time.Time) bool { return sent.Sub(now).Abs() <= max(u.Tolerance, time.Hour) }
	switch {
	case near(time.UnixMilli(u.Sent.Unix()), u.Now):
		return Finding{TimeUnit, "the signature is right; its time is in milliseconds, not in seconds",
			"have the sender sign the time in seconds"}
	case near(u.Sent, time.UnixMilli(u.Now.Unix())):
		return Finding{TimeUnit, "the signature is right; the time of verification is in milliseconds, not in seconds",
			fmt.Sprintf("give it in seconds: --at %d", u.Now.Unix()/1000)}
	}
	seconds := func(d time.Duration) int64 { return int64(d / time.Second) }
	if u.Reason == verify.ErrFuture {
		return Finding{ClockOff,
			fmt.Sprintf("the signature is right; it was sent %d seconds after the time of verification, and %d are tolerated", seconds(u.Sent.Sub(u.Now)), seconds(u.Tolerance)),
			fmt.Sprintf("set the receiver's clock, which is behind; to verify a stored request, give the time at which it was received: --at %d", u.Sent.Unix())}
	}
	return Finding{ClockOff,
		fmt.Sprintf("the signature is right; it was sent %d seconds before the time of verification, and %d are tolerated", seconds(u.Now.Sub(u.Sent)), seconds(u.Tolerance)),
		fmt.Sprintf("if it was received just now, set the receiver's clock or find what delayed it; to verify a stored request, give the time at which it was received: --at %d", u.Sent.Unix())}
}

// ignored returns the mistake of a request that is verified and gives no event,
// because it is a test and the endpoint is live. It returns nil for other requests.
func (c Case) ignored(v verify.Verified) []Finding {
	if !c.Endpoint.Live || v.Handshake {
		return nil
	}
	live, _ := c.Endpoint.Normalize(v.Payload, c.Now)
	e := c.Endpoint
	e.Live = false
	test, _ := e.Normalize(v.Payload, c.Now)
	if len(live.Events) > 0 || len(test.Events) == 0 {
		return nil
	}
	return []Finding{{TestEvent, "it is verified and ignored: it is a test, and the endpoint is live",
		"send tests to an endpoint with live: false, or give this one the keys of the live account"}}
}

// unset returns the settings that the endpoint of a server must have and this one
// lacks, as a mistake. It returns nil if there is none.
func (c Case) unset() []Finding {
	var names []string
	for _, s := range c.connector().Settings {
		if s.Endpoint && c.Endpoint.Keys.Settings[s.Name] == "" {
			names = append(names, s.Name)
		}
	}
	if names == nil {
		return nil
	}
	return []Finding{{SettingUnset, "it is verified as far as possible without the setting " + strings.Join(names, " and the setting ") +
		": a server also checks that the webhook is this merchant's, and that the signed text cannot be split into other fields", "give them with --set; an endpoint of a server must have them"}}
}

// unexplained returns the finding about a request that no change makes match.
func (c Case) unexplained(err error, d *Diagnosis) Finding {
	reason := verify.ReasonOf(err)
	missing := c.missing()
	theirs := c.signedFor()
	switch {
	case reason == verify.ErrNoSecret && c.connector().HasUnsigned():
		return Finding{Cause(reason), "the endpoint has no secret to verify it with, and no API to ask for it", "give it a secret: --secret, or secrets in its configuration; for webhooks that the processor does not sign, api in its configuration"}
	case reason == verify.ErrNoSecret:
		return Finding{Cause(reason), "the endpoint has no secret to verify it with", "give it one: --secret, or secrets in its configuration"}
	case reason == verify.ErrSetting:
		return Finding{Cause(reason), err.Error(), c.settingsFix()}
	case (reason == verify.ErrMissing || reason == verify.ErrMalformed) && len(theirs) > 0:
		return Finding{OtherConnector,
			fmt.Sprintf("its signature is one of %s, and not of %s", strings.Join(theirs, " or "), c.Endpoint.Connector),
			"name that connector, or send the webhook to its address; none of the secrets given here is right for it"}
	case reason == verify.ErrMissing && len(missing) > 0:
		return Finding{Cause(reason), "it has no " + strings.Join(missing, ", no ") + ", neither under another name nor in the query",
			"make every proxy on its way pass these headers on, and the processor sign its webhooks"}
	case reason == verify.ErrMissing && len(c.Request.Body) == 0:
		return Finding{Cause(reason), "its body is empty, and the signature is in the body", "pass the body on"}
	case reason == verify.ErrMissing:
		return Finding{Cause(reason), "its body has no signature", "make the processor sign its webhooks, and pass on all fields"}
	case reason == verify.ErrAlgorithm || reason == verify.ErrKeyUnknown || reason == verify.ErrKeyNotThere:
		return Finding{Cause(reason), "it is signed with a key or an algorithm that is not known here", c.settingsFix()}
	}
	by := "another secret"
	if c.connector().Keyless {
		by = "another key"
	}
	says := fmt.Sprintf("no known mistake explains it: %d changes of the body, the keys, the headers and the address were tried, and the signature matches none. "+
		"It was made with %s or of other content, or it is forged", d.Tried, by)
	if len(c.Request.Body) == 0 {
		says += "; its body is empty"
	}
	if d.Stopped {
		says += fmt.Sprintf("; further changes were not tried, because the body has more than %d bytes", largeBody)
	}
	return Finding{Unexplained, says, "compare " + strings.TrimPrefix(by, "another ") + " and endpoint with the processor's dashboard, and pass on the exact bytes that were received; see " + c.connector().Docs}
}

// fieldsFix returns the fix for a request whose signature is right and whose signed
// values are refused.
func (c Case) fieldsFix(reason verify.Reason) string {
	tellForms := ""
	if slices.ContainsFunc(c.connector().Settings, func(s verify.Setting) bool { return s.Name == "forms" }) {
		tellForms = ", and correct the setting forms if the merchant's references look different"
	}
	switch reason {
	case verify.ErrField:
		return "nothing, if the processor did not send it: somebody moved or added text under the signature of another webhook. " +
			"If the processor shows the same values, report them as a bug of tollbridge" + tellForms
	case verify.ErrAccount:
		return "send it to the endpoint of that merchant, or correct the account in the settings of this endpoint"
	case verify.ErrAmbiguous:
		if tellForms == "" {
			return "look the payment up at the processor; do not let payers and merchants enter the separator that its signature uses"
		}
		return "look the payment up at the processor; describe in the setting forms how the merchant's references look, as narrowly as possible, and let new ones begin and end with a letter"
	}
	return c.settingsFix()
}

func (c Case) settingsFix() string {
	return "`tollbridge connectors " + c.Endpoint.Connector + "` lists the settings of an endpoint"
}

// missing returns the headers that verification reads and the request lacks.
func (c Case) missing() []string {
	return slices.DeleteFunc(slices.Clone(c.connector().Headers), func(name string) bool { return c.Request.Header.Get(name) != "" })
}

// signedFor returns the other connectors whose kind of signature the request has: with
// keys that nobody signs with, they refuse the signature and not the request's form. Of
// a request with a large body it returns only those that sign in a header.
func (c Case) signedFor() (theirs []string) {
	for _, name := range verify.Connectors() {
		known, _ := verify.Lookup(name)
		if c.isLarge() && !c.hasHeaderOf(known) {
			continue
		}
		_, err := verify.Verify(name, c.Request, unusedKeys(known, false), c.Now)
		if verify.ReasonOf(err) == verify.ErrSetting {
			_, err = verify.Verify(name, c.Request, unusedKeys(known, true), c.Now)
		}
		switch verify.ReasonOf(err) {
		case verify.ErrMismatch, verify.ErrStale, verify.ErrFuture, verify.ErrKeyUnknown, verify.ErrKeyNotThere:
			if name != c.Endpoint.Connector {
				theirs = append(theirs, name)
			}
		}
	}
	return theirs
}

// hasHeaderOf reports whether the request has a header that a connector verifies.
func (c Case) hasHeaderOf(known verify.Connector) bool {
	return slices.ContainsFunc(known.Headers, func(name string) bool { return c.Request.Header.Get(name) != "" })
}

// unusedKeys returns keys of a connector that nobody signs with. They have the
// settings that the connector requires, or all of its settings.
func unusedKeys(of verify.Connector, all bool) verify.Keys {
	k := verify.Keys{Settings: map[string]string{}}
	if !of.Keyless {
		k.Secrets = []verify.Secret{{Name: "unused", Value: strings.Repeat("0", 64)}}
	}
	for _, s := range of.Settings {
		if s.Required || all && s.Name != "tolerance_seconds" {
			k.Settings[s.Name] = "{}"
		}
	}
	return k
}

// name returns CONNECTOR/ENDPOINT, such as stripe/default.
func name(e webhook.Endpoint) string { return strings.TrimPrefix(e.Path(), "/webhooks/") }
