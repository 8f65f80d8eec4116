package sign

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// mercadopago sends ts=<milliseconds>,v1=<hex of the HMAC-SHA256 of the id in
// the query, X-Request-Id and ts>. It adds the payload's id to the query.
func mercadopago(payload []byte, secret string, _ map[string]string, address string, now time.Time) (verify.Request, error) {
	var n struct {
		Type string `json:"type"`
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	_ = json.Unmarshal(payload, &n) // some payloads have no id: then no id is signed
	query, t, id := url.Values{"type": {n.Type}}, strconv.FormatInt(now.UnixMilli(), 10), rand.Text()
	manifest := "request-id:" + id + ";ts:" + t + ";"
	if n.Data.ID != "" {
		query.Set("data.id", n.Data.ID)
		manifest = "id:" + n.Data.ID + ";" + manifest
	}
	v1 := hex.EncodeToString(mac(sha256.New, secret, manifest))
	r := request(payload, "application/json", "X-Request-Id", id, "X-Signature", "ts="+t+",v1="+v1)
	r.URL = address + "?" + query.Encode()
	return r, nil
}
