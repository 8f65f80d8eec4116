package sign

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// trustlyDev returns the dev keys. The merchant's key is the same as Trustly's.
func trustlyDev() verify.Keys {
	return verify.Keys{Settings: map[string]string{"public_key_pem": devCert, "private_key_pem": devKey, "orders": "deposits"}}
}

// trustly adds params.signature to the payload: the base64 of the RSA-SHA1
// signature of the method, the uuid and the data's names, sorted, each followed
// by its value.
func trustly(payload []byte, private string, _ map[string]string, _ string, _ time.Time) (verify.Request, error) {
	key, err := rsaKey(private)
	if err != nil {
		return verify.Request{}, err
	}
	var call struct {
		Method string `json:"method"`
		Params struct {
			Signature string          `json:"signature"`
			UUID      string          `json:"uuid"`
			Data      json.RawMessage `json:"data"`
		} `json:"params"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(payload, &call); err != nil {
		return verify.Request{}, err
	}
	var data any
	numbers := json.NewDecoder(bytes.NewReader(call.Params.Data))
	numbers.UseNumber() // they are signed as written
	if err := numbers.Decode(&data); err != nil {
		return verify.Request{}, err
	}
	digest := sha1.Sum([]byte(call.Method + call.Params.UUID + trustlySerialize(data)))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA1, digest[:])
	if err != nil {
		return verify.Request{}, err
	}
	call.Params.Signature = base64.StdEncoding.EncodeToString(signature)
	body, err := json.Marshal(call)
	return request(body, "application/json"), err
}

// trustlySerialize returns the signed text of data.
func trustlySerialize(v any) string {
	var b strings.Builder
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			b.WriteString(name + trustlySerialize(v[name]))
		}
	case []any:
		for _, part := range v {
			b.WriteString(trustlySerialize(part))
		}
	case nil:
	default:
		fmt.Fprint(&b, v)
	}
	return b.String()
}
