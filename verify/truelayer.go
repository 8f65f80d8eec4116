package verify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// truelayer sends Tl-Signature, a JWS without its payload (detached). The JWS header names the
// key (kid), its URL (jku) and the signed HTTP headers. The verifier builds the payload from
// the request: "POST <path>", a line for each signed header, and the body. The path is that
// of the webhook URI at TrueLayer, without a query. As in TrueLayer's own libraries, it
// matches with or without a slash at its end.
//
// TrueLayer uses its key for all customers, and any customer can have webhooks sent to any
// URL. Anyone can use the sandbox, so its key is accepted only by endpoints of the sandbox.
// TrueLayer documents no maximum age and redelivers for three days, so no request is refused
// for its age.
//
// https://github.com/TrueLayer/truelayer-signing
var truelayer = Connector{
	Docs:   "https://github.com/TrueLayer/truelayer-signing",
	Signs:  `ES512 of "POST <path>", the headers that Tl-Signature names, and the body, as a detached JWS in Tl-Signature`,
	Covers: CoversBody,
	Weakness: "the key signs for all of TrueLayer's customers: other customers' webhooks to this URL are verified, too; keep the URL secret, " +
		"and ignore payments that are not yours. No age is refused: TrueLayer states no limit",
	Headers: []string{"Tl-Signature", "X-Tl-Webhook-Timestamp"},
	Settings: []Setting{
		{Name: "jwks", Description: "TrueLayer's keys as a JSON Web Key Set; others are fetched from TrueLayer"},
		truelayerEnvironment,
	},
	Keyless: true,
	check:   truelayerCheck,
	verify:  truelayerVerify,
}

var truelayerEnvironment = Setting{Name: "environment", Description: "the environment whose keys are fetched: live, the default, or sandbox"}

var truelayerKeySets = map[string]string{
	"":        "https://webhooks.truelayer.com/.well-known/jwks",
	"live":    "https://webhooks.truelayer.com/.well-known/jwks",
	"sandbox": "https://webhooks.truelayer-sandbox.com/.well-known/jwks",
}

func truelayerCheck(_ string, k Keys) error {
	if environment := k.Settings[truelayerEnvironment.Name]; truelayerKeySets[environment] == "" {
		return fmt.Errorf("%w: environment is %q, want live or sandbox", ErrSetting, environment)
	}
	_, err := truelayerParse([]byte(k.Settings["jwks"]))
	if err != nil {
		return fmt.Errorf("%w: jwks: %v", ErrSetting, err)
	}
	return nil
}

// truelayerHeader is the header of the JWS.
type truelayerHeader struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	KeySet    string `json:"jku"`
	Version   string `json:"tl_version"`
	Headers   string `json:"tl_headers"`

	// Critical lists extensions that a verifier must support. This one supports none: RFC
	// 7515, 4.1.11.
	Critical []string `json:"crit"`
}

func truelayerVerify(r Request, _ string, k Keys, _ time.Time) (Verified, error) {
	value, err := r.header("Tl-Signature")
	if err != nil {
		return Verified{}, err
	}
	protected, signature, ok := strings.Cut(value, "..")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(protected)
	sig, wrong := base64.RawURLEncoding.Strict().DecodeString(signature)
	if !ok || err != nil || wrong != nil || len(sig) != 2*truelayerBytes {
		return Verified{}, fmt.Errorf("%w: Tl-Signature: want <base64url header>..<base64url signature>", ErrMalformed)
	}
	var h truelayerHeader
	if err := json.Unmarshal(raw, &h); err != nil {
		return Verified{}, fmt.Errorf("%w: the header of Tl-Signature: %v", ErrMalformed, err)
	}
	if h.Algorithm != "ES512" || h.Version != "2" {
		return Verified{}, fmt.Errorf("%w: Tl-Signature has alg %q and tl_version %q, want ES512 and 2", ErrAlgorithm, h.Algorithm, h.Version)
	}
	if h.Critical != nil {
		return Verified{}, fmt.Errorf("%w: the header of Tl-Signature has crit %q, want no critical extensions", ErrMalformed, h.Critical)
	}
	key, err := h.key(k)
	if err != nil {
		return Verified{}, err
	}
	payloads, err := h.payloads(r)
	if err != nil {
		return Verified{}, err
	}
	x, y := new(big.Int).SetBytes(sig[:truelayerBytes]), new(big.Int).SetBytes(sig[truelayerBytes:])
	for _, p := range payloads {
		digest := sha512.Sum512([]byte(protected + "." + base64.RawURLEncoding.EncodeToString(p)))
		if ecdsa.Verify(key, digest[:], x, y) {
			return Verified{Payload: r.Body}, nil
		}
	}
	return Verified{}, ErrMismatch
}

// payloads returns the payloads that may have been signed: with and without a slash at the end
// of the path.
func (h truelayerHeader) payloads(r Request) ([2][]byte, error) {
	address, err := url.Parse(r.URL)
	if r.URL == "" || err != nil {
		return [2][]byte{}, fmt.Errorf("%w: the URL that is set at TrueLayer is not configured: its path is signed", ErrSetting)
	}
	var headers strings.Builder
	for name := range strings.SplitSeq(h.Headers, ",") {
		if h.Headers == "" {
			break
		}
		value, err := r.header(name)
		if err != nil {
			return [2][]byte{}, err
		}
		headers.WriteString(name + ": " + value + "\n")
	}
	line, rest := r.Method+" "+strings.TrimSuffix(address.EscapedPath(), "/"), headers.String()+string(r.Body)
	return [2][]byte{[]byte(line + "\n" + rest), []byte(line + "/\n" + rest)}, nil
}

// key returns the key that a signature names: from the setting jwks, or fetched from
// TrueLayer.
func (h truelayerHeader) key(k Keys) (*ecdsa.PublicKey, error) {
	given, err := truelayerParse([]byte(k.Settings["jwks"]))
	if err != nil {
		return nil, fmt.Errorf("%w: jwks: %v", ErrSetting, err)
	}
	if key := given[h.KeyID]; key != nil {
		return key, nil
	}
	at := truelayerKeySets[k.Settings[truelayerEnvironment.Name]]
	if h.KeySet != at {
		return nil, fmt.Errorf("%w: the jku of Tl-Signature is %q, want %q", ErrKeyUnknown, h.KeySet, at)
	}
	fetched, ok := k.Fetched[at]
	if !ok {
		return nil, &KeyNeeded{URL: at}
	}
	keys, err := truelayerParse(fetched)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrKeyNotThere, at, err)
	}
	if key := keys[h.KeyID]; key != nil {
		return key, nil
	}
	return nil, fmt.Errorf("%w: %s has no key %q", ErrKeyUnknown, at, h.KeyID)
}

// truelayerBytes is the length of a coordinate of the curve P-521.
const truelayerBytes = 66

// truelayerParse parses the keys for ES512 of a JSON Web Key Set, by their ids. Empty text has
// no keys.
func truelayerParse(text []byte) (map[string]*ecdsa.PublicKey, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var set struct {
		Keys []struct {
			KeyID string `json:"kid"`
			Curve string `json:"crv"`
			X     string `json:"x"`
			Y     string `json:"y"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	keys := map[string]*ecdsa.PublicKey{}
	for _, k := range set.Keys {
		if k.Curve != "P-521" {
			continue
		}
		point := append(make([]byte, 0, 1+2*truelayerBytes), 4) // 4 means: not compressed
		for _, text := range []string{k.X, k.Y} {
			n, err := base64.RawURLEncoding.DecodeString(text)
			if err != nil || len(n) > truelayerBytes {
				return nil, fmt.Errorf("the key %q is not a point of P-521", k.KeyID)
			}
			point = append(append(point, make([]byte, truelayerBytes-len(n))...), n...)
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P521(), point)
		if err != nil {
			return nil, fmt.Errorf("the key %q: %v", k.KeyID, err)
		}
		keys[k.KeyID] = key
	}
	if len(keys) == 0 {
		return nil, errors.New("no key of the curve P-521")
	}
	return keys, nil
}
