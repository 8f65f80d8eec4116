// Package doctor says why a request was refused, and what mends it.
//
// It guesses nothing. A mistake is a change: the request, the keys or the time
// as they would be without it. Each is tried through [verify.Verify], and one is
// named only if the signature then matches. What no change explains is said to
// be unexplained. A connector adds no code here: what is tried is made of the
// headers, the settings and the Signs line that it has in package verify.
//
// To a sender this would be an oracle, which helps to find a request that is
// believed. So only the commands may import it, which `internal/layers`
// enforces: whoever runs them has the secrets. No secret, and no signature that
// would be right, is ever part of what is said.
package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/verify"
	"github.com/tollbridge/tollbridge/webhook"
)

// Case is a request that came to an endpoint, and when it is judged.
type Case struct {
	Endpoint webhook.Endpoint
	Request  verify.Request
	Now      time.Time
	Others   []webhook.Endpoint // of the same configuration: their keys and addresses are tried, too
}

// Diagnosis is what is known of a refusal. Names may be added; none changes.
type Diagnosis struct {
	Signed string            `json:"signed"` // what the processor signs, how, and where the signature stands
	Read   map[string]string `json:"read"`   // what of it this request has
	Finding
	Also  []Finding `json:"also,omitempty"` // what else is wrong, once that is mended
	Tried int       `json:"tried"`          // changed requests, keys and times
}

// Finding is one mistake and what mends it.
type Finding struct {
	Cause   Cause  `json:"cause"`
	Mistake string `json:"mistake"`
	Fix     string `json:"fix"`
}

// Cause is a kind of mistake in a word. Where nothing could be tried it is the
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

// change is a mistake undone.
type change struct {
	Finding
	undo func(*Case)
}

// Diagnose says why the case is refused, or that it is ignored for being a
// test. It returns nil if there is nothing to say.
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
		found, mended := c.search(d)
		if len(found) == 0 {
			d.Finding = c.unexplained(err, d.Tried)
			break
		}
		d.Finding, d.Also = found[0], append(found[1:], mended.rest()...)
	}
	return d
}

func (c Case) connector() verify.Connector {
	known, _ := verify.Lookup(c.Endpoint.Connector)
	return known
}

func (c Case) verify() (verify.Verified, error) {
	return verify.Verify(c.Endpoint.Connector, c.Request, c.Endpoint.Keys, c.Now)
}

// signed reports whether the signature is right, whatever the time. A handshake
// is answered to anyone and proves nothing.
func (c Case) signed() bool {
	settings := maps.Clone(c.Endpoint.Keys.Settings)
	if settings == nil {
		settings = map[string]string{}
	}
	settings["tolerance_seconds"] = "off"
	c.Endpoint.Keys.Settings = settings
	v, err := c.verify()
	return err == nil && !v.Handshake || judged(err)
}

// judged reports whether a refusal says that the signature is right, and what
// is signed is not.
func judged(err error) bool {
	return slices.Contains([]verify.Reason{verify.ErrField, verify.ErrAccount, verify.ErrAmbiguous}, verify.ReasonOf(err))
}

// rest is what is wrong with a case whose signature is right.
func (c Case) rest() []Finding {
	v, err := c.verify()
	if err != nil {
		return []Finding{c.refusal(err)}
	}
	return c.ignored(v)
}

// manyBytes is the size of a body from which on trying has to be sparing.
const manyBytes = 16 << 10

// search looks for the change that explains a refusal or, where none does, for
// two that do together. It returns the case as it is without them.
func (c Case) search(d *Diagnosis) ([]Finding, Case) {
	try := func(all ...change) (Case, bool) {
		d.Tried++
		mended := c
		for _, one := range all {
			one.undo(&mended)
		}
		return mended, mended.signed()
	}
	var groups [][]change
	for _, changes := range c.changes() {
		group := changes()
		for _, one := range group {
			if mended, ok := try(one); ok {
				return []Finding{one.Finding}, mended
			}
		}
		groups = append(groups, group)
	}
	if c.connector().Keyless || len(c.Request.Body) > manyBytes {
		return nil, c // public keys, and hashes of much, take their time
	}
	for i, group := range groups {
		for _, other := range groups[i+1:] {
			for _, a := range group {
				for _, b := range other {
					if mended, ok := try(a, b); ok {
						return []Finding{a.Finding, b.Finding}, mended
					}
				}
			}
		}
	}
	return nil, c
}

// changes is what is tried, the likeliest first. Two of one group change the
// same part of a case, two of different groups can be made together.
func (c Case) changes() []func() []change {
	groups := []func() []change{
		c.connectors,
		func() []change { return slices.Concat(c.secrets(), c.settings()) },
		func() []change { return slices.Concat(c.headers(), c.units(), c.signatures()) },
		c.bodies,
	}
	if c.signsAddress() {
		groups = append(groups, c.addresses)
	}
	return groups
}

// refusal is the finding about a request that is refused though its signature
// is right.
func (c Case) refusal(err error) Finding {
	var u *verify.Untimely
	if !errors.As(err, &u) {
		return Finding{Cause(verify.ReasonOf(err)), "the signature is right; " + err.Error(), c.fieldsFix(verify.ReasonOf(err))}
	}
	near := func(sent, now time.Time) bool { return sent.Sub(now).Abs() <= max(u.Tolerance, time.Hour) }
	switch {
	case near(time.UnixMilli(u.Sent.Unix()), u.Now):
		return Finding{TimeUnit, "the signature is right; its time is in milliseconds, and seconds are meant",
			"have the sender sign the time in seconds"}
	case near(u.Sent, time.UnixMilli(u.Now.Unix())):
		return Finding{TimeUnit, "the signature is right; the time it is judged at is in milliseconds, and seconds are meant",
			fmt.Sprintf("judge it at %d", u.Now.Unix()/1000)}
	}
	seconds := func(d time.Duration) int64 { return int64(d / time.Second) }
	if u.Reason == verify.ErrFuture {
		return Finding{ClockOff,
			fmt.Sprintf("the signature is right; it was sent %d seconds after the time it is judged at, and %d are tolerated", seconds(u.Sent.Sub(u.Now)), seconds(u.Tolerance)),
			fmt.Sprintf("set the receiver's clock, which is behind; to judge a kept request give the time it came at: --at %d", u.Sent.Unix())}
	}
	return Finding{ClockOff,
		fmt.Sprintf("the signature is right; it was sent %d seconds before the time it is judged at, and %d are tolerated", seconds(u.Now.Sub(u.Sent)), seconds(u.Tolerance)),
		fmt.Sprintf("if it came just now, set the receiver's clock or find where it waited; to judge a kept request give the time it came at: --at %d", u.Sent.Unix())}
}

// ignored is the finding about a request that is verified and comes to nothing
// because it is a test at a live endpoint.
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
	return []Finding{{TestEvent, "it is verified, and ignored: it is a test, and the endpoint is live",
		"send tests to an endpoint with live: false, or give this one the keys of the live account"}}
}

// unset is the finding about a request that is verified with less than a server
// asks for.
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
	return []Finding{{SettingUnset, "it is verified as far as that can be said without " + strings.Join(names, " and ") +
		": a server would also ask whether it is this merchant's, and whether what is signed could be split into other fields", "give them with --set; an endpoint of a server must have them"}}
}

// unexplained is the finding about a request that no change mends.
func (c Case) unexplained(err error, tried int) Finding {
	reason := verify.ReasonOf(err)
	missing := c.missing()
	theirs := c.carries()
	switch {
	case reason == verify.ErrNoSecret:
		return Finding{Cause(reason), "there is no secret to verify it with", "give the endpoint's: --secret, or secrets: in its configuration"}
	case reason == verify.ErrSetting:
		return Finding{Cause(reason), err.Error(), c.settingsFix()}
	case (reason == verify.ErrMissing || reason == verify.ErrMalformed) && len(theirs) > 0:
		return Finding{OtherConnector,
			fmt.Sprintf("its signature is one of %s, and not of %s", strings.Join(theirs, " or "), c.Endpoint.Connector),
			"name that connector, or send it to that one's address; no secret given here is that one's"}
	case reason == verify.ErrMissing && len(missing) > 0:
		return Finding{Cause(reason), "it has no " + strings.Join(missing, ", no ") + ", under no other name and not in the query either",
			"have every proxy on its way pass these headers on, and the processor sign"}
	case reason == verify.ErrMissing && len(c.Request.Body) == 0:
		return Finding{Cause(reason), "its body is empty, and the signature stands in the body", "pass the body on"}
	case reason == verify.ErrMissing:
		return Finding{Cause(reason), "its body has no signature", "have the processor sign, and pass on all fields"}
	case reason == verify.ErrAlgorithm || reason == verify.ErrKeyUnknown || reason == verify.ErrKeyNotThere:
		return Finding{Cause(reason), "it is signed by a key or an algorithm that cannot be judged here", c.settingsFix()}
	}
	by := "another secret"
	if c.connector().Keyless {
		by = "another key"
	}
	says := fmt.Sprintf("no known mistake explains it: %d changes of the body, the keys, the headers and the address were tried, and the signature is of none. "+
		"It was made with %s, or over something else, or it is forged", tried, by)
	if len(c.Request.Body) == 0 {
		says += "; its body is empty"
	}
	return Finding{Unexplained, says, "compare " + strings.TrimPrefix(by, "another ") + " and endpoint with the processor's dashboard, and keep the exact bytes that come in; see " + c.connector().Docs}
}

// fieldsFix is what mends a refusal of what is signed rightly.
func (c Case) fieldsFix(reason verify.Reason) string {
	tellForms := ""
	if slices.ContainsFunc(c.connector().Settings, func(s verify.Setting) bool { return s.Name == "forms" }) {
		tellForms = ", and mend the setting forms if the merchant's references look otherwise"
	}
	switch reason {
	case verify.ErrField:
		return "nothing, if it is not the processor's: somebody moved or added text that a signature of another webhook covers. " +
			"If the processor shows the same values, report them as a fault of tollbridge's" + tellForms
	case verify.ErrAccount:
		return "send it to the endpoint of that merchant, or set this one's to the account that it is for"
	case verify.ErrAmbiguous:
		if tellForms == "" {
			return "look the payment up at the processor; keep the separator that its signature uses out of what the payer and the merchant write"
		}
		return "look the payment up at the processor; tell in the setting forms how the merchant's references look, as narrowly as is right, and let new ones begin and end with a letter"
	}
	return c.settingsFix()
}

func (c Case) settingsFix() string {
	return "`tollbridge connectors " + c.Endpoint.Connector + "` says what an endpoint sets"
}

// missing returns the headers that verification reads and the request lacks.
func (c Case) missing() []string {
	return slices.DeleteFunc(slices.Clone(c.connector().Headers), func(name string) bool { return c.Request.Header.Get(name) != "" })
}

// carries returns the other connectors whose signature the request has: asked
// with keys that are nobody's, they refuse them and not the request.
func (c Case) carries() (theirs []string) {
	for _, name := range verify.Connectors() {
		known, _ := verify.Lookup(name)
		_, err := verify.Verify(name, c.Request, nobodys(known, false), c.Now)
		if verify.ReasonOf(err) == verify.ErrSetting {
			_, err = verify.Verify(name, c.Request, nobodys(known, true), c.Now)
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

// nobodys is keys of a connector that nothing is signed with: what it requires,
// or all that it knows.
func nobodys(of verify.Connector, all bool) verify.Keys {
	k := verify.Keys{Settings: map[string]string{}}
	if !of.Keyless {
		k.Secrets = []verify.Secret{{Name: "nobody's", Value: strings.Repeat("0", 64)}}
	}
	for _, s := range of.Settings {
		if s.Required || all && s.Name != "tolerance_seconds" {
			k.Settings[s.Name] = "{}"
		}
	}
	return k
}

// name is an endpoint as a person calls it: stripe/default.
func name(e webhook.Endpoint) string { return strings.TrimPrefix(e.Path(), "/webhooks/") }
