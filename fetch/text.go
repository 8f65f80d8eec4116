package fetch

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollbridge/tollbridge/schemas"
)

// text is a JSON string, number or boolean as text, for ids that a processor sends as a
// string in some documents and as a number in others. Anything else becomes "".
type text string

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (t *text) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	switch d.PeekKind() {
	case '"', '0', 't', 'f':
		v, err := d.ReadToken()
		*t = text(v.String())
		return err
	}
	*t = ""
	return d.SkipValue()
}

// object is a JSON object whose fields are read by their paths. The fields of webhooks
// and answers can then have any type: only those that are read matter.
type object map[string]jsontext.Value

// UnmarshalJSONFrom implements [json.UnmarshalerFrom]. Anything but an object becomes an
// empty one.
func (o *object) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return d.SkipValue()
	}
	return json.UnmarshalDecode(d, (*map[string]jsontext.Value)(o))
}

// text returns the field at the path, whose names are separated by dots; "" if there is
// none, or if it is no string, number or boolean.
func (o object) text(path string) string {
	name, rest, nested := strings.Cut(path, ".")
	if nested {
		return o.object(name).text(rest)
	}
	var t text
	if v := o[name]; len(v) == 0 || json.Unmarshal(v, &t) != nil {
		return ""
	}
	return string(t)
}

// object returns the object in the field; an empty one if there is none.
func (o object) object(name string) (field object) {
	if v := o[name]; len(v) == 0 || json.Unmarshal(v, &field) != nil {
		return nil
	}
	return field
}

// objects returns the objects of the array in the field.
func (o object) objects(name string) (all []object) {
	if v := o[name]; len(v) == 0 || json.Unmarshal(v, &all) != nil {
		return nil
	}
	return all
}

// opaqueID is the form of the ids of processors that document none: it has no character
// with a meaning in a path.
var opaqueID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// decimalID is the form of ids that are numbers.
var decimalID = regexp.MustCompile(`^[0-9]{1,20}$`)

// checkSame returns an error that wraps [ErrAccount] if the answer has another value in a
// field than the webhook asked for. An answer without the field has none, which is not
// another one.
func checkSame(what, got, want string) error {
	if got == "" || got == want {
		return nil
	}
	return fmt.Errorf("%w: the answer has the %s %q, want %q", ErrAccount, what, got, want)
}

// checkID returns an error that wraps [ErrAccount] unless the answer has the id that was
// asked for.
func checkID(f schemas.Fetched, got string) error {
	_, want, _ := strings.Cut(f.Name, "/")
	if got != want {
		return fmt.Errorf("%w: the answer has the id %q, want %q", ErrAccount, got, want)
	}
	return nil
}

// checkIDAt returns a [Connector.check] of the id at a path of the answer.
func checkIDAt(path string) func(Webhook, API, schemas.Fetched) error {
	return func(_ Webhook, _ API, f schemas.Fetched) error {
		var d object
		if err := decode(f.Body, &d); err != nil {
			return err
		}
		return checkID(f, d.text(path))
	}
}

// checkIDAnd returns a [Connector.check] of the answer's id and of one more field, which
// must be the same as the field asked of the webhook.
func checkIDAnd(field, asked string) func(Webhook, API, schemas.Fetched) error {
	return func(w Webhook, _ API, f schemas.Fetched) error {
		var e, d object
		if err := decode(w.Payload, &e); err != nil {
			return err
		}
		if err := decode(f.Body, &d); err != nil {
			return err
		}
		if err := checkID(f, d.text("id")); err != nil {
			return err
		}
		return checkSame(field, d.text(field), e.text(asked))
	}
}

// basicUser is a [Connector.authorize]: it sends the key as the user of Basic
// authentication, with no password.
func basicUser(r *http.Request, _ API, key Key, _ time.Time) error {
	r.SetBasicAuth(key.Value, "")
	return nil
}

// basicPair is a [Connector.authorize]: it sends the client id as the user of Basic
// authentication, and the key as the password.
func basicPair(r *http.Request, a API, key Key, _ time.Time) error {
	r.SetBasicAuth(a.ClientID, key.Value)
	return nil
}

// authorization returns a [Connector.authorize] that sends the key in the header
// Authorization, after a scheme such as "token ".
func authorization(scheme string) func(*http.Request, API, Key, time.Time) error {
	return func(r *http.Request, _ API, key Key, _ time.Time) error {
		r.Header.Set("Authorization", scheme+key.Value)
		return nil
	}
}
