package verify

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// trustly calls a method by JSON-RPC, {"method", "params": {"uuid", "data",
// "signature"}}, and signs the method, the uuid and the data, which is each
// name, in order, followed by its value. It takes nothing but a result, signed
// in the same way with the merchant's own key, for an answer, and calls again
// until it gets one.
//
// The answer says OK to whatever Kafka has. Only a debit asks something: that
// of a withdrawal asks whether the payer's balance is enough, and OK lets the
// money go. So a debit is answered FAILED as long as nobody has set which
// orders the endpoint is for.
//
// Names and values are signed without anything between them, so that the end
// of one and the beginning of the next can be traded; SHA-1 is broken for
// collisions. No time is signed, and the notification's id, which is, tells a
// repetition.
//
// https://eu.developers.trustly.com/doc/reference/notifications-overview
var trustly = Connector{
	Docs:   "https://eu.developers.trustly.com/doc/reference/notifications-overview",
	Signs:  "RSA-SHA1 of the method, the uuid and the names and values of the data, base64, in params.signature",
	Covers: CoversFields,
	Weakness: "SHA-1, and nothing between what is signed: whoever has a notification can move the border between a value and the name after it; " +
		"no time is signed: only the notification's id tells a captured request that is sent again",
	Settings: []Setting{
		{Name: "public_key_pem", Says: "Trustly's public key, PEM", Required: true},
		{Name: "private_key_pem", Says: "the merchant's private key, PEM, which the answers are signed with; nothing is served without it"},
		trustlyOrders,
	},
	Keyless: true,
	Replies: true,
	Check:   trustlyCheck,
	Verify:  trustlyVerify,
}

var trustlyOrders = Setting{Name: "orders", Says: "deposits or payouts: the orders that have this endpoint as their NotificationURL; " +
	"when it is set, debits are answered OK, and OK lets a withdrawal go without anyone having looked at the payer's balance"}

// trustlyHashes is the hash by what a signature begins with.
var trustlyHashes = map[string]crypto.Hash{
	"alg=RS256;": crypto.SHA256,
	"alg=RS384;": crypto.SHA384,
	"alg=RS512;": crypto.SHA512,
	"":           crypto.SHA1,
}

func trustlyCheck(_ string, k Keys) error {
	if orders := k.Settings[trustlyOrders.Name]; orders != "" && orders != "deposits" && orders != "payouts" {
		return fmt.Errorf("%w: orders is %q, want deposits or payouts", ErrSetting, orders)
	}
	if _, err := rsaPublic(k.Settings["public_key_pem"]); err != nil {
		return fmt.Errorf("%w: public_key_pem: %v", ErrSetting, err)
	}
	if _, err := rsaPrivate(k.Settings["private_key_pem"]); err != nil {
		return fmt.Errorf("%w: private_key_pem, which Trustly's answers are signed with: %v", ErrSetting, err)
	}
	return nil
}

func trustlyVerify(r Request, _ string, k Keys, _ time.Time) (Verified, error) {
	var call struct {
		Method string `json:"method"`
		Params struct {
			UUID      string         `json:"uuid"`
			Data      jsontext.Value `json:"data"`
			Signature string         `json:"signature"`
		} `json:"params"`
	}
	if err := decodeJSON(r.Body, &call); err != nil {
		return Verified{}, err
	}
	if call.Params.Signature == "" {
		return Verified{}, fmt.Errorf("%w: no params.signature", ErrMissing)
	}
	prefix, text := trustlyAlgorithm(call.Params.Signature)
	signature, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: params.signature: %v", ErrMalformed, err)
	}
	key, err := rsaPublic(k.Settings["public_key_pem"])
	if err != nil {
		return Verified{}, fmt.Errorf("%w: public_key_pem: %v", ErrSetting, err)
	}
	data, err := trustlySerialize(call.Params.Data, 0)
	if err != nil {
		return Verified{}, err
	}
	hash := trustlyHashes[prefix]
	if rsa.VerifyPKCS1v15(key, hash, trustlyDigest(hash, call.Method+call.Params.UUID+data), signature) != nil {
		return Verified{}, ErrMismatch
	}
	reply, err := trustlyReply(call.Method, call.Params.UUID, prefix, k)
	return Verified{Payload: r.Body, Reply: reply}, err
}

// trustlyAlgorithm takes a signature apart: what names its algorithm, if
// anything does, and the rest.
func trustlyAlgorithm(signature string) (prefix, text string) {
	for prefix := range trustlyHashes {
		if text, ok := strings.CutPrefix(signature, prefix); ok && prefix != "" {
			return prefix, text
		}
	}
	return "", signature
}

func trustlyDigest(h crypto.Hash, text string) []byte {
	d := h.New()
	d.Write([]byte(text))
	return d.Sum(nil)
}

// trustlyDeepest is how deep data may nest; Trustly's nests two levels.
const trustlyDeepest = 8

// trustlySerialize writes data as it is signed: an object is its names, in
// order, each followed by its value; null is nothing.
func trustlySerialize(v jsontext.Value, depth int) (string, error) {
	var b strings.Builder
	var parts []jsontext.Value
	var names []string
	switch v.Kind() {
	case '{':
		var fields map[string]jsontext.Value
		if err := decodeJSON(v, &fields); err != nil {
			return "", err
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			names, parts = append(names, name), append(parts, fields[name])
		}
	case '[':
		if err := decodeJSON(v, &parts); err != nil {
			return "", err
		}
		names = make([]string, len(parts))
	default:
		var t text
		err := decodeJSON(v, &t)
		return string(t), err
	}
	if depth == trustlyDeepest {
		return "", fmt.Errorf("%w: params.data nests deeper than %d levels", ErrMalformed, trustlyDeepest)
	}
	for i, part := range parts {
		text, err := trustlySerialize(part, depth+1)
		if err != nil {
			return "", err
		}
		b.WriteString(names[i] + text)
	}
	return b.String(), nil
}

// trustlyReply is the answer to a call, signed by the algorithm that the call
// was signed by. Without a key there is none: only `tollbridge inspect` comes
// here without.
func trustlyReply(method, uuid, prefix string, k Keys) ([]byte, error) {
	if k.Settings["private_key_pem"] == "" {
		return nil, nil
	}
	key, err := rsaPrivate(k.Settings["private_key_pem"])
	if err != nil {
		return nil, fmt.Errorf("%w: private_key_pem: %v", ErrSetting, err)
	}
	status := "OK"
	if method == "debit" && k.Settings[trustlyOrders.Name] == "" {
		status = "FAILED"
	}
	hash := trustlyHashes[prefix]
	signature, err := rsa.SignPKCS1v15(nil, key, hash, trustlyDigest(hash, method+uuid+"status"+status))
	if err != nil {
		return nil, fmt.Errorf("%w: private_key_pem: %v", ErrSetting, err)
	}
	var reply struct {
		Result struct {
			Signature string            `json:"signature"`
			UUID      string            `json:"uuid"`
			Method    string            `json:"method"`
			Data      map[string]string `json:"data"`
		} `json:"result"`
		Version string `json:"version"`
	}
	reply.Version = "1.1"
	reply.Result.UUID, reply.Result.Method = uuid, method
	reply.Result.Data = map[string]string{"status": status}
	reply.Result.Signature = prefix + base64.StdEncoding.EncodeToString(signature)
	return json.Marshal(reply)
}
