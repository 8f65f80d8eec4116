// Package verify decides whether a webhook comes from the payment processor that it
// claims to come from:
//
//	keys := verify.Keys{Secrets: []verify.Secret{{Name: "main", Value: "whsec_..."}}}
//	request := verify.Request{Method: r.Method, Header: r.Header, Body: body}
//	verified, err := verify.Verify("stripe", request, keys, time.Now())
//	if err != nil {
//		log.Print(verify.ReasonOf(err), err) // signature_mismatch, timestamp_too_old, ...
//	}
//	use(verified.Payload)
//
// There is one file for each connector. This one holds the reasons of refusals and
// the table of connectors. The other files hold what connectors share.
//
// Verification fails closed. Every connector checks something, and no default lets
// anything through: without a secret, or a key in its place, nothing is verified.
// [Verified] has the payload that was verified, decoded or decrypted where the
// processor wraps it. Read nothing else of the request.
//
// [Verify] is a pure function of the request, the keys and the time. If it needs a
// public key that it does not have, it returns a [KeyNeeded] error. [Keyring] fetches
// the key and verifies again. The package imports no other package of tollbridge.
package verify

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// connectors are the connectors by name, which is the processor's part of the
// webhook URL. Each has one line here and a file of its own.
var connectors = map[string]Connector{
	"adyen":                 adyen,
	"adyen-platform":        adyenPlatform,
	"authorizenet":          authorizenet,
	"billplz":               billplz,
	"braintree":             braintree,
	"btcpay":                btcpay,
	"cashfree":              cashfree,
	"checkout":              checkout,
	"coinbase-commerce":     coinbaseCommerce,
	"epay-bambora":          epayBambora,
	"fiuu-molpay":           fiuuMolpay,
	"flutterwave":           flutterwave,
	"globalpayments-realex": globalpaymentsRealex,
	"gocardless":            gocardless,
	"ipay88":                ipay88,
	"liqpay":                liqpay,
	"lithic":                lithic,
	"lyra":                  lyra,
	"mercadopago":           mercadopago,
	"midtrans":              midtrans,
	"modern-treasury":       modernTreasury,
	"mollie":                mollie,
	"moneyhash":             moneyhash,
	"monnify":               monnify,
	"multisafepay":          multisafepay,
	"opayo-server":          opayoServer,
	"paddle":                paddle,
	"paypal":                paypal,
	"paystack":              paystack,
	"payu-emea":             payuEmea,
	"payu-india":            payuIndia,
	"portone":               portone,
	"quickpay":              quickpay,
	"razorpay":              razorpay,
	"recurly":               recurly,
	"robokassa":             robokassa,
	"shopify":               shopify,
	"skrill":                skrill,
	"sofort":                sofort,
	"square":                square,
	"standardwebhooks":      standardwebhooks,
	"stripe":                stripe,
	"svix":                  svix,
	"truelayer":             truelayer,
	"trustly":               trustly,
	"wallee":                wallee,
	"wechatpay":             wechatpay,
	"wompi":                 wompi,
	"worldline-connect":     worldlineConnect,
	"xendit":                xendit,
	"xsolla":                xsolla,
}

// Connector describes how the webhooks of a processor are verified.
type Connector struct {
	Docs     string    // URL of the processor's documentation of its signatures
	Signs    string    // what the processor signs, how, and where the signature is, in one line
	Covers   Coverage  // the part of the request that the signature protects
	Weakness string    // what an attacker can do in spite of the signature; empty means nothing
	Headers  []string  // the headers that verification reads
	Tokens   []string  // those of Headers whose value is the secret itself: see [Digest]
	Settings []Setting // of an endpoint, in addition to its secrets
	Keyless  bool      // the connector verifies with public keys: an endpoint has no secrets
	Replies  bool      // [Verified.Reply] is the body of the response

	// unsigned returns the payload of a webhook in a form that the processor does not
	// sign, and whether r has that form. Nil if the processor signs all webhooks. It is
	// only called for endpoints with an API: see [Keys.API].
	unsigned func(r Request) (payload []byte, ok bool)

	// check returns an error for a secret or settings that can verify no request, such
	// as a key that is not hex. Nil accepts all.
	check func(secret string, k Keys) error

	// verify verifies a request with one of the endpoint's secrets.
	verify verifyFunc

	// joined describes the signed text of a processor that joins fields. The tests
	// generate forgeries from it.
	joined []joinedScheme
}

// verifyFunc verifies r with one secret, which is empty for keyless connectors only.
// It is a pure function. An error wraps a [Reason] or is a [KeyNeeded].
type verifyFunc func(r Request, secret string, k Keys, now time.Time) (Verified, error)

// Coverage is the part of a request that a signature protects.
type Coverage string

// The coverages. Anyone can change a part that the signature does not cover.
const (
	CoversBody    Coverage = "body"    // every byte of the body
	CoversFields  Coverage = "fields"  // some fields of the body
	CoversNothing Coverage = "nothing" // a shared token, which proves only who sent the request
)

// Setting describes a setting of an endpoint for verification.
type Setting struct {
	Name        string
	Description string // its meaning and its values, in one line
	Required    bool   // [Check] and [Verify] return an error without it
	// Endpoint settings are required by [Check], so that no endpoint is configured
	// without them. [Verify] works without them, so that one can inspect a request
	// with only its secret: it then compares no merchant account and does not search
	// for other fields with the same signed text.
	Endpoint bool
}

// Request is the part of an HTTP request that a signature may cover.
type Request struct {
	Method string
	// URL is the URL that is configured at the processor, with the query of the
	// request. Take it from your configuration, never from the header Host.
	URL    string
	Header http.Header
	Body   []byte // exactly as received
	// Archived says that the request is read from the archive: a token may be its
	// [Digest]. Never set it for a request that came from the network: anyone who can
	// read the archive could then send webhooks.
	Archived bool
}

// Keys are the secrets, settings and public keys of an endpoint.
type Keys struct {
	Secrets  []Secret
	Settings map[string]string
	// Fetched are the public keys of [KeyNeeded] errors, by URL.
	Fetched map[string][]byte
	// API says that the caller asks the processor's API about each webhook with
	// [Verified.Unsigned], and refuses it unless the API vouches for it. Without API, a
	// webhook that the processor does not sign is refused.
	API bool
}

// Secret is one of an endpoint's secrets. An endpoint has several while they are
// rotated.
type Secret struct {
	Name  string
	Value string
}

// Verified is the result of a verification.
type Verified struct {
	Payload []byte // the verified payload, decoded or decrypted; read nothing else of the request
	Secret  string // the name of the secret that matched; empty for keyless connectors
	// Handshake says that the processor checks whether the endpoint is the merchant's.
	// There is no payload.
	Handshake bool
	Reply     []byte // the body of the response to a handshake, or a signed response; nil otherwise
	// Unsigned says that the processor does not sign this form of its webhooks. Nothing
	// in Payload is verified: it only says what to ask the processor's API for. It is
	// false unless [Keys.API] is set.
	Unsigned bool
}

// Reason is why a request was refused. Errors wrap it, and logs, metrics and
// `tollbridge inspect` use it.
type Reason string

func (r Reason) Error() string { return strings.ReplaceAll(string(r), "_", " ") }

// The reasons.
const (
	ErrUnknown     Reason = "unknown_connector"
	ErrNoSecret    Reason = "no_secret"           // the endpoint has no secret
	ErrSetting     Reason = "setting_invalid"     // a setting is missing or unusable
	ErrMissing     Reason = "signature_missing"   // the request has no signature
	ErrMalformed   Reason = "signature_malformed" // the signature, or what it signs, cannot be read
	ErrMismatch    Reason = "signature_mismatch"  // the signature is wrong under every secret
	ErrField       Reason = "field_malformed"     // the signature is right, and a signed field is malformed: an attacker may have moved or added text
	ErrAccount     Reason = "account_mismatch"    // the signature is right, and the webhook is for another merchant account
	ErrAmbiguous   Reason = "fields_ambiguous"    // the signature is right, and other values of the fields have the same signature
	ErrStale       Reason = "timestamp_too_old"
	ErrFuture      Reason = "timestamp_in_future"
	ErrAlgorithm   Reason = "algorithm_unknown" // signed by an algorithm that the processor does not use
	ErrKeyUnknown  Reason = "key_unknown"       // signed by a key that is not the processor's
	ErrObject      Reason = "object_unknown"    // not signed, and the processor's API does not vouch for it: made up, or our key is of another account or mode
	ErrKeyNotThere Reason = "key_unavailable"   // the public key could not be fetched: the request may be genuine, and the processor should send it again
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{
		ErrUnknown, ErrNoSecret, ErrSetting, ErrMissing, ErrMalformed, ErrMismatch, ErrField, ErrAccount, ErrAmbiguous,
		ErrStale, ErrFuture, ErrAlgorithm, ErrKeyUnknown, ErrKeyNotThere, ErrObject,
	}
}

// ReasonOf returns the reason in err, or the empty reason.
func ReasonOf(err error) Reason {
	var r Reason
	errors.As(err, &r)
	return r
}

// Untimely is the error of a request whose signature is right and whose signed
// timestamp is outside of the tolerance.
type Untimely struct {
	Reason    Reason // ErrStale or ErrFuture
	Sent, Now time.Time
	Tolerance time.Duration
}

func (u *Untimely) Error() string {
	by, side := u.Now.Sub(u.Sent), "before"
	if by < 0 {
		by, side = -by, "after"
	}
	return fmt.Sprintf("%v: sent at %s, %s %s %s, want at most %s", u.Reason,
		u.Sent.UTC().Format(time.RFC3339), by.Round(time.Second), side, u.Now.UTC().Format(time.RFC3339), u.Tolerance)
}

// Unwrap returns the reason.
func (u *Untimely) Unwrap() error { return u.Reason }

// KeyNeeded is the error of a request that can be verified only with the public key
// or certificate at URL. The connector has checked that the processor owns URL.
type KeyNeeded struct {
	URL string
	// Issuer says that URL, which the processor's certificate names, has the
	// certificate of its issuer. Plain http, which issuers use, is safe for it: the
	// chain is verified up to a root.
	Issuer bool
}

func (k *KeyNeeded) Error() string { return "needs the key at " + k.URL }

// Unwrap returns [ErrKeyNotThere], the reason for callers without a [Keyring].
func (k *KeyNeeded) Unwrap() error { return ErrKeyNotThere }

// Verify verifies r as a webhook of the named connector's processor. It tries all
// secrets; the result names the first that matches. Errors wrap a [Reason] or are a
// [KeyNeeded].
func Verify(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	c, ok := connectors[connector]
	if !ok {
		return Verified{}, fmt.Errorf("%w %q", ErrUnknown, connector)
	}
	if err := c.usable(k); err != nil {
		return Verified{}, fmt.Errorf("%s: %w", connector, err)
	}
	if c.Covers != CoversBody {
		r.Body = withoutBOM(r.Body) // no signed field contains it
	}
	if k.API && c.unsigned != nil {
		if payload, ok := c.unsigned(r); ok {
			return Verified{Payload: payload, Unsigned: true}, nil
		}
		if len(k.Secrets) == 0 && !c.Keyless {
			return Verified{}, fmt.Errorf("%s: %w for webhooks that the processor signs", connector, ErrNoSecret)
		}
	}
	if c.Keyless {
		v, err := c.verify(r, "", k, now)
		if err != nil {
			return Verified{}, fmt.Errorf("%s: %w", connector, err)
		}
		return v, nil
	}
	var mismatch error
	for _, s := range k.Secrets {
		v, err := c.verify(r, s.Value, k, now)
		if err == nil {
			v.Secret = s.Name
			return v, nil
		}
		mismatch = err
		if !errors.Is(err, ErrMismatch) {
			break
		}
	}
	return Verified{}, fmt.Errorf("%s: %w", connector, mismatch)
}

// usable returns an error if a secret or a required setting is missing. It is the part
// of [Check] that is repeated for every request.
func (c Connector) usable(k Keys) error {
	if !c.Keyless && len(k.Secrets) == 0 && !(k.API && c.unsigned != nil) {
		return ErrNoSecret
	}
	for _, s := range k.Secrets {
		if s.Value == "" {
			return fmt.Errorf("%w: the secret %q is empty", ErrNoSecret, s.Name)
		}
	}
	for _, s := range c.Settings {
		if s.Required && k.Settings[s.Name] == "" {
			return fmt.Errorf("%w: %q is not set: %s", ErrSetting, s.Name, s.Description)
		}
	}
	return nil
}

// Check returns an error for keys that an endpoint of the connector cannot work with.
// It needs no request. An error wraps [ErrUnknown], [ErrNoSecret] or [ErrSetting].
func Check(connector string, k Keys) error {
	c, ok := connectors[connector]
	if !ok {
		return fmt.Errorf("%w %q", ErrUnknown, connector)
	}
	if err := c.usable(k); err != nil {
		return err
	}
	if c.Keyless && len(k.Secrets) > 0 {
		return fmt.Errorf("%w: %s is verified by public keys and takes no secrets", ErrSetting, connector)
	}
	for _, s := range k.Secrets {
		if err := checkGuessable(s.Value); err != nil {
			return fmt.Errorf("secret %q: %w", s.Name, err)
		}
	}
	if _, err := k.tolerance(0); err != nil {
		return err
	}
	for _, s := range c.Settings {
		if s.Endpoint && k.Settings[s.Name] == "" {
			return fmt.Errorf("%w: %q is not set: %s", ErrSetting, s.Name, s.Description)
		}
	}
	if c.check == nil {
		return nil
	}
	if c.Keyless {
		return c.check("", k)
	}
	for _, s := range k.Secrets {
		if err := c.check(s.Value, k); err != nil {
			return fmt.Errorf("secret %q: %w", s.Name, err)
		}
	}
	return nil
}

// Connectors returns the names of the connectors, sorted.
func Connectors() []string { return slices.Sorted(maps.Keys(connectors)) }

// HasUnsigned reports whether the processor sends a form of webhooks that it does not
// sign, which its API can vouch for: see [Keys.API].
func (c Connector) HasUnsigned() bool { return c.unsigned != nil }

// Lookup returns the connector of that name, and whether there is one.
func Lookup(connector string) (Connector, bool) {
	c, ok := connectors[connector]
	return c, ok
}
