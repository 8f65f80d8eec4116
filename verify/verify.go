// Package verify decides whether a webhook comes from the processor it claims
// to come from. There is one file a connector; this one holds the
// vocabulary of refusals and the table of connectors.
//
// Verification fails closed. There is no connector without a check and no
// default that lets anything through: without a secret, or a key in its place,
// nothing is verified. What was verified is returned, decoded or decrypted
// where the processor wraps it, and only that may be read afterwards.
//
// Everything here is a pure function of the request, the keys and the time. A
// key that must be fetched first is asked for by a [KeyNeeded] error, which
// [Keyring] serves. The package imports nothing else of tollbridge.
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

// connectors is every processor whose webhooks can be verified, by its name in
// the URL. A connector is one line here and a file of its own.
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

// Connector is what verify knows of a processor.
type Connector struct {
	Docs     string    // the processor's page about its signatures
	Signs    string    // what is signed, how, and where the signature stands, in one line
	Covers   Coverage  // how much of the request the signature speaks for
	Weakness string    // what the processor's scheme leaves open; empty for none
	Headers  []string  // the headers that verification reads
	Tokens   []string  // those of them that hold the secret itself: see [Digest]
	Settings []Setting // what an endpoint can or must set beside its secrets
	Keyless  bool      // verified by public keys: an endpoint has no secrets
	Replies  bool      // what is verified has the body to answer with: see [Verified.Reply]

	// Check refuses keys that could never verify anything, such as a key that
	// is not the hex text it should be. Nil has nothing to refuse.
	Check func(secret string, k Keys) error

	// Verify judges a request by one of the endpoint's secrets.
	Verify Func

	// joined is how fields of the request are signed, where they are: what Verify
	// goes by, and what the tests make attacks of.
	joined []joined
}

// Func verifies r by one secret, which is empty for keyless connectors only.
// It is a pure function. An error wraps a [Reason] or is a [KeyNeeded].
type Func func(r Request, secret string, k Keys, now time.Time) (Verified, error)

// Coverage is how much of a request a signature speaks for.
type Coverage string

// The coverages. A field that is not covered is no more than a claim of
// whoever sent the request.
const (
	CoversBody    Coverage = "body"    // every byte of the body
	CoversFields  Coverage = "fields"  // some fields of the body; the others could have been changed
	CoversNothing Coverage = "nothing" // a shared value proves the sender and nothing else
)

// Setting is one thing that an endpoint can configure for verification.
type Setting struct {
	Name        string
	Description string // what it is, in one line
	Required    bool   // nothing is verified without it
	// Endpoint is whether an endpoint must have it: [Check] names it. Verify goes
	// without, so that a request can be looked at with nothing but its secret, and
	// then does not ask whether it is this merchant's, nor what else is signed.
	Endpoint bool
}

// Request is the part of an HTTP request that a signature may cover.
type Request struct {
	Method string
	// URL is the address that the processor was given, with the query that the
	// request came with: it is made from configuration, never from Host.
	URL    string
	Header http.Header
	Body   []byte // exactly as received
	// Archived says that the request is a copy that was kept: its tokens may be
	// their digests. A server never sets it, or the archive would hold passwords.
	Archived bool
}

// Keys is what an endpoint verifies with.
type Keys struct {
	Secrets  []Secret
	Settings map[string]string
	// Fetched are the public keys that [KeyNeeded] asked for, by URL.
	Fetched map[string][]byte
}

// Secret is one of an endpoint's secrets. An endpoint has several while one
// replaces another.
type Secret struct {
	Name  string
	Value string
}

// Verified is a request that is what it claims to be.
type Verified struct {
	Payload []byte // what was signed, unwrapped: the only bytes to read on
	Secret  string // the name of the secret that matched; empty for keyless connectors
	// Handshake is set where the processor asked for proof that the endpoint is
	// the merchant's. There is no payload.
	Handshake bool
	Reply     []byte // the body to answer with: to a handshake, or where the answer is signed, too
}

// Reason is why a request was not verified. It is an error to wrap, the word
// that logs and metrics use, and what `tollbridge inspect` says.
type Reason string

func (r Reason) Error() string { return strings.ReplaceAll(string(r), "_", " ") }

// The reasons.
const (
	ErrUnknown     Reason = "unknown_connector"
	ErrNoSecret    Reason = "no_secret"           // the endpoint has none to verify with
	ErrSetting     Reason = "setting_invalid"     // a setting is missing or unusable
	ErrMissing     Reason = "signature_missing"   // the request carries none
	ErrMalformed   Reason = "signature_malformed" // it, or what it signs, cannot be read
	ErrMismatch    Reason = "signature_mismatch"  // it is not that of this request under any secret
	ErrField       Reason = "field_malformed"     // the signature is right, and a signed field has not its form: text was moved into it, or added
	ErrAccount     Reason = "account_mismatch"    // the signature is right, and the merchant that it names is another one
	ErrAmbiguous   Reason = "fields_ambiguous"    // the signature is right, and is also that of other fields
	ErrStale       Reason = "timestamp_too_old"
	ErrFuture      Reason = "timestamp_in_future"
	ErrAlgorithm   Reason = "algorithm_unknown" // signed by an algorithm that the processor does not use
	ErrKeyUnknown  Reason = "key_unknown"       // signed by a key that is not the processor's
	ErrKeyNotThere Reason = "key_unavailable"   // the key could not be fetched: ours to mend, the request may be good
)

// ReasonOf returns the reason in err, or the empty reason.
func ReasonOf(err error) Reason {
	var r Reason
	errors.As(err, &r)
	return r
}

// Untimely is the error of a request that is signed rightly, and was sent
// further from the time it is judged at than is tolerated.
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
	return fmt.Sprintf("%v: sent at %s, %s %s %s; %s is the most", u.Reason,
		u.Sent.UTC().Format(time.RFC3339), by.Round(time.Second), side, u.Now.UTC().Format(time.RFC3339), u.Tolerance)
}

// Unwrap makes it the reason that it has.
func (u *Untimely) Unwrap() error { return u.Reason }

// KeyNeeded is the error of a connector that can go on only with what URL
// holds. The connector has made sure that URL is the processor's own.
type KeyNeeded struct {
	URL string
	// Issuer is set where URL, which the processor's certificate names, holds
	// the certificate of its issuer. It proves itself by its root, so that plain
	// http, which issuers use, does no harm.
	Issuer bool
}

func (k *KeyNeeded) Error() string { return "needs the key at " + k.URL }

// Unwrap makes it an [ErrKeyNotThere] to whoever has no [Keyring].
func (k *KeyNeeded) Unwrap() error { return ErrKeyNotThere }

// Verify verifies r as sent by the named connector. Each of the secrets is
// tried, and the first that matches is named in the result.
func Verify(connector string, r Request, k Keys, now time.Time) (Verified, error) {
	c, ok := connectors[connector]
	if !ok {
		return Verified{}, fmt.Errorf("%w %q", ErrUnknown, connector)
	}
	if err := c.usable(k); err != nil {
		return Verified{}, fmt.Errorf("%s: %w", connector, err)
	}
	if c.Covers != CoversBody {
		r.Body = withoutMark(r.Body) // it is in no signed field
	}
	if c.Keyless {
		v, err := c.Verify(r, "", k, now)
		if err != nil {
			return Verified{}, fmt.Errorf("%s: %w", connector, err)
		}
		return v, nil
	}
	var mismatch error
	for _, s := range k.Secrets {
		v, err := c.Verify(r, s.Value, k, now)
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

// usable is the part of [Check] that is asked again with every request: no
// secret, no entry.
func (c Connector) usable(k Keys) error {
	if !c.Keyless && len(k.Secrets) == 0 {
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

// Check returns what is wrong with an endpoint's keys before any request came,
// or nil. An error wraps [ErrUnknown], [ErrNoSecret] or [ErrSetting].
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
		if err := guessable(s.Value); err != nil {
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
	if c.Check == nil {
		return nil
	}
	if c.Keyless {
		return c.Check("", k)
	}
	for _, s := range k.Secrets {
		if err := c.Check(s.Value, k); err != nil {
			return fmt.Errorf("secret %q: %w", s.Name, err)
		}
	}
	return nil
}

// Connectors returns the names of the processors Verify knows, sorted.
func Connectors() []string { return slices.Sorted(maps.Keys(connectors)) }

// Lookup returns what verify knows of a processor.
func Lookup(connector string) (Connector, bool) {
	c, ok := connectors[connector]
	return c, ok
}
