package verify_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tollbridge/tollbridge/verify"
)

// BenchmarkVerify measures the verification of a Stripe webhook of 2 KiB.
func BenchmarkVerify(b *testing.B) {
	now := time.Now()
	body := []byte(strings.Repeat("x", 2<<10))
	sent := strconv.FormatInt(now.Unix(), 10)
	m := hmac.New(sha256.New, []byte("whsec_bench"))
	m.Write(append([]byte(sent+"."), body...))
	r := verify.Request{Method: http.MethodPost, Body: body, Header: http.Header{
		"Stripe-Signature": {"t=" + sent + ",v1=" + hex.EncodeToString(m.Sum(nil))},
	}}
	keys := verify.Keys{Secrets: []verify.Secret{{Name: "main", Value: "whsec_bench"}}}
	var keyring verify.Keyring
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keyring.Verify(b.Context(), "stripe", r, keys, now); err != nil {
			b.Fatal(err)
		}
	}
}
